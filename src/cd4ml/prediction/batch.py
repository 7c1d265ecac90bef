"""A model's predictions for a whole table, in columns: memory does not grow with the rows.

Rows are taken in shards. A shard's predictions are an immutable object, called by the model and by the very rows, so
that a run that was killed, or meets rows again, finds them; all of them are committed at once.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cd4ml.contracts import model as models
from cd4ml.contracts import predicted as names
from cd4ml.contracts.model import Contract
from cd4ml.contracts.predicted import Predicted, Unknown
from cd4ml.contracts.predictions import column_of
from cd4ml.contracts.release import Version
from cd4ml.data.raw import Plain
from cd4ml.data.rows import ReadAgain, Rows, at_once, hiding_values, without_values
from cd4ml.errors import DataError
from cd4ml.names import nearest
from cd4ml.prediction import given, loading, results
from cd4ml.prediction.loading import LoadedModel
from cd4ml.prediction.results import File
from cd4ml.registry import clock, named
from cd4ml.storage import AlreadyStoredError, Store, open_store
from cd4ml.version import VERSION

SHARD = 4
"""Batches of rows whose predictions are one file."""


def predict(
    model: str,
    *,
    source: str,
    store: str,
    output: str = "",
    key: Sequence[str] = (),
    run: str = "",
    revision: str = "",
) -> Predicted:
    """Predicts every row of a source or a dataset, as a version of a table of predictions; none where nothing changed.

    Args:
        model: `NAME@VERSION`, or `NAME`: the champion.
        source: As ingestion takes it (`cd4ml.data.sources`); or `{"dataset": "NAME@VERSION"}`, as JSON.
        store: The store that holds the registry and the datasets, and takes the predictions.
        output: What the table is called; as the dataset or the file if not said.
        key: Columns that the table gets beside the predictions; if not said, those that tell the rows of a dataset
            apart, else the number of the row.
        run: The run that asks.
        revision: Of its code.

    Raises:
        DataError: The source cannot be read, or is no table that the model takes.
        RegistryError: There is no such model.
        SignatureError: No key that is trusted here has signed the version.
        EvaluationError: The model gives what is no prediction.
    """
    opened = open_store(store)
    version = named.find(opened, model)
    contract = loading.contract(opened, version)
    rows = given.parse(source, store)
    folder = results.folder(version.name, given.output(output, rows.text))
    asked = Predicted(
        uri=opened.uri(folder),
        version=0,
        rows=0,
        model=version.name,
        model_version=version.version,
        digest=version.digest,
        source=rows.text,
        state=rows.state,
        fingerprint="",
        key=tuple(dict.fromkeys(key)) or rows.key,
        classes=contract.classes,
        threshold=_threshold(version, contract),
        predicted=0,
        mean=0.0,
        output=names.PROBABILITY if contract.shape else contract.output,
        run=run,
        revision=revision,
        cd4ml=VERSION,
    )
    latest = results.latest(asked.uri)
    if latest and rows.state and latest.state == rows.state and latest.is_as(asked):
        return latest
    with loading.files(opened, version) as files:
        work = _Work(rows.name, opened, folder, version, files)
        with hiding_values(), rows.rows([*work.features, *asked.key]) as found:
            return _predicted(found, asked, work)


def _threshold(version: Version, contract: Contract) -> float | None:
    """The one that training chose, or the first that the model was evaluated at; None where its problem has none."""
    if contract.threshold:
        return contract.threshold.value
    thresholds = version.arguments.get("thresholds")
    return float(thresholds[0]) if thresholds and contract.problem.at_thresholds else None


@dataclass
class _Work:
    """What predicts shards."""

    source: str
    """What errors call the rows."""
    store: Store
    folder: str
    """Of the table, in the store."""
    version: Version
    files: Path
    """The model's."""

    @cached_property
    def contract(self) -> Contract:
        return models.read_contract(self.files)

    @cached_property
    def features(self) -> list[str]:
        return [one.name for one in self.contract.inputs]

    @cached_property
    def there(self) -> set[str]:
        """The files that lie there."""
        return set(self.store.children(self.folder))

    @cached_property
    def model(self) -> LoadedModel:
        return LoadedModel(self.version, self.files)

    def predict(self, shard: pa.Table, start: int) -> np.ndarray:
        """What the model gives, float32 [rows], or [rows, classes].

        Args:
            shard: The rows.
            start: How many were before them.

        Raises:
            DataError: A column is of a type that the model does not take, or holds no date where there is to be one.
        """
        try:
            return self.model.predict(shard)
        except DataError as error:
            place = f"of the rows after {start:,}: " if start else ""
            raise DataError(f"{self.source}: {place}{error}") from error


