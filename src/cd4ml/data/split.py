"""Splitting a version of a dataset into train, eval and test."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from cd4ml import settings
from cd4ml.contracts.dataset import Origin, stamp
from cd4ml.errors import DataError
from cd4ml.names import nearest
from cd4ml.settings import Seed, Strict

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa

Name = Literal["train", "eval", "test"]


class Split(Strict):
    """How a dataset is split."""

    by: Literal["key", "time"] = "key"
    """By a hash of the key, so that a row never changes sides between versions; or by time, the latest rows last."""
    column: str = ""
    """The time column; only for a split by time."""
    eval: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.1, gt=0, lt=1)
    seed: Seed = 0
    """Another seed gives another split by key."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.eval + self.test >= 1:
            raise ValueError(f"eval {self.eval} and test {self.test} leave nothing to train on; make them smaller")
        if self.by == "time" and not self.column:
            raise ValueError("column: a split by time needs the name of the time column")
        if self.by == "key" and self.column:
            raise ValueError(f"column: {self.column!r} means nothing for a split by key; leave it out")
        return self


@dataclass(frozen=True)
class Part:
    """One split as it was written."""

    split: Name
    rows: int
    beside: str
    """The rows of all splits, for people."""
    origin: Origin

    @property
    def metadata(self) -> dict[str, Any]:
        """What the artifact says of it in the UI."""
        return {
            "headline": self.beside,
            "split": self.split,
            "rows": self.rows,
            "dataset": self.origin.dataset,
            "version": self.origin.version,
            "digest": self.origin.digest,
        }


def parse(split: dict[str, Any]) -> Split:
    """Checks how to split, before anything runs.

    Raises:
        DataError: With every mistake.
    """
    return settings.parse(Split, content=split, name="split", error=DataError)


def meaning(split: dict[str, Any]) -> dict[str, Any]:
    """What `split` says beside the defaults: the same for all that split alike."""
    return parse(split).model_dump(exclude_defaults=True)


def write_splits(
    uri: str,
    *,
    version: int,
    digest: str,
    key: str,
    split: dict[str, Any],
    train: str | Path,
    eval: str | Path,
    test: str | Path,
) -> list[Part]:
    """Writes the splits of a version, one Parquet file each, the rows in the order of their key.

    Args:
        uri: Where the dataset's table lies.
        version: Of the dataset.
        digest: Of the version's content.
        key: The column that tells rows apart.
        split: As `Split` has it.
        train: The file to write for training.
        eval: The file to write for choosing while training.
        test: The file to write for the evaluation.

    Returns:
        What was written: train, eval and test.

    Raises:
        DataError: There is no such version or column, or a split would have no rows.
    """
    from cd4ml.data import table

    how = parse(split)
    data, found = table.at_version(uri, version)
    if found != digest:
        raise DataError(f"{uri}: version {version} is {found}, not {digest}; run ingest_dataset again")
    _check_columns(data, uri=uri, key=key, how=how)
    origin = Origin(uri.rsplit("/", 1)[-1], version, digest)
    files: dict[Name, Path] = {"train": Path(train), "eval": Path(eval), "test": Path(test)}
    unfinished = {name: file.with_name(f"{file.name}.unfinished") for name, file in files.items()}
    try:
        rows = {
            name: _write(_select(data, key=key, how=how, name=name), origin, file) for name, file in unfinished.items()
        }
        empty = [name for name, count in rows.items() if not count]
        if empty:
            raise DataError(
                f"{uri}: the {sum(rows.values()):,} rows of version {version} leave none for {' and '.join(empty)}; "
                "add data, or give these splits a larger share"
            )
        for name, file in unfinished.items():
            file.replace(files[name])
    finally:
        for file in unfinished.values():
            file.unlink(missing_ok=True)
    beside = " / ".join(f"{count:,}" for count in rows.values()) + " rows"
    return [Part(name, count, beside, origin) for name, count in rows.items()]


def _check_columns(data: "deltalake.DeltaTable", *, uri: str, key: str, how: Split) -> None:
    import pyarrow as pa

    schema = pa.schema(data.schema().to_arrow())
    for column in filter(None, (key, how.column)):
        if column not in schema.names:
            raise DataError(f"{uri}: has no column {column!r}; {nearest(column, schema.names)}")
    if how.by == "key":
        return
    if not pa.types.is_timestamp(schema.field(how.column).type):
        raise DataError(f"{uri}: column {how.column!r} holds no timestamps; split by a time column, or by key")
    moments = _query(data, f"SELECT {_quoted(how.column)} FROM data").read_all()  # noqa: S608 (the name is quoted)
    without = moments.column(0).null_count
    if without:
        raise DataError(f"{uri}: {without:,} rows have no time in {how.column!r}; drop them, or split by key")


def _select(data: "deltalake.DeltaTable", *, key: str, how: Split, name: Name) -> "pa.RecordBatchReader":
    """The rows of a split: text compared with a fraction in hexadecimal, or the rank in time with a fraction.

    Rows of one moment have one rank, so that they are on one side.
    """
    if how.by == "key":
        place = f"substr(md5(concat('{how.seed}:', CAST({_quoted(key)} AS VARCHAR))), 1, 8)"
        test, eval_ = (f"'{round(share * 16**8):08x}'" for share in (how.test, how.test + how.eval))
    else:
        place = f"1 - percent_rank() OVER (ORDER BY {_quoted(how.column)})"
        test, eval_ = str(how.test), str(how.test + how.eval)
    names = [field.name for field in data.schema().fields]
    columns = ", ".join(map(_quoted, names))
    side = _quoted(max(names, key=len) + "_")  # longer than any of them, so that it is none of them
    sides = f"CASE WHEN {place} < {test} THEN 'test' WHEN {place} < {eval_} THEN 'eval' ELSE 'train' END"
    return _query(
        data,
        f"SELECT {columns} FROM (SELECT *, {sides} AS {side} FROM data) "  # noqa: S608 (names are quoted)
        f"WHERE {side} = '{name}' ORDER BY {_quoted(key)}",
    )


def _query(data: "deltalake.DeltaTable", sql: str) -> "pa.RecordBatchReader":
    import deltalake
    import pyarrow as pa

    return pa.RecordBatchReader.from_stream(deltalake.QueryBuilder().register("data", data).execute(sql))


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _write(rows: "pa.RecordBatchReader", origin: Origin, file: Path) -> int:
    """Writes the rows as Parquet that an old reader knows: text as `string`, not as `string_view`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [field.with_type(pa.string()) if pa.types.is_string_view(field.type) else field for field in rows.schema]
    schema = stamp(pa.schema(fields), origin)
    file.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(file, schema) as writer:
        count = 0
        for batch in rows:
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))
            count += batch.num_rows
    return count
