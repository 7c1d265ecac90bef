"""What a published model is to learn from: the labelled rows of windows whose labels are ripe, as the model takes them.

A window teaches once. Those of a version that was trained begin with its publication, those of one that has learnt
online after the last that it has learnt from. All is read of one version of their table, whoever adds to it meanwhile.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cd4ml.contracts import lineage
from cd4ml.contracts import model as models
from cd4ml.contracts.captured_values import NUMBER, by_feature, have_features, is_hashed, look_hashed, typed
from cd4ml.contracts.delays import Delays
from cd4ml.contracts.learning import ABOUT, MODEL, MOMENT, MOMENTS, ROWS, Learning, Lesson, TaughtBy
from cd4ml.contracts.lineage import Lineage
from cd4ml.contracts.model import Contract
from cd4ml.contracts.release import Version
from cd4ml.contracts.window import Window
from cd4ml.errors import DataError, RegistryError
from cd4ml.monitoring import steadiness, window_table, windows
from cd4ml.monitoring.steadiness import Lost
from cd4ml.names import counted, lasting
from cd4ml.registry import named, signing
from cd4ml.storage import Store, local_copy, open_store

NOT_CAPTURED = "no feature was captured"
"""Why a row teaches nothing, as of a request that a router kept without features."""


def gather(store: str, model: str, folder: Path, *, since: datetime | None = None) -> Lesson:
    """Writes a lesson (layout: `cd4ml.contracts.learning`).

    Args:
        store: The store.
        model: `NAME`, the champion, or `NAME@VERSION`.
        folder: The folder to write.
        since: The windows that begin from then on; as the module says if not said.

    Raises:
        RegistryError: There is no such version, or its files are no longer those that were published.
        DataError: No window is to be learnt from; features of the model are not captured; when labels are ripe is not
            known; or what is asked changes faster than they ripen.
    """
    opened = open_store(store)
    version = named.find(opened, model)
    contract = _copied(opened, version, folder / MODEL)
    at = window_table.version(opened, version.name)
    known, ripening = window_table.every(opened, version.name, at=at), windows.delays(opened, version.name, at=at)
    ripe = [one for one in known if one.labelled and ripening.is_ripe(one.age)]
    if ripening.ripe_after is None:
        raise DataError(f"{version.name}: when its labels are ripe: {ripening.headline}; learn once that is known")
    rows = {one.key: window_table.rows(opened, one, at=at) for one in ripe}
    steady = steadiness.check(version.name, list(_losses(ripe, rows, contract)), ripening.ripe_after)
    taught = _taught(version, ripe, made=Lineage.read(folder / MODEL / lineage.FILE), since=since)
    if not taught:
        waiting = len([one for one in known if not ripening.is_ripe(one.age)])
        raise DataError(
            f"{version.name}@{version.version}: no window to learn from: {len(ripe)} with ripe labels were before it, "
            f"or it has learnt from them, and {waiting} are not ripe before they are "
            f"{_age(ripening)} old; collect windows (`cd4ml monitor collect {version.name}`)"
        )
    passed_over: Counter[str] = Counter()
    by_window = {one.key: _typed(rows[one.key], contract, window=one, passed_over=passed_over) for one in taught}
    whole = pa.concat_tables(by_window.values(), promote_options="default").sort_by("asked_at")
    if passed_over[NOT_CAPTURED] and not len(whole):
        raise DataError(
            f"{version.name}@{version.version}: no row to learn from in {counted(len(taught), 'window')}: of none that "
            "has a label were features captured; have them captured (docs/monitoring.md, What is captured), and learn "
            "from windows after that"
        )
    about = Lesson(
        model=version.name,
        version=version.version,
        digest=version.digest,
        windows=tuple(TaughtBy(one.key, one.number, one.digest, len(by_window[one.key])) for one in taught),
        passed_over=dict(passed_over),
        ripe_after=ripening.ripe_after,
        steadiness=steady,
        table_version=at,
    )
    folder.mkdir(parents=True, exist_ok=True)
    moments = {"asked": whole["asked_at"].cast(MOMENT), "known": whole["known_at"].cast(MOMENT)}
    pq.write_table(pa.table(moments), folder / MOMENTS)
    pq.write_table(_renamed(whole), folder / ROWS)
    return about.write(folder / ABOUT)


def _copied(store: Store, version: Version, folder: Path) -> Contract:
    """Copies the files of a version, which are those that were published."""
    signing.check(store, version)
    uri = store.uri(f"{version.folder}/model")
    with local_copy(uri) as published:
        if models.digest(published) != version.digest:
            raise RegistryError(f"{uri}: is not the model that was published; publish it again")
        shutil.copytree(published, folder)
    return models.read_contract(folder)


def _age(ripening: Delays) -> str:
    return lasting(timedelta(seconds=ripening.ripe_after or 0.0))


def _taught(version: Version, ripe: Sequence[Window], *, made: Lineage, since: datetime | None) -> list[Window]:
    before = Learning.windows_of(made)
    after = [one for one in ripe if not before or one.key > before[-1]]
    if since is None and before:
        return after
    begin = since or datetime.fromisoformat(version.published_at)
    return [one for one in after if datetime.fromisoformat(one.begin) >= begin]


def _losses(ripe: Sequence[Window], rows: dict[str, pa.Table], contract: Contract) -> Iterator[Lost]:
    """How wrong each version was in each window."""
    for one in ripe:
        own = rows[one.key]
        for version in pc.unique(own["version"]).to_pylist():
            losses = _loss(own.filter(pc.equal(own["version"], version)), contract)
            if len(losses):
                yield Lost.of(str(version), datetime.fromisoformat(one.begin).timestamp(), losses)


def _loss(rows: pa.Table, contract: Contract) -> np.ndarray:
    """Of each row with a label: its logarithmic loss, or of a number the squared error (float64 [rows])."""
    names = "\x1f".join(contract.names)
    labels = _label(rows["label"], contract)
    own = pc.fill_null(pc.equal(pc.binary_join(rows["outputs"], "\x1f"), names), False)
    kept = pc.and_(own, labels.is_valid())
    rows, labels = rows.filter(kept), labels.filter(kept)
    given = pc.list_flatten(rows["predictions"].combine_chunks()).to_numpy().reshape(-1, len(contract.names))
    if not contract.classes:
        squares: np.ndarray = (given[:, 0] - labels.to_numpy()) ** 2
        return squares
    places = pc.index_in(labels, pa.array(contract.classes, pa.string())).to_numpy()
    likely = np.column_stack([1 - given[:, 0], given[:, 0]]) if not contract.shape else given
    chosen = np.take_along_axis(likely, places[:, None].astype(np.int64), axis=1)[:, 0]
    losses: np.ndarray = -np.log(np.clip(chosen, 1e-7, 1.0))
    return losses


def _label(texts: pa.ChunkedArray, contract: Contract) -> pa.ChunkedArray:
    """Labels as the contract's: a class as text, or a number; null where there is none, or one of another type."""
    if contract.classes:
        return pc.if_else(pc.is_in(texts, pa.array(contract.classes, pa.string())), texts, None)
    return pc.if_else(pc.match_substring_regex(texts, NUMBER), texts, None).cast(pa.float64())


