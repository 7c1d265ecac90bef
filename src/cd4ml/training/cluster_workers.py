"""Further workers of a training as pods of a cluster, each like the pod of the task, which is worker 0.

Kubeflow Trainer makes them where it is installed and the namespace has our runtime, an Indexed Job elsewhere. All of
them are begun anew, under new names, where one was lost. Whatever ends the task ends them: they belong to its pod.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kubernetes import client

from cd4ml.cluster import connection, indexed_job, pods, train_job, twins
from cd4ml.cluster.twins import Maker, Object, Twins
from cd4ml.errors import Cd4mlError, DeploymentError, TrainingError
from cd4ml.names import counted
from cd4ml.registry import notes, records
from cd4ml.storage import S3
from cd4ml.training import node, passing, workers
from cd4ml.training.passing import NotPassedError
from cd4ml.training.request import Request
from cd4ml.training.workers import LOST, Ended

PORT = 2222
"""On which each worker, the task's pod among them, hears the others."""
START_SECONDS = 900.0
"""How long pods may take to run: to find a node, perhaps one that is only now made, and to fetch their image."""
LOOK_SECONDS = 1.0
_FAILED = 1
"""The code of a worker that would end so again."""
_UNKNOWN = (400, 403, 404, 422)
"""What a cluster answers whose Trainer is of another version, or not for this account."""


def of(request: Request) -> "ClusterWorkers":
    """The further workers of the training of this task, whose pod the environment names.

    Raises:
        TrainingError: The cluster does not say what this pod is.
    """
    name = os.environ[twins.POD]
    try:
        with connection.told():
            api = connection.connect()
            core, namespace = client.CoreV1Api(api), connection.own_namespace()
            own = json.loads(core.read_namespaced_pod(name, namespace, _preload_content=False).data)
    except DeploymentError as error:
        raise _refused(error) from error
    return ClusterWorkers(request, api, own)


