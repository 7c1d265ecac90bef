"""Runs on KFP: made, watched, looked up, held against each other."""

import contextlib
import json
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import kfp_server_api
from google.protobuf import json_format

from cd4ml import errors
from cd4ml.errors import KubeflowError
from cd4ml.kubeflow import lineage
from cd4ml.kubeflow.connection import Connection, NotFoundError, UnreachableError

POLL_SECONDS = 2.0
PATIENCE_SECONDS = 600.0
"""How long a lost connection is tried again while a run is waited for."""
LOOKS_AFTER_END = 5
PAGE = 200
STATES = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "passed",
    "FAILED": "failed",
    "SKIPPED": "skipped",
    "CANCELING": "stopped",
    "CANCELED": "stopped",
    "PAUSED": "waiting",
}
ENDED = ("passed", "failed", "skipped", "stopped")
_TRACEBACK = "Traceback (most recent call last):"
_OF_KFP = re.compile(r"^([IWEF]\d{4} |time=|Error: exit|\{\"level)", re.MULTILINE)
"""How the launcher's and Argo's own lines begin, which follow a task's in its log."""


class Task(Protocol):
    """A task as its progress is shown (`cd4ml.running.local.Task`)."""

    name: str
    state: Any
    cached: bool
    started: float | None
    ended: float | None
    outputs: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run, with what it made."""

    run_id: str
    name: str
    state: str
    created_at: datetime
    seconds: float | None
    """None where it has not ended."""
    experiment_id: str
    parameters: Mapping[str, Any]
    tasks: Mapping[str, str]
    """The state by the task's name, as `train-model-2`."""
    records: Sequence[lineage.TaskRecord] = ()
    without_records: str = ""
    """Why ML Metadata could not be asked; empty where it could."""


def experiment_id(connection: Connection, name: str) -> str:
    """The id of an experiment, which is made where it is not there.

    Raises:
        KubeflowError: KFP refuses.
    """
    found = connection.ask(
        connection.experiments.experiment_service_list_experiments,
        filter=named(name),
        **connection.within,
    ).experiments
    if not found:
        wanted = kfp_server_api.V2beta1Experiment(display_name=name, namespace=connection.namespace)
        made = connection.ask(connection.experiments.experiment_service_create_experiment, wanted)
        return str(made.experiment_id)
    return str(found[0].experiment_id)


def specification(pipeline: Any, cached: bool = True) -> dict[str, Any]:
    """A pipeline as KFP takes it.

    Args:
        pipeline: What `dsl.pipeline` made.
        cached: False lets every task run anew.
    """
    spec = json_format.MessageToDict(pipeline.pipeline_spec)
    if not cached:
        for task in spec["root"]["dag"]["tasks"].values():
            task.pop("cachingOptions", None)
    platform = json_format.MessageToDict(pipeline.platform_spec)
    return {"pipeline_spec": spec, "platform_spec": platform} if platform else spec


def submit(
    connection: Connection,
    *,
    pipeline: Any,
    arguments: Mapping[str, Any],
    name: str,
    experiment: str,
    service_account: str | None,
    cached: bool,
) -> str:
    """Makes a run.

    Args:
        connection: The KFP that runs it.
        pipeline: What `dsl.pipeline` made.
        arguments: The pipeline's arguments, checked.
        name: The run's name.
        experiment: The name of the experiment that it belongs to.
        service_account: As whom its pods ask the cluster; KFP's own where None.
        cached: False lets every task run anew.

    Returns:
        The run's id.

    Raises:
        KubeflowError: KFP refuses.
    """
    wanted = kfp_server_api.V2beta1Run(
        experiment_id=experiment_id(connection, experiment),
        display_name=name,
        pipeline_spec=specification(pipeline, cached),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(arguments)),
        service_account=service_account,
    )
    return str(connection.ask(connection.runs.run_service_create_run, wanted).run_id)


