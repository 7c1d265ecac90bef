"""Runs on KFP: made, watched, looked up, held against each other."""

import contextlib
import itertools
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import kfp_server_api
from google.protobuf import json_format

from cd4ml import errors
from cd4ml.contracts.record import RunRecord, Status
from cd4ml.contracts.task_tree import ENDED, Artifact, Group, State, Task
from cd4ml.errors import KubeflowError
from cd4ml.kubeflow import lineage
from cd4ml.kubeflow.connection import (
    KFP_NAMESPACE,
    PAGE,
    UI_VARIABLE,
    Connection,
    NotFoundError,
    UnreachableError,
)
from cd4ml.registry import clock, records
from cd4ml.reports import comparison
from cd4ml.reports.comparison import Column
from cd4ml.storage import open_store

POLL_SECONDS = 2.0
PATIENCE_SECONDS = 600.0
"""How long a lost connection is tried again while a run is waited for."""
LOOKS_AFTER_END = 5
STATES: dict[str, State] = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "passed",
    "FAILED": "failed",
    "SKIPPED": "skipped",
    "CANCELING": "stopped",
    "CANCELED": "stopped",
    "PAUSED": "waiting",
}
ENDS: dict[str, Status] = {"SUCCEEDED": "passed", "FAILED": "failed", "CANCELED": "stopped"}
_TEMPLATES = ("system-container-impl", "retry-system-container-impl")
"""What KFP calls the pods of tasks, without and with retries."""
_NO_LOG = '{"error_message":'
"""How the API server's answer begins where there is no log, which it does not call an error."""
_TRACEBACK = "Traceback (most recent call last):"
_OF_KFP = re.compile(r"^([IWEF]\d{4} |time=|Error: exit|\{\"level)", re.MULTILINE)
"""How the launcher's and Argo's own lines begin, which follow a task's in its log."""


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
    record: RunRecord | None = None
    """Its own, from the store that its parameters name; None where there is none that can be read."""
    tasks_made: Sequence[lineage.TaskRecord] = ()
    """What ML Metadata holds, which is asked only where there is no record."""
    without_metadata: str = ""
    """Why ML Metadata could not be asked; empty where it could, or was not."""

    @property
    def column(self) -> Column:
        """The run, as it is shown beside others."""
        if self.record:
            recorded = comparison.of(self.record)
            return replace(recorded, name=self.name, state=self.state)
        made = [(record, artifact) for record in self.tasks_made for artifact in record.artifacts]
        return Column(
            name=self.name,
            run_id=self.run_id,
            state=self.state,
            made=f"{self.created_at:%Y-%m-%d %H:%M}",
            seconds=self.seconds,
            parameters=self.parameters,
            metrics={
                f"{record.display_name} · {artifact.name} · {name}": value
                for record, artifact in made
                for name, value in artifact.metadata.items()
                if isinstance(value, str | int | float | bool)
            },
            artifacts={f"{record.display_name} · {artifact.name}": artifact.uri for record, artifact in made},
        )


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
        for component in (spec["root"], *spec["components"].values()):
            for task in component.get("dag", {}).get("tasks", {}).values():
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
    tree: Group,
    changed: Callable[[Task | Group], None],
    lost: Callable[[str], None],
) -> str:
    """Waits for the end of a run.

    Args:
        connection: The KFP that runs it.
        run_id: The run.
        tree: Its tasks; kept up to date. What is in loops is known from ML Metadata alone.
        changed: Called when a task starts and when it ends, and with each group that is skipped.
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
            _update(connection, run_id=run_id, tree=tree, details=_details(answer), changed=changed)
            state = STATES.get(answer.state or "", "waiting")
            if state in ENDED:
                looks_after_end += 1
                if _settled(state, tree) or looks_after_end > LOOKS_AFTER_END:
                    _end_the_rest(tree, state)
                    return state
        time.sleep(POLL_SECONDS)


def _settled(state: State, tree: Group) -> bool:
    """Whether the tasks are as far as their run: KFP writes the run's state first, and those of its tasks after it."""
    if state == "failed" and not any(task.state == "failed" for task in tree.tasks):
        return False
    return not any(task.state == "running" or (state == "passed" and task.state == "waiting") for task in tree.tasks)


def _end_the_rest(tree: Group, state: State) -> None:
    """Says of what KFP left open how it ended: it writes the states of groups late, or not at all.

    A task that KFP does not know in a run that passed stays `waiting`.
    """
    for _, node in tree.rows():
        if node.state == "running":
            node.state = "passed" if state == "passed" else "stopped"
            if isinstance(node, Task):
                node.ended = time.monotonic()
    if state != "passed":
        tree.end()


