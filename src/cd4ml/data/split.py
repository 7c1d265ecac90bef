"""Splitting a version of a dataset into train, eval and test."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticKnownError

from cd4ml import settings
from cd4ml.contracts.dataset import Origin, stamp
from cd4ml.data.queries import IN_ORDER, SORTED_IN, query, quoted
from cd4ml.errors import DataError
from cd4ml.names import nearest, shown
from cd4ml.settings import OneOf, Seed, Strict

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa

Name = Literal["train", "eval", "test"]


GOLDEN = 0.6180339887498949


def _microseconds(moment: str) -> int:
    """Since the epoch; a moment without a zone is in UTC, as the table's are."""
    found = datetime.fromisoformat(moment)
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def _is_moment(text: str) -> str:
    try:
        _microseconds(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)} is no moment; write one as 2026-03-01 or 2026-03-01T12:00:00Z") from error
    return text


Moment = Annotated[str, AfterValidator(_is_moment)]
Share = Annotated[float, Field(gt=0, lt=1)]
Column = Annotated[str, Field(min_length=1)]


class Split(Strict, ABC):
    """A way to split a dataset, with its settings as fields."""

    by: str

    @property
    def complete(self) -> Sequence[str]:
        """Columns without which a row has no side."""
        return ()

    @property
    def times(self) -> Sequence[str]:
        """Columns that have to hold timestamps."""
        return ()

    @abstractmethod
    def side(self, key: str) -> str:
        """The side of a row, as an expression in SQL.

        Args:
            key: The column that tells rows apart.
        """


class _Shares(Split):
    eval: Share = 0.1
    test: Share = 0.1

    @model_validator(mode="after")
    def _leaves_some_to_train_on(self) -> Self:
        _check_shares(self.eval, self.test)
        return self

    def _hashed(self, seed: int, column: str) -> str:
        """The side of a row by a hash: text compared with a fraction in hexadecimal."""
        test, eval_ = (f"'{round(share * 16**8):08x}'" for share in (self.test, self.test + self.eval))
        return _first(_hash(seed, [column]), test, eval_)


class ByKey(_Shares):
    """By a hash of the key: a row never changes sides between versions."""

    by: Literal["key"] = "key"
    seed: Seed = 0
    """Another seed gives another split by key."""

    def side(self, key: str) -> str:  # noqa: D102
        return self._hashed(self.seed, key)


class ByGroup(_Shares):
    """By a hash of a column: all rows of a customer, say, are on one side, and stay there."""

    by: Literal["group"]
    column: Column
    """What tells the groups apart."""
    seed: Seed = 0
    """Another seed gives another split by group."""

    @property
    def complete(self) -> Sequence[str]:  # noqa: D102
        return [self.column]

    def side(self, key: str) -> str:  # noqa: ARG002, D102
        return self._hashed(self.seed, self.column)


class ByStratum(_Shares):
    """Of each stratum the same shares, to a row or two; a hash leaves it to chance how a rare class is spread.

    The rows of a stratum are dealt out in the order of their time: a row keeps its side as long as none comes in that
    is older.
    """

    by: Literal["stratum"]
    columns: Annotated[tuple[Column, ...], Field(min_length=1, strict=False)]
    """Whose values make the strata."""
    order: Column
    """The time column."""
    seed: Seed = 0
    """Another seed gives another split by stratum."""

    @property
    def complete(self) -> Sequence[str]:  # noqa: D102
        return [self.order]

    @property
    def times(self) -> Sequence[str]:  # noqa: D102
        return [self.order]

    def side(self, key: str) -> str:
        """By turns of the golden section around a circle, which fill each arc of it evenly, however many there are.

        A stratum begins where its hash says, so that those of a row or two are spread as well.
        """
        strata = ", ".join(map(quoted, self.columns))
        row = f"row_number() OVER (PARTITION BY {strata} ORDER BY {quoted(self.order)}, {quoted(key)})"
        turns = f"({row} * {GOLDEN} + {_fraction(_hash(self.seed, self.columns))})"
        return _first(f"{turns} - floor({turns})", self.test, self.test + self.eval)


