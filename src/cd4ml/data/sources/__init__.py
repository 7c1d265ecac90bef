"""Where a team's table comes from, as a person writes it: a path, or an object that names its kind by a key.

`{file: players.csv}` is a source of the kind `file`. A source is settings, which are checked wherever a run is asked
for, and a way to read, which runs where data is ingested. A team's own are rows of `SOURCES`.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import ConfigDict, Field

from cd4ml import settings
from cd4ml.errors import DataError, PluginError, StorageError
from cd4ml.names import nearest, shown
from cd4ml.plugins import PluginPoint
from cd4ml.settings import OneOf, Strict
from cd4ml.storage import check_uri

if TYPE_CHECKING:
    import pyarrow as pa

    from cd4ml.data.rows import Rows

EXAMPLE = "{file: PATH}"


class Source(Strict, ABC):
    """Where a table comes from: what a team brings is a subclass, whose first field is called as its kind.

    No field holds a secret: run files, logs and KFP's pages show them. A source finds its own by `credential`.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    @abstractmethod
    def read(self) -> "pa.Table | pa.RecordBatchReader | Rows":
        """Reads the table, best in record batches, so that it need not fit in memory; whoever asked for it checks it.

        Raises:
            DataError: It cannot be read; says what, where and what to do.
        """

    @property
    def place(self) -> str:
        """The path or URI that whoever runs the pipeline must see; empty where there is none."""
        return ""

    def state(self) -> str:
        """What tells its content from what it is at another time, at one look; empty where only reading tells."""
        return ""

    def __str__(self) -> str:
        """What errors call it."""
        return self.place or self.text

    @property
    def text(self) -> str:
        """What was asked for, as JSON."""
        return self.model_dump_json(exclude_defaults=True)


def without_password(url: str) -> str:
    """Makes sure that an address holds no password, nor a signature or the like in its query.

    Raises:
        ValueError: It does.
    """
    try:
        parts = urlsplit(url)
        given = "://" in url and parts.password is not None
        asked = parse_qsl(parts.query) if "://" in url else []
        secret = next((name for name, _ in asked if SECRETS.search(name)), None)
    except ValueError as error:
        raise ValueError(f"is no address ({error}); check it") from error
    if given:
        raise ValueError("holds a password, which run files, logs and pages would show; take it out, and change it")
    if secret:
        raise ValueError(
            f"holds {secret!r}, a secret that run files, logs and pages would show; name the environment variable of a "
            "`token`, or put the file into the store"
        )
    return url


def checked_place(uri: Any) -> str:
    """Makes sure that something can lie at a path or `s3://` URI.

    Raises:
        ValueError: Nothing can, or the URI holds a password.
    """
    if not isinstance(uri, str):
        raise ValueError(f"write a path or an s3:// URI, not {shown(uri)}")
    if not uri:
        raise ValueError("is empty; write a text")
    try:
        return without_password(check_uri(uri))
    except StorageError as error:
        raise ValueError(str(error)) from error


SECRETS = re.compile(r"(?i)(^|[-_])(sig|signature|token|secret|password|passwd|api_?key)$")
"""Names in the query of an address whose values let in whoever knows them."""
SOURCES: PluginPoint[type[Source]] = PluginPoint(
    kind="source",
    group="cd4ml.sources",
    of=Source,
    built_in={
        "file": "cd4ml.data.sources.file:FileSource",
        "http": "cd4ml.data.sources.http:HttpSource",
        "sql": "cd4ml.data.sources.sql:SqlSource",
        "delta": "cd4ml.data.sources.delta:DeltaSource",
        "windows": "cd4ml.data.sources.windows:WindowsSource",
    },
)


def parse(source: str) -> Source:
    """Reads what a task is told of its source.

    Args:
        source: A path, an `s3://` URI or a web address of a file, or an object as JSON.

    Raises:
        DataError: It is no source.
    """
    try:
        content = as_object(source)
        kind = _named(content)
    except (ValueError, PluginError) as error:
        raise DataError(f"source: {error}") from error
    return settings.parse(kind, content=content, name="source", error=DataError)


def checked(source: Any) -> Source:
    """The source that a person wrote, as a part of other settings.

    Raises:
        ValueError: It is none; a `ValidationError` where its settings are not as they should be.
    """
    content = as_object(source)
    return settings.within(_named(content), content)


def as_object(source: Any) -> Mapping[str, Any]:
    """The object that a text stands for: a path is a file, and a parameter of KFP holds an object as JSON.

    Raises:
        ValueError: It stands for none.
    """
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, str):
        raise ValueError(f"{shown(source)} is no source; write a path, or an object such as {EXAMPLE}")
    if source.startswith(("http://", "https://")):
        return {"http": source}
    if not source.startswith("{"):
        return {"file": checked_place(source)}
    try:
        found: Mapping[str, Any] = json.loads(source, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no object in JSON ({error}); write a path, or an object such as {EXAMPLE}") from error
    return found


def _object(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _named(content: Mapping[str, Any]) -> type[Source]:
    """The kind of a source: the one key that is called as a row of the table."""
    known = SOURCES.names
    match [name for name in content if name in known]:
        case [name]:
            return SOURCES.load(name)
        case []:
            given = next(iter(content), None)
            raise ValueError(f"names no source; write an object such as {EXAMPLE}; {nearest(str(given), known)}")
        case several:
            raise ValueError(f"names {len(several)} sources, {' and '.join(several)}; write one of them")


def types() -> Iterator[Any]:
    """What a person can write."""
    yield Annotated[str, Field(min_length=1)]
    yield from map(SOURCES.load, SOURCES.names)


AnySource = Annotated[Source, OneOf(checked, types)]
"""A source as a part of other settings."""