def failure(connection: Connection, run_id: str, failed: Sequence[str]) -> str:
    """Why a run failed: the words of the first failed task's error, as far as KFP gives its log, or else its record's.

    Args:
        connection: The KFP that ran it.
        run_id: The run.
        failed: The names of the tasks that failed.
    """
    said = _last_words(connection, run_id, failed[0] if failed else None)
    if said:
        return said
    with contextlib.suppress(KubeflowError):
        record = _record(_run(connection.ask(connection.runs.run_service_get_run, run_id)))
        if record and record.failure:
            return record.failure
    if failed:
        return (
            f"The task {failed[0]} failed; KFP gives no log of it: see the task in the UI, "
            f"or name the UI with {UI_VARIABLE}."
        )
    return (
        "The run ended before all tasks had run; KFP does not say why, its workflow does: "
        f"`kubectl describe workflow --namespace {connection.namespace or KFP_NAMESPACE} "
        f"--selector pipeline/runid={run_id}`."
    )


def _last_words(connection: Connection, run_id: str, task: str | None) -> str:
    """The error at the end of the log of a task, or of any that failed; empty where KFP gives none."""
    log = next(filter(None, (_log(connection, run_id, pod) for pod in _pods(connection, run_id, task))), "")
    said = errors.words(log[max(log.rfind(_TRACEBACK), 0) :])
    return _OF_KFP.split(said, maxsplit=1)[0].strip()


def _pods(connection: Connection, run_id: str, task: str | None) -> list[str]:
    """What the pod of the last attempt is called, by ML Metadata; or what it may be called, by KFP's own word.

    KFP names the attempts of a task in an entry that begins with the task's and is always called `executor`; of a pod
    it leaves out what Argo puts between the name of the workflow and the number.
    """
    with contextlib.suppress(KubeflowError):
        made = [one for one in lineage.tasks(connection, run_id) if one.pod and not one.is_group]
        return [one.pod for one in made if one.name == task or (not task and one.state == "failed")][-1:]
    with contextlib.suppress(KubeflowError):
        answer = connection.ask(connection.runs.run_service_get_run, run_id)
        details = answer.run_details.task_details if answer.run_details else []
        failed = [one for one in details if STATES.get(one.state or "") == "failed"]
        begun = [one.start_time for one in failed if one.display_name == (task or "executor").rpartition(".")[2]]
        attempts = [
            child.pod_name.rpartition("-")
            for one in failed
            if one.display_name == "executor" and one.start_time in begun
            for child in one.child_tasks or []
        ]
        return [f"{run}-{template}-{number}" for run, _, number in attempts[-1:] for template in _TEMPLATES]
    return []


def find(connection: Connection, run: str) -> Run:
    """The run of an id or a name, with what it made: as its record says, or else ML Metadata.

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
    found = _run(answer)
    record = _record(found)
    if record:
        return replace(found, record=record)
    try:
        made = lineage.tasks(connection, found.run_id)
    except KubeflowError as error:
        return replace(found, without_metadata=str(error))
    return replace(found, tasks_made=[one for one in made if not one.is_group])


def as_it_is(connection: Connection, record: RunRecord) -> RunRecord:
    """A record that says that its run goes on, with how KFP says that it ended; as it is where KFP says nothing else.

    Raises:
        KubeflowError: KFP refuses.
    """
    if record.status != "running" or not _is_id(record.run_id):
        return record
    try:
        answer: Any = connection.ask(connection.runs.run_service_get_run, record.run_id)
    except NotFoundError:
        return record
    status = ENDS.get(answer.state or "")
    if status is None:
        return record
    failed = ", ".join(name for name, state in _run(answer).tasks.items() if state == "failed")
    said = "" if status == "passed" else ": ".join(filter(None, (f"{status} on KFP", failed)))
    return replace(record, status=status, failure=said, ended_at=clock.written(answer.finished_at))


def _record(run: Run) -> RunRecord | None:
    store = run.parameters.get("store")
    if not isinstance(store, str) or not store:
        return None
    with contextlib.suppress(errors.Cd4mlError):
        return records.read(open_store(store), run.run_id)
    return None


def newest(connection: Connection, number: int) -> list[Run]:
    """The runs that were made last, without what they made.

    Raises:
        KubeflowError: KFP refuses.
    """
    listed = connection.listed(
        connection.runs.run_service_list_runs,
        "runs",
        page=min(number, PAGE),
        sort_by="created_at desc",
        **connection.within,
    )
    return [_run(one) for one in itertools.islice(listed, number)]


def named(name: str) -> str:
    """The filter of a list for a name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]})


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _run(answer: Any) -> Run:
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
    )


def _details(answer: Any) -> dict[str, Any]:
    """What KFP says of each node of the run's workflow; the latest where a name comes twice."""
    details = (answer.run_details.task_details if answer.run_details else None) or []
    return {one.display_name: one for one in sorted(details, key=lambda one: one.start_time or one.create_time)}


@dataclass(frozen=True)
class _Seen:
    """What KFP says of a task or group."""

    state: State
    began: datetime | None = None
    ended: datetime | None = None


