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
import pyarrow.parquet as pq

from cd4ml.contracts import evaluation as summary
from cd4ml.contracts import model, moments, predictions
from cd4ml.contracts.class_labels import differing
from cd4ml.contracts.evaluation import CANDIDATE, OVERALL, ModelSummary, Summary
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.problem import Problem
from cd4ml.errors import DataError, EvaluationError, StorageError
from cd4ml.evaluation import arguments, confusions, curves, fairness, measure, report, residuals, rows
from cd4ml.evaluation.estimates import Scored
from cd4ml.evaluation.evaluated import Evaluated
from cd4ml.evaluation.report import Drawn, TrendPoint, WorstRow
from cd4ml.evaluation.rows import Rows
from cd4ml.storage import local_copy

log = logging.getLogger(__name__)

PREDICTIONS_KEPT = 100
OUTPUTS_KEPT = 20_000
WORST_KEPT = 20
MOST_NAMED = 10
"""Classes in an error."""


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
    predicted_before: str | Path = "",
) -> Evaluated:
    """Evaluates the models on the same rows; writes the folder (layout: `cd4ml.contracts.evaluation`) and the report.

    Memory holds the predictions, 4 bytes a row and model (and class, of three and more), the columns that make slices,
    about 200 bytes a row while the intervals are found (500 of three classes and more), and a batch of the others.

    Args:
        test: The test split, a Parquet file.
        candidate: A model's folder.
        baseline: That of the model to beat; empty where there is none.
        champion: A path or `s3://` URI of the model in production; empty where there is none.
        champion_digest: Of its files.
        judged: How many candidates the test split has judged, with this one.
        trend: The primary metric of the versions that were published before, as `cd4ml.registry.models.trend` gives it.
        label: The column of the label.
        slices: Columns, or lists of columns to cross.
        sensitive: Columns whose groups are compared.
        thresholds: Probabilities above which a row counts as positive; of a number that is predicted they say nothing.
        runner: A runner of Beam and its options, on which TFMA itself computes; empty computes here.
        folder: Where the evaluation goes.
        report_file: The HTML file to write.
        predicted_before: A Parquet file with what each model said of each row of the split, by role, where the
            candidate has learnt from these rows since; empty where the models are asked now.

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
        problem = contracts[CANDIDATE].problem
        if not problem.at_thresholds:
            print(f"thresholds: none is of {problem.task}, so they are left aside", flush=True)  # noqa: T201 (the log)
            cuts = ()
        if chosen := contracts[CANDIDATE].threshold:
            print(f"threshold of the candidate: {chosen}", flush=True)  # noqa: T201 (the task's log)
            cuts = tuple(dict.fromkeys((chosen.value, *cuts)))
        split = rows.open_split(Path(test), contracts=contracts, label=label, by=by)

        folder = Path(folder)
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            predicted = _predict(split, folders, contracts, before=_before(predicted_before))
            by_tfma = _by_tfma(
                problem,
                split=split,
                predicted=predicted,
                by=by,
                thresholds=cuts,
                folder=unfinished / summary.TFMA,
                runner=runner,
            )
            classes = contracts[CANDIDATE].classes
            scored = Scored(problem, predicted.labels, predicted.outputs, split.slicings(by), classes)
            completed, changes = measure.complete(scored, by_tfma.slices, cuts)
            drawn = _drawn(scored, cuts, by_tfma.calibration)
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
                classes=classes,
                sensitive=sensitive,
                chosen_threshold=chosen.value if chosen else None,
            )
            summary.write(found, unfinished)
            known = predicted.known
            features = _kept(split, contracts[CANDIDATE])
            predictions.write(features, problem.output, known, file=unfinished / summary.PREDICTIONS)
            outputs = predicted.outputs[CANDIDATE]
            predictions.write_outputs(problem.output, outputs, most=OUTPUTS_KEPT, file=unfinished / summary.OUTPUTS)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        name = str(contracts[CANDIDATE].model.get("model", CANDIDATE))
        history = _history(folders[CANDIDATE])
        worst = _worst(split, predicted, contracts[CANDIDATE])
        report.write(
            report_file,
            name=name,
            found=found,
            drawn=drawn,
            history=history,
            worst=worst,
            trend=[TrendPoint(**one) for one in trend],
        )
        return Evaluated(found, classes, drawn[CANDIDATE])


def _drawn(scored: Scored, cuts: Sequence[float], calibration: Mapping[str, np.ndarray]) -> Drawn:
    """What the report draws of each model on all rows."""
    if cuts:
        return curves.of(scored, cuts, calibration)
    return confusions.of(scored) if scored.classes else residuals.of(scored)


@dataclass(frozen=True)
class _Predicted:
    """What the models say of all rows."""

    labels: np.ndarray
    """[rows], as the problem has them."""
    outputs: Mapping[str, np.ndarray]
    """By role: float32 [rows], or [rows, classes] of three classes and more."""
    latencies: Mapping[str, float]
    """By role: milliseconds."""
    known: np.ndarray
    """What the candidate gives for the rows that a deployed model is asked again."""


def _before(file: str | Path) -> dict[str, np.ndarray]:
    """What was said of the rows before, by role; nothing where the models are asked now."""
    if not file:
        return {}
    table = pq.read_table(file)
    flat = {name: table[name].combine_chunks() for name in table.column_names}
    return {
        name: one.flatten().to_numpy().reshape(len(one), -1)
        if pa.types.is_fixed_size_list(one.type)
        else one.to_numpy()
        for name, one in flat.items()
    }


def _predict(
    split: Rows, folders: Mapping[str, Path], contracts: Mapping[str, Contract], *, before: Mapping[str, np.ndarray]
) -> _Predicted:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    from cd4ml.evaluation.predict import Model

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    loaded: dict[str, Model] = {}
    labels: list[np.ndarray] = []
    outputs: dict[str, list[np.ndarray]] = {role: [] for role in folders}
    latencies: dict[str, float] = {}
    known = np.empty(0, np.float32)
    for table in split.batches():
        begin = sum(map(len, labels))
        labels.append(_labels(table, contracts[CANDIDATE]))
        for role, contract in contracts.items():
            features = _features(table, contract, role)
            with _named(role):
                one = loaded.get(role) or loaded.setdefault(role, Model(folders[role], contract))
                told = before.get(role)
                outputs[role].append(one.predict(features) if told is None else told[begin : begin + len(table)])
                if role not in latencies:
                    latencies[role] = one.latency_ms(features)
                if role == CANDIDATE and not begin:
                    few = {name: values[:PREDICTIONS_KEPT] for name, values in features.items()}
                    known = outputs[role][0][:PREDICTIONS_KEPT] if told is None else one.predict(few)
        log.info("predicted %s of %s rows", f"{sum(map(len, labels)):,}", f"{split.total:,}")
    return _Predicted(
        np.concatenate(labels), {role: np.concatenate(parts) for role, parts in outputs.items()}, latencies, known
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
            ours = {config.prediction(role): one[part] for role, one in predicted.outputs.items()}
            ours[config.LABEL] = predicted.labels[part]
            yield {**split.groups(table), **{config.apart(name, by): values for name, values in ours.items()}}

    return tfma_run.run(
        problem,
        roles=list(predicted.outputs),
        slices=by,
        thresholds=thresholds,
        batches=batches(),
        folder=folder,
        runner=runner,
    )


@contextmanager
def _folders(candidate: str | Path, baseline: str | Path, champion: str) -> Iterator[dict[str, Path]]:
    """The models' folders by role; the champion comes from the store."""
    folders = {CANDIDATE: Path(candidate), **({"baseline": Path(baseline)} if baseline else {})}
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
    problem, classes = contracts[CANDIDATE].problem, contracts[CANDIDATE].classes
    for role, contract in contracts.items():
        if contract.label != label:
            raise EvaluationError(
                f"{role}: it was trained to predict {contract.label!r}, not {label!r}; name that label"
            )
        if contract.problem != problem:
            raise EvaluationError(
                f"{role}: it is of {contract.problem.task}, the candidate of {problem.task}; train both for the same "
                "problem, or give the candidate another name than that of the published model"
            )
        if contract.classes != classes:
            remedy = _same_classes(problem, contract.classes, classes)
            raise EvaluationError(f"{role}: {_unlike(contract.classes, classes)}; {remedy}")
    return contracts, digests


