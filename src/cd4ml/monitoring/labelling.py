"""The rows of production that are worth a person's label: never more than asked for, and a few of each reason."""

from collections.abc import Iterator, Mapping, Set
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from cd4ml.contracts.captured_values import by_feature, have_features, look_hashed, typed
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.window import ROWS, Window
from cd4ml.errors import DataError
from cd4ml.monitoring import labels_ahead, spreadsheet, window_table
from cd4ml.registry import models, named
from cd4ml.storage import Store

SINCE = timedelta(days=30)
"""How long before the end of the last window a row may have been asked for."""
UNSURE = 0.5
"""So uncertain at least is a row that is called so, of 0 to 1 (`_uncertain`)."""
SMALL = 0.05
"""A group of at most this share of the rows is a small one."""
UNCERTAIN, NEW, OTHER, GROUP, CHANCE = WHYS = (
    "uncertain",  # of two answers one is nearly as likely as the other (`UNSURE`)
    "new",  # a value that training did not know, or a number beyond those that it saw
    "disagreeing",  # the challenger, which got a copy, answers otherwise
    "small group",  # of a slice that has few rows
    "chance",  # drawn by lot, so that not all labels are of rows that are strange
)
"""Why a row is worth a label, in the order in which the reasons take turns."""
WHY = "why"
Numbers = npt.NDArray[np.float64]


def worth_it(store: Store, model: str, most: int, *, since: datetime | None = None) -> pa.Table:
    """Finds rows of windows that have no label and are worth one.

    Args:
        store: The store.
        model: The model's name.
        most: How many rows, at most.
        since: From when on they were asked for; the last 30 days of the windows if not said.

    Returns:
        By row, of those that the version in production answered, what `labels take` needs to know of it (`request_id`,
        `row`), when it was asked for, the version that answered, its features and what was predicted, why it is worth a
        label, and last the empty column of the label; the best of each reason first, in turns. No two are called the
        same: a feature `version` is called `feature version`. Rows of which no feature was captured are
        among them only where there are no others.

    Raises:
        DataError: No windows were collected, or none of their rows lacks a label.
        RegistryError: No version of the model is in production.
    """
    windows = window_table.every(store, model)
    if not windows:
        raise DataError(f"{model}: no window was collected; `cd4ml monitor collect` collects them")
    first = since or datetime.fromisoformat(windows[-1].until) - SINCE
    looked = [one for one in windows if datetime.fromisoformat(one.until) > first]
    version = named.find(store, model)
    contract = models.contract(store, version)
    rows, copies = (
        _with_outputs(_rows(store, looked, first, mirrored=mirrored), contract) for mirrored in (False, True)
    )
    given = rows.filter(pc.equal(rows["version"], str(version.version)))
    unlabelled = pc.is_null(given["label"]).to_numpy() & ~labels_ahead.are_taken(store, model, given)
    open_ = given.filter(pa.array(unlabelled))
    if not len(given):
        others = sorted(set(pc.unique(rows["version"].drop_null()).to_pylist()))
        answered = f"version {' and '.join(others)} answered" if others else "nothing was asked, or nothing predicted"
        raise DataError(
            f"{model}: in the windows since {first:%Y-%m-%d} no row is of version {version.version}, which is in "
            f"production ({answered}); collect later windows, or name an earlier --since"
        )
    if not len(open_):
        raise DataError(
            f"{model}: every row since {first:%Y-%m-%d} that version {version.version} answered has a label; name an "
            "earlier --since"
        )
    if (there := have_features(open_)).any():
        open_ = open_.filter(pa.array(there))
    groups = [*version.arguments.get("sensitive", ()), *version.arguments.get("slices", ())]
    scores = dict(_scores(given, open_, copies, contract=contract, groups=groups))
    chosen = _in_turns(scores, min(most, len(open_)))
    whys = pa.array([why for _, why in chosen], pa.string())
    return _shown(open_.take(pa.array([place for place, _ in chosen], pa.int64())), whys, contract)


def write(rows: pa.Table, file: Path) -> None:
    """Writes such rows as Parquet where the file is called so; else as CSV, which a spreadsheet takes no formula from.

    Raises:
        OSError: The file cannot be written.
    """
    if file.suffix == ".parquet":
        pq.write_table(rows, file)
    else:
        csv.write_csv(spreadsheet.written(rows), file)


def _rows(store: Store, windows: list[Window], first: datetime, *, mirrored: bool) -> pa.Table:
    found = [window_table.rows(store, one, mirrored=mirrored) for one in windows]
    whole = pa.concat_tables(found, promote_options="permissive") if found else ROWS.empty_table()
    return whole.filter(pc.field("at") >= first)


def _with_outputs(rows: pa.Table, contract: Contract) -> pa.Table:
    """Those whose answer has the outputs of the model, as versions with other classes do not."""
    own = pc.equal(pc.binary_join(rows["outputs"], "\x1f"), "\x1f".join(contract.names))
    whole = pc.equal(pc.list_value_length(rows["predictions"]), len(contract.names))
    return rows.filter(pc.fill_null(pc.and_(own, whole), False))


