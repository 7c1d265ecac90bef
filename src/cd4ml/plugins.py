"""Plug-in points: tables from a name to the import path of what it stands for, which other packages add rows to.

A package adds a row by an entry point, as its `pyproject.toml` has it:

    [project.entry-points."cd4ml.trainers"]
    wide = "acme.trainers:Wide"

What is installed may be named in a run file; an import path is in one place alone, as the function of a model
(`cd4ml.training.code`), and so in the train task. A row is imported when it is used.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, EntryPoints, distributions, entry_points
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import unquote, urlparse

from cd4ml.errors import PluginError
from cd4ml.names import nearest

Plugin = TypeVar("Plugin")


@dataclass(frozen=True, kw_only=True)
class PluginPoint(Generic[Plugin]):
    """One table: what cd4ml has itself, and what the packages of this environment add to it."""

    kind: str
    """What a row is, in errors: `trainer`."""
    group: str
    """Of the entry points: `cd4ml.trainers`."""
    of: type
    """What every row is an instance or a subclass of."""
    built_in: Mapping[str, str]
    """The import path by name: `package.module:Object`."""

    @property
    def names(self) -> list[str]:
        """All that can be named, the built-in ones first."""
        return list(self._rows())

    def load(self, name: str) -> Plugin:
        """Imports what a name stands for.

        Raises:
            PluginError: Nothing is called so, or two things are, or it cannot be imported or is something else.
        """
        rows = self._rows()
        if name not in rows:
            raise PluginError(f"{name!r} is no {self.kind} that is installed here; {nearest(name, rows)}")
        row, *others = rows[name]
        if others:
            raise PluginError(
                f"{self.kind} {name!r}: {_giver(row)} and {_giver(others[0])} both have one of this name; "
                "uninstall one of the packages, or rename it in one"
            )
        return self._loaded(row)

    def _rows(self) -> dict[str, list[EntryPoint]]:
        """By name all that are called so; more than one is a mistake of whoever installed them."""
        rows = {name: [EntryPoint(name, path, self.group)] for name, path in self.built_in.items()}
        for row in sorted(_installed(self.group), key=lambda one: (one.name, _giver(one))):
            rows.setdefault(row.name, []).append(row)
        return rows

    def _loaded(self, row: EntryPoint) -> Plugin:
        try:
            found: Plugin = row.load()
        except (Exception, SystemExit) as error:  # what a package does when it is imported can be anything
            if row.dist is None:
                raise
            raise PluginError(
                f"{self.kind} {row.name!r}: {_giver(row)} says that it is {row.value}, which cannot be imported "
                f"({type(error).__name__}: {error}); mend the package, or install what it needs beside it"
            ) from error
        if not isinstance(found, self.of) and not (isinstance(found, type) and issubclass(found, self.of)):
            raise PluginError(
                f"{self.kind} {row.name!r}: {_giver(row)} says that it is {row.value}, which is no "
                f"cd4ml.{self.of.__name__}; mend the package"
            )
        try:
            getattr(found, "model_rebuild", bool)()  # settings, whose annotations may name what comes after them
        except Exception as error:  # what is annotated can be anything
            raise PluginError(
                f"{self.kind} {row.name!r}: the annotations of {row.value} of {_giver(row)} cannot be resolved "
                f"({error}); import what they name where it is not for type checkers alone"
            ) from error
        lacking = sorted(getattr(found, "__abstractmethods__", ()))
        if lacking:
            raise PluginError(
                f"{self.kind} {row.name!r}: {row.value} of {_giver(row)} lacks {', '.join(lacking)}, which each "
                f"cd4ml.{self.of.__name__} has; mend the package"
            )
        return found


def files(folders: Sequence[Path], modules: Collection[str] = ()) -> Iterator[Path]:
    """What the packages are made of that add to cd4ml, for whoever has to tell two states of them apart.

    Args:
        folders: Where packages are installed.
        modules: Those at the top of further packages.
    """
    for package in distributions(path=[str(folder) for folder in folders]):
        if package.name == "cd4ml":  # a checkout edited in place has all environments in it
            continue
        adds = any(row.group.startswith("cd4ml.") for row in _of_package(package))
        if adds or (modules and _has(package, modules)):
            named = (Path(str(file.locate())) for file in package.files or [] if file.suffix != ".pyc")
            yield from (file for file in named if file.is_file())  # a package can be removed in part
            yield from _edited_in_place(package)


def _has(package: Distribution, modules: Collection[str]) -> bool:
    """Whether one of the modules is of this package, also where it is edited in place."""
    files = [*(Path(file) for file in package.files or []), *_edited_in_place(package)]
    return any(part.removesuffix(".py") in modules for file in files for part in file.parts)


def _edited_in_place(package: Distribution) -> Iterator[Path]:
    origin = json.loads(package.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        yield from Path(unquote(urlparse(origin["url"]).path)).rglob("*.py")


def _installed(group: str) -> EntryPoints:
    try:
        return entry_points(group=group)
    except Exception:
        for package in distributions():  # to find out whose file is malformed
            _of_package(package)
        raise


def _of_package(package: Distribution) -> EntryPoints:
    try:
        return package.entry_points
    except Exception as error:  # what a malformed file raises depends on how it is malformed
        raise PluginError(
            f"the package {package.name} {package.version}: its entry_points.txt cannot be read "
            f"({str(error) or type(error).__name__}); install the package again, or uninstall it"
        ) from error


def _giver(row: EntryPoint) -> str:
    return f"the package {row.dist.name} {row.dist.version}" if row.dist else "cd4ml"
