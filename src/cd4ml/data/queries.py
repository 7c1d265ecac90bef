"""SQL over Delta Lake tables."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa


def query(sql: str, **tables: "deltalake.DeltaTable") -> "pa.RecordBatchReader":
    """What a query gives.

    Args:
        sql: The query; names in it have to be quoted.
        tables: By the names that they have in it.
    """
    import deltalake
    import pyarrow as pa

    builder = deltalake.QueryBuilder()
    for name, table in tables.items():
        builder = builder.register(name, table)
    return pa.RecordBatchReader.from_stream(builder.execute(sql))


def quoted(name: str) -> str:
    """The name of a column or table as SQL has it."""
    return '"' + name.replace('"', '""') + '"'
