"""Whether a classifier can tell the rows of one sample from those of another, and by which columns."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from cd4ml.contracts.drift import FALSE_ALARMS
from cd4ml.validation.drift import chance, pair
from cd4ml.validation.drift.pair import Pair

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

MOST_ROWS = 5000
"""Of each sample."""
FEWEST_ROWS = 100
"""With fewer in either sample nothing is learnt."""
SHUFFLED_ROWS = 1000
"""By which the weight of a column is measured."""
NAMED = 5
"""Columns at most."""
LARGEST, MISSING = 1e30, -1e31
"""Numbers beyond these are taken as these, and a missing one is smaller than all others."""
SMALLEST_LOSS = 0.005
"""Of AUC, without a column that is named."""


@dataclass(frozen=True)
class Told:
    """What came out on rows that the classifier was not fitted to."""

    auc: float
    interval: tuple[float, float]
    p_value: float
    columns: tuple[str, ...]
    """Those without which it would tell worse, the worst first."""


def tell(pairs: Sequence[Pair], random: np.random.Generator) -> Told | None:
    """Fits boosted trees to one half of the rows, and measures them on the other; None where the rows are too few.

    On one thread: for so few rows others gain nothing, and wait for each other where the machine has more to do.
    """
    if not pairs or min(len(pairs[0].before), len(pairs[0].after)) < FEWEST_ROWS:
        return None
    from sklearn.ensemble import HistGradientBoostingClassifier  # before the limit, which is of what is loaded
    from threadpoolctl import threadpool_limits

    trees = HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=8, early_stopping=False, random_state=0)
    with threadpool_limits(limits=1):
        return _told(pairs, trees, random)


def _told(pairs: Sequence[Pair], trees: "HistGradientBoostingClassifier", random: np.random.Generator) -> Told:
    features, is_after = _rows(pairs, random)
    fitted, others = np.array_split(random.permutation(len(is_after)), 2)
    trees.fit(features[fitted], is_after[fitted])
    held_out, answers = features[others], is_after[others]
    scores = trees.predict_proba(held_out)[:, 1]
    auc, error = _auc(scores, answers)
    middle, width = special.logit(np.clip(auc, 1e-6, 1 - 1e-6)), special.ndtri(0.975) * error
    width /= max(auc * (1 - auc), 1e-6)
    p_value = _chance(scores, answers)

    def without(column: int) -> float:
        rows = held_out[:SHUFFLED_ROWS].copy()
        rows[:, column] = random.permutation(rows[:, column])
        return _auc(trees.predict_proba(rows)[:, 1], answers[:SHUFFLED_ROWS])[0]

    columns: tuple[str, ...] = ()
    if auc > 0.5 and p_value < FALSE_ALARMS:
        whole = _auc(scores[:SHUFFLED_ROWS], answers[:SHUFFLED_ROWS])[0]
        losses = {one.name: whole - without(column) for column, one in enumerate(pairs)}
        ranked = sorted(losses, key=lambda name: -losses[name])[:NAMED]
        columns = tuple(name for name in ranked if losses[name] > SMALLEST_LOSS)
    return Told(auc, (float(special.expit(middle - width)), float(special.expit(middle + width))), p_value, columns)


def _rows(pairs: Sequence[Pair], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both samples under each other, float64 [rows, columns], and which rows are of the second, bool [rows]."""
    sides = []
    for rows in (len(pairs[0].before), len(pairs[0].after)):
        sides.append(np.sort(random.choice(rows, min(rows, MOST_ROWS), replace=False)))
    columns = [np.concatenate([_feature(one, 0)[sides[0]], _feature(one, 1)[sides[1]]]) for one in pairs]
    return np.stack(columns, axis=1), np.repeat([False, True], [len(side) for side in sides])


def _feature(one: Pair, side: int) -> np.ndarray:
    """Numbers as they are, moments as their time of day, categories by how frequent they are; float64 [rows]."""
    values = (one.before, one.after)[side]
    if one.kind == "category":
        return np.asarray(np.append(_ranks(one), MISSING)[values])
    known = values % (pair.HALF_HOUR * pair.HALF_HOURS) if one.kind == "time" else np.clip(values, -LARGEST, LARGEST)
    return np.where(np.isnan(known), MISSING, known)


def _ranks(one: Pair) -> np.ndarray:
    """By code the place of a category; of equally frequent ones by a hash, for the codes tell who had each first."""
    hashes = np.array([zlib.crc32(text.encode()) for text in one.texts], np.int64)
    before, after = one.counts
    return np.argsort(np.lexsort((hashes, -(before + after))))


def _auc(scores: np.ndarray, answers: np.ndarray) -> tuple[float, float]:
    """The area and its standard error, by the placements of each score among those of the other class (DeLong)."""
    positive, negative = np.sort(scores[answers]), np.sort(scores[~answers])
    among = [_placements(positive, negative), 1 - _placements(negative, positive)]
    variance = sum(one.var(ddof=1) / len(one) for one in among)
    return float(among[0].mean()), float(np.sqrt(variance))


def _placements(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of the others that each score is above; ties count half."""
    below, upto = np.searchsorted(others, scores, "left"), np.searchsorted(others, scores, "right")
    return np.asarray((below + upto) / 2 / len(others))


def _chance(scores: np.ndarray, answers: np.ndarray) -> float:
    """How likely scores in such an order are where nothing tells the samples apart."""
    distinct, places = np.unique(scores, return_inverse=True)
    return chance.of_order(pair.counted(places[~answers], places[answers], len(distinct), ordered=True))
