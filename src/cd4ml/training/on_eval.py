"""What a trial of a sweep is measured by on the eval split, beside what its training says."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf

from cd4ml.contracts import model, ranking
from cd4ml.contracts.model import SAVED_MODEL
from cd4ml.contracts.ordinal import MEAN_CLASS_ERROR
from cd4ml.training import group_rates, reweight
from cd4ml.training.search import Constraints
from cd4ml.training.split import opened, readable

BATCH_ROWS = 65_536
CALLS, WARM = 120, 20
"""Of one row each, by which the latency is measured, and those of them that warm up."""
BYTES_OF_MIB = 2**20
_Rows = tuple[np.ndarray, np.ndarray]
"""What a rate is the mean of, and which rows it is over, both [rows]."""


def check(constraints: Constraints, split: Path, *, label: str) -> None:
    """Makes sure, before anything is trained, that the groups of each column can be compared.

    Args:
        constraints: Name the columns.
        split: The eval split, a Parquet file.
        label: Its column.

    Raises:
        TrainingError: The split cannot be read, or lacks a column, or one makes no groups or too many.
    """
    for column in constraints.fairness:
        table = reweight.read(split, label, [column], argument=_argument(column), part="eval")
        reweight.groups_of(table.select([column]), argument=_argument(column))


class Measured:
    """A model's answers for the eval split."""

    def __init__(self, folder: Path, split: Path) -> None:
        """Asks the model for every row.

        Args:
            folder: Of the model (layout: `cd4ml.contracts.model`).
            split: The eval split, a Parquet file.

        Raises:
            TrainingError: The split cannot be read.
        """
        self._folder = folder
        self._contract = model.read_contract(folder)
        self._loaded = tf.saved_model.load(str(folder / SAVED_MODEL))  # holds the signature's variables
        with opened(split) as file, readable(split, "its rows"):
            self._table = file.read()
        self._answers = np.concatenate([self._asked(part) for part in _parts(self._table)]).astype(np.float64)
        self._labels = self._contract.labels(self._table).astype(np.float64)

    def objective(self, name: str) -> float:
        """An objective that training does not tell itself."""
        return _OBJECTIVES[name](self._labels, self._answers)

    def constrained(self, constraints: Constraints) -> dict[str, float | None]:
        """What is constrained, by name; None where it is not defined.

        Args:
            constraints: Whose columns are those of the eval split (`check`).
        """
        found: dict[str, float | None] = {}
        if constraints.latency_ms is not None:
            found["latency_ms"] = self._latency_ms()
        if constraints.size_mib is not None:
            files = (one for one in self._folder.rglob("*") if one.is_file())
            found["size_mib"] = sum(one.stat().st_size for one in files) / BYTES_OF_MIB
        for name, column, rate, gap in constraints.gaps:
            found[name] = self._gap(column, rate, gap.threshold)
        return found

    def _asked(self, table: pa.Table) -> np.ndarray:
        raw = {name: tf.constant(values) for name, values in model.features(table, self._contract).items()}
        answers: np.ndarray = self._loaded.signatures["serving_default"](**raw)[self._contract.output].numpy()
        return answers

    def _latency_ms(self) -> float:
        """The 95th percentile of the time that one row takes."""
        times = []
        for call in range(CALLS):
            row = self._table.slice(call % len(self._table), 1)
            raw = {name: tf.constant(values) for name, values in model.features(row, self._contract).items()}
            begun = time.perf_counter()
            self._loaded.signatures["serving_default"](**raw)[self._contract.output].numpy()
            times.append(time.perf_counter() - begun)
        return float(np.percentile(times[WARM:], 95) * 1000)

    def _gap(self, column: str, rate: str, threshold: float | str) -> float | None:
        """The highest rate of a group less the lowest, of groups with rows enough; None with fewer than two.

        Args:
            column: The groups.
            rate: What is compared.
            threshold: A number, or `chosen`: that of the model; None is the answer where it has none.
        """
        chosen = self._contract.threshold
        cut = (chosen.value if chosen else None) if isinstance(threshold, str) else threshold
        if cut is None:
            return None
        values, counted = _RATES[rate](self._labels, self._answers, cut)
        groups = group_rates.large(self._table.select([column]), counted, argument=_argument(column))
        rates = [values[one].mean() for one in groups]
        return float(np.ptp(rates)) if len(rates) > 1 else None


def _argument(column: str) -> str:
    return f"sweep.constraints.fairness.{column}"


def _parts(table: pa.Table) -> list[pa.Table]:
    return [table.slice(start, BATCH_ROWS) for start in range(0, len(table), BATCH_ROWS)]


def _auc_pr(labels: np.ndarray, answers: np.ndarray) -> float:
    return float(ranking.areas(labels, answers).auc_pr[0])


def _mean_absolute_error(labels: np.ndarray, answers: np.ndarray) -> float:
    return float(np.abs(answers - labels).mean())


def _mean_class_error(labels: np.ndarray, answers: np.ndarray) -> float:
    return float(np.abs(answers.argmax(axis=1) - labels).mean())


_OBJECTIVES: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "auc_pr": _auc_pr,
    MEAN_CLASS_ERROR: _mean_class_error,
    "mean_absolute_error": _mean_absolute_error,
}


def _selected(labels: np.ndarray, answers: np.ndarray, threshold: float, *, rate: str) -> _Rows:
    return answers > threshold, group_rates.over(rate, labels)


def _precise(labels: np.ndarray, answers: np.ndarray, threshold: float) -> _Rows:
    return labels, answers > threshold


def _number(labels: np.ndarray, answers: np.ndarray, _: float, *, of: str) -> _Rows:
    error = answers - labels
    means = {"mean_error": error, "mean_prediction": answers, "mean_absolute_error": np.abs(error)}
    return means[of], np.full(len(labels), True)


_RATES: Mapping[str, Callable[[np.ndarray, np.ndarray, float], _Rows]] = {
    **{name: partial(_selected, rate=name) for name in ("selection_rate", "true_positive_rate", "false_positive_rate")},
    "precision": _precise,
    **{name: partial(_number, of=name) for name in ("mean_error", "mean_prediction", "mean_absolute_error")},
}
