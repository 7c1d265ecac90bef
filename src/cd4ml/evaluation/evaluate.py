"""Evaluates a candidate beside a baseline and the champion: the folder, the report, and what the KFP UI compares."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cd4ml import model
from cd4ml.errors import DataError, EvaluationError, StorageError
from cd4ml.evaluation import arguments, fairness, report, rows, summary
from cd4ml.evaluation.measure import Measured, Task, measure
from cd4ml.evaluation.summary import OVERALL, ModelSummary, Summary, at
from cd4ml.model import Contract
from cd4ml.storage import local_copy

PREDICTIONS_KEPT = 100
ROC_POINTS = 50
"""The KFP UI draws no more than it must."""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found."""

    summary: Summary
    classes: tuple[str, str]
    candidate: Measured

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of this evaluation in the UI."""
        auc = self.summary.models["candidate"].metrics["auc"]
        return {
            "headline": "auc undefined" if auc is None else f"auc {auc:.3f}",
            "rows": self.summary.rows,
            "rows_evaluated": self.summary.rows_evaluated,
            **{f"{role}_digest": one.digest for role, one in self.summary.models.items()},
        }

    @property
    def metrics(self) -> dict[str, float]:
        """What the UI compares between runs; rates are those at the first threshold."""
        models, threshold = self.summary.models, self.summary.thresholds[0]
        found: dict[str, float | None] = {
            name.removesuffix(f"@{threshold:g}"): value for name, value in models["candidate"].metrics.items()
        }
        found = {name: value for name, value in found.items() if "@" not in name}
        for other in ("baseline", "champion"):
            if other in models:
                found[f"auc_change_vs_{other}"] = _change(self.summary, other)
        weakest = self.summary.weakest()
        found["worst_slice_auc"] = weakest[1] if weakest else None
        for one in self.summary.fairness:
            if one.model == "candidate" and one.threshold == threshold:
                found[f"{one.column.replace(',', '_')}_{one.metric}_gap"] = one.gap
        return {name: value for name, value in found.items() if value is not None}

    @property
    def roc_curve(self) -> tuple[list[float], list[float], list[float]]:
        """The candidate's false positive rates, true positive rates and thresholds; empty for rows of one class."""
        curves = self.candidate.curves
        positives, negatives = curves.confusion[0, 0], curves.confusion[0, 1]
        if not positives or not negatives:
            return [], [], []
        rates = curves.confusion[::-1, :2] / (positives, negatives)
        # Points at even steps along the curve, wherever the thresholds lie.
        along = rates.sum(axis=1)
        picked = np.unique(np.searchsorted(along, np.linspace(0, 2, ROC_POINTS)).clip(max=len(along) - 1))
        return rates[picked, 1].tolist(), rates[picked, 0].tolist(), curves.thresholds[::-1][picked].tolist()

    @property
    def confusion_matrix(self) -> tuple[list[str], list[list[int]]]:
        """The classes, and by true class the candidate's rows by predicted class at the first threshold."""
        metrics, threshold = self.summary.models["candidate"].metrics, self.summary.thresholds[0]
        count = self.summary.rows_evaluated
        positives = round((metrics["label_rate"] or 0) * count)
        true_positives = round((metrics[at("true_positive_rate", threshold)] or 0) * positives)
        false_positives = round((metrics[at("false_positive_rate", threshold)] or 0) * (count - positives))
        negative_row = [count - positives - false_positives, false_positives]
        return list(self.classes), [negative_row, [positives - true_positives, true_positives]]