def _update(
    connection: Connection,
    *,
    run_id: str,
    tree: Group,
    details: Mapping[str, Any],
    changed: Callable[[Task | Group], None],
) -> None:
    """Carries the states of KFP over to the tasks and groups.

    KFP says of a task its name alone, which in a loop is that of each iteration's: those are told by ML Metadata.
    """
    names = Counter(_own_names(tree))
    loops = [node for _, node in tree.rows() if isinstance(node, Group) and node.iteration]
    records: dict[str, lineage.TaskRecord] = {}
    if loops or any(number > 1 for number in names.values()):
        records = _records(connection, run_id)
        for loop in loops:
            _open(loop, records)
    moved = []
    for _, node in tree.rows():
        own = node.name.rpartition(".")[2]
        alone = names[own] == 1 and not any(part.isdigit() for part in node.name.split("."))
        if _carry(_by_name(details, own) if alone else _by_record(records.get(node.name)), node):
            moved.append(node)
    if any(isinstance(node, Task) and node.state == "passed" for node in moved):
        _fill_outputs(tree, records or _records(connection, run_id))
    for node in moved:
        if isinstance(node, Task) or node.state == "skipped":
            changed(node)


def _own_names(group: Group) -> Iterator[str]:
    """The names that KFP gives, of a loop's tasks once."""
    for node in group.nodes:
        yield node.name.rpartition(".")[2]
        if isinstance(node, Group):
            yield from _own_names(node.iteration(0) if node.iteration else node)


def _open(loop: Group, records: Mapping[str, lineage.TaskRecord]) -> None:
    """Gives a loop the iterations that have begun, and those in it theirs."""
    begun = [name.removeprefix(f"{loop.name}.") for name in records if name.startswith(f"{loop.name}.")]
    iterations = loop.iterations(max((int(name.split(".")[0]) + 1 for name in begun), default=0))
    loop.headline = f"{len(iterations)} items" if iterations else ""
    for iteration in iterations:
        for _, node in list(iteration.rows()):
            if isinstance(node, Group) and node.iteration:
                _open(node, records)


def _carry(seen: _Seen, node: Task | Group) -> bool:
    """Carries over what KFP says of a task or group; whether its state is another."""
    now, clock = datetime.now(UTC), time.monotonic()
    if isinstance(node, Task) and seen.began:
        node.started = clock - (now - seen.began).total_seconds()
    if seen.state in (node.state, "waiting"):
        return False
    if isinstance(node, Task) and seen.state in ENDED:
        node.ended = clock - (now - seen.ended).total_seconds() if seen.ended else clock
    node.state = seen.state
    if isinstance(node, Group) and node.state == "skipped":
        node.end()
    return True


def _by_name(details: Mapping[str, Any], name: str) -> _Seen:
    """What KFP says of a task that it names once: its driver decides what runs, and may itself fail."""
    driver: Any = details.get(f"{name}-driver")
    node: Any = details.get(name)
    states = [STATES.get(one.state or "", "waiting") for one in (driver, node) if one is not None]
    if not states:
        return _Seen("waiting")
    state = states[-1]
    if states[0] == "failed":
        state = "failed"
    elif state == "waiting" or node is None:
        state = "running"
    ends = [one.end_time for one in (node, driver) if one is not None and _when(one.end_time)]
    return _Seen(state, _when((driver or node).start_time), ends[0] if ends else None)


def _by_record(record: lineage.TaskRecord | None) -> _Seen:
    return _Seen(record.state, record.began, record.changed) if record else _Seen("waiting")


def _when(moment: datetime | None) -> datetime | None:
    """KFP's word for never is the year 1970."""
    return moment if moment and moment.year > 1970 else None


def _records(connection: Connection, run_id: str) -> dict[str, lineage.TaskRecord]:
    """What ML Metadata has of each task, by its name; nothing where it cannot be asked."""
    with contextlib.suppress(KubeflowError):
        return {record.name: record for record in lineage.tasks(connection, run_id)}
    return {}


def _fill_outputs(tree: Group, records: Mapping[str, lineage.TaskRecord]) -> None:
    """Gives the tasks what they made, for the one figure of each that matters."""
    for task in tree.tasks:
        record = records.get(task.name)
        if record is not None:
            task.cached = record.cached
            task.outputs = {one.name: Artifact(one.uri, dict(one.metadata)) for one in record.artifacts}


def _log(connection: Connection, run_id: str, pod: str) -> str:
    """A pod's log: from the API server, or else from the UI, which hands on only the rest of the API."""
    paths = [
        f"{connection.host}/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log",
        f"{connection.ui}/k8s/pod/logs?podname={pod}&runid={run_id}&podnamespace={connection.namespace or ''}",
    ]
    for path in paths:
        with contextlib.suppress(KubeflowError):
            text = connection.fetch(path).decode(errors="replace")
            if text.strip() and "<html" not in text[:500].lower() and not text.startswith(_NO_LOG):
                return text
    return ""