def _unlike(given: Sequence[str], wanted: Sequence[str]) -> str:
    """What two models tell apart: all of it where it is few, else how it differs."""
    if max(len(given), len(wanted)) <= MOST_NAMED:
        told, own = (" from ".join(one) for one in (given, wanted))
        return f"it tells {told}, the candidate {own}"
    said = differing(given, wanted)
    return f"it tells {len(given)} classes apart, the candidate {len(wanted)}: it {said}"


def _same_classes(problem: Problem, given: Sequence[str], wanted: Sequence[str]) -> str:
    """How two models come to tell the same classes apart."""
    other_name = "give the candidate another name than that of the published model"
    if problem.at_thresholds and set(given) == set(wanted):
        return f"write `positive: {given[-1]}`, or {other_name}"
    return (
        f"train both on the same classes in one order, or {other_name}"
        if len(wanted) > 2
        else "train both on the same label"
    )


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
    return pa.table({one.name: _plain(few.column(one.name), one) for one in contract.inputs})


def _worst(split: Rows, predicted: _Predicted, contract: Contract) -> list[WorstRow]:
    """The rows on which the candidate is wrong by most, the worst first."""
    outputs, label = predicted.outputs[CANDIDATE], contract.label
    errors = _errors(predicted.labels, outputs)
    places = np.sort(np.argsort(-errors, kind="stable")[:WORST_KEPT])
    few = split.take(places)
    shown = [label, *(name for name in split.columns if name != label)]
    found = [
        WorstRow(_said(output, contract.classes), row)
        for output, row in zip(outputs[places], few.select(shown).to_pylist(), strict=True)
    ]
    order = np.argsort(-errors[places], kind="stable")
    return [found[place] for place in order]


def _errors(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """How far each row is from its label: of several classes, what its own one lacks of a probability of 1."""
    if outputs.ndim == 1:
        errors: np.ndarray = np.abs(labels - outputs)
        return errors
    own: np.ndarray = np.take_along_axis(outputs, labels[:, None], axis=1)[:, 0]
    return 1 - own


def _said(output: np.ndarray, classes: Sequence[str]) -> float | str:
    """What a model gave for one row: a number, or the likeliest of several classes with its probability."""
    if output.ndim == 0:
        return float(output)
    return f"{classes[int(output.argmax())]} ({output.max():.3f})"


def _plain(column: pa.ChunkedArray, one: Input) -> pa.ChunkedArray:
    if one.is_text:
        return column.cast(pa.string())
    if one.kind == "date":
        there = moments.of_column(column, one.name).tolist()
        return pa.chunked_array([[None if at == moments.MISSING else moments.text_of(at) for at in there]], pa.string())
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