def follow(
    connection: Connection,
    *,
    run_id: str,
    tasks: Sequence[Task],
    changed: Callable[[Any], None],
    lost: Callable[[str], None],
) -> str:
    """Waits for the end of a run.

    Args:
        connection: The KFP that runs it.
        run_id: The run.
        tasks: Its tasks; kept up to date.
        changed: Called when a task starts and when it ends.
        lost: Called with the reason when the connection is lost; it is tried again.

    Returns:
        The run's state: `passed`, `failed` or `stopped`.

    Raises:
        KubeflowError: KFP refuses, or was away for too long.
    """
    away_since: float | None = None
    looks_after_end = 0
    while True:
        try:
            answer = connection.ask(connection.runs.run_service_get_run, run_id)
        except UnreachableError as error:
            if away_since is None:
                away_since = time.monotonic()
                lost(str(error))
            if time.monotonic() - away_since > PATIENCE_SECONDS:
                raise
        else:
            away_since = None
            _update(connection, run_id=run_id, tasks=tasks, details=_details(answer), changed=changed)
            state = STATES.get(answer.state or "", "waiting")
            if state in ENDED:
                looks_after_end += 1
                if _settled(state, tasks) or looks_after_end > LOOKS_AFTER_END:
                    _end_the_rest(tasks)
                    return state
        time.sleep(POLL_SECONDS)


def _settled(state: str, tasks: Sequence[Task]) -> bool:
    """Whether the tasks are as far as their run: KFP writes the run's state first, and those of its tasks after it."""
    if state == "failed" and not any(task.state == "failed" for task in tasks):
        return False
    return not any(task.state == "running" or (state == "passed" and task.state == "waiting") for task in tasks)


def _end_the_rest(tasks: Sequence[Task]) -> None:
    for task in tasks:
        if task.state not in ENDED:
            task.state = "skipped" if task.state == "waiting" else "stopped"
            task.ended = time.monotonic()


def failure(connection: Connection, run_id: str, failed: Sequence[str]) -> str:
    """Why a run failed: the words of the first failed task's error, as far as KFP gives its log.

    Args:
        connection: The KFP that ran it.
        run_id: The run.
        failed: The names of the tasks that failed.
    """
    if not failed:
        return "The run ended before all tasks had run; KFP does not say why."
    log = ""
    with contextlib.suppress(KubeflowError):
        pods = [record.pod for record in lineage.tasks(connection, run_id) if record.name == failed[0] and record.pod]
        log = _log(connection, run_id, pods[-1]) if pods else ""
    said = errors.words(log[max(log.rfind(_TRACEBACK), 0) :])
    return (
        _OF_KFP.split(said, maxsplit=1)[0].strip()
        or f"The task {failed[0]} failed; KFP gives no log of it: see the task in the UI."
    )


def find(connection: Connection, run: str) -> Run:
    """The run of an id or a name, with what it made as far as ML Metadata can be asked.

    Raises:
        KubeflowError: There is no such run, or several of that name.
    """
    answer: Any = None
    if _is_id(run):
        with contextlib.suppress(NotFoundError):
            answer = connection.ask(connection.runs.run_service_get_run, run)
    if answer is None:
        listed = connection.ask(
            connection.runs.run_service_list_runs, filter=named(run), sort_by="created_at desc", **connection.within
        ).runs
        if not listed:
            raise KubeflowError(f"{connection.where}: there is no run {run!r}; see them with `cd4ml runs list`")
        if len(listed) > 1:
            ids = ", ".join(one.run_id for one in listed[:3])
            raise KubeflowError(f"{connection.where}: several runs are called {run!r}; name one by its id: {ids}")
        answer = connection.ask(connection.runs.run_service_get_run, listed[0].run_id)
    try:
        return _run(answer, lineage.tasks(connection, answer.run_id))
    except KubeflowError as error:
        return _run(answer, without_records=str(error))


