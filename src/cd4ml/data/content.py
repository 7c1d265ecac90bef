"""The content of a version before it is one: plain, checked and told apart, on the disk of this machine.

It is written there first, for only all rows tell whether the version is a new one, and whether a row is there twice.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from cd4ml.contracts.dataset import ROW_KEY, ROWS
from cd4ml.data.digest import Digest, of_columns, of_rows
from cd4ml.data.keys import Keys, Places, with_row_key
from cd4ml.data.masking import UNMASKED, Masking
from cd4ml.data.raw import Plain
from cd4ml.data.rows import Example, ReadAgain, Rows, at_once
from cd4ml.data.times import NO_TIMES, Times
from cd4ml.errors import DataError
from cd4ml.registry import clock
from cd4ml.storage import scratch

PREFIX = "cd4ml-ingest-"
"""Of the folders that are worked in; one that a killed process left is removed by the next."""
NONE: Places = np.zeros(0, np.int64)
_PACKED = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Content:
    """The rows of a version, which can be read as often as wanted."""

    file: Path
    schema: pa.Schema
    rows: int
    digest: str
    sums: str
    """Of the rows' hashes, as the digest has them."""
    said: tuple[str | Example, ...]
    times: Times
    left_out: Places
    """The places of the rows that are none of the version."""

    def reader(self) -> pa.RecordBatchReader:
        """The rows."""
        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in _read(self.file):
            inside = self.left_out[(self.left_out >= start) & (self.left_out < start + batch.num_rows)] - start
            start += batch.num_rows
            if len(inside):
                kept = np.ones(batch.num_rows, bool)
                kept[inside] = False
                batch = batch.filter(pa.array(kept))
            yield batch


@contextmanager
def kept(
    rows: Rows,
    source: str,
    *,
    key: Sequence[str] | None,
    time_column: str,
    drop: bool,
    masking: Masking = UNMASKED,
) -> Iterator[Content]:
    """Takes the rows of a source; they are there as long as the context lasts.

    Args:
        rows: As the source gives them.
        source: What errors call the source.
        key: The columns that tell rows apart; none where all of them do; None where nothing has to. Unless it is one,
            rows get a digest as their key.
        time_column: The column that says when a row came to be; empty where there is none.
        drop: Whether of equal rows one is kept, where all columns tell rows apart.
        masking: What becomes of columns before anything is kept of them.

    Raises:
        DataError: They are no table that a version can hold, or they do not fit on the disk.
    """
    try:
        temporary = Path(tempfile.gettempdir())
        scratch.clean(temporary, PREFIX)
        with scratch.folder(temporary, PREFIX) as folder:
            while True:
                try:
                    schema = masking.left(rows.schema, source)
                    plain = Plain(schema, source, key=key or (), time_column=time_column)
                    content = _written(
                        rows,
                        source,
                        file=folder / "rows",
                        plain=plain,
                        masking=masking,
                        key=key,
                        time_column=time_column,
                        drop=drop,
                    )
                    break
                except ReadAgain as better:
                    rows = better.rows
            yield content
    except OSError as error:
        place = tempfile.gettempdir()
        raise DataError(f"{source}: cannot be kept on this machine ({error}); make room under {place}") from error


def _written(
    rows: Rows,
    source: str,
    *,
    file: Path,
    plain: Plain,
    masking: Masking,
    key: Sequence[str] | None,
    time_column: str,
    drop: bool,
) -> Content:
    keyed = key is not None and len(key) != 1
    masked = masking.schema(plain.schema, source)
    schema = _with_row_key(masked, source, by_rows=not key) if keyed else masked
    digest, keys, count = Digest(masked, key if keyed else None), Keys(key or (), source), 0
    now, times = clock.moment(), NO_TIMES
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema, options=_PACKED) as writer:

        def keep(batch: pa.RecordBatch, row: int) -> None:
            columns = of_columns(batch)
            digest.add(of_rows(columns.values()))
            keyed_by = keys.add(batch, columns, row)
            writer.write_batch(with_row_key(batch, keyed_by) if keyed else batch)

        with ThreadPoolExecutor(1) as beside:  # keeps a batch while the next one is read
            before: Future[None] | None = None
            for batch in _small(rows):
                made = masking.batch(plain.batch(batch, count + 1))
                times = times.and_of(made.column(time_column), now) if time_column else times
                if before:
                    before.result()
                before = beside.submit(keep, made, count + 1)
                count += made.num_rows
            if before:
                before.result()
    if not count:
        raise DataError(f"{source}: has no rows; give a table with data")
    said = [*rows.said, *map(str, masking.record), *plain.said]
    repeated = keys.repeated() if key is not None else NONE
    if len(repeated) and key:
        raise keys.refusal(repeated, there=rows.there)
    if len(repeated):
        said.append(equal(len(repeated), "left out" if drop else "kept"))
    left_out = repeated if drop else NONE
    content = Content(file, schema, count - len(left_out), str(digest), digest.sums, tuple(said), times, left_out)
    return _without(content, masked) if len(left_out) else content


def equal(rows: int, then: str) -> str:
    """What is said of rows that are equal to others."""
    return f"{rows:,} rows are equal to others, and {then}"


def _with_row_key(schema: pa.Schema, source: str, by_rows: bool) -> pa.Schema:
    if by_rows and ROWS in schema.names:
        raise DataError(f"{source}: has a column {ROWS!r}; write `key: [{ROWS}]` if it is the key, else rename it")
    if ROW_KEY in (name.lower() for name in schema.names):
        raise DataError(f"{source}: column {ROW_KEY!r} is the one that cd4ml adds for such a key; rename it")
    return schema.append(pa.field(ROW_KEY, pa.string()))


def _small(rows: Rows) -> Iterator[pa.RecordBatch]:
    """Batches that are small enough to be worked on."""
    size = at_once(len(rows.schema))
    for batch in rows.batches:
        yield from (batch.slice(start, size) for start in range(0, batch.num_rows, size))


def _without(content: Content, schema: pa.Schema) -> Content:
    """The content with the digest of the rows that it keeps."""
    digest = Digest(schema, ())
    for batch in content.reader():
        digest.add(of_rows(of_columns(batch.select(schema.names)).values()))
    return replace(content, digest=str(digest), sums=digest.sums)


def _read(file: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(file)) as source, pa.ipc.open_file(source) as opened:
        for number in range(opened.num_record_batches):
            yield opened.get_batch(number)
