"""Evaluates a candidate beside a baseline and the champion: the folder, the report, and what the KFP UI compares."""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import evaluation as summary
from cd4ml.contracts import model, predictions
from cd4ml.contracts.evaluation import CANDIDATE, OVERALL, ModelSummary, Summary, at
from cd4ml.contracts.model import Contract
from cd4ml.contracts.problem import Problem
from cd4ml.errors import DataError, EvaluationError, StorageError
from cd4ml.evaluation import arguments, fairness, measure, report, rows
from cd4ml.evaluation.curves import Curves
from cd4ml.evaluation.report import TrendPoint, WorstRow
from cd4ml.evaluation.rows import Rows
from cd4ml.storage import local_copy

log = logging.getLogger(__name__)

PREDICTIONS_KEPT = 100
WORST_KEPT = 20
ROC_POINTS = 50
"""The KFP UI draws no more than it must."""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found."""

    summary: Summary
    classes: tuple[str, ...]
    curves: Curves
    """The candidate's."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of this evaluation in the UI."""
        primary = self.summary.problem.primary
        value = self.summary.models[CANDIDATE].metrics[primary]
        return {
            "headline": f"{primary} undefined" if value is None else f"{primary} {value:.3f}",
            "rows": self.summary.rows,
            **{f"{role}_digest": one.digest for role, one in self.summary.models.items()},
        }

    @property
    def metrics(self) -> dict[str, float]:
        """What the UI compares between runs; rates are those at the first threshold."""
        models, threshold, primary = self.summary.models, self.summary.thresholds[0], self.summary.problem.primary
        found: dict[str, float | None] = {
            name.removesuffix(f"@{threshold:g}"): value for name, value in models[CANDIDATE].metrics.items()
        }
        found = {name: value for name, value in found.items() if "@" not in name}
        for change in self.summary.changes:
            if (change.slice, change.metric) == (OVERALL, primary):
                found[f"{primary}_change_vs_{change.other}"] = change.value
        weakest = self.summary.weakest()
        found[f"worst_slice_{primary}"] = weakest[1] if weakest else None
        for one in self.summary.fairness:
            if one.model == CANDIDATE and one.threshold in (threshold, None):
                found[f"{one.column.replace(',', '_')}_{one.metric}_gap"] = one.gap
        return {name: value for name, value in found.items() if value is not None}

    @property
    def roc_curve(self) -> tuple[list[float], list[float], list[float]]:
        """The candidate's false positive rates, true positive rates and thresholds; empty for rows of one class."""
        positives, negatives = self.curves.confusion[0, 0], self.curves.confusion[0, 1]
        if not positives or not negatives:
            return [], [], []
        rates = self.curves.confusion[::-1, :2] / (positives, negatives)
        # Points at even steps along the curve, wherever the thresholds lie.
        along = rates.sum(axis=1)
        picked = np.unique(np.searchsorted(along, np.linspace(0, 2, ROC_POINTS)).clip(max=len(along) - 1))
        return rates[picked, 1].tolist(), rates[picked, 0].tolist(), self.curves.thresholds[::-1][picked].tolist()

    @property
    def confusion_matrix(self) -> tuple[list[str], list[list[int]]]:
        """The classes, and by true class the candidate's rows by predicted class at the first threshold."""
        metrics, threshold = self.summary.models[CANDIDATE].metrics, self.summary.thresholds[0]
        count = self.summary.rows
        positives = round((metrics["label_rate"] or 0) * count)
        true_positives = round((metrics[at("true_positive_rate", threshold)] or 0) * positives)
        false_positives = round((metrics[at("false_positive_rate", threshold)] or 0) * (count - positives))
        negative_row = [count - positives - false_positives, false_positives]
        return list(self.classes), [negative_row, [positives - true_positives, true_positives]]


