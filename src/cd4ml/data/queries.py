"""SQL over Delta Lake tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa


IN_ORDER = ("datafusion.execution.target_partitions = 1",)
"""One file is read after the other, so that rows come in the same order each time."""
SORTED_IN = ("datafusion.runtime.memory_limit = '256M'", *IN_ORDER)
"""The memory in which rows are sorted, the others on the disk; more threads would have to share it."""


def query(sql: str, *, settings: Sequence[str] = (), **tables: "deltalake.DeltaTable") -> "pa.RecordBatchReader":
    """What a query gives.

    Args:
        sql: The query; names in it have to be quoted.
        settings: Of DataFusion, as `SORTED_IN`.
        tables: By the names that they have in it.
    """
    import deltalake
    import pyarrow as pa

    builder = deltalake.QueryBuilder()
    for name, table in tables.items():
        builder = builder.register(name, table)
    for one in settings:
        builder.execute(f"SET {one}")
    return pa.RecordBatchReader.from_stream(builder.execute(sql))


def quoted(name: str) -> str:
    """The name of a column or table as SQL has it."""
    return '"' + name.replace('"', '""') + '"'
