"""The file system under a store, by which what is stored can be changed: for erasing alone, as nobody else may."""

import os
from urllib.parse import urlsplit

from pyarrow import fs

from cd4ml.storage import S3, Store
from cd4ml.storage.bucket import region
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
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
    system = fs.S3FileSystem(
        access_key=os.environ.get("AWS_ACCESS_KEY_ID"),
        secret_key=os.environ.get("AWS_SECRET_ACCESS_KEY"),
        endpoint_override=endpoint.netloc or None,
        scheme=endpoint.scheme or "https",
        region=region(),
    )
    return system, store.uri(name).removeprefix(S3)
