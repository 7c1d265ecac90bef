"""Runs side by side: what they were given, what they measured, what they made."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cd4ml.contracts.progress import Progress
from cd4ml.contracts.record import RunRecord
from cd4ml.reports import page


@dataclass(frozen=True)
class Column:
    """A run, as it is shown beside others; what is not known is empty."""

    name: str
    run_id: str
    state: str
    made: str
    seconds: float | None
    parameters: Mapping[str, Any]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Any] = field(default_factory=dict)


def of(record: RunRecord) -> Column:
    """A run by its record in the store."""
    made = {
        "dataset": record.dataset and f"{record.dataset.name} version {record.dataset.version}",
        "model": record.digest,
        "version": record.published,
        "endpoint": record.endpoint,
    }
    measured = {f"{role} · {name}": value for role, metrics in record.models.items() for name, value in metrics.items()}
    by_slice: dict[str, Any] = {}
    for name, one in record.slices.items():
        by_slice |= {f"{name} · rows": one.rows, f"{name} · value": one.value}
    gates = {one.gate: one.said for one in record.gates}
    began, ended = moment(record.started_at), moment(record.ended_at)
    return Column(
        name=record.name,
        run_id=record.run_id,
        state=record.status,
        made=f"{began:%Y-%m-%d %H:%M}" if began else "",
        seconds=(ended - began).total_seconds() if began and ended else None,
        parameters=record.arguments,
        metrics=_known({**measured, **by_slice, **gates}),
        artifacts=_known(made),
    )


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "")}


def moment(text: str) -> datetime | None:
    """When something was, in UTC; None where nobody knows."""
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(text).astimezone(UTC)
    return None


@dataclass(frozen=True)
class Row:
    """One thing of each run; empty where a run has none."""

    name: str
    values: Sequence[str]

    @property
    def differs(self) -> bool:
        """Whether the runs are not alike in it."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Section:
    """Rows of one kind."""

    title: str
    rows: Sequence[Row]


def sections(runs: Sequence[Column]) -> list[Section]:
    """Everything that there is to say of runs, one row a thing."""
    return [
        Section("Run", rows([_facts(run) for run in runs])),
        Section("Parameters", rows([flat(run.parameters) for run in runs])),
        Section("Metrics", rows([_texts(run.metrics) for run in runs])),
        Section("Artifacts", rows([_texts(run.artifacts) for run in runs])),
    ]


def of_trainings(told: Sequence[Progress], *, over: bool) -> list[Row]:
    """How far the trainings of a run are, side by side.

    Args:
        told: What each said last.
        over: Whether the run has ended.
    """
    now = datetime.now(UTC)
    return [row for row in rows([one.facts(now, over=over) for one in told]) if any(row.values)]


def write(runs: Sequence[Column], file: Path) -> None:
    """Writes runs side by side as one self-contained HTML file."""
    page.render("compare.html.j2", file, "Runs side by side", runs=runs, sections=sections(runs))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as one, so that a difference within is a row: `candidate.model`."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = text(value)
    return found


def text(value: Any) -> str:
    """A value as a person writes it."""
    if isinstance(value, float):
        return f"{int(value):,}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)


def rows(columns: Sequence[Mapping[str, str]]) -> list[Row]:
    """Texts by name side by side, one row a name."""
    names = dict.fromkeys(name for column in columns for name in column)
    return [Row(name, [column.get(name, "") for column in columns]) for name in names]


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: text(value) for name, value in values.items()}


def _facts(run: Column) -> dict[str, str]:
    seconds = "" if run.seconds is None else f"{run.seconds:.0f}"
    return {"state": run.state, "made": run.made, "seconds": seconds}
