"""In which versions of a dataset a row is, found by the files of these: each file is looked at once."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import and_, or_

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from cd4ml.contracts import moments, number_texts
from cd4ml.data import masking, table
from cd4ml.data.versions import Dataset
from cd4ml.errors import DataError
from cd4ml.names import nearest
from cd4ml.storage.changing import file_system

READERS = 8


def versions(dataset: Dataset, values: Mapping[str, str]) -> dict[int, int]:
    """The versions that hold rows with some values.

    Args:
        dataset: The dataset.
        values: By column, as text; where a version has hashed the column, as its source has them.

    Returns:
        By the number of each such version: how many rows; those without any are left out.

    Raises:
        DataError: No version has such a column, or the dataset cannot be read.
    """
    first = {one.about.version: one.number for one in reversed(dataset.commits)}
    with ThreadPoolExecutor(READERS) as pool:
        files = dict(zip(first, pool.map(lambda number: _files(dataset, number), first.values()), strict=True))
        every = sorted({name for names in files.values() for name in names})
        looked = list(pool.map(lambda name: _rows(dataset, name, values), every))
    known = {name for columns, _ in looked for name in columns}
    for column in values:
        if column not in known:
            raise DataError(f"{dataset.uri}: no version has a column {column!r}; {nearest(column, sorted(known))}")
    rows = {name: count for name, (_, count) in zip(every, looked, strict=True)}
    counts = {version: sum(rows[name] for name in names) for version, names in files.items()}
    return {version: counts[version] for version in sorted(counts) if counts[version]}


def captured(dataset: Dataset, values: Mapping[str, str]) -> dict[str, list[str]]:
    """Values as windows may have them: as they are, and as the column has them (`2` of 2.0).

    Args:
        dataset: The dataset.
        values: By column, as text.

    Raises:
        DataError: The dataset cannot be read.
    """
    schema = table.dataset(dataset.uri, dataset.latest.number).schema
    types = {name: schema.field(name).type for name in values if name in schema.names}
    held = {name: _held(types[name], text) for name, text in values.items() if name in types}
    return {
        name: sorted({text, *(_text(one) for one in [held.get(name)] if one is not None)})
        for name, text in values.items()
    }


def _files(dataset: Dataset, number: int) -> list[str]:
    """The files of the table after a commit."""
    return [uri.rpartition("/")[2] for uri in table.opened(dataset.uri, number).file_uris()]


def _rows(dataset: Dataset, name: str, values: Mapping[str, str]) -> tuple[list[str], int]:
    """The columns of a file, and how many of its rows have the values."""
    files, root = file_system(dataset.store, f"datasets/{dataset.name}")
    try:
        found = ds.dataset(f"{root}/{name}", format="parquet", filesystem=files)
        columns = found.schema.names
        if not set(values) <= set(columns):
            return columns, 0
        wanted = reduce(
            and_, (_is(found.schema.field(one), _texts(dataset, one, text)) for one, text in values.items())
        )
        return columns, found.count_rows(filter=wanted)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{dataset.uri}/{name}: cannot be read ({error}); mend the store, or ask again") from error


def _is(field: pa.Field, texts: list[str]) -> pc.Expression:
    """Whether a value is one of some texts, as the column would have it; so files tell what they cannot hold."""
    held = [one for text in texts if (one := _held(field.type, text)) is not None]
    if not held:
        return pc.scalar(False)
    return reduce(or_, (pc.field(field.name) == one for one in held))


def _held(type_: pa.DataType, text: str) -> pa.Scalar | None:
    """A value as a column of this type has it, of dates and times in any form; None where it holds none such."""
    try:
        if not moments.is_moment(type_):
            return pa.scalar(text).cast(type_)
        moment = pa.scalar(moments.of_text(text), pa.timestamp("us", getattr(type_, "tz", None)))
        found = moment.cast(type_)
        return found if found.cast(moment.type) == moment else None
    except (ValueError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _text(value: pa.Scalar) -> str:
    return str(number_texts.texts(pa.repeat(value, 1))[0].as_py())


def _texts(dataset: Dataset, column: str, text: str) -> list[str]:
    """What stands for a value: itself, and where versions have hashed the column its hashes."""
    masked = {one for commit in dataset.commits for one in commit.about.masked if one.column == column}
    hashed = (masking.hashes([text], one) for one in masked if one.how == "hashed")
    return sorted({text, *(each for some in hashed for each in some)})
