"""The names of the images, in one place; each holds one environment of `images/`.

KFP's cache and the nodes of a cluster go by an image's name, so the name changes with what is in the image: its tag is
the version and a digest of the files that the images are made of.
"""

import hashlib
import json
import os
import re
from pathlib import Path

from cd4ml.version import VERSION

PREFIX = "CD4ML_IMAGE_PREFIX"
"""The environment variable with the registry and folder of the images."""
TAG = "CD4ML_IMAGE_TAG"
"""The environment variable with their tag, in place of the one that their content gives; set inside each image."""
LOCKS = "CD4ML_LOCKS"
"""The environment variable with the digest of each environment's lock, as JSON, for a task that has no checkout."""
IN_THE_IMAGE = Path("/opt/images")
"""Where an image keeps the locks of all."""
_PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", re.MULTILINE)
MADE_OF = ("components", "images", "pipelines", "pyproject.toml", "scripts/uv.txt", "src")
NOT_MADE_OF = {"README.md", "compiled", "__pycache__"}


def variable(environment: str) -> str:
    """The environment variable with the whole name of one image, by digest as a rule; it goes before all else."""
    return f"CD4ML_IMAGE_{environment.upper()}"


def environment(image: str) -> str:
    """The environment that an image holds: `tools` for `cd4ml/tools:0.1.0`."""
    return image.rsplit("/", 1)[-1].split("@")[0].split(":")[0]


def locks() -> dict[str, str]:
    """By environment the digest of its lock: of this checkout, or as LOCKS says."""
    if os.environ.get(LOCKS):
        told: dict[str, str] = json.loads(os.environ[LOCKS])
        return told
    return {name: _digest(lock) for name, lock in _lock_files().items()}


def packages() -> dict[str, list[tuple[str, str]]]:
    """By environment the packages that its lock names, each with its version; of the locks that `locks` is about."""
    known = locks()
    found = {name: lock for name, lock in _lock_files().items() if known.get(name) == _digest(lock)}
    return {name: _PINNED.findall(lock.decode()) for name, lock in found.items()}


def _lock_files() -> dict[str, bytes]:
    """By environment its lock: of this checkout, or of the one that this image was built of."""
    folder = next(filter(Path.is_dir, (Path(__file__).parents[2] / "images", IN_THE_IMAGE)), None)
    return {file.parent.name: file.read_bytes() for file in sorted(folder.glob("*/requirements.txt"))} if folder else {}


def _digest(lock: bytes) -> str:
    return f"sha256:{hashlib.sha256(lock).hexdigest()}"


def content_digest(checkout: Path) -> str:
    """Tells one state of what the images are made of from another."""
    digest = hashlib.sha256()
    for name in _files(checkout):
        content = hashlib.sha256((checkout / name).read_bytes()).hexdigest()
        digest.update(f"{content} {name.as_posix()}\n".encode())
    return digest.hexdigest()


def _files(checkout: Path) -> list[Path]:
    found = [file for part in MADE_OF for file in [checkout / part, *(checkout / part).rglob("*")] if file.is_file()]
    names = sorted(file.relative_to(checkout) for file in found)
    return [name for name in names if not NOT_MADE_OF.intersection(name.parts)]


def _tag() -> str:
    checkout = Path(__file__).parents[2]
    if os.environ.get(TAG):
        return os.environ[TAG]
    if not (checkout / "images" / "Dockerfile").exists():
        return VERSION
    return f"{VERSION}-{content_digest(checkout)[:12]}"


def _image(environment: str, tag: str) -> str:
    prefix = os.environ.get(PREFIX) or "cd4ml"
    return os.environ.get(variable(environment)) or f"{prefix}/{environment}:{tag}"


_TAG = _tag()
TOOLS = _image("tools", _TAG)
VALIDATE = _image("validate", _TAG)
TRAIN = _image("train", _TAG)
EVALUATE = _image("evaluate", _TAG)
SERVE = _image("serve", _TAG)