class ClusterWorkers:
    """The pods of workers 1 and up."""

    def __init__(
        self, request: Request, api: client.ApiClient, own: Object, *, start_seconds: float = START_SECONDS
    ) -> None:
        """Makes nothing yet.

        Args:
            request: What is trained.
            api: The cluster.
            own: This task's pod.
            start_seconds: How long pods may take to run.
        """
        self._request, self._api, self._own = request, api, own
        self._core, self._start_seconds = client.CoreV1Api(api), start_seconds
        self._namespace, self._team = own["metadata"]["namespace"], _team(own)
        self._attempt, self._told = 0, ""
        self._running: Twins | None = None

    def begin(self) -> Sequence[str]:
        """Makes all of them, and waits until they run or one is lost; where each worker answers, worker 0 first.

        Raises:
            TrainingError: The cluster refuses them, or one does not come up; with the cluster's words.
        """
        deadline = time.monotonic() + self._start_seconds
        self._running = None
        maker, made = self._made(deadline)
        self._wait(maker, made, deadline)
        self._running = made
        return _addresses(maker, made)

    def ended(self) -> Sequence[Ended]:
        """Those that have ended otherwise than by being done, or are gone; none where the cluster does not say."""
        made = self._running
        if made is None:
            return []
        try:
            with connection.told():
                found = self._pods(made)
                there = {_place(pod) for pod in found}
                gone = [Ended(place + 1, LOST, "its pod is gone") for place in range(made.count) if place not in there]
                codes = [(pod, code) for pod in found if (code := _code(pod))]
                return [*gone, *(Ended(_place(pod) + 1, code, self._words([pod])) for pod, code in codes)]
        except DeploymentError as error:
            self._tell(f"the other workers cannot be asked after, and training goes on: {error}")
            return []

    def end(self) -> None:
        """Removes all of them, and what they have read; what cannot be removed now goes with this pod."""
        self._running = None
        try:
            with connection.told():
                self._remove()
            passing.settle(str(self._request.store), self._team)
        except (DeploymentError, TrainingError) as error:
            self._tell(f"what was made for other workers is left: {error}")

    def _made(self, deadline: float) -> tuple[Maker, Twins]:
        """Has them made anew, under other names where that failed for what may pass."""
        while True:
            self._attempt += 1
            try:
                with connection.told():
                    self._remove()
                    return self._make()
            except (DeploymentError, NotPassedError) as error:
                self._let_pass(error, deadline)

    def _let_pass(self, error: Cd4mlError, deadline: float) -> None:
        """Waits a little where an error may pass, and raises any other."""
        if not _passes(error) or time.monotonic() > deadline:
            raise _refused(error) if isinstance(error, DeploymentError) else error
        self._tell(f"the other workers cannot be begun now, which is tried again: {error}")
        time.sleep(LOOK_SECONDS)

    def _make(self) -> tuple[Maker, Twins]:
        """Has them made by Trainer where it is, else by a Job."""
        passed = self._pass()
        if train_job.is_served(self._api, self._namespace):
            try:
                return train_job, self._made_by(train_job, passed)
            except client.ApiException as error:
                if error.status not in _UNKNOWN:
                    raise
                self._tell(f"Kubeflow Trainer takes no TrainJob of ours, and an Indexed Job is made: {error.body}")
        return indexed_job, self._made_by(indexed_job, passed)

    def _pass(self) -> str:
        """Gives the workers what they read; the place of that."""
        store = str(self._request.store)
        if not store.startswith(S3):
            raise TrainingError(
                f"workers: other pods see no folder of this one ({store}); name a bucket as the store, or leave "
                "workers out"
            )
        with workers.workspace() as folder:
            asked = folder / workers.REQUEST
            self._request.write(asked)
            return passing.put({**self._request.files, workers.REQUEST: asked}, store=store, task=self._team)

    def _made_by(self, maker: Maker, passed: str) -> Twins:
        made = Twins(
            own=self._own,
            team=self._team,
            attempt=self._attempt,
            count=self._request.workers - 1,
            command=node.COMMAND,
            environment={},
            port=PORT,
        )
        made = replace(made, environment={node.PASSED: passed, node.WORKERS: ",".join(_addresses(maker, made))})
        maker.make(self._api, made)
        self._tell(f"{counted(made.count, 'further worker')}: pods of the {maker.NAME} {made.name}")
        return made

    def _wait(self, maker: Maker, made: Twins, deadline: float) -> None:
        while True:
            try:
                with connection.told():
                    if not self._waits(maker, made, deadline):
                        return
                time.sleep(LOOK_SECONDS)
            except DeploymentError as error:
                self._let_pass(error, deadline)

    def _waits(self, maker: Maker, made: Twins, deadline: float) -> bool:
        """Whether some do not run yet, and none is lost, which `ended` says then."""
        waits_for = self._missing(maker, made)
        if not waits_for:
            return False
        self._tell(f"waiting for {waits_for}")
        if time.monotonic() > deadline:
            raise TrainingError(
                f"workers: pods of the {maker.NAME} {made.name} do not run after {self._start_seconds:.0f} s; "
                f"waited for {waits_for}{self._words(self._pods(made))}"
            )
        return True

    def _missing(self, maker: Maker, made: Twins) -> str:
        """What of the pods does not run yet; empty when all do, or one is lost already."""
        found = self._pods(made)
        troubles = pods.troubles(found)
        ends = [Ended(_place(pod) + 1, code) for pod in found if (code := _code(pod))]
        if any(not one.was_lost for one in ends) or any(one.hopeless for one in troubles):
            raise TrainingError(f"workers: a pod of the {maker.NAME} {made.name} does not run{self._words(found)}")
        if ends:
            return ""
        running = sum(pod.status.phase in ("Running", "Succeeded") for pod in found)
        if running == made.count:
            return ""
        counts = f"{counted(made.count, 'pod')} to run: {len(found)} made, {running} running"
        said = str(troubles[0]) if troubles else ""
        if len(found) < made.count:
            said = pods.last_warning(self._core, made.namespace, maker.told_by(made))
        return counts + (f" ({said})" if said else "")

    def _pods(self, made: Twins) -> list[Any]:
        found: list[Any] = self._core.list_namespaced_pod(made.namespace, label_selector=made.selector).items
        return found

    def _words(self, found: list[Any]) -> str:
        told = [pods.words(self._core, self._namespace, trouble) for trouble in pods.troubles(found)[:3]]
        status = [
            f"pod {pod.metadata.name}: {pod.status.reason}: {pod.status.message}" for pod in found if pod.status.reason
        ]
        return "".join(f"\n{words}" for words in [*told, *status])

    def _remove(self) -> None:
        """Removes what was made for this task, also by a pod that did it before."""
        indexed_job.remove(self._api, self._namespace, self._team)
        if train_job.is_served(self._api, self._namespace):
            train_job.remove(self._api, self._namespace, self._team)

    def _tell(self, words: str) -> None:
        """Says in the log what has changed since it was said last."""
        if words != self._told:
            print(words, flush=True)  # noqa: T201 (the task's log)
        self._told = words


def _team(own: Object) -> str:
    """Tells this task from every other of the namespace, also when another pod does it again."""
    known = [os.environ.get(one, "") for one in (records.PIPELINE, records.RUN, notes.TASK)]
    task = "\n".join(known) if all(known) else own["metadata"]["uid"]
    return f"cd4ml-{hashlib.sha256(task.encode()).hexdigest()[:12]}"


def _addresses(maker: Maker, made: Twins) -> list[str]:
    return [made.address, *maker.addresses(made)]


def _code(pod: Any) -> int | None:
    """With what code a pod ended; 0 of one that is done, None of one that goes on."""
    for status in pod.status.container_statuses or []:
        if status.name == twins.CONTAINER and (ended := status.state.terminated):
            return _FAILED if ended.reason == "OOMKilled" else int(ended.exit_code)
    return LOST if pod.status.phase == "Failed" else None  # evicted, or its node is lost


def _place(pod: Any) -> int:
    return int(pod.metadata.annotations[twins.INDEX])


def _passes(error: Cd4mlError) -> bool:
    """Whether the cluster or the store does not do now what it may do later."""
    cause = error.__cause__
    return not isinstance(cause, client.ApiException) or cause.status in (409, 429) or cause.status >= 500


def _refused(error: DeploymentError) -> TrainingError:
    return TrainingError(f"workers: {error}")
