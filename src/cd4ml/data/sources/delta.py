"""A version of a Delta Lake table, of whoever writes it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cd4ml.data.sources import Source
from cd4ml.data.sources.file import Place
from cd4ml.errors import DataError

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa

    from cd4ml.data.rows import Rows


class DeltaSource(Source):
    """A version of a Delta Lake table."""

    delta: Place
    """The folder or `s3://` URI of the table."""
    version: Annotated[int, Field(ge=0)] | None = Field(default=None)
    """Which of its versions; the latest where it is left out."""

    @property
    def place(self) -> str:
        """The table."""
        return self.delta

    def state(self) -> str:
        """The version, and which table it is of."""
        table = self._opened()
        return f"version {table.version()} of {table.metadata().id}"

    def read(self) -> "Rows":
        """Reads the version."""
        from cd4ml.data import table
        from cd4ml.data.rows import Rows

        reader = table.rows_of_version(self._opened())
        return Rows(reader.schema, self._batches(reader))

    def _batches(self, reader: "pa.RecordBatchReader") -> Iterator["pa.RecordBatch"]:
        import pyarrow as pa

        try:
            yield from reader
        except (pa.ArrowException, OSError, ValueError) as error:
            said = f"{self.delta}: cannot be read ({error}); mend the table, or name another version"
            raise DataError(said) from error

    def _opened(self) -> "deltalake.DeltaTable":
        from cd4ml.data import table

        return table.opened(self.delta, self.version)