def evaluate(
    test: str | Path,
    *,
    candidate: str | Path,
    baseline: str | Path,
    champion: str | Path,
    champion_digest: str,
    judged: int,
    trend: Sequence[Mapping[str, Any]],
    label: str,
    slices: Sequence[str | Sequence[str]],
    sensitive: Sequence[str],
    thresholds: Sequence[float],
    runner: Sequence[str],
    folder: str | Path,
    report_file: str | Path,
) -> Evaluated:
    """Evaluates the models on the same rows; writes the folder (layout: `cd4ml.contracts.evaluation`) and the report.

    Memory holds the predictions, 4 bytes a row and model, the columns that make slices, about 200 bytes a row while the
    intervals are found, and a batch of the other columns.

    Args:
        test: The test split, a Parquet file.
        candidate: A model's folder.
        baseline: That of the model to beat.
        champion: A path or `s3://` URI of the model in production; empty where there is none.
        champion_digest: Of its files.
        judged: How many candidates the test split has judged, with this one.
        trend: The primary metric of the versions that were published before, as `cd4ml.registry.models.trend` gives it.
        label: The column of the label.
        slices: Columns, or lists of columns to cross.
        sensitive: Columns whose groups are compared.
        thresholds: Probabilities above which a row counts as positive.
        runner: A runner of Beam and its options, on which TFMA itself computes; empty computes here.
        folder: Where the evaluation goes.
        report_file: The HTML file to write.

    Raises:
        EvaluationError: The arguments, the split or a model do not allow an evaluation.
    """
    cuts, sensitive = arguments.thresholds(thresholds), arguments.sensitive(sensitive)
    by = arguments.crosses(slices, sensitive)
    runner = arguments.runner(runner)
    with _folders(candidate, baseline, str(champion)) as folders:
        contracts, digests = _contracts(folders, label)
        if digests.get("champion", "") != champion_digest:
            raise EvaluationError(
                f"champion: {champion} is {digests.get('champion')}, not {champion_digest}; run again"
            )
        split = rows.open_split(Path(test), contracts=contracts, label=label, by=by)

        folder = Path(folder)
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            predicted = _predict(split, folders, contracts)
            problem = contracts[CANDIDATE].problem
            by_tfma = _by_tfma(
                problem,
                split=split,
                predicted=predicted,
                by=by,
                thresholds=cuts,
                folder=unfinished / summary.TFMA,
                runner=runner,
            )
            scored = measure.Scored(problem, predicted.labels == 1, predicted.probabilities, split.slicings(by))
            completed, changes = measure.complete(scored, by_tfma.slices, cuts)
            curves = measure.curves(scored, cuts, by_tfma.calibration)
            latencies = predicted.latencies
            models = {
                one.model: ModelSummary(
                    digests[one.model],
                    {**one.metrics, "latency_ms": latencies[one.model], "size_mib": _size(folders[one.model])},
                    one.intervals,
                )
                for one in completed
                if one.slice == OVERALL
            }
            found = Summary(
                label=label,
                rows=split.total,
                test_digest=split.digest,
                judged=judged,
                thresholds=cuts,
                models=models,
                slices=tuple(completed),
                changes=tuple(changes),
                fairness=tuple(
                    compared
                    for role in folders
                    for compared in fairness.compare(
                        problem,
                        slices=[one for one in completed if one.model == role],
                        columns=list(fairness.crosses(by, sensitive)),
                        thresholds=cuts,
                    )
                ),
                row_by_row=by_tfma.row_by_row,
                problem_name=problem.name,
            )
            summary.write(found, unfinished)
            probabilities = predicted.probabilities[CANDIDATE][:PREDICTIONS_KEPT]
            predictions.write(_kept(split, contracts[CANDIDATE]), probabilities, unfinished / summary.PREDICTIONS)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        name = str(contracts[CANDIDATE].model.get("model", CANDIDATE))
        history = _history(folders[CANDIDATE])
        worst = _worst(split, predicted, label)
        report.write(
            report_file,
            name=name,
            found=found,
            curves=curves,
            history=history,
            worst=worst,
            trend=[TrendPoint(**one) for one in trend],
        )
        return Evaluated(found, contracts[CANDIDATE].classes, curves[CANDIDATE])


@dataclass(frozen=True)
class _Predicted:
    """What the models say of all rows."""

    labels: np.ndarray
    """float32 [rows]: 0 and 1."""
    probabilities: Mapping[str, np.ndarray]
    """By role: float32 [rows]."""
    latencies: Mapping[str, float]
    """By role: milliseconds."""


