"""Takes the rows of a person out of all versions of a dataset.

A version is a list of Parquet files in the log of its Delta table. Each file that holds such a row is written anew
without it, beside the old one, under a name that follows from the old one's. Then each commit, the newest first, is
made to bring the new file where it brings the old one, and to take away both where it takes away the old one; and the
old files are removed. In this order each version is whole at every moment, and the same command goes on where a killed
one ended.

Meanwhile nobody else commits: a commit says until when the table is held, which is moved on as the work goes on, so
that a killed erasure holds it no longer than that. Whoever has read the table before that commit, or before the one by
which it ends, has to read it again.

The digest of a version stays that of what was ingested: it says what models were trained on, and the same table does
not come back as a new version. When its newest row came to be is told no more, for that may have been a row that is
gone.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.erasure import Erasure
from cd4ml.data import masking, table
from cd4ml.data.versions import Dataset, Datasets
from cd4ml.errors import DataError
from cd4ml.names import nearest
from cd4ml.registry import catalogue, clock, numbers
from cd4ml.storage.changing import file_system

ERASURES = "erasures"
_Action: TypeAlias = dict[str, Any]
TURN = timedelta(minutes=3)
"""How long a dataset is held at a time."""
STEP = timedelta(minutes=1)
"""More than anything takes that is not cut short when the turn ends: an object that is written."""
CHECKPOINT_EVERY = 100
"""Commits, as Delta Lake has it."""
_PARQUET, _WITHOUT, _UNFINISHED = ".parquet", ".without.parquet", ".unfinished"
_COMMIT, _CHECKPOINT = re.compile(r"\d{20}\.json"), re.compile(r"\d{20}\.checkpoint\..*|_last_checkpoint")


def erase(dataset: Dataset, *, column: str, values: Sequence[str], reason: str) -> Erasure:
    """Takes rows out of all versions; a record of it is kept first, for nothing tells later what was there.

    Args:
        dataset: The dataset.
        column: By whose values the rows are found, as the key.
        values: Those values as the source has them, as text; where the column was hashed, so are they.
        reason: Why, for the record.

    Raises:
        DataError: No version has such a column or such a row, the log does not reach back to the first version, or the
            key that the column was hashed with is not there.
    """
    subjects = sorted(set(values))
    nobody = DataError(f"{dataset.uri}: no version has a row with such a value in {column!r}")
    files = _Files(dataset)
    with suppress(FileNotFoundError):  # another erasure is at work
        if not files.holding(column, _wanted(dataset, column, subjects)) and not files.left():
            raise nobody
    try:
        with files.alone():
            dataset = Datasets(dataset.store).find(dataset.name)
            wanted = _wanted(dataset, column, subjects)
            found = files.holding(column, wanted)
            record: Erasure | None = None
            if found:
                record = _record(dataset, files, found, column=column, subjects=len(subjects), reason=reason)
                numbers.append(dataset.store, f"{ERASURES}/{record.dataset}", record.text)
            files.rewrite(found, column, wanted)
            files.clean()
    except OSError as error:
        raise DataError(f"{dataset.uri}: {error}; mend the store, and run again: it goes on from here") from error
    told = {one.about.version: one.about for one in table.commits(dataset.uri)}.values()
    catalogue.erased(dataset.store.location, [about for about in told if about == about.without_times])
    if record is None:
        raise nobody  # any more: what a killed one left is done
    return record


def _wanted(dataset: Dataset, column: str, subjects: Sequence[str]) -> pa.Array:
    return pa.array(sorted({*subjects, *_hashed(dataset, column, subjects)}), pa.string())


def _hashed(dataset: Dataset, column: str, values: Sequence[str]) -> set[str]:
    """What stands for values in the versions that have hashed them."""
    masked = {one for commit in dataset.commits for one in commit.about.masked if one.column == column}
    return {each for one in masked if one.how == "hashed" for each in masking.hashes(values, one)}


def _record(
    dataset: Dataset, files: "_Files", found: Mapping[str, int], *, column: str, subjects: int, reason: str
) -> Erasure:
    rows, models = dict[str, int](), list[str]()
    for commit in dataset.commits:
        count = sum(found.get(name, 0) for name in files.of(commit.number))
        if count:
            rows[str(commit.about.version)] = count
            models += dataset.models_of(commit)
    return Erasure(
        dataset=dataset.name,
        at=clock.now(),
        reason=reason,
        column=column,
        subjects=subjects,
        rows=rows,
        models=tuple(dict.fromkeys(models)),
    )


@dataclass(frozen=True)
class _New:
    """A file in the place of another."""

    path: str
    size: int
    rows: int


@dataclass(frozen=True)
class _Log:
    """A commit as it is stored."""

    path: str
    actions: list[_Action]

    def names(self) -> Iterator[str]:
        """The files that it adds."""
        yield from (action["add"]["path"] for action in self.actions if "add" in action)


class _Files:
    """The files of a dataset's table."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._until: datetime | None = None
        self._begun = ""
        self._fs, self._root = file_system(dataset.store, f"datasets/{dataset.name}")
        if "0" * 20 + ".json" not in self._stored("_delta_log"):
            raise DataError(
                f"{dataset.uri}: the log does not reach back to the first version; its rows cannot be found"
            )

    def of(self, commit: int) -> list[str]:
        """The files of the table after a commit."""
        uris = table.opened(self._dataset.uri, commit).file_uris()
        return [uri.rpartition("/")[2] for uri in uris]

    def holding(self, column: str, values: pa.Array) -> dict[str, int]:
        """The files that a commit adds and that hold such rows, with how many."""
        names = sorted(self._named())
        columns = {name: pq.read_schema(self._open(name)).names for name in names}
        known = sorted({one for each in columns.values() for one in each})
        if column not in known:
            raise DataError(f"{self._dataset.uri}: no version has a column {column!r}; {nearest(column, known)}")
        counts = {name: self._count(name, column, values) for name in names if column in columns[name]}
        return {name: count for name, count in counts.items() if count}

    def left(self) -> list[str]:
        """What lies there and is of no commit: files that a killed run left, or that one is writing."""
        named = self._named()
        data = [name for name in self._stored() if name not in named]
        known = (_COMMIT.fullmatch, _CHECKPOINT.fullmatch)
        logs = [name for name in self._stored("_delta_log") if not any(one(name) for one in known)]
        return [*data, *(f"_delta_log/{name}" for name in logs)]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else commits as long as the context lasts; what others are writing when it begins is of no use."""
        self._until = clock.moment() + TURN
        begun = table.begin_erasing(self._dataset.uri, self._until)
        self._begun = f"{self._root}/_delta_log/{begun:020}.json"
        try:
            yield
        finally:
            table.end_erasing(self._dataset.uri, begun)

    def rewrite(self, found: Mapping[str, int], column: str, values: pa.Array) -> None:
        """Writes files without the rows, and has the log name them."""
        logs = self._logs()
        named = {name for log in logs for name in log.names()}
        new = {name: self._write(_last(name, named), column, values) for name in found}
        sizes, there, changed = self._stored(), set[str](), list[tuple[_Log, list[_Action]]]()
        for log in logs:
            actions = _brought_anew(_also_removed(log.actions, sizes), new)
            actions = [_saying_less(action, values) for action in actions]
            there -= {action["remove"]["path"] for action in actions if "remove" in action}
            there |= {action["add"]["path"] for action in actions if "add" in action}
            if any(name.endswith(_WITHOUT) for name in there):
                actions = [_without_times(action) for action in actions]
            changed.append((log, actions))
        for log, actions in reversed(changed):
            self._change(log, actions)

    def clean(self) -> None:
        """Removes what tells again what the commits tell, and all that is of no commit."""
        self._await_checkpoint()
        for name in sorted(self._stored("_delta_log"), reverse=True):  # the one that names the last first
            if _CHECKPOINT.fullmatch(name):
                self._delete(f"_delta_log/{name}")
        for name in self.left():
            self._delete(name)

    def _await_checkpoint(self) -> None:
        """Waits for who committed right before this began, and may be writing a checkpoint."""
        *before, _ = table.commits(self._dataset.uri)
        due = [one.at + STEP for one in before if (one.number + 1) % CHECKPOINT_EVERY == 0]
        while due and clock.moment() < max(due):
            self._hold()
            time.sleep(table.ASKED_EVERY)

    def _hold(self) -> None:
        """Makes sure that the table, where it is held, is so for long enough for what comes next."""
        if self._until is None:
            return
        now = clock.moment()
        if self._until < now + STEP:
            raise DataError(f"{self._dataset.uri}: a step took longer than {TURN - STEP}; run again: it goes on")
        if self._until < now + 2 * STEP:
            self._until = now + TURN
            self._put(self._begun, _held(self._log(self._begun).actions, self._until))

    def _named(self) -> set[str]:
        """The files that commits bring."""
        return {name for log in self._logs() for name in log.names()}

    def _logs(self) -> list[_Log]:
        paths = [f"{self._root}/_delta_log/{name}" for name in self._stored("_delta_log") if name.endswith(".json")]
        return [self._log(path) for path in sorted(paths)]

    def _log(self, path: str) -> _Log:
        with self._fs.open_input_stream(path) as stream:
            return _Log(path, [json.loads(line) for line in stream.read().splitlines() if line.strip()])

    def _change(self, log: _Log, actions: Sequence[_Action]) -> None:
        if actions != log.actions:
            self._hold()
            self._put(log.path, _held(actions, self._until))

    def _delete(self, name: str) -> None:
        self._hold()
        self._fs.delete_file(f"{self._root}/{name}")

    def _stored(self, folder: str = "") -> dict[str, int]:
        """The files of a folder, with how many bytes each has."""
        selected = self._fs.get_file_info(fs.FileSelector(f"{self._root}/{folder}".rstrip("/")))
        return {one.base_name: one.size for one in selected if one.is_file}

    def _open(self, name: str) -> pa.NativeFile:
        return self._fs.open_input_file(f"{self._root}/{name}")

    def _count(self, name: str, column: str, values: pa.Array) -> int:
        count = 0
        with self._open(name) as file:
            for batch in pq.ParquetFile(file).iter_batches(columns=[column]):
                self._hold()
                count += pc.sum(_are(batch.column(0), values)).as_py() or 0
        return count

    def _write(self, name: str, column: str, values: pa.Array) -> "_New":
        """Writes a file without the rows."""
        new, rows = _without(name), 0
        path = f"{self._root}/{new}"
        with self._open(name) as file, self._fs.open_output_stream(path + _UNFINISHED) as sink:
            content = pq.ParquetFile(file)
            with pq.ParquetWriter(sink, content.schema_arrow) as writer:
                for batch in content.iter_batches():
                    self._hold()
                    kept = batch.filter(pc.invert(_are(batch[column], values)))
                    rows += kept.num_rows
                    writer.write_batch(kept)
            size = sink.tell()
        self._hold()
        self._fs.move(path + _UNFINISHED, path)
        return _New(new, size, rows)

    def _put(self, path: str, actions: Sequence[_Action]) -> None:
        """Writes a commit, whole or not at all."""
        with self._fs.open_output_stream(path + _UNFINISHED) as stream:
            stream.write("".join(f"{json.dumps(action)}\n" for action in actions).encode())
        self._fs.move(path + _UNFINISHED, path)


def _held(actions: Sequence[_Action], until: datetime | None) -> list[_Action]:
    """The actions of a commit; where a table is held by it, until a time."""
    held = {table.ERASING: clock.written(until)} if until else {}
    return [
        {"commitInfo": action["commitInfo"] | held} if table.ERASING in action.get("commitInfo", {}) else action
        for action in actions
    ]


def _are(column: pa.Array, values: pa.Array) -> pa.Array:
    return pc.fill_null(pc.is_in(column.cast(pa.string()), values), False)


def _without(name: str) -> str:
    return name.removesuffix(_PARQUET) + _WITHOUT


def _last(name: str, named: Collection[str]) -> str:
    """The file that an erasure which was killed has put in the place of one in some commits, or that one."""
    return _last(_without(name), named) if _without(name) in named else name


def _saying_less(action: _Action, values: pa.Array) -> _Action:
    """A commit's record without the lines of how its data was read that show one of the values."""

    def less(about: DatasetVersion) -> DatasetVersion:
        shown = [repr(value) for value in values.to_pylist()]
        return replace(about, said=tuple(line for line in about.said if not any(value in line for value in shown)))

    return _telling(action, less)


