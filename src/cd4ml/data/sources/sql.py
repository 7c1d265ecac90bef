"""A table or a query of a database: PostgreSQL and SQLite, by ADBC."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field, model_validator

from cd4ml.data.queries import quoted
from cd4ml.data.reading import Type
from cd4ml.data.sources import Source
from cd4ml.data.sources.credentials import Credential, credential
from cd4ml.errors import DataError
from cd4ml.settings import Strict

if TYPE_CHECKING:
    import pyarrow as pa

    from cd4ml.data.rows import Rows


class Query(Strict):
    """What is asked of which database."""

    url: Credential
    """The environment variable that holds its address: `postgresql://USER:PASSWORD@HOST/DATABASE` or `sqlite:///FILE`."""
    table: str | None = Field(default=None)
    """A table, all of it; with a schema as `SCHEMA.TABLE`."""
    query: str | None = Field(default=None)
    """Or a query, which the version records."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.table) == bool(self.query):
            raise ValueError("write one of `table` and `query`")
        return self

    @property
    def statement(self) -> str:
        """What the database is told."""
        if self.query:
            return self.query
        parts = str(self.table).split(".")
        return "SELECT * FROM " + ".".join(map(quoted, parts))  # noqa: S608 (quoted)


class SqlSource(Source):
    """A table or a query of a database."""

    sql: Query
    """What is asked of which database."""
    types: dict[str, Type] | None = None
    """What columns hold, where the database does not tell: `{ordered: date}` of a text of SQLite."""

    def __str__(self) -> str:
        """The table or the query."""
        return f"{self.sql.url}: {self.sql.table or self.sql.query}"

    def read(self) -> "Rows":
        """Asks the database; its answer comes in batches."""
        from cd4ml.data.formats.typed import as_asked
        from cd4ml.data.rows import Rows

        with ExitStack() as held:
            with self._told():
                connection = held.enter_context(closing(self._connected()))
                cursor = held.enter_context(closing(connection.cursor()))
                cursor.execute(self.sql.statement)
                reader = cursor.fetch_record_batch()
            rows = Rows(reader.schema, self._batches(reader), close=held.pop_all().close)
            return as_asked(rows, self.types or {}, str(self))
        raise AssertionError  # an ExitStack lets every error through

    def _batches(self, reader: "pa.RecordBatchReader") -> Iterator["pa.RecordBatch"]:
        with self._told():
            yield from reader

    def _connected(self) -> Any:
        url = credential(self.sql.url)
        if url.startswith(("postgresql://", "postgres://")):
            from adbc_driver_postgresql import dbapi

            return dbapi.connect(url)
        if url.startswith("sqlite://"):
            from adbc_driver_sqlite import dbapi as sqlite

            return sqlite.connect(f"file:{quote(unquote(url.removeprefix('sqlite:///')))}?mode=ro")
        raise DataError(
            f"{self}: {self.sql.url} holds no address of a known database; it begins with postgresql:// or sqlite:///"
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        from adbc_driver_manager import Error

        try:
            yield
        except (Error, OSError) as error:
            said = _without(credential(self.sql.url), " ".join(str(error).split()))
            raise DataError(f"{self}: the database cannot be read ({said}); check the query and the address") from None


def _without(url: str, said: str) -> str:
    """What a driver says, without the address and the password, which it may repeat."""
    password = urlsplit(url).password or ""
    for secret in filter(None, (url, password, unquote(password))):
        said = said.replace(secret, "…")
    return said