def _typed(rows: pa.Table, contract: Contract, *, window: Window, passed_over: "Counter[str]") -> pa.Table:
    """The rows of a window that teach, with the columns that the model takes, and when they were asked and known."""
    features = by_feature(rows)
    if missing := [one.name for one in contract.inputs if one.name not in features]:
        raise DataError(
            f"window {window.key}: features of the model were not captured ({', '.join(missing[:9])}); name them in "
            "`captured_features`, and learn from windows after that"
        )
    there = have_features(rows)
    _count(passed_over, NOT_CAPTURED, ~there)
    rows = rows.filter(pa.array(there))
    features, label = by_feature(rows), _label(rows["label"], contract)
    columns, teaches = {}, label.is_valid().to_numpy()
    _count(passed_over, "no label", rows["label"].is_null().to_numpy())
    _count(passed_over, "a label that the model does not have", rows["label"].is_valid().to_numpy() & ~teaches)
    wanted = {one.name: one for one in contract.inputs}
    for name, values in features.items():
        if name in wanted:
            if is_hashed(values):
                raise DataError(
                    f"window {window.key}: {name} was captured as a hash, for it is personal, so that the model cannot "
                    "take it; leave it out of the features, or retrain on the dataset"
                )
            hashed = look_hashed(values).to_numpy(zero_copy_only=False)
            _count(passed_over, f"{name}: a hash", teaches & hashed)
            teaches, found = teaches & ~hashed, typed(values, wanted[name])
            _count(passed_over, f"{name}: a value of another type", teaches & found.unreadable)
            teaches, values = teaches & ~found.unreadable, found.values
        columns[f"f {name}"] = values
    table = pa.table({**columns, "label": label, "asked_at": rows["at"], "known_at": rows["labelled_at"]})
    return table.filter(pa.array(teaches)).rename_columns(
        [f"label {contract.label}" if name == "label" else name for name in table.column_names]
    )


def _count(passed_over: "Counter[str]", why: str, flags: np.ndarray) -> None:
    if count := int(np.count_nonzero(flags)):
        passed_over[why] += count


def _renamed(whole: pa.Table) -> pa.Table:
    """The columns of the features and the label alone, by their own names."""
    kept = [name for name in whole.column_names if name not in ("asked_at", "known_at")]
    return whole.select(kept).rename_columns([name.partition(" ")[2] for name in kept])
