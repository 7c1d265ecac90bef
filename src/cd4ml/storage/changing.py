"""The file system under a store, by which what is stored can be changed: for erasing alone, as nobody else may."""

from pyarrow import fs

from cd4ml.storage import S3, Store, arrow
from cd4ml.storage.folder import FolderStore


def file_system(store: Store, name: str) -> tuple[fs.FileSystem, str]:
    """Where what a store keeps under a name lies, as Arrow sees it.

    Args:
        store: The store.
        name: Of an object or folder.

    Returns:
        The file system, and the path there.
    """
    if isinstance(store, FolderStore):
        return fs.LocalFileSystem(), str(store.path(name))
    return arrow.bucket(), store.uri(name).removeprefix(S3)
