"""Tables in files."""

import hashlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from cd4ml.data.reading import Reading, Type
from cd4ml.data.sources import Source, checked_place
from cd4ml.storage import S3

if TYPE_CHECKING:
    from cd4ml.data.rows import Rows


def _each_checked(uris: Any) -> Any:
    if uris == []:
        raise ValueError("is empty; name at least one file")
    return [*map(checked_place, uris)] if isinstance(uris, list) else checked_place(uris)


_TEXT = {"type": "string", "minLength": 1}
Place = Annotated[str, BeforeValidator(checked_place), WithJsonSchema(_TEXT)]
Places = Annotated[
    str | list[str],
    BeforeValidator(_each_checked),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}),
]


class FileSource(Source):
    """A table in one file or in several."""

    file: Places
    """A path or `s3://` URI of a file, a folder or a glob such as `parts/*.csv`; or a list of them."""
    reading: Annotated[Reading | None, Field(alias="read")] = None
    """How it is read, where looking at it does not tell rightly."""
    types: dict[str, Type] | None = None
    """What columns hold, where looking at them does not tell rightly: `{zip: text}`."""

    @property
    def places(self) -> list[str]:
        """All that is named."""
        return [self.file] if isinstance(self.file, str) else self.file

    @property
    def place(self) -> str:
        """The first of them that lies on this machine; else the first."""
        return next((one for one in self.places if not one.startswith(S3)), self.places[0])

    def state(self) -> str:
        """The sizes and times of the files; in a bucket, their ETags."""
        from cd4ml.data import files

        found = files.find(self.places)
        states = "\n".join(f"{one.uri}: {one.state}" for one in found)
        digest = hashlib.sha256(states.encode()).hexdigest()
        return states if len(found) == 1 else f"{len(found):,} files, sha256:{digest}"

    def read(self) -> "Rows":
        """Reads the files."""
        from cd4ml.data import files, formats

        with ExitStack() as held:
            found = files.local(files.find(self.places), held)
            return formats.rows(found, self.reading or Reading(), types=self.types or {}, close=held.pop_all().close)
        raise AssertionError  # an ExitStack lets every error through
