"""The summary of a run: `summary.json`, and `index.html` with every report of its tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from cd4ml.contracts import document, problems
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.document import Document
from cd4ml.contracts.evaluation import CANDIDATE, SUMMARY, Summary
from cd4ml.contracts.findings import Findings
from cd4ml.contracts.progress import Progress
from cd4ml.contracts.release import DEPLOYMENT, VERIFICATION, Deployment, Verification, Version
from cd4ml.contracts.task_tree import Group, Task
from cd4ml.contracts.verdict import Verdict
from cd4ml.reports import comparison, page

_Document = TypeVar("_Document", bound=Document)


@dataclass(frozen=True)
class Registered:
    """What the registry has of a run."""

    published: Mapping[str, Any] | None
    """The version that it published, and its `uri`."""
    deployed: Mapping[str, Any] | None
    """The deployment that it made."""


@dataclass(frozen=True)
class Run:
    """One run of a pipeline."""

    run_id: str
    pipeline: str
    status: str
    """`passed`, `failed` or `stopped`."""
    started_at: datetime
    seconds: float
    arguments: Mapping[str, Any]
    tree: Group
    failure: str
    """Why it failed; empty where it did not."""
    serving: bool
    """Whether the model that it deployed is still served."""
    registered: Registered | None
    """None where the registry could not be asked."""
    trainings: Sequence[Progress] = ()
    """What each of its trainings said last of how far it was."""
    taken_from: str = ""
    """The earlier run that gave what comes before, where a part of the pipeline ran."""


def summary(run: Run) -> dict[str, Any]:
    """What a program wants to know of a run; a part that the run did not reach is null or empty."""
    by_component = {task.component: task for task in run.tree.tasks}
    dataset = _read(DatasetVersion, _file(by_component.get("ingest_dataset"), "dataset"))
    findings = _read(Findings, _file(by_component.get("validate_dataset"), "findings"))
    evaluation = _read(Summary, _file(by_component.get("evaluate_model"), "evaluation", SUMMARY))
    return {
        "run_id": run.run_id,
        "pipeline": run.pipeline,
        "status": run.status,
        "started_at": run.started_at.isoformat(timespec="seconds"),
        "seconds": round(run.seconds, 2),
        "failure": run.failure or None,
        "taken_from": run.taken_from or None,
        "tasks": [
            {
                "name": task.name,
                "display_name": task.display_name,
                "state": task.state,
                "seconds": round(task.seconds, 2),
                "image": task.image,
                "cached": task.cached,
                "headline": task.headline,
            }
            for task in run.tree.tasks
        ],
        "dataset": _chosen(asdict(dataset), _DATASET) if dataset else None,
        "anomalies": [one.message for one in findings.of_kind("anomaly")] if findings else None,
        "problem": evaluation.problem.name if evaluation else None,
        "models": asdict(evaluation)["models"] if evaluation else {},
        "slices": [
            {"slice": one.slice, "rows": one.rows, "metrics": one.metrics}
            for one in (evaluation.of(CANDIDATE).values() if evaluation else ())
        ],
        "gates": [
            {
                "name": task.component,
                "passed": verdict.passed,
                "reason": "; ".join(verdict.reasons) or verdict.headline,
            }
            for task, verdict in verdicts(run)
        ],
        "published": _published(by_component.get("publish_model"), run.registered),
        "deployment": _chosen(_deployment(by_component.get("deploy_model")), _DEPLOYMENT),
    }


def verdicts(run: Run) -> list[tuple[Task, Verdict]]:
    """What each gate of the run said, in order."""
    files = [(task, _file(task, "verdict")) for task in run.tree.tasks if task.component.startswith("check_")]
    return [(task, Verdict.read(file)) for task, file in files if file]


def write(run: Run, folder: Path) -> dict[str, Any]:
    """Writes `summary.json` and `index.html`.

    Returns:
        The summary.
    """
    content = summary(run)
    unfinished = [one for one in run.trainings if one.state != "ended"]
    document.write(folder / "summary.json", content)
    page.render(
        "run.html.j2",
        folder / "index.html",
        title=f"{run.arguments.get('name', '')}: {run.pipeline}",
        run=run,
        summary=content,
        problem=problems.named(content["problem"]) if content["problem"] else None,
        timeline=_timeline(run.tree),
        unfinished=unfinished,
        training_rows=comparison.of_trainings(unfinished, over=True),
        verdicts=verdicts(run),
        reports=[
            (task.display_name, file.read_text(encoding="utf-8"))
            for task in run.tree.tasks
            if (file := _file(task, "report"))
        ],
        card=_text(_file(next((t for t in run.tree.tasks if t.component == "publish_model"), None), "card")),
    )
    return content


def _file(task: Task | None, output: str, *names: str) -> Path | None:
    """Where an output of a task lies: also that of a task which failed, and of one whose result was reused."""
    if task is None:
        return None
    artifact = task.outputs.get(output)
    path = (artifact.path if artifact else task.folder / output).joinpath(*names)
    return path if path.is_file() else None


def _read(kind: type[_Document], file: Path | None) -> _Document | None:
    return kind.read(file) if file else None


def _text(file: Path | None) -> str:
    return file.read_text(encoding="utf-8") if file else ""


_DATASET = ("name", "version", "rows", "digest", "said")
_PUBLISHED = ("name", "version", "digest")
_DEPLOYMENT = ("target", "endpoint", "predictions_checked", "max_difference", "p50_ms", "p99_ms")


def _published(task: Task | None, registered: Registered | None) -> dict[str, Any] | None:
    """What the task said, or the registry about a task that was killed before it could say it."""
    if task and "published" in task.outputs:
        published = _read(Version, _file(task, "published"))
        uri = {"uri": task.outputs["published"].metadata["uri"]}
        return {**(_chosen(asdict(published), _PUBLISHED) or {}), **uri} if published else None
    return _chosen(registered.published, (*_PUBLISHED, "uri")) if registered else None


def _deployment(task: Task | None) -> dict[str, Any] | None:
    deployment = _read(Deployment, _file(task, "deployment", DEPLOYMENT))
    verification = _read(Verification, _file(task, "deployment", VERIFICATION))
    return {**asdict(verification), **asdict(deployment)} if deployment and verification else None


def _chosen(content: Mapping[str, Any] | None, keys: Sequence[str]) -> dict[str, Any] | None:
    return {key: content[key] for key in keys} if content else None


def _timeline(tree: Group) -> list[tuple[int, Task | Group, float, float]]:
    """All that is in the tree but loops without an item, with its depth.

    Of each task there are its start and its length, as percentages of the whole run.
    """
    begun = [(task.started, task.seconds) for task in tree.tasks if task.started is not None]
    begin = min((started for started, _ in begun), default=0.0)
    whole = max((started + seconds for started, seconds in begun), default=begin) - begin or 1.0
    return [
        (depth, node, 100 * ((node.started or begin) - begin) / whole, 100 * node.seconds / whole)
        if isinstance(node, Task)
        else (depth, node, 0.0, 0.0)
        for depth, node in tree.rows()
        if isinstance(node, Task) or not node.had_nothing
    ]
