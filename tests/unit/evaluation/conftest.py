from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_samples import graded, group, metrics, number

from cd4ml.contracts import evaluation as summary
from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.evaluation import MOST_BY_SLICE, Change, ModelSummary, Slice, Summary
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.regression import REGRESSION
from cd4ml.evaluation import fairness


@pytest.fixture
def found() -> Summary:
    """A candidate (AUC 0.8) that passes over the south, beside a baseline (0.75)."""
    candidate = (
        group("overall", auc=0.8, intervals={"auc": (0.78, 0.82)}),
        group("region=north", auc=0.82, rate=0.63),
        group("region=south", auc=0.6, rate=0.22),
        group("gender=female,region=south", auc=0.55),
    )
    baseline = tuple(replace(one, model="baseline", metrics=metrics(0.75), intervals={}) for one in candidate)
    return Summary(
        label="took",
        rows=200,
        test_digest="sha256:t",
        judged=1,
        thresholds=(0.5,),
        models={
            "candidate": _model("sha256:c", candidate[0], latency_ms=4.0, size_mib=2.0),
            "baseline": _model("sha256:b", baseline[0], latency_ms=1.0, size_mib=0.5),
        },
        slices=candidate + baseline,
        changes=(Change("baseline", "overall", "auc", 0.05, (0.03, 0.07)),),
        fairness=tuple(fairness.compare(BINARY, slices=candidate, columns=[["region"]], thresholds=[0.5])),
    )


@pytest.fixture
def of_a_number() -> Callable[..., Summary]:
    """A candidate that gives the south too much, beside a baseline (an RMSE of 4)."""

    def made(error: float = 3.0) -> Summary:
        candidate = (
            number("overall", error),
            number("region=north", 2.5, bias=-1.0),
            number("region=south", 3.5, bias=2.0),
        )
        baseline = tuple(number(one.slice, 4.0, model="baseline") for one in candidate)
        return _beside_baseline(REGRESSION, "price", 200, candidate, baseline)

    return made


@pytest.fixture
def of_classes() -> Callable[..., Summary]:
    """A candidate that finds fewer rows of each class in the south, beside a baseline (a log loss of 0.9)."""

    def made(classes: tuple[str, ...] = ("bronze", "silver", "gold"), loss: float = 0.8) -> Summary:
        by_class = len(classes) <= MOST_BY_SLICE
        candidate = (
            graded("overall", classes, loss=loss, rows=6_000),
            graded("region=north", classes, recall=0.7, rows=3_000, by_class=by_class),
            graded("region=south", classes, recall=0.5, rows=3_000, by_class=by_class),
        )
        baseline = tuple(replace(one, model="baseline", metrics={**one.metrics, "log_loss": 0.9}) for one in candidate)
        return _beside_baseline(MULTICLASS, "grade", 6_000, candidate, baseline, classes)

    return made


@pytest.fixture
def with_champion(found: Summary) -> Summary:
    """The same, with a champion (AUC 0.801) that the candidate comes close to."""
    champion = tuple(
        replace(one, model="champion", metrics=metrics(0.801)) for one in found.slices if one.model == "candidate"
    )
    return replace(
        found,
        models={**found.models, "champion": _model("sha256:p", champion[0], latency_ms=3.0, size_mib=2.0)},
        slices=found.slices + champion,
        changes=(*found.changes, Change("champion", "overall", "auc", -0.001, (-0.004, 0.002))),
    )


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Summary], Path]:
    def write(content: Summary) -> Path:
        summary.write(content, tmp_path)
        return tmp_path

    return write


def _model(digest: str, overall: summary.Slice, **of_model: float) -> ModelSummary:
    return ModelSummary(digest, {**overall.metrics, **of_model}, overall.intervals)


def _beside_baseline(
    problem: Problem,
    label: str,
    rows: int,
    candidate: tuple[Slice, ...],
    baseline: tuple[Slice, ...],
    classes: tuple[str, ...] = (),
) -> Summary:
    return Summary(
        label=label,
        rows=rows,
        test_digest="sha256:t",
        judged=1,
        thresholds=(),
        models={
            "candidate": _model("sha256:c", candidate[0], latency_ms=4.0),
            "baseline": _model("sha256:b", baseline[0], latency_ms=1.0),
        },
        slices=candidate + baseline,
        changes=(),
        fairness=tuple(fairness.compare(problem, slices=candidate, columns=[["region"]], thresholds=[])),
        problem_name=problem.name,
        classes=classes,
    )
