"""A published model as a Python package of plain files, which needs TensorFlow and nothing of cd4ml.

pyproject.toml      so that pip installs the folder
README.md           what it is, and how it is asked
NAME/__init__.py    `predict`, `CONTRACT`, `VERSION` (`cd4ml.prediction.embedded`)
NAME/…              the model's files (layout: `cd4ml.contracts.model`), and version.json of the registry
"""

import pprint
import shutil
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cd4ml import names
from cd4ml.contracts import model as models
from cd4ml.contracts.model import CONTRACT, SAVED_MODEL, Contract, Kind
from cd4ml.contracts.release import Version
from cd4ml.errors import StorageError
from cd4ml.prediction import loading
from cd4ml.registry import named
from cd4ml.storage import open_store, scratch

LOADER = Path(__file__).with_name("embedded.py")
PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{project}"
version = "{version}"
description = "The model {name}, version {version}"
requires-python = ">=3.11"
dependencies = ["numpy", "tensorflow"]

[tool.setuptools]
packages = ["{package}"]
package-data = {{ "{package}" = ["**/*"] }}
"""
README = """\
# {name}, version {version}

It gives {gives}. It was published at {published_at} by the run {run},
trained on version {dataset.version} of the dataset {dataset.name}; its digest is

    {digest}

It needs TensorFlow alone. None and NaN are missing:

```python
from {package} import predict

predict(
{example}
)
```
"""
EXAMPLES: Mapping[Kind, list[Any]] = {
    "category": ["a text"],
    "text": ["a text of some words"],
    "number": [1.0],
    "boolean": [True],
    "date": ["2027-02-28T09:30:00Z"],
}


def export(store: str, model: str, folder: Path) -> Version:
    """Writes a published model as a package, whole or not at all.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        model: `NAME@VERSION`, or `NAME`: the champion.
        folder: The folder to write, which is not there yet.

    Raises:
        RegistryError: There is no such version, or its files are no longer those that were published.
        SignatureError: No key that is trusted here has signed the version.
        StorageError: The folder is there already, or cannot be written.
    """
    opened = open_store(store)
    version = named.find(opened, model)
    if folder.exists():
        raise StorageError(f"{folder}: is there already; remove it, or name another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch.folder(folder.parent, ".unfinished-") as unfinished, loading.files(opened, version) as files:
            _write(unfinished / folder.name, version, files)
            (unfinished / folder.name).rename(folder)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror}); name another folder") from error
    return version


def package_of(version: Version) -> str:
    """What the package is called."""
    return f"model_{names.words(version.name)}"


def _write(folder: Path, version: Version, files: Path) -> None:
    name = package_of(version)
    package = folder / name
    package.mkdir(parents=True)
    shutil.copyfile(files / CONTRACT, package / CONTRACT)
    shutil.copytree(files / SAVED_MODEL, package / SAVED_MODEL)
    shutil.copyfile(LOADER, package / "__init__.py")
    version.write(package / "version.json")
    called = {"project": name.strip("_").replace("_", "-"), "package": name}
    project = PROJECT.format(name=version.name, version=version.version, **called)
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")
    (folder / "README.md").write_text(_readme(version, models.read_contract(files), name), encoding="utf-8")


def _readme(version: Version, contract: Contract, package: str) -> str:
    example = {one.name: EXAMPLES[one.kind] for one in contract.inputs}
    return README.format(
        name=version.name,
        version=version.version,
        digest=version.digest,
        run=version.run,
        published_at=version.published_at,
        dataset=version.dataset,
        gives=contract.problem.gives(repr(contract.label), [repr(one) for one in contract.classes]),
        package=package,
        example=textwrap.indent(pprint.pformat(example, width=100, sort_dicts=False), "    "),
    )