class ByTime(Split):
    """By time: the latest rows are test, those before them eval.

    Of shares the sides move as rows come in; with moments, as `2026-03-01`, a row never changes sides.
    """

    by: Literal["time"]
    column: Column
    """The time column."""
    eval: Share | Moment = 0.1
    """The share of the rows that are eval, or the moment from which they are."""
    test: Share | Moment = 0.1
    """The share of the rows that are test, or the moment from which they are."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if isinstance(self.eval, float) and isinstance(self.test, float):
            _check_shares(self.eval, self.test)
        elif isinstance(self.eval, float) or isinstance(self.test, float):
            raise ValueError("write eval and test both as shares of the rows, or both as moments")
        elif _microseconds(self.eval) >= _microseconds(self.test):
            raise ValueError(f"eval begins at {self.eval}, which is not before test, at {self.test}")
        return self

    @property
    def complete(self) -> Sequence[str]:  # noqa: D102
        return [self.column]

    @property
    def times(self) -> Sequence[str]:  # noqa: D102
        return [self.column]

    def side(self, key: str) -> str:  # noqa: ARG002
        """By the rank in time, one for all rows of a moment, so that these are on one side; or by the moments."""
        latest_first = f"-CAST({quoted(self.column)} AS BIGINT)"
        if isinstance(self.eval, float) and isinstance(self.test, float):
            return _first(latest_first, self._first_of(self.test), self._first_of(self.test + self.eval))
        return _first(latest_first, *(1 - _microseconds(str(one)) for one in (self.test, self.eval)))

    def _first_of(self, share: float) -> str:
        """What is above the latest rows of a share, and no other, as a subquery that reads the time column alone."""
        moment = quoted(self.column)
        rank = f"1 - percent_rank() OVER (ORDER BY {moment})"
        ranked = f"SELECT CAST({moment} AS BIGINT) AS moment, {rank} AS place FROM data"  # noqa: S608 (names are quoted)
        return f"(SELECT 1 - min(moment) FROM ({ranked}) WHERE place < {share})"  # noqa: S608


def _check_shares(eval_: float, test: float) -> None:
    if eval_ + test >= 1:
        raise ValueError(f"eval {eval_} and test {test} leave nothing to train on; make them smaller")


def _hash(seed: int, columns: Sequence[str]) -> str:
    """The first eight digits of a hash of some columns, as an expression in SQL."""
    values = ", chr(31), ".join(f"CAST({quoted(column)} AS VARCHAR)" for column in columns)
    return f"substr(md5(concat('{seed}:', {values})), 1, 8)"


def _fraction(digits: str) -> str:
    """The number from 0 to 1 whose first places in hexadecimal these digits are."""
    places = range(1, 7)
    return " + ".join(
        f"(strpos('0123456789abcdef', substr({digits}, {place}, 1)) - 1) / {16.0**place}" for place in places
    )


def _first(place: str, test: object, eval_: object) -> str:
    return f"CASE WHEN {place} < {test} THEN 'test' WHEN {place} < {eval_} THEN 'eval' ELSE 'train' END"


WAYS: Mapping[str, type[Split]] = {"key": ByKey, "group": ByGroup, "stratum": ByStratum, "time": ByTime}


def _checked(split: Any) -> Split:
    """Checks how to split by the way that it names, so that the mistakes are about that one alone."""
    if isinstance(split, Split):
        return split
    if not isinstance(split, Mapping):
        raise PydanticKnownError("dict_type")
    by = split.get("by", "key")
    if by not in WAYS:
        raise DataError(f"by: {shown(by)} is no way to split; {nearest(str(by), WAYS)}")
    return settings.within(WAYS[by], split)


AnySplit = Annotated[Split, OneOf(_checked, WAYS.values)]
"""How to split, as a part of other settings."""


class _Asked(Strict):
    split: AnySplit


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


@dataclass(frozen=True)
class Drawn:
    """A version of a dataset, and how it is split."""

    uri: str
    """Where the dataset's table lies."""
    version: int
    key: str
    """The column that tells rows apart."""
    split: Mapping[str, Any]


def parse(split: dict[str, Any]) -> Split:
    """Checks how to split, before anything runs.

    Raises:
        DataError: With every mistake.
    """
    return settings.parse(_Asked, content={"split": split}, name="split", error=DataError, unnamed="split").split


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
    if found.digest != digest:
        raise DataError(f"{uri}: version {version} is {found.digest}, not {digest}; run ingest_dataset again")
    _check_columns(data, uri=uri, key=key, how=how)
    origin = Origin(uri.rsplit("/", 1)[-1], version, digest, found.masked)
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


