"""Brings a published model into a folder: `python -m cd4ml.storage.fetch URI FOLDER`.

The init container of a model server runs it. Unlike Seldon's own it fails where nothing is stored, and where keys to
trust are configured, it fails before the folder holds anything of a version that none of them has signed.
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
        uri: Of the model, `…/NAME/VERSION/model`.
        folder: Takes its files.
    """
    version, _, part = uri.rstrip("/").rpartition("/")
    try:
        verified = bool(signature.trusted_keys())
        with local_copy(version if verified else uri) as copied:
            signature.check(copied, version)
            found = copied / part if verified else copied
            for file in filter(Path.is_file, found.rglob("*")):
                target = folder / file.relative_to(found)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
    except (Cd4mlError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 (a container's log)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