def _without_times(action: _Action) -> _Action:
    """A commit's record that does not tell when the rows of its version came to be."""
    return _telling(action, lambda about: about.without_times)


def _telling(action: _Action, change: Callable[[DatasetVersion], DatasetVersion]) -> _Action:
    """A commit's record with another account of its version; the same where it has none, or nothing changes."""
    text = action.get("commitInfo", {}).get(table.ABOUT)
    if not text:
        return action
    about = DatasetVersion.parse(text, table.ABOUT)
    changed = change(about)
    return action if changed == about else {"commitInfo": {**action["commitInfo"], table.ABOUT: changed.text}}


def _also_removed(actions: Sequence[_Action], sizes: Mapping[str, int]) -> list[_Action]:
    """The actions of a commit that takes new files, of the sizes that they have, away beside the old ones."""
    named = {action[kind]["path"] for action in actions for kind in ("add", "remove") if kind in action}
    found = list(actions)
    for action in found:  # which grows: a new file may itself be an old one
        if "remove" in action and (new := _without(action["remove"]["path"])) in sizes and new not in named:
            found.append({"remove": {**action["remove"], "path": new, "size": sizes[new]}})
    return found


def _brought_anew(actions: Sequence[_Action], new: Mapping[str, _New]) -> list[_Action]:
    """The actions of a commit that brings the new files; without statistics, which hold values."""
    return [
        {"add": {**action["add"], "path": one.path, "size": one.size, "stats": json.dumps({"numRecords": one.rows})}}
        if "add" in action and (one := new.get(action["add"]["path"]))
        else action
        for action in actions
    ]
