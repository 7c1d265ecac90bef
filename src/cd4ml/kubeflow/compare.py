"""Runs side by side: what they were given, what they measured, what they made."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cd4ml.kubeflow.runs import Run
from cd4ml.reports import page


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


def sections(runs: Sequence[Run]) -> list[Section]:
    """Everything that there is to say of runs, one row a thing."""
    return [
        Section("Run", _rows([_facts(run) for run in runs])),
        Section("Parameters", _rows([flat(run.parameters) for run in runs])),
        Section("Metrics", _rows([_metrics(run) for run in runs])),
        Section("Artifacts", _rows([_artifacts(run) for run in runs])),
    ]


def write(runs: Sequence[Run], file: Path) -> None:
    """Writes runs side by side as one self-contained HTML file."""
    page.render("compare.html.j2", file, "Runs side by side", runs=runs, sections=sections(runs))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as one, so that a difference within is a row: `candidate.model`."""
    rows: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            rows |= flat(value, f"{prefix}{name}.")
        else:
            rows[prefix + name] = text(value)
    return rows


def text(value: Any) -> str:
    """A value as a person writes it."""
    if isinstance(value, float):
        return f"{int(value):,}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)


def _rows(columns: Sequence[Mapping[str, str]]) -> list[Row]:
    names = dict.fromkeys(name for column in columns for name in column)
    return [Row(name, [column.get(name, "") for column in columns]) for name in names]


def _facts(run: Run) -> dict[str, str]:
    return {
        "state": run.state,
        "made": f"{run.created_at:%Y-%m-%d %H:%M}",
        "seconds": "" if run.seconds is None else f"{run.seconds:.0f}",
    }


def _metrics(run: Run) -> dict[str, str]:
    """The scalars among the metadata of what the tasks made, by task, artifact and name."""
    return {
        f"{record.display_name} · {artifact.name} · {name}": text(value)
        for record in run.records
        for artifact in record.artifacts
        for name, value in artifact.metadata.items()
        if isinstance(value, str | int | float | bool)
    }


def _artifacts(run: Run) -> dict[str, str]:
    return {
        f"{record.display_name} · {artifact.name}": artifact.uri
        for record in run.records
        for artifact in record.artifacts
    }
