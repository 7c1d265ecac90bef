"""Takes the rows of a person out of all versions of a dataset.

A version is a list of Parquet files in the log of its Delta table. Each file that holds such a row is written anew
without it, beside the old one, under a name that follows from the old one's. Then each commit that takes an old file
away takes the new one away too, each that brings an old file is made to bring the new one, and the old files are
removed. In this order each version is whole at every moment, and the same command goes on where a killed one ended. The
latest version is committed once more, so that a run that has read it with the rows cannot bring them back; from then on
nobody takes an old file away alone, and commits that did so before are settled.

The digest of a version stays that of what was ingested: it says what models were trained on, and the same table does
not come back as a new version. When its newest row came to be is told no more, for that may have been a row that is
gone.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.erasure import Erasure
from cd4ml.data import masking, table
from cd4ml.data.versions import Dataset
from cd4ml.errors import DataError
from cd4ml.names import nearest
from cd4ml.registry import catalogue, clock
from cd4ml.registry.numbers import numbers
from cd4ml.storage import AlreadyStoredError, Store
from cd4ml.storage.changing import file_system

ERASURES = "erasures"
_Action: TypeAlias = dict[str, Any]
_PARQUET, _WITHOUT = ".parquet", ".without.parquet"


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
    files = _Files(dataset)
    subjects = set(values)
    wanted = pa.array(sorted(subjects | _hashed(dataset, column, sorted(subjects))), pa.string())
    found = files.holding(column, wanted)
    record: Erasure | None = None
    if found:
        record = _record(dataset, files, found, column=column, subjects=len(subjects), reason=reason)
        _keep(dataset.store, record)
    while found:  # again for what another run has written meanwhile
        files.rewrite(found, column, wanted)
        table.commit_again(dataset.uri)
        files.settle()
        found = files.holding(column, wanted)
    files.settle()  # what a killed one left
    files.remove_old()
    left = {one.about.version: one.about for one in table.commits(dataset.uri)}.values()
    catalogue.erased(dataset.store.location, [about for about in left if about == about.without_times])
    if record is None:
        raise DataError(f"{dataset.uri}: no version has a row with such a value in {column!r}")
    return record


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


def _keep(store: Store, record: Erasure) -> None:
    while True:
        number = max(numbers(store, f"{ERASURES}/{record.dataset}", ".json"), default=0) + 1
        try:
            return store.add(f"{ERASURES}/{record.dataset}/{number}.json", record.text)
        except AlreadyStoredError:
            continue  # another took this number


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
        names = sorted({name for log in self._logs() for name in log.names()})
        columns = {name: pq.read_schema(self._open(name)).names for name in names}
        known = sorted({one for each in columns.values() for one in each})
        if column not in known:
            raise DataError(f"{self._dataset.uri}: no version has a column {column!r}; {nearest(column, known)}")
        counts = {name: self._count(name, column, values) for name in names if column in columns[name]}
        return {name: count for name, count in counts.items() if count}

    def rewrite(self, found: Mapping[str, int], column: str, values: pa.Array) -> None:
        """Writes files without the rows, and has the log name them."""
        new = {name: self._write(name, column, values) for name in found}
        sizes = self._stored()
        for log in self._logs():
            self._change(log, [_saying_less(action, values) for action in _also_removed(log.actions, sizes)])
        for log in self._logs():
            self._change(log, _brought_anew(log.actions, new))
        for name in self._stored("_delta_log"):
            if "checkpoint" in name:  # tells again what the commits tell
                self._fs.delete_file(f"{self._root}/_delta_log/{name}")

    def settle(self) -> None:
        """Has each commit that takes an old file away take the new one away, and blanks the times of rows."""
        sizes, there = self._stored(), set[str]()
        for log in self._logs():
            actions = _also_removed(log.actions, sizes)
            there -= {action["remove"]["path"] for action in actions if "remove" in action}
            there |= set(log.names())
            if any(name.endswith(_WITHOUT) for name in there):
                actions = [_without_times(action) for action in actions]
            self._change(log, actions)

    def remove_old(self) -> None:
        """Removes the files in whose place are others by now."""
        names = set(self._stored())
        named = {name for log in self._logs() for name in log.names()}
        for name in names - named:
            if _without(name) in names:
                self._fs.delete_file(f"{self._root}/{name}")

    def _logs(self) -> list[_Log]:
        paths = [f"{self._root}/_delta_log/{name}" for name in self._stored("_delta_log") if name.endswith(".json")]
        found = []
        for path in sorted(paths):
            with self._fs.open_input_stream(path) as stream:
                found.append(_Log(path, [json.loads(line) for line in stream.read().splitlines() if line.strip()]))
        return found

    def _change(self, log: _Log, actions: Sequence[_Action]) -> None:
        if actions != log.actions:
            self._put(log.path, "".join(f"{json.dumps(action)}\n" for action in actions).encode())

    def _stored(self, folder: str = "") -> dict[str, int]:
        """The files of a folder, with how many bytes each has."""
        selected = self._fs.get_file_info(fs.FileSelector(f"{self._root}/{folder}".rstrip("/")))
        return {one.base_name: one.size for one in selected if one.is_file}

    def _open(self, name: str) -> pa.NativeFile:
        return self._fs.open_input_file(f"{self._root}/{name}")

    def _count(self, name: str, column: str, values: pa.Array) -> int:
        with self._open(name) as file:
            batches = pq.ParquetFile(file).iter_batches(columns=[column])
            return sum(pc.sum(_are(batch.column(0), values)).as_py() or 0 for batch in batches)

    def _write(self, name: str, column: str, values: pa.Array) -> "_New":
        """Writes a file without the rows, from what an erasure that was killed has made of it."""
        new = _without(name)
        base = new if new in self._stored() else name
        with self._open(base) as file:
            content = pq.ParquetFile(file)
            buffer = pa.BufferOutputStream()
            rows = 0
            with pq.ParquetWriter(buffer, content.schema_arrow) as writer:
                for batch in content.iter_batches():
                    kept = batch.filter(pc.invert(_are(batch[column], values)))
                    rows += kept.num_rows
                    writer.write_batch(kept)
        written = buffer.getvalue()
        self._put(f"{self._root}/{new}", written)
        return _New(new, written.size, rows)

    def _put(self, path: str, content: bytes | pa.Buffer) -> None:
        """Writes a file, whole or not at all."""
        unfinished = f"{path}.unfinished"
        with self._fs.open_output_stream(unfinished) as stream:
            stream.write(content)
        self._fs.move(unfinished, path)


def _are(column: pa.Array, values: pa.Array) -> pa.Array:
    return pc.fill_null(pc.is_in(column.cast(pa.string()), values), False)


def _without(name: str) -> str:
    return name.removesuffix(_PARQUET) + _WITHOUT


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
