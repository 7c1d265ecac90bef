"""What holds for all tests."""

import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from development_page import shown
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("unhurried")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], Path]]:
    """Installs a package of one module: its name, its code, and its entry points as a wheel has them."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    before = set(sys.modules)

    def install(name: str, code: str, entry_points: str) -> Path:
        (folder / f"{name}.py").write_text(code)
        metadata = folder / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(entry_points)
        (metadata / "RECORD").write_text(f"{name}.py,,\n")
        return folder

    yield install
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def documented(installed: Callable[[str, str, str], Path]) -> Callable[[str], Any]:
    """Installs the package that a section of docs/development.md shows; gives the arguments that it shows."""

    def install(section: str) -> Any:
        blocks = shown(section)
        [(module, code)] = [(path.removesuffix(".py"), one) for path, one in blocks.items() if path.endswith(".py")]
        groups = tomllib.loads(blocks["pyproject.toml"])["project"]["entry-points"]
        lines = [f"[{group}]\n{name} = {path}\n" for group, rows in groups.items() for name, path in rows.items()]
        installed(module, code, "".join(lines))
        return yaml.safe_load(blocks["yaml"])

    return install
