"""What an evaluation found, as KFP's UI and the task's log have it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cd4ml.contracts.evaluation import CANDIDATE, OVERALL, Summary, at
from cd4ml.evaluation.confusions import Confusions
from cd4ml.evaluation.curves import Curves
from cd4ml.evaluation.residuals import Residuals

ROC_POINTS = 50
"""The KFP UI draws no more than it must."""
MOST_CLASSES_SHOWN = 20
"""A larger confusion matrix does not fit the UI; the report has it."""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found."""

    summary: Summary
    classes: tuple[str, ...]
    drawn: Curves | Confusions | Residuals
    """What the pictures of the candidate are drawn from."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of this evaluation in the UI."""
        problem = self.summary.problem
        value, shown = self.summary.models[CANDIDATE].metrics[problem.primary], problem.metric(problem.primary)
        return {
            "headline": f"{shown.name} {'undefined' if value is None else shown.written(value)}",
            "rows": self.summary.rows,
            **{f"{role}_digest": one.digest for role, one in self.summary.models.items()},
        }

    @property
    def metrics(self) -> dict[str, float]:
        """What the UI compares between runs; rates are those at the first threshold, gaps the largest of any class."""
        models, primary = self.summary.models, self.summary.problem.primary
        threshold = next(iter(self.summary.thresholds), None)
        first = "" if threshold is None else at("", threshold)
        found: dict[str, float | None] = {
            name.removesuffix(first): value for name, value in models[CANDIDATE].metrics.items()
        }
        found = {name: value for name, value in found.items() if "@" not in name}
        for change in self.summary.changes:
            if (change.slice, change.metric) == (OVERALL, primary):
                found[f"{primary}_change_vs_{change.other}"] = change.value
        weakest = self.summary.weakest()
        found[f"worst_slice_{primary}"] = weakest[1] if weakest else None
        for one in self.summary.fairness:
            if one.model == CANDIDATE and one.threshold in (threshold, None) and one.gap is not None:
                name = f"{one.column.replace(',', '_')}_{one.metric.partition('@')[0]}_gap"
                found[name] = max(one.gap, found.get(name) or 0.0)
        return {name: value for name, value in found.items() if value is not None}

    def log_classes(self, shown: Any) -> None:
        """Logs what the UI draws of classes: the ROC curve of two, and the confusion matrix; of a number nothing.

        Args:
            shown: KFP's `ClassificationMetrics`.
        """
        if isinstance(self.drawn, Curves):
            shown.log_roc_curve(*self.roc_curve)
        if self.confusion_matrix[0]:
            shown.log_confusion_matrix(*self.confusion_matrix)

    @property
    def roc_curve(self) -> tuple[list[float], list[float], list[float]]:
        """The candidate's false positive rates, true positive rates and thresholds.

        Empty for rows of one class, and where the classes are not two.
        """
        if not isinstance(self.drawn, Curves) or not self.drawn.confusion[0, :2].all():
            return [], [], []
        positives, negatives = self.drawn.confusion[0, :2]
        rates = self.drawn.confusion[::-1, :2] / (positives, negatives)
        # Points at even steps along the curve, wherever the thresholds lie.
        along = rates.sum(axis=1)
        picked = np.unique(np.searchsorted(along, np.linspace(0, 2, ROC_POINTS)).clip(max=len(along) - 1))
        return rates[picked, 1].tolist(), rates[picked, 0].tolist(), self.drawn.thresholds[::-1][picked].tolist()

    @property
    def confusion_matrix(self) -> tuple[list[str], list[list[int]]]:
        """The classes, and by true class the candidate's rows by predicted class: of two at the first threshold.

        Empty of a number, and of more classes than the UI has room for.
        """
        if isinstance(self.drawn, Confusions) and len(self.classes) <= MOST_CLASSES_SHOWN:
            return list(self.classes), self.drawn.counts.tolist()
        if not self.summary.thresholds:
            return [], []
        metrics, threshold = self.summary.models[CANDIDATE].metrics, self.summary.thresholds[0]
        count = self.summary.rows
        positives = round((metrics["label_rate"] or 0) * count)
        true_positives = round((metrics[at("true_positive_rate", threshold)] or 0) * positives)
        false_positives = round((metrics[at("false_positive_rate", threshold)] or 0) * (count - positives))
        negative_row = [count - positives - false_positives, false_positives]
        return list(self.classes), [negative_row, [positives - true_positives, true_positives]]
