"""The sample of a table by which it is compared, and which a published model keeps of the rows it was trained on."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cd4ml.contracts import reference as contract
from cd4ml.contracts.dataset import Origin
from cd4ml.contracts.reference import Reference
from cd4ml.errors import DataError
from cd4ml.validation.on_disk import Table

MOST_ROWS = 20_000
"""Of a sample; drift that so many rows do not show has no effect that matters."""
MOST_CELLS = 2_000_000
FEWEST_ROWS = 1000
"""Of a sample, however many columns the table has."""
OWN_TEXT = 0.25
"""The share of different values from which on a text is one that each row has of its own."""
FEW_TEXTS = 100
"""So many different values may be categories, however few the rows."""
ENOUGH_NUMBERS = 1000
"""So many whole numbers that all differ are numbers of the rows."""
NUMBERED = "each row has a number of its own"


def take(
    table: Table,
    *,
    origin: Origin,
    split: str,
    without: Mapping[str, str],
    like: Reference | None = None,
) -> pa.Table:
    """Draws the rows by which a table is compared.

    Args:
        table: Of plain columns.
        origin: The version of the dataset that it is a part of.
        split: The name of the part.
        without: Columns to leave out, such as the key and personal data, each with the reason.
        like: What the sample is to be compared with; of text, the forms are compared where that one has kept them.

    Returns:
        The sample, with its `Reference` in the metadata of its schema.
    """
    rows = _drawn(table)
    left_out = {name: reason for name, reason in without.items() if name in table.column_names}
    patterns = []
    columns = {}
    for name in table.column_names:
        column = rows.column(name)
        if name in left_out:
            continue
        if reason := _unfit(column):
            left_out[name] = reason
        elif pa.types.is_string(column.type) and (name in like.patterns if like else _is_own(column)):
            patterns.append(name)
            columns[name] = _forms(column)
        else:
            columns[name] = column
    about = Reference(
        dataset=origin.dataset,
        version=origin.version,
        split=split,
        rows=table.num_rows,
        drawn=rows.num_rows,
        patterns=tuple(patterns),
        left_out=left_out,
    )
    schema = pa.schema([(name, column.type) for name, column in columns.items()])
    sample = pa.Table.from_arrays([*columns.values()], schema=schema)
    return sample.replace_schema_metadata(contract.stamp(schema, about).metadata)


def about(sample: pa.Table) -> Reference:
    """Where a sample comes from."""
    return contract.read(sample.schema, "the sample")


def write(sample: pa.Table, path: str | Path) -> None:
    """Writes a sample, one Parquet file."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(sample, path, compression="zstd")


def read(path: str | Path) -> pa.Table | None:
    """Reads what `write` wrote; None where the file is empty, for then there is no reference.

    Raises:
        DataError: The file is no Parquet.
        DocumentError: It is no sample.
    """
    if not Path(path).stat().st_size:
        return None
    try:
        sample = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: the kept reference cannot be read as Parquet ({error}); publish again") from error
    contract.read(sample.schema, str(path))
    return sample


def repeated(column: pa.ChunkedArray) -> int:
    """The rows whose value another row above has too."""
    return int(len(column) - column.null_count - _distinct(column))


def _drawn(table: Table) -> pa.Table:
    most = min(MOST_ROWS, max(MOST_CELLS // max(table.num_columns, 1), FEWEST_ROWS))
    places = np.arange(table.num_rows)
    if table.num_rows > most:
        places = np.random.default_rng(0).choice(table.num_rows, most, replace=False, shuffle=False)
    return table.take(pa.array(np.sort(places))).combine_chunks()


def _unfit(column: pa.ChunkedArray) -> str:
    """Why a column cannot be compared; empty where it can."""
    type_ = column.type
    if pa.types.is_integer(type_) and len(column) - column.null_count >= ENOUGH_NUMBERS:
        return "" if repeated(column) else NUMBERED
    plain = (pa.types.is_string, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    others = (pa.types.is_timestamp, pa.types.is_null)
    return "" if any(fits(type_) for fits in (*plain, *others)) else f"values of the type {type_} are not compared"


def _is_own(column: pa.ChunkedArray) -> bool:
    """Whether a text differs from row to row, as free text and numbers of things do."""
    return bool(_distinct(column) > max(FEW_TEXTS, OWN_TEXT * (len(column) - column.null_count)))


def _distinct(column: pa.ChunkedArray) -> int:
    return int(pc.count_distinct(column).as_py())


def _forms(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The letters and digits of each text without what they say: `a9` of `p00017`."""
    letters = pc.replace_substring_regex(column, r"\pL+", "a")
    return pc.utf8_slice_codeunits(pc.replace_substring_regex(letters, r"\pN+", "9"), 0, 24)