def newest(connection: Connection, number: int) -> list[Run]:
    """The runs that were made last, without what they made.

    Raises:
        KubeflowError: KFP refuses.
    """
    listed = connection.ask(
        connection.runs.run_service_list_runs, page_size=number, sort_by="created_at desc", **connection.within
    ).runs
    return [_run(one) for one in listed or []]


def named(name: str) -> str:
    """The filter of a list for a name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]})


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _run(answer: Any, records: Sequence[lineage.TaskRecord] = (), without_records: str = "") -> Run:
    state = STATES.get(answer.state or "", "waiting")
    ended = answer.finished_at is not None and answer.finished_at.year > 1970
    config = answer.runtime_config
    return Run(
        run_id=answer.run_id,
        name=answer.display_name or "",
        state=state,
        created_at=answer.created_at,
        seconds=(answer.finished_at - answer.created_at).total_seconds() if ended else None,
        experiment_id=answer.experiment_id or "",
        parameters=dict((config.parameters or {}) if config else {}),
        tasks={name: STATES.get(one.state or "", "waiting") for name, one in _details(answer).items()},
        records=records,
        without_records=without_records,
    )


def _details(answer: Any) -> dict[str, Any]:
    """What KFP says of each node of the run's workflow; the latest where a name comes twice."""
    details = (answer.run_details.task_details if answer.run_details else None) or []
    return {one.display_name: one for one in sorted(details, key=lambda one: one.start_time or one.create_time)}


def _update(
    connection: Connection,
    *,
    run_id: str,
    tasks: Sequence[Task],
    details: Mapping[str, Any],
    changed: Callable[[Any], None],
) -> None:
    """Carries the states of KFP over to the tasks."""
    now, clock = datetime.now(UTC), time.monotonic()
    moved = []
    for task in tasks:
        driver, node = details.get(f"{task.name}-driver"), details.get(task.name)
        state = _state(driver, node)
        first = driver or node
        if first is not None and first.start_time and first.start_time.year > 1970:
            task.started = clock - (now - first.start_time).total_seconds()
        if state == task.state:
            continue
        if state in ENDED:
            last = node if node is not None and node.end_time and node.end_time.year > 1970 else driver
            task.ended = clock - (now - last.end_time).total_seconds() if last is not None else clock
        task.state = state
        moved.append(task)
    if any(task.state == "passed" for task in moved):
        _fill_outputs(connection, run_id, tasks)
    for task in moved:
        changed(task)


def _state(driver: Any, node: Any) -> str:
    """A task's state: its driver decides what runs, and may itself fail."""
    states = [STATES.get(one.state or "", "waiting") for one in (driver, node) if one is not None]
    if not states:
        return "waiting"
    if states[0] == "failed":
        return "failed"
    if driver is not None and node is None:
        return "running"
    return "running" if states[-1] == "waiting" else states[-1]


def _fill_outputs(connection: Connection, run_id: str, tasks: Sequence[Task]) -> None:
    """Gives the tasks what they made, for the one figure of each that matters, where ML Metadata can be asked."""
    from kfp import dsl

    try:
        records = {record.name: record for record in lineage.tasks(connection, run_id)}
    except KubeflowError:
        return
    for task in tasks:
        record = records.get(task.name)
        if record is not None:
            task.cached = record.state == "cached"
            task.outputs = {
                one.name: dsl.Artifact(name=one.name, uri=one.uri, metadata=dict(one.metadata))
                for one in record.artifacts
            }


def _log(connection: Connection, run_id: str, pod: str) -> str:
    """A pod's log: from the API server, or else from the UI, which hands on only the rest of the API."""
    paths = [
        f"{connection.host}/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log",
        f"{connection.ui}/k8s/pod/logs?podname={pod}&runid={run_id}&podnamespace={connection.namespace or ''}",
    ]
    for path in paths:
        with contextlib.suppress(KubeflowError):
            text = connection.fetch(path).decode(errors="replace")
            if text.strip() and "<html" not in text[:500].lower():
                return text
    return ""