@dataclass
class _Tally:
    """What is known of the rows so far."""

    rows: int = 0
    predicted: int = 0
    total: float = 0.0
    """Of what the model gives."""
    least: float = math.inf
    greatest: float = -math.inf
    missing: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, Unknown] = field(default_factory=dict)

    def add(self, table: pa.Table, work: _Work) -> None:
        """Counts the rows of a shard, and what of them the model does not know."""
        before = self.rows
        self.rows += len(table)
        for one in work.contract.inputs:
            column = table.column(one.name)
            empty = column.null_count
            if pa.types.is_string(column.type):
                empty += pc.sum(pc.equal(column, "")).as_py() or 0
                self._add_unknown(one.name, column, one.vocabulary, before=before)
            if empty:
                self.missing[one.name] = self.missing.get(one.name, 0) + empty

    def add_given(self, given: pa.ChunkedArray) -> None:
        """Counts what the model gives for a shard."""
        ends = pc.min_max(given).as_py()
        self.total += pc.sum(given.cast(pa.float64())).as_py()
        self.least, self.greatest = min(self.least, ends["min"]), max(self.greatest, ends["max"])

    def _add_unknown(self, name: str, texts: pa.ChunkedArray, known: Sequence[str] | None, *, before: int) -> None:
        if known is None:
            return
        is_new = pc.invert(pc.is_in(texts, value_set=pa.array([None, "", *known], pa.string())))
        count = pc.sum(is_new).as_py()
        if count:
            so_far = self.unknown.get(name) or Unknown(0, before + pc.index(is_new, True).as_py() + 1)
            self.unknown[name] = replace(so_far, rows=so_far.rows + count)


def _predicted(rows: Rows, asked: Predicted, work: _Work) -> Predicted:
    while True:
        try:
            return _all(rows, asked, work)
        except ReadAgain as better:
            rows = better.rows


def _all(rows: Rows, asked: Predicted, work: _Work) -> Predicted:
    wanted = _columns(rows.schema, asked, work)
    plain = Plain(pa.schema([rows.schema.field(name) for name in wanted]), work.source, key=asked.key, time_column="")
    types = {name: rows.schema.field(name).type for name in work.features if name not in plain.schema.names}
    nested = [
        f"{work.source}: column {name!r}, a feature of the model, holds {type_}; give plain values"
        for name, type_ in types.items()
    ]
    if nested:
        raise DataError("\n  ".join(nested))
    schema = _schema(plain.schema, asked, work.contract)
    made_by = f"{asked.digest} {asked.threshold} {schema}"
    tally, files, content = _Tally(), list[File](), hashlib.sha256()
    size = at_once(len(wanted))
    for place, shard in enumerate(_shards(_plain(rows.batches, plain, size), SHARD * size)):
        of_shard = _fingerprint(shard)
        content.update(of_shard)
        name = f"{hashlib.sha256(f'{made_by} {place} '.encode() + of_shard).hexdigest()[:32]}.parquet"
        tally.add(shard, work)
        files.append(_file(name, shard, schema=schema, asked=asked, work=work, tally=tally))
        print(f"{work.source}: {tally.rows:,} rows")  # noqa: T201 (the log of the task)
    if not tally.rows:
        raise DataError(f"{work.source}: has no rows; give a table with data")
    about = replace(
        asked,
        rows=tally.rows,
        fingerprint=f"sha256:{content.hexdigest()}",
        predicted=tally.predicted,
        mean=tally.total / tally.rows,
        range=(tally.least, tally.greatest),
        missing=tally.missing,
        unknown=tally.unknown,
        said=without_values(rows.said),
    )
    return results.commit(about, files, schema)


def _columns(schema: pa.Schema, asked: Predicted, work: _Work) -> list[str]:
    """The columns that are needed, each once.

    Raises:
        DataError: One is not there, or a column of the key is called as one of the predictions.
    """
    uses = dict.fromkeys(asked.key, "a column of the key") | dict.fromkeys(work.features, "a feature of the model")
    absent = [
        f"{work.source}: column {name!r}, {use}, is not there; {nearest(name, schema.names)}"
        for name, use in uses.items()
        if name not in schema.names
    ]
    own = {asked.output, *names.COLUMNS, *([names.PROBABILITIES] if work.contract.shape else [])}
    taken = [
        f"{work.source}: key column {name!r} is called as a column of the predictions; rename it"
        for name in asked.key
        if name.lower() in own
    ]
    if absent or taken:
        raise DataError("\n  ".join([*absent, *taken]))
    return list(uses)