def _scores(
    given: pa.Table, open_: pa.Table, copies: pa.Table, *, contract: Contract, groups: list[str]
) -> Iterator[tuple[str, Numbers]]:
    """By reason how much each row without a label is worth (float64 [rows]); 0 for nothing."""
    if contract.problem.has_classes:
        scores = _uncertain(_matrix(open_), contract)
        yield UNCERTAIN, np.where(scores >= UNSURE, scores, 0.0)
    yield NEW, _new(open_, contract)
    yield OTHER, _disagreeing(open_, copies)
    yield GROUP, _of_small_groups(given, open_, groups)
    yield CHANCE, np.random.default_rng(len(given)).random(len(open_))


def _uncertain(predictions: Numbers, contract: Contract) -> Numbers:
    """1 where two answers are as likely, 0 where one is sure; of two classes by how far the threshold is."""
    if predictions.shape[1] == 1:
        given, threshold = predictions[:, 0], contract.threshold.value if contract.threshold else 0.5
        most = np.where(given < threshold, threshold, 1 - threshold)
        far = np.divide(np.abs(given - threshold), most, out=np.zeros(len(given)), where=most > 0)
        return np.asarray(1 - far)
    first, second = np.sort(predictions, axis=1)[:, ::-1][:, :2].T
    return np.asarray(1 - (first - second))


def _new(rows: pa.Table, contract: Contract) -> Numbers:
    """How many features have a value that training did not know."""
    total = np.zeros(len(rows))
    features = by_feature(rows)
    for one in contract.inputs:
        values = features.get(one.name)
        if values is not None and not one.personal:
            total += _unknown(pc.if_else(look_hashed(values), pa.scalar(None, pa.string()), values), one)
    return total


def _unknown(values: pa.StringArray, one: Input) -> Numbers:
    found = typed(values, one)
    if one.vocabulary is not None:
        values = found.values
        known = pc.is_in(values, pa.array(one.vocabulary, pa.string()))
        return np.asarray(pc.and_not(pc.is_valid(values), known).to_numpy(zero_copy_only=False), np.float64)
    if one.range is None or one.kind not in ("number", "date"):
        return np.zeros(len(values))
    low, high = one.range
    return np.asarray((found.numbers < low) | (found.numbers > high), np.float64)


def _disagreeing(rows: pa.Table, copies: pa.Table) -> Numbers:
    """How far the answer to a copy of the request is from the one that was given; 0 where none was copied."""
    if not len(copies):
        return np.zeros(len(rows))
    found = dict(zip(_keys(copies), _matrix(copies), strict=True))
    own = _matrix(rows)
    there = [found.get(key) for key in _keys(rows)]
    far = [0.0 if other is None else np.abs(other - one).max() for one, other in zip(own, there, strict=True)]
    return np.nan_to_num(np.array(far, np.float64))


def _of_small_groups(given: pa.Table, rows: pa.Table, groups: list[str]) -> Numbers:
    """How rare the rarest group of a row is: 1 less its share; 0 where none is small."""
    total = np.zeros(len(rows))
    every, own = by_feature(given), by_feature(rows)
    for name in (one for one in groups if one in every):
        counts = {one["values"]: one["counts"] for one in pc.value_counts(every[name].drop_null()).to_pylist()}
        shares = np.array([counts.get(value, 0) / len(given) for value in own[name].to_pylist()])
        total = np.maximum(total, np.where((shares > 0) & (shares <= SMALL), 1 - shares, 0))
    return total


def _in_turns(scores: Mapping[str, Numbers], most: int) -> list[tuple[int, str]]:
    """The places of rows with the reason of each: of each reason in turn the best one that is not chosen yet."""
    order = {why: iter(_best_first(one)) for why, one in scores.items()}
    chosen: dict[int, str] = {}
    while len(chosen) < most and order:
        for why in list(order):
            place = next((one for one in order[why] if one not in chosen), None)
            if place is None:
                del order[why]
            elif len(chosen) < most:
                chosen[place] = why
    return list(chosen.items())


def _best_first(scores: Numbers) -> list[int]:
    """The places of those that are worth anything."""
    places: list[int] = np.argsort(-scores, kind="stable")[: np.count_nonzero(scores)].tolist()
    return places


def _shown(rows: pa.Table, whys: pa.Array, contract: Contract) -> pa.Table:
    """What a person needs to know of each row, each column called as no other is."""
    predictions, known = _matrix(rows), rows.select(["request_id", "row", "at", "version"])
    outputs = contract.names if predictions.shape[1] > 1 else (contract.output,)
    predicted = {f"predicted {name}": pa.array(predictions[:, place]) for place, name in enumerate(outputs)}
    whole = dict(zip(known.column_names, known.columns, strict=True))
    features, own = by_feature(rows), {*whole, *predicted, WHY}
    label = _apart(contract.label, "label", own)
    for name, values in features.items():
        called = _apart(name, "feature", {*own, label})
        others = {*own, label, *whole, *features}
        whole[called if called == name else _apart(called, "feature", others)] = values
    return pa.table(whole | predicted | {WHY: whys, label: pa.nulls(len(rows), pa.string())})


def _apart(name: str, kind: str, others: Set[str]) -> str:
    """A name that is none of others: `feature version`."""
    return _apart(f"{kind} {name}", kind, others) if name in others else name


def _keys(rows: pa.Table) -> list[tuple[str, int]]:
    return list(zip(rows["request_id"].to_pylist(), rows["row"].to_pylist(), strict=True))


def _matrix(rows: pa.Table) -> Numbers:
    """What was predicted (float64 [rows, outputs])."""
    lists = rows["predictions"].to_pylist()
    return np.array(lists, np.float64).reshape(len(lists), -1)
