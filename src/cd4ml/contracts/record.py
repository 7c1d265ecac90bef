"""What is kept of a run: what it was asked for, what it measured and what it made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from cd4ml.contracts.document import Document
from cd4ml.contracts.evaluation import CANDIDATE, MOST_BY_SLICE, Summary, read
from cd4ml.contracts.problem import Metrics
from cd4ml.contracts.release import DatasetReference
from cd4ml.contracts.verdict import Verdict

Status = Literal["running", "passed", "failed", "stopped"]


@dataclass(frozen=True)
class Judgement:
    """What a gate said."""

    gate: str
    passed: bool
    said: str
    """Its reasons, or the verdict in a few words."""

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        """What is kept of a verdict."""
        return cls(verdict.gate, verdict.passed, "; ".join(verdict.reasons) or verdict.headline)


@dataclass(frozen=True)
class SliceScore:
    """The candidate on the rows that have some values."""

    rows: int
    value: float | None
    """Of the primary metric."""


@dataclass(frozen=True)
class RunRecord(Document, kind="cd4ml/Run", remedy="its tasks' own outputs say the same; look at them"):
    """One run, as far as it is known; what it did not reach is empty."""

    pipeline: str
    run_id: str
    """KFP's, or the name of the run's folder."""
    name: str
    status: Status = "running"
    started_at: str = ""
    """ISO 8601, UTC."""
    ended_at: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """All of them, defaults included."""
    dataset: DatasetReference | None = None
    models: Mapping[str, Metrics] = field(default_factory=dict)
    """The metrics on the whole test split, by `candidate`, `baseline` and `champion`."""
    slices: Mapping[str, SliceScore] = field(default_factory=dict)
    gates: tuple[Judgement, ...] = ()
    published: int | None = None
    """The version of the model."""
    digest: str = ""
    """Of the candidate."""
    endpoint: str = ""
    """Where it was deployed."""
    failure: str = ""
    """Why it failed, in the words of the task's error."""

    @property
    def headline(self) -> str:
        """What came of it, in a few words."""
        if self.published is not None:
            return f"version {self.published}" + (", deployed" if self.endpoint else "")
        return self.failure.partition("\n")[0]


@dataclass(frozen=True)
class Located:
    """A file or folder of a run."""

    uri: str
    """Where the run has it, as KFP writes it."""
    digest: str


@dataclass(frozen=True)
class TaskNote(Document, kind="cd4ml/RunTask", remedy="begin with a task before it"):
    """What one task of a run read, or what it wrote, by the names of its component."""

    parameters: Mapping[str, Any]
    artifacts: Mapping[str, Located]


def found_by(folder: str | Path) -> dict[str, Any]:
    """What a record keeps of an evaluation.

    Args:
        folder: The evaluation's.
    """
    evaluation = read(folder)
    primary = evaluation.problem.primary
    return {
        "models": {role: _few(evaluation, one.metrics) for role, one in evaluation.models.items()},
        "slices": {
            name: SliceScore(one.rows, one.metrics.get(primary)) for name, one in evaluation.of(CANDIDATE).items()
        },
        "digest": evaluation.models[CANDIDATE].digest,
    }


def _few(evaluation: Summary, metrics: Metrics) -> Metrics:
    """Without those of each class where there are many, which nobody compares between runs."""
    if len(evaluation.classes) <= MOST_BY_SLICE:
        return metrics
    return {name: value for name, value in metrics.items() if not evaluation.problem.metric(name).of_classes}