def _plain(batches: Iterable[pa.RecordBatch], plain: Plain, size: int) -> Iterator[pa.RecordBatch]:
    row = 1
    for batch in batches:
        for start in range(0, batch.num_rows, size):
            made = plain.batch(batch.slice(start, size), row)
            row += made.num_rows
            yield made


def _shards(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of so many, the last of fewer."""
    held: list[pa.RecordBatch] = []
    lacking = rows
    for batch in batches:
        while batch.num_rows:
            held.append(batch.slice(0, lacking))
            batch = batch.slice(lacking)
            lacking -= held[-1].num_rows
            if not lacking:
                yield pa.Table.from_batches(held)
                held, lacking = [], rows
    if held:
        yield pa.Table.from_batches(held)


def _fingerprint(shard: pa.Table) -> bytes:
    """Tells the rows, in their order, from every other."""
    found = hashlib.sha256(str(shard.schema).encode())
    for batch in shard.combine_chunks().to_batches():
        found.update(batch.serialize())
    return found.digest()


def _file(name: str, shard: pa.Table, *, schema: pa.Schema, asked: Predicted, work: _Work, tally: _Tally) -> File:
    """The file with the predictions of a shard, which an earlier run may have made."""
    place = f"{work.folder}/{name}"
    if name not in work.there:
        made = _table(shard, start=tally.rows - len(shard), schema=schema, asked=asked, work=work)
        tally.predicted += len(shard)
        with contextlib.suppress(AlreadyStoredError):  # another run has the same rows in hand
            work.store.add(place, _parquet(made))
    content = work.store.read_bytes(place)
    tally.add_given(pq.read_table(pa.BufferReader(content), columns=[asked.output]).column(0))
    return File(name, len(content), len(shard))


def _schema(plain: pa.Schema, asked: Predicted, contract: Contract) -> pa.Schema:
    key = [plain.field(name) for name in asked.key] or [pa.field(names.ROW, pa.int64())]
    in_order = {"classes": json.dumps(contract.classes)}
    return pa.schema(
        [
            *key,
            (asked.output, pa.float32()),
            *([(names.PREDICTED, pa.string())] if contract.shape or asked.threshold is not None else []),
            *([pa.field(names.PROBABILITIES, pa.list_(pa.float32()), metadata=in_order)] if contract.shape else []),
            (names.MODEL, pa.string()),
            (names.VERSION, pa.int64()),
            (names.DIGEST, pa.string()),
            (names.AT, pa.timestamp("us", "UTC")),
        ]
    )


def _table(shard: pa.Table, *, start: int, schema: pa.Schema, asked: Predicted, work: _Work) -> pa.Table:
    rows = len(shard)
    columns: dict[str, Any] = {
        names.ROW: np.arange(start + 1, start + rows + 1),
        **_given(work.predict(shard, start), asked, work.contract),
        names.MODEL: _repeated(asked.model, rows),
        names.VERSION: np.full(rows, asked.model_version),
        names.DIGEST: _repeated(asked.digest, rows),
        names.AT: pa.repeat(pa.scalar(clock.moment(), schema.field(names.AT).type), rows),
    }
    columns |= {name: shard.column(name) for name in asked.key}
    return pa.table({name: columns[name] for name in schema.names})


def _given(predictions: np.ndarray, asked: Predicted, contract: Contract) -> dict[str, Any]:
    """The columns of what the model gives."""
    if contract.shape:
        places = predictions.argmax(axis=1)
        return {
            asked.output: np.take_along_axis(predictions, places[:, None], axis=1)[:, 0],
            names.PREDICTED: _classes(places, contract),
            names.PROBABILITIES: column_of(predictions).cast(pa.list_(pa.float32())),
        }
    if asked.threshold is None:
        return {asked.output: predictions}
    return {asked.output: predictions, names.PREDICTED: _classes(predictions > asked.threshold, contract)}


def _classes(places: np.ndarray, contract: Contract) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(places.astype(np.int32), list(contract.classes))


def _repeated(text: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [text])


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    repeated = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    pq.write_table(table, sink, compression="zstd", store_schema=False, use_dictionary=repeated)
    return bytes(sink.getvalue())