def evaluate(
    test: str | Path,
    candidate: str | Path,
    baseline: str | Path,
    champion: str | Path,
    champion_digest: str,
    label: str,
    slices: Sequence[str | Sequence[str]],
    sensitive: Sequence[str],
    thresholds: Sequence[float],
    max_rows: int,
    seed: int,
    folder: str | Path,
    report_file: str | Path,
) -> Evaluated:
    """Evaluates the models on the same rows, and writes the folder (layout: `cd4ml.evaluation.summary`) and the report.

    Args:
        test: The test split, a Parquet file.
        candidate: A model's folder.
        baseline: That of the model to beat.
        champion: A path or `s3://` URI of the model in production; empty where there is none.
        champion_digest: Of its files.
        label: The column of the label.
        slices: Columns, or lists of columns to cross.
        sensitive: Columns whose groups are compared.
        thresholds: Probabilities above which a row counts as positive.
        max_rows: Rows that are evaluated at most, drawn at random.
        seed: The same seed draws the same rows.
        folder: Where the evaluation goes.
        report_file: The HTML file to write.

    Raises:
        EvaluationError: The arguments, the split or a model do not allow an evaluation.
    """
    cuts, sensitive = arguments.thresholds(thresholds), arguments.sensitive(sensitive)
    if max_rows < 1:
        raise EvaluationError(f"max_rows is {max_rows}; evaluate at least one row")
    by = arguments.crosses(slices, sensitive)
    with _folders(candidate, baseline, str(champion)) as folders:
        contracts, digests = _contracts(folders, label)
        if digests.get("champion", "") != champion_digest:
            raise EvaluationError(
                f"champion: {champion} is {digests.get('champion')}, not {champion_digest}; run again"
            )
        sample = rows.read(Path(test), contracts, label, by, int(max_rows), seed)

        folder = Path(folder)
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            measured = dict(
                zip(
                    folders,
                    measure(
                        [
                            Task(
                                role=role,
                                model=folders[role],
                                features=_features(sample.table, contract, role),
                                labels=sample.labels,
                                columns=sample.columns,
                                slices=by,
                                thresholds=cuts,
                                folder=unfinished / summary.TFMA / role,
                            )
                            for role, contract in contracts.items()
                        ]
                    ),
                    strict=True,
                )
            )
            found = _summary(label, sample, cuts, by, sensitive, digests, measured)
            summary.write(found, unfinished)
            kept = _kept(sample.table, contracts["candidate"], measured["candidate"].predictions)
            pq.write_table(kept, unfinished / summary.PREDICTIONS)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        name = str(contracts["candidate"].model.get("model", "candidate"))
        history = _history(folders["candidate"])
        report.write(report_file, name, found, {role: one.curves for role, one in measured.items()}, history)
        return Evaluated(found, contracts["candidate"].classes, measured["candidate"])


@contextmanager
def _folders(candidate: str | Path, baseline: str | Path, champion: str) -> Iterator[dict[str, Path]]:
    """The models' folders by role; the champion comes from the store."""
    folders = {"candidate": Path(candidate), "baseline": Path(baseline)}
    if not champion:
        yield folders
        return
    with local_copy(champion) as folder:
        yield {**folders, "champion": folder}


def _contracts(folders: Mapping[str, Path], label: str) -> tuple[dict[str, Contract], dict[str, str]]:
    contracts, digests = {}, {}
    for role, folder in folders.items():
        try:
            contracts[role], digests[role] = model.read_contract(folder), model.digest(folder)
        except StorageError as error:
            raise EvaluationError(f"{role}: {error}") from error
    classes = contracts["candidate"].classes
    for role, contract in contracts.items():
        if contract.label != label:
            raise EvaluationError(
                f"{role}: it was trained to predict {contract.label!r}, not {label!r}; name that label"
            )
        if contract.classes != classes:
            raise EvaluationError(
                f"{role}: it tells {' from '.join(contract.classes)}, the candidate {' from '.join(classes)}; "
                "train both on the same label"
            )
    return contracts, digests


def _features(table: pa.Table, contract: Contract, role: str) -> dict[str, np.ndarray]:
    try:
        return model.features(table, contract)
    except DataError as error:
        raise EvaluationError(f"test split, for the {role}: {error}") from error


def _summary(
    label: str,
    sample: rows.Rows,
    thresholds: tuple[float, ...],
    by: Sequence[Sequence[str]],
    sensitive: Sequence[str],
    digests: Mapping[str, str],
    measured: Mapping[str, Measured],
) -> Summary:
    groups = list(fairness.crosses(by, sensitive))
    return Summary(
        label=label,
        rows=sample.total,
        rows_evaluated=len(sample.labels),
        thresholds=thresholds,
        models={
            role: ModelSummary(digests[role], next(s.metrics for s in one.slices if s.slice == OVERALL))
            for role, one in measured.items()
        },
        slices=tuple(slice_ for one in measured.values() for slice_ in one.slices),
        fairness=tuple(row for one in measured.values() for row in fairness.compare(one.slices, groups, thresholds)),
    )


def _kept(table: pa.Table, contract: Contract, predictions: np.ndarray) -> pa.Table:
    """Rows that a deployed model is asked again: values that JSON has, and what the candidate made of them."""
    few = table.slice(0, PREDICTIONS_KEPT)
    columns = {one.name: _plain(few.column(one.name), one.kind) for one in contract.inputs}
    return pa.table({**columns, contract.output: predictions[:PREDICTIONS_KEPT]})


def _plain(column: pa.ChunkedArray, kind: model.Kind) -> pa.ChunkedArray:
    if kind == "category":
        return column.cast(pa.string())
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return column
    numbers = column.cast(pa.float64())
    return pc.if_else(pc.is_finite(numbers), numbers, None)


def _history(folder: Path) -> list[dict[str, float]]:
    try:
        history: list[dict[str, float]] = json.loads((folder / model.HISTORY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [epoch for epoch in history if all(math.isfinite(value) for value in epoch.values())]


def _change(found: Summary, other: str) -> float | None:
    after, before = found.models["candidate"].metrics["auc"], found.models[other].metrics["auc"]
    return None if after is None or before is None else after - before
