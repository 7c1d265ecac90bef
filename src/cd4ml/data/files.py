"""A table in a file: Parquet or CSV."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from cd4ml.errors import DataError
from cd4ml.storage import local_copy

MISSING_IN_CSV = ["", "null", "NULL", "NaN", "nan"]
"""Not `NA`, which is also a country and a region."""


def read(source: str) -> pa.Table:
    """Reads a file.

    Args:
        source: A path or `s3://` URI that ends in `.csv` or `.parquet`.

    Raises:
        DataError: It is no such file, or it cannot be read.
    """
    with local_copy(source) as file:
        return _read(file, source)


def _read(file: Path, source: str) -> pa.Table:
    if not file.is_file():
        raise DataError(f"{source}: no such file; give the path of a .csv or .parquet file")
    if not file.stat().st_size:
        raise DataError(f"{source}: is empty; export the table again")
    try:
        match file.suffix.lower():
            case ".parquet":
                return pq.ParquetFile(file).read()
            case ".csv":
                options = pacsv.ConvertOptions(null_values=MISSING_IN_CSV, strings_can_be_null=True)
                return pacsv.read_csv(file, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source}: cannot be read ({error}); it is damaged or cut short, export it again") from error
    raise DataError(f"{source}: of no known format; give a .csv or .parquet file")
