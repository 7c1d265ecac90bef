"""Brings what lies at a URI into a folder: `python -m cd4ml.storage.fetch URI FOLDER`.

The init container of a model server runs it. Unlike Seldon's own it fails where nothing is stored.
"""

import shutil
import sys
from pathlib import Path

from cd4ml.errors import Cd4mlError
from cd4ml.storage import local_copy


def main(uri: str, folder: Path) -> int:
    """Brings it; the exit status."""
    try:
        with local_copy(uri) as found:
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
