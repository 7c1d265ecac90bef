"""JSON files that one task writes and another reads, which may be of another version of cd4ml.

A document says what it is: its `kind`, and the `schema_version` of its layout. A field with a default can be added
without a new schema version, as readers pass over what they do not know; whatever else changes gets one, and a step
that brings an older document up to date. A file with neither is of version 1.
"""

import functools
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from cd4ml.errors import DocumentError
from cd4ml.names import shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Content = dict[str, Any]
"""The fields of a document, as JSON has them."""

_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What parsing, an upgrade or validation raises on what is no such document."""


class Document:
    """What a frozen dataclass becomes whose objects are files."""

    kind: ClassVar[str]
    schema_version: ClassVar[int]
    remedy: ClassVar[str]
    upgrades: ClassVar[Mapping[int, Callable[[Content], Content]]]

    def __init_subclass__(
        cls,
        *,
        kind: str,
        remedy: str,
        schema_version: int = 1,
        upgrades: Mapping[int, Callable[[Content], Content]] | None = None,
    ) -> None:
        """Declares a kind of document.

        Args:
            kind: Its name, such as `cd4ml/Version`.
            remedy: What to do when one cannot be read, for the end of an error's sentence.
            schema_version: Of the layout that is written.
            upgrades: By older schema version, the step that makes the next one of its content.
        """
        cls.kind, cls.schema_version, cls.remedy, cls.upgrades = kind, schema_version, remedy, upgrades or {}

    @property
    def headline(self) -> str:
        """The one figure that a person looks for."""
        return ""

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of it in the UI."""
        return {"headline": self.headline, **asdict(self)}  # type: ignore[call-overload]

    @property
    def metrics(self) -> dict[str, float]:
        """What the UI compares between runs."""
        return {}

    @property
    def content(self) -> Content:
        """Its fields with what it is, as the file has them."""
        fields = asdict(self)  # type: ignore[call-overload]
        return {"kind": self.kind, "schema_version": self.schema_version, **fields}

    @property
    def text(self) -> str:
        """The file's text."""
        return json.dumps(self.content, indent=2, allow_nan=False) + "\n"

    def write(self, path: str | Path) -> Self:
        """Writes the document, whole or not at all; its folder is made."""
        write_text(Path(path), self.text)
        return self

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Reads what `write` wrote, in this version of cd4ml or an older one.

        Raises:
            DocumentError: There is no such file, or it is not this kind of document.
        """
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise DocumentError(f"{path}: cannot be read ({error.strerror}); {cls.remedy}") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str | bytes, place: str) -> Self:
        """Reads a document that lies elsewhere than in a file.

        Args:
            text: What `write` would have written.
            place: Where it lies, for errors.

        Raises:
            DocumentError: It is not this kind of document.
        """
        try:
            return cls._parsed(text)
        except DocumentError as error:
            raise DocumentError(f"{place}: {error}") from error
        except _UNREADABLE as error:
            said = "; ".join(_mistakes(error))
            raise DocumentError(f"{place}: not a {cls.kind} ({said}); {cls.remedy}") from error

    @classmethod
    def _parsed(cls, text: str | bytes) -> Self:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError(f"it is {shown(content)}, not an object")
        kind, version = content.pop("kind", cls.kind), content.pop("schema_version", 1)
        if kind != cls.kind:
            raise ValueError(f"it is a {shown(kind)}")
        if type(version) is not int or version < 1:
            raise ValueError(f"its schema_version is {shown(version)}")
        if version > cls.schema_version:
            raise DocumentError(
                f"a {cls.kind} of schema version {shown(version)}, and this cd4ml reads up to {cls.schema_version}; "
                "use the cd4ml that wrote it, or a newer one"
            )
        for older in range(version, cls.schema_version):
            content = cls.upgrades[older](content)
        adapter = _adapter(cls)  # type: ignore[arg-type] # a class is hashable
        found: Self = adapter.validate_json(json.dumps(content), strict=True)
        return found


@functools.cache
def _adapter(document: type[Document]) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter  # not there where models are served

    return TypeAdapter(document)


def _mistakes(error: Exception) -> list[str]:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return [f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else str(error)]
    found = error.errors()
    lines = [
        f"{'.'.join(map(str, one['loc']))}: {one['msg']}, not {shown(one['input'])}"
        if one["loc"]
        else one["msg"].removeprefix("Value error, ")
        for one in found[:3]
    ]
    return lines + ([f"and {len(found) - 3} more"] if len(found) > 3 else [])


def kind_of(text: str) -> str:
    """What a document says it is; empty where it says nothing, or is none."""
    try:
        return str(json.loads(text)["kind"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def write(path: str | Path, content: Any) -> None:
    """Writes a file of JSON, whole or not at all; its folder is made."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Writes a file of text, whole or not at all; its folder is made."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished", dir=file.parent) as folder:
        unfinished = Path(folder) / "content"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(file)


def digest(path: str | Path) -> str:
    """Tells a file, or a folder by the names and bytes of its files, from every other: `sha256:`."""
    root = Path(path)
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            whole.update(f"{file.relative_to(root)}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return f"sha256:{whole.hexdigest()}"
