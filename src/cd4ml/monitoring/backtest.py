"""What a retraining would have gained, had there been one: a model of earlier windows held against what was served.

    python -m cd4ml.monitoring.backtest ROWS MODEL

prints a `Gain` as JSON, or null where labels are too few: the command line has no scikit-learn of its own. ROWS is
Parquet (`cd4ml.contracts.window`), MODEL a folder with the contract of the model.
"""

import sys
from dataclasses import asdict
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cd4ml.contracts import model
from cd4ml.contracts.captured_values import by_feature, have_features, typed
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.retraining import Gain
from cd4ml.monitoring import answered, callers
from cd4ml.replies import reply

FEWEST = 1000
"""Labelled rows from which on it is told."""
MOST = 200_000
"""Rows that are looked at, the latest ones."""
LATER = 0.25
"""The share of the rows, the latest, that both are compared on."""
MOST_VALUES = 254
"""Of a category, the most frequent ones, which the trees tell apart."""
_SURE = NormalDist().inv_cdf(0.975)
_LEAST = 1e-6
"""Of a probability, so that the loss of one mistake has an end."""

Numbers = npt.NDArray[np.float64]


def backtest(rows: pa.Table, contract: Contract) -> Gain | None:
    """Lets gradient-boosted trees learn from earlier rows, and compares them with what was served on later ones.

    The trees see what was predicted beside the features, so that they know what the served model knows.

    Args:
        rows: Of windows, with their features, their callers and when their labels were known; all of one version. Those
            of which no feature was captured are left out, as a retraining leaves them out.
        contract: Of the model that was asked.

    Returns:
        The gain in log loss of classes, or in squared error of numbers; None where the rows are too few, or too few had
        their label when the later ones began, or one part of them has rows of one class alone, or the later ones are
        of one caller.
    """
    told = answered.of(rows.filter(pa.array(have_features(rows))).sort_by("at"), contract)
    places, begin = _divided(told.rows, np.flatnonzero(told.labelled)[-MOST:])
    if not begin:
        return None
    rows = told.rows.take(pa.array(places))
    labels, served = (np.asarray(one[places], np.float64) for one in (told.labels, told.outputs))
    if contract.problem.has_classes and any(len(np.unique(part)) < 2 for part in (labels[:begin], labels[begin:])):
        return None
    served = served.reshape(len(rows), -1)
    features, are_categories = _features(rows, contract, begin)
    seen, are_categories = np.hstack([served, *features]), [False] * served.shape[1] + are_categories
    learnt = _learnt(seen, labels, begin, categories=are_categories, classes=len(contract.classes))
    before, after = (_losses(found, labels[begin:], contract) for found in (served[begin:], learnt))
    gains = before - after
    value, error = float(gains.mean()), _error(gains, callers.numbers(rows.slice(begin)))
    if error is None:
        return None
    wide = _SURE * error
    metric = "log_loss" if contract.problem.has_classes else "mean_squared_error"
    return Gain(metric, float(before.mean()), value, (value - wide, value + wide), begin, len(rows) - begin)


def _divided(rows: pa.Table, places: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Those of some places whose label was known when the later ones begin, and where these do; 0 for too few.

    Args:
        rows: By when they were asked for.
        places: Of those that have a label, in order.
    """
    if len(places) < FEWEST:
        return places, 0
    earlier, later = np.split(places, [len(places) - int(LATER * len(places))])
    known = pc.less_equal(rows["labelled_at"], rows["at"][int(later[0])]).to_numpy()
    learnt = earlier[known[earlier].astype(bool)]
    return np.concatenate([learnt, later]), len(learnt) if len(learnt) >= (1 - LATER) * FEWEST else 0


def _features(rows: pa.Table, contract: Contract, begin: int) -> tuple[list[Numbers], list[bool]]:
    """The features (each float64 [rows, 1]), and which of them are codes of categories."""
    features = by_feature(rows)
    known = [one for one in contract.inputs if one.name in features]
    columns = [_column(features[one.name], one, begin)[:, np.newaxis] for one in known]
    return columns, [one.is_text for one in known]


def _column(values: pa.StringArray, one: Input, begin: int) -> Numbers:
    """A feature as numbers, NaN where it is missing or is none (float64 [rows])."""
    found = typed(values, one)
    if one.is_text:
        values = found.values
        counts = sorted(pc.value_counts(values[:begin]).to_pylist(), key=lambda each: -each["counts"])
        known = pa.array([each["values"] for each in counts if each["values"] is not None][:MOST_VALUES], pa.string())
        return np.asarray(pc.index_in(values, known).cast(pa.float64()).to_numpy(zero_copy_only=False))
    return found.numbers


def _learnt(seen: Numbers, labels: Numbers, begin: int, *, categories: list[bool], classes: int) -> Numbers:
    """What the trees predict for the later rows, as the model would (float64 [rows, outputs])."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    how = {"categorical_features": categories, "random_state": 0}
    if not classes:
        trees = HistGradientBoostingRegressor(**how).fit(seen[:begin], labels[:begin])
        return np.asarray(trees.predict(seen[begin:]))[:, np.newaxis]
    trees = HistGradientBoostingClassifier(**how).fit(seen[:begin], labels[:begin].astype(np.int64))
    found = np.zeros((len(seen) - begin, classes))
    found[:, trees.classes_] = trees.predict_proba(seen[begin:])
    return found[:, 1:] if classes == 2 else found


def _losses(found: Numbers, labels: Numbers, contract: Contract) -> Numbers:
    """Of each row (float64 [rows])."""
    if not contract.problem.has_classes:
        return np.asarray((found[:, 0] - labels) ** 2, np.float64)
    shares = np.hstack([1 - found, found]) if found.shape[1] == 1 else found
    own = shares[np.arange(len(shares)), labels.astype(np.int64)]
    return np.asarray(-np.log(np.clip(own, _LEAST, 1.0)))


def _error(gains: Numbers, callers_: npt.NDArray[np.int64]) -> float | None:
    """The standard error of the mean, where rows of one caller are alike; None where there is but one."""
    of_callers = np.bincount(callers_, gains - gains.mean())
    count = len(of_callers)
    return float(np.sqrt((of_callers**2).sum() * count / (count - 1)) / len(gains)) if count > 1 else None


def main(rows: str, folder: str) -> int:
    """Prints the gain."""

    def gain() -> dict[str, Any] | None:
        found = backtest(pq.read_table(rows), model.read_contract(folder))
        return asdict(found) if found else None

    return reply(gain)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