def _predict(split: Rows, folders: Mapping[str, Path], contracts: Mapping[str, Contract]) -> _Predicted:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    from cd4ml.evaluation.predict import Model

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    loaded: dict[str, Model] = {}
    labels: list[np.ndarray] = []
    probabilities: dict[str, list[np.ndarray]] = {role: [] for role in folders}
    latencies: dict[str, float] = {}
    for table in split.batches():
        labels.append(_labels(table, contracts[CANDIDATE]))
        for role, contract in contracts.items():
            features = _features(table, contract, role)
            with _named(role):
                one = loaded.get(role) or loaded.setdefault(role, Model(folders[role], contract))
                probabilities[role].append(one.predict(features))
                if role not in latencies:
                    latencies[role] = one.latency_ms(features)
        log.info("predicted %s of %s rows", f"{sum(map(len, labels)):,}", f"{split.total:,}")
    return _Predicted(
        np.concatenate(labels), {role: np.concatenate(parts) for role, parts in probabilities.items()}, latencies
    )


@contextmanager
def _named(role: str) -> Iterator[None]:
    """Says which model an error is about."""
    try:
        yield
    except EvaluationError as error:
        raise EvaluationError(f"{role}: {error}") from error


def _by_tfma(
    problem: Problem,
    *,
    split: Rows,
    predicted: _Predicted,
    by: Sequence[Sequence[str]],
    thresholds: Sequence[float],
    folder: Path,
    runner: Sequence[str],
) -> Any:
    from cd4ml.evaluation import config, tfma_run

    def batches() -> Iterator[dict[str, np.ndarray]]:
        start = 0
        for table in split.batches(split.sliced or split.columns[:1]):
            part = slice(start, start + len(table))
            start = part.stop
            ours = {config.prediction(role): one[part] for role, one in predicted.probabilities.items()}
            ours[config.LABEL] = predicted.labels[part]
            yield {**split.groups(table), **{config.apart(name, by): values for name, values in ours.items()}}

    return tfma_run.run(
        problem,
        roles=list(predicted.probabilities),
        slices=by,
        thresholds=thresholds,
        batches=batches(),
        folder=folder,
        runner=runner,
    )


@contextmanager
def _folders(candidate: str | Path, baseline: str | Path, champion: str) -> Iterator[dict[str, Path]]:
    """The models' folders by role; the champion comes from the store."""
    folders = {CANDIDATE: Path(candidate), "baseline": Path(baseline)}
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
    classes = contracts[CANDIDATE].classes
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


def _labels(table: pa.Table, contract: Contract) -> np.ndarray:
    try:
        return contract.labels(table)
    except DataError as error:
        raise EvaluationError(f"test split: {error}") from error


def _features(table: pa.Table, contract: Contract, role: str) -> dict[str, np.ndarray]:
    try:
        return model.features(table, contract)
    except DataError as error:
        raise EvaluationError(f"test split, for the {role}: {error}") from error


def _size(folder: Path) -> float:
    """The files of a model in MiB."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20


def _kept(split: Rows, contract: Contract) -> pa.Table:
    """The features, in values that JSON has, of the rows that a deployed model is asked again."""
    few = split.take(np.arange(min(PREDICTIONS_KEPT, split.total)))
    return pa.table({one.name: _plain(few.column(one.name), one.kind) for one in contract.inputs})


def _worst(split: Rows, predicted: _Predicted, label: str) -> list[WorstRow]:
    """The rows on which the candidate is wrong by most, the worst first."""
    probabilities = predicted.probabilities[CANDIDATE]
    errors = np.abs(predicted.labels - probabilities)
    places = np.sort(np.argsort(-errors, kind="stable")[:WORST_KEPT])
    few = split.take(places)
    shown = [label, *(name for name in split.columns if name != label)]
    found = [
        WorstRow(float(probability), row)
        for probability, row in zip(probabilities[places], few.select(shown).to_pylist(), strict=True)
    ]
    order = np.argsort(-errors[places], kind="stable")
    return [found[place] for place in order]


def _plain(column: pa.ChunkedArray, kind: model.Kind) -> pa.ChunkedArray:
    if kind == "category":
        return column.cast(pa.string())
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return column
    numbers = column.cast(pa.float64())
    return pc.if_else(pc.is_finite(numbers.cast(pa.float32(), safe=False)), numbers, None)


def _history(folder: Path) -> list[dict[str, float]]:
    try:
        history: list[dict[str, float]] = json.loads((folder / model.HISTORY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return history
