"""Brings a published version into a folder: `python -m cd4ml.storage.fetch URI FOLDER`.

The init container of a model server runs it. Unlike Seldon's own it fails where nothing is stored, and where keys to
trust are configured, it fails before the folder holds anything of a version that none of them has signed. The folder
gets all that is signed, so that the server can see for itself.
"""

import shutil
import sys
from pathlib import Path

from cd4ml.contracts import signature
from cd4ml.errors import Cd4mlError
from cd4ml.storage import local_copy


def main(uri: str, folder: Path) -> int:
    """Brings it; the exit status.

    Args:
        uri: Of the version, `…/NAME/VERSION`.
        folder: Takes its files; it may be there.
    """
    try:
        with local_copy(uri) as copied:
            signature.check(copied, uri, version="/".join(uri.rstrip("/").split("/")[-2:]))
            for file in filter(Path.is_file, copied.rglob("*")):
                target = folder / file.relative_to(copied)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
    except (Cd4mlError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 (a container's log)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
