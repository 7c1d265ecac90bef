"""Chooses the threshold above which a row counts as positive: the cheapest on eval, among those that hold groups close.

A threshold lies in the middle between two neighbouring probabilities, so that a last digit moves no row across it, and
leaves at least one row on either side.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.chosen import ChosenThreshold
from cd4ml.errors import TrainingError
from cd4ml.names import counted as number_of
from cd4ml.training import examples, group_rates, reweight, split
from cd4ml.training.job import Fitted, TrainingJob
from cd4ml.training.trainers import FairnessGap, ThresholdChoice

DIGITS = 6
"""After the point, as TFMA keeps them."""
MOST_TRIED = 10_000
"""Thresholds that are tried: of more they are taken at even distances."""
ARGUMENT = "threshold.fairness_gap"


def check(choice: ThresholdChoice | None, job: TrainingJob) -> None:
    """Makes sure, before anything is trained, that a threshold can be chosen where that is asked for.

    Raises:
        TrainingError: The label is not of two classes, or a column has no groups that can be held together.
    """
    contract = job.contract
    if choice is None:
        return
    if len(contract.classes) != 2:
        raise TrainingError(
            f"threshold: is of the probability of one of two classes, and the label {contract.label!r} asks for "
            f"{contract.problem.task}; leave it out"
        )
    if choice.fairness_gap:
        _groups(choice.fairness_gap, split.labels(job.eval, contract), job)


def choose(choice: ThresholdChoice | None, fitted: Fitted, job: TrainingJob) -> ChosenThreshold | None:
    """Chooses a threshold, where that is asked for.

    Args:
        choice: What errors cost, and how close groups are to be.
        fitted: The model as it will be served.
        job: Its eval split is what the threshold is chosen by.

    Raises:
        TrainingError: The model gives all rows the same probability.
    """
    if choice is None:
        return None
    labels, found = examples.answers(job.eval, contract=job.contract, served=fitted.model)
    probabilities, costs = found.astype(np.float64), choice.costs
    tried = _tried(probabilities)
    negative, positive = (probabilities[labels == one] for one in (0, 1))
    wrong = costs.false_positive * _above(negative, tried)
    missed = costs.false_negative * (len(positive) - _above(positive, tried))
    cost = (wrong + missed) / len(labels)
    best = cheapest = int(cost.argmin())
    said: dict[str, Any] = {}
    if gap := choice.fairness_gap:
        gaps = {
            column: np.ptp([_above(probabilities[one], tried) / len(one) for one in groups], axis=0)
            for column, groups in _groups(gap, labels, job).items()
        }
        widest = np.max(list(gaps.values()), axis=0)
        among = np.flatnonzero(widest <= max(gap.most, widest.min()))
        best = int(among[cost[among].argmin()])
        said = {
            "metric": gap.metric,
            "most": gap.most,
            "gaps": {column: float(one[best]) for column, one in gaps.items()},
            "free": (float(tried[cheapest]), float(cost[cheapest])),
        }
    chosen = ChosenThreshold(
        value=float(tried[best]),
        rows=len(labels),
        cost=float(cost[best]),
        false_positive=costs.false_positive,
        false_negative=costs.false_negative,
        **said,
    )
    print(f"threshold {chosen}", flush=True)  # noqa: T201 (the task's log)
    return chosen


def _tried(probabilities: np.ndarray) -> np.ndarray:
    """The thresholds that are tried, ascending, float64."""
    values = np.unique(probabilities)
    between = np.unique(np.round((values[1:] + values[:-1]) / 2, DIGITS))
    between = between[(between >= max(values[0], 10.0**-DIGITS)) & (between < values[-1])]
    if not len(between):
        raise TrainingError(
            "threshold: the model gives all rows of eval the same probability, so none tells them apart; see whether "
            "it has learnt anything, or leave it out"
        )
    taken = np.unique(np.linspace(0, len(between) - 1, min(MOST_TRIED, len(between))).astype(np.int64))
    tried: np.ndarray = between[taken]
    return tried


def _above(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many are above each threshold, [thresholds]."""
    counts: np.ndarray = len(probabilities) - np.searchsorted(np.sort(probabilities), thresholds, side="right")
    return counts


def _groups(gap: FairnessGap, labels: np.ndarray, job: TrainingJob) -> dict[str, list[np.ndarray]]:
    """By column the groups that are large enough: the rows of each that the rate is over, int [rows of the group]."""
    table = reweight.read(job.eval, job.contract.label, gap.columns, argument=ARGUMENT, part="eval")
    counted = group_rates.over(gap.metric, labels)
    return {column: _large(table.select([column]), counted, gap.metric) for column in gap.columns}


def _large(column: pa.Table, over: np.ndarray, metric: str) -> list[np.ndarray]:
    large = group_rates.large(column, over, argument=ARGUMENT)
    if len(large) < 2:
        raise TrainingError(
            f"{ARGUMENT}: {column.column_names[0]!r} has {number_of(len(large), 'group')} in eval with {FEWEST_ROWS} "
            f"rows or more that the {metric.replace('_', ' ')} is over, and two are needed; name another column"
        )
    return large