def seen_in_test(trained: Drawn, tested: Drawn) -> int:
    """How many rows that are train or eval in the one are test in the other, by their keys."""
    import pyarrow as pa
    import pyarrow.compute as pc

    test = pa.chunked_array(_keys(tested, in_test=True), pa.string())
    known = (pc.sum(pc.is_in(keys, test)).as_py() for keys in _keys(trained, in_test=False))
    return sum(count or 0 for count in known)


def sides(drawn: Drawn, values: Mapping[str, str]) -> list[str]:
    """On which sides the rows with some values are: `train`, `eval` or `test`; none where there are no such rows.

    Args:
        drawn: The version, and how it is split.
        values: By column, as text.
    """
    from cd4ml.data import table

    data, how = table.at_version(drawn.uri, drawn.version)[0], parse(dict(drawn.split))
    names = {field.name: str(getattr(field.type, "type", field.type)) for field in data.schema().fields}
    if not {*values, drawn.key} <= names.keys():
        return []
    side = quoted(max(names, key=len) + "_")
    wanted = " AND ".join(_is(name, names[name], text) for name, text in values.items())
    found = query(
        f"SELECT DISTINCT {side} FROM (SELECT *, {how.side(drawn.key)} AS {side} FROM data) WHERE {wanted}",  # noqa: S608
        data=data,
    )
    return sorted(str(one) for batch in found for one in batch.column(0).to_pylist())


def _is(name: str, type_: str, text: str) -> str:
    """Whether a value is that which a text means, as SQL has it."""
    from cd4ml.contracts import moments

    if type_ in ("date", "timestamp", "timestamp_ntz"):
        try:
            moment = moments.of_text(text)
        except ValueError:
            return "FALSE"
        return f"CAST(arrow_cast({quoted(name)}, 'Timestamp(Microsecond, None)') AS BIGINT) = {moment}"
    as_ = "DOUBLE" if type_ in ("float", "double") else "VARCHAR"
    return f"CAST({quoted(name)} AS {as_}) = TRY_CAST({_literal(text)} AS {as_})"


def _literal(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def _keys(drawn: Drawn, *, in_test: bool) -> "Iterator[pa.StringArray]":
    """The keys of the rows within the test split, or of those without, as text."""
    import pyarrow as pa

    from cd4ml.data import table

    data, how = table.at_version(drawn.uri, drawn.version)[0], parse(dict(drawn.split))
    side = quoted(max((field.name for field in data.schema().fields), key=len) + "_")
    where = f"{side} {'=' if in_test else '<>'} 'test'"
    found = query(
        f"SELECT {quoted(drawn.key)} FROM (SELECT *, {how.side(drawn.key)} AS {side} FROM data) WHERE {where}",  # noqa: S608
        settings=IN_ORDER,
        data=data,
    )
    yield from (batch.column(0).cast(pa.string()) for batch in found)


def _check_columns(data: "deltalake.DeltaTable", *, uri: str, key: str, how: Split) -> None:
    import pyarrow as pa

    schema = pa.schema(data.schema().to_arrow())
    strata = how.columns if isinstance(how, ByStratum) else ()
    for column in (key, *strata, *how.complete):
        if column not in schema.names:
            raise DataError(f"{uri}: has no column {column!r}; {nearest(column, schema.names)}")
    for column in how.times:
        if not pa.types.is_timestamp(schema.field(column).type):
            raise DataError(f"{uri}: column {column!r} holds no timestamps; split by a time column, or by key")
    for column in how.complete:
        without = query(f"SELECT 1 FROM data WHERE {quoted(column)} IS NULL", data=data).read_all().num_rows  # noqa: S608
        if without:
            what = "time" if column in how.times else "value"
            raise DataError(f"{uri}: {without:,} rows have no {what} in {column!r}; drop them, or split by key")


def _select(data: "deltalake.DeltaTable", *, key: str, how: Split, name: Name) -> "pa.RecordBatchReader":
    """The rows of a split."""
    names = [field.name for field in data.schema().fields]
    columns = ", ".join(map(quoted, names))
    side = quoted(max(names, key=len) + "_")  # longer than any of them, so that it is none of them
    return query(
        f"SELECT {columns} FROM (SELECT *, {how.side(key)} AS {side} FROM data) "  # noqa: S608 (names are quoted)
        f"WHERE {side} = '{name}' ORDER BY {quoted(key)}",
        settings=SORTED_IN,
        data=data,
    )


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
