"""A model on a cluster: rolled out by Seldon, watched until it really serves, put back when it does not.

Seldon's own `status.state` says Available until it has seen a change, and comes and goes while it rolls out, so it
counts for nothing here. What counts is the Deployment that Seldon makes: its pods carry the release's id, its
controller has seen it, all pods are new and available, and no pod of another release still answers.

Between the first change and the end of the verification, the object holds a note (annotation `cd4ml/unverified`) of
what was there before. While it holds, another rollout of the same name waits for its turn; where it was left by a
process that died, the next rollout knows what to put back.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernetes import client

from cd4ml.cluster import connection, pods
from cd4ml.deployment.targets import Served, seldon
from cd4ml.errors import DeploymentError

log = logging.getLogger(__name__)

ROLLOUT_SECONDS = 600.0
VERIFICATION_SECONDS = 300.0
"""How long whoever rolls out may take to verify, before another rollout takes the process for dead."""
POLL_SECONDS = 2.0
UNVERIFIED = "cd4ml/unverified"
OURS = ("app.kubernetes.io/part-of", "cd4ml")
"""The label of what we made."""
NEEDED = {
    (seldon.GROUP, seldon.PLURAL, ""): ("get", "create", "update", "delete"),
    ("apps", "deployments", ""): ("list",),
    ("", "pods", ""): ("list",),
    ("", "pods", "log"): ("get",),
    ("", "events", ""): ("list",),
}
"""What a rollout does in its namespace, by API group, resource and subresource."""


@contextmanager
def rollout(
    name: str,
    *,
    namespace: str,
    model_uri: str,
    version: int,
    digest: str,
    release: str,
    seconds: float = ROLLOUT_SECONDS,
) -> Iterator[Served]:
    """Serves a model in place of the one that was served; when the context fails, that one is put back.

    Whoever calls it has made sure that the model's files are there: Seldon takes an empty folder for a model.

    Args:
        name: The model's name.
        namespace: Where it is served.
        model_uri: Its folder, `s3://bucket/path`.
        version: Its version in the registry.
        digest: Of its files.
        release: Tells this rollout from every other; a second try of a run has another.
        seconds: How long to wait until it is served.

    Yields:
        What is served, at its address in the cluster, once nothing but it answers.

    Raises:
        DeploymentError: The cluster lacks something, or the model did not come up; with what its pods said.
    """
    manifest = seldon.deployment(
        name, namespace=namespace, model_uri=model_uri, version=version, digest=digest, release=release
    ).manifest()
    api = connection.connect()
    with connection.told():
        _check_seldon(api)
        connection.check(api, namespace, NEEDED)
    change = _Change(api, manifest, seconds)
    try:
        with connection.told():
            change.apply()
            change.wait()
        yield Served(f"http://{seldon.service(name)}.{namespace}.svc:{seldon.PORT}", change.keep)
    except BaseException as error:
        outcome = change.undo()
        log.info(outcome)
        if isinstance(error, DeploymentError):
            raise DeploymentError(f"{error}\n{outcome}") from error
        raise


def _check_seldon(api: client.ApiClient) -> None:
    kind = f"{seldon.PLURAL}.{seldon.GROUP}/{seldon.API_VERSION}"
    try:
        known = client.CustomObjectsApi(api).get_api_resources(seldon.GROUP, seldon.API_VERSION).resources
    except client.ApiException as error:
        if error.status != 404:
            raise
        known = []
    if seldon.PLURAL not in [resource.name for resource in known]:
        raise DeploymentError(
            f"Seldon Core is not installed in this cluster (it knows no {kind}): ask its admin to install "
            "seldon-core-operator 1.17.1, or deploy with the target `machine`"
        )


class _Objects:
    """The SeldonDeployment of a name."""

    def __init__(self, api: client.ApiClient, namespace: str, name: str) -> None:
        self._api = client.CustomObjectsApi(api)
        self._kind = (seldon.GROUP, seldon.API_VERSION, namespace, seldon.PLURAL)
        self._name = name

    def read(self) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = self._api.get_namespaced_custom_object(*self._kind, self._name)
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise
        return content

    def write(self, content: dict[str, Any]) -> bool:
        """Whether it was written; not when the object has changed since it was read."""
        try:
            if "resourceVersion" in content["metadata"]:
                self._api.replace_namespaced_custom_object(*self._kind, self._name, content)
            else:
                self._api.create_namespaced_custom_object(*self._kind, content)
        except client.ApiException as error:
            if error.status == 409:
                return False
            raise
        return True

    def delete(self, uid: str) -> None:
        try:
            self._api.delete_namespaced_custom_object(*self._kind, self._name, body={"preconditions": {"uid": uid}})
        except client.ApiException as error:
            if error.status not in (404, 409):
                raise


class _Change:
    """One change of what is served."""

    def __init__(self, api: client.ApiClient, manifest: dict[str, Any], seconds: float) -> None:
        metadata = manifest["metadata"]
        self._namespace, self._name = metadata["namespace"], metadata["name"]
        self._objects = _Objects(api, self._namespace, self._name)
        self._apps = client.AppsV1Api(api)
        self._core = client.CoreV1Api(api)
        self._manifest = manifest
        self._release = _release(manifest)
        self._seconds = seconds
        self._before: dict[str, Any] | None = None
        self._begun = False

    def apply(self) -> None:
        """Writes the object, when it is our turn."""
        say = _Progress()
        while True:
            current = self._objects.read()
            if current and not _is_ours(current):
                raise DeploymentError(
                    f"the SeldonDeployment {self._name} in {self._namespace} was not made by cd4ml (it lacks the label "
                    f"{'='.join(OURS)}): remove it, or give the model another name"
                )
            note = _note(current)
            if current and (_is_ending(current) or (note and datetime.fromisoformat(note["until"]) > _now())):
                say(f"{self._name}: waiting for the rollout {_release(current)} to end")
                time.sleep(POLL_SECONDS)
                continue
            self._before = note["before"] if note else _content(current)
            self._begun = True
            if self._objects.write(self._changed(current)):
                log.info("%s: applied release %s in %s", self._name, self._release, self._namespace)
                return

    def wait(self) -> None:
        """Waits until nothing but the new model answers."""
        deadline = time.monotonic() + self._seconds
        say = _Progress()
        while True:
            waits_for = self._waits_for()
            if not waits_for:
                log.info("%s: release %s is rolled out", self._name, self._release)
                return
            say(f"{self._name}: waiting for {waits_for}")
            if time.monotonic() > deadline:
                raise DeploymentError(
                    f"release {self._release} of {self._name} in {self._namespace} was not rolled out in "
                    f"{self._seconds:.0f} s; it waited for {waits_for}{self._words(self._pods())}"
                )
            time.sleep(POLL_SECONDS)

    def keep(self) -> None:
        """Takes away the note of what was there before: the new one holds."""
        with connection.told():
            while current := self._ours():
                current["metadata"]["annotations"].pop(UNVERIFIED, None)
                if self._objects.write(current):
                    return
        raise DeploymentError(f"release {self._release} of {self._name} was replaced while it was verified")

    def undo(self) -> str:
        """Puts back what was there before, and says what became of it."""
        try:
            with connection.told():
                return self._undo() if self._begun else f"nothing was changed in {self._namespace}"
        except DeploymentError as error:
            return f"what was there before could not be put back: {error}"

    def _undo(self) -> str:
        while current := self._ours():
            if self._before is None:
                self._objects.delete(current["metadata"]["uid"])
                return f"{self._name} was not served before and was removed again"
            metadata = {**current["metadata"], **self._before["metadata"]}
            if self._objects.write({**current, "metadata": metadata, "spec": self._before["spec"]}):
                return f"release {_release(self._before)}, which was served before, was put back"
        return f"{self._name} is another's by now, or is gone, and was left as it is"

    def _ours(self) -> dict[str, Any] | None:
        current = self._objects.read()
        return current if current and _release(current) == self._release else None

    def _changed(self, current: dict[str, Any] | None) -> dict[str, Any]:
        until = _now() + timedelta(seconds=self._seconds + VERIFICATION_SECONDS)
        note = json.dumps({"until": until.isoformat(timespec="seconds"), "before": self._before})
        metadata = current["metadata"] if current else {}
        return {
            **self._manifest,
            "metadata": {
                **metadata,
                **self._manifest["metadata"],
                "labels": {**metadata.get("labels", {}), **self._manifest["metadata"]["labels"]},
                "annotations": {**metadata.get("annotations", {}), UNVERIFIED: note},
            },
        }

    def _waits_for(self) -> str:
        """What is still missing; empty when all is there."""
        current = self._objects.read()
        if not current or _release(current) != self._release:
            by = f"was replaced by release {_release(current)}" if current else "was deleted"
            raise DeploymentError(f"{self._name} in {self._namespace} {by} while release {self._release} rolled out")
        deployment = self._deployment()
        if not deployment:
            status = current.get("status", {})
            failed = status.get("state") == "Failed" and status.get("description")
            return "Seldon's operator to act" + (f" (it says: {failed})" if failed else "")

        status, wanted = deployment.status, self._manifest["spec"]["predictors"][0]["replicas"]
        if (status.observed_generation or 0) < deployment.metadata.generation:
            return "the cluster to see the new Deployment"
        self._check_pods(deployment)
        counts = (status.replicas, status.updated_replicas, status.available_replicas)
        if deployment.spec.replicas != wanted or counts != (wanted, wanted, wanted):
            return self._missing(status, wanted)
        answering = [pod.metadata.name for pod in self._pods(other=True) if not _has_ended(pod)]
        return f"the pods of the release before to end: {', '.join(answering)}" if answering else ""

    def _deployment(self) -> Any:
        """The Deployment of this release; found by labels, for its name can be a hash."""
        found = self._apps.list_namespaced_deployment(
            self._namespace, label_selector=f"seldon-deployment-id={self._name}"
        ).items
        return next((one for one in found if _annotation(one.spec.template) == self._release), None)

    def _pods(self, other: bool = False) -> list[Any]:
        """The pods of this release, or all others of this name."""
        found = self._core.list_namespaced_pod(
            self._namespace, label_selector=f"seldon-deployment-id={self._name}"
        ).items
        return [pod for pod in found if (_annotation(pod) != self._release) == other]

    def _check_pods(self, deployment: Any) -> None:
        for condition in deployment.status.conditions or []:
            if condition.type == "ReplicaFailure" and condition.status == "True":
                raise DeploymentError(f"the cluster refuses the pods of {self._name}: {condition.message}")
        found = self._pods()
        if any(trouble.hopeless for trouble in pods.troubles(found)):
            raise DeploymentError(f"release {self._release} of {self._name} does not come up{self._words(found)}")

    def _missing(self, status: Any, wanted: int) -> str:
        found = self._pods()
        trouble = next(iter(pods.troubles(found)), None)
        old = (status.replicas or 0) - (status.updated_replicas or 0)
        return (
            f"{wanted} new pods: {len(found)} made, {sum(map(pods.is_ready, found))} ready"
            + (f", {old} old" if old else "")
            + (f" ({trouble})" if trouble else "")
        )

    def _words(self, found: list[Any]) -> str:
        told = [pods.words(self._core, self._namespace, trouble) for trouble in pods.troubles(found)[:3]]
        return "".join(f"\n{words}" for words in told)


class _Progress:
    """Says what has changed since it was said last."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, words: str) -> None:
        if words != self._said:
            log.info(words)
        self._said = words


def _content(current: dict[str, Any] | None) -> dict[str, Any] | None:
    """What of an object is its maker's."""
    if current is None:
        return None
    metadata = current["metadata"]
    kept = {"labels": metadata.get("labels", {}), "annotations": metadata.get("annotations", {})}
    return {"metadata": kept, "spec": current["spec"]}


def _note(current: dict[str, Any] | None) -> dict[str, Any] | None:
    text = ((current or {}).get("metadata", {}).get("annotations") or {}).get(UNVERIFIED)
    note: dict[str, Any] | None = json.loads(text) if text else None
    return note


def _release(manifest: dict[str, Any]) -> str:
    release: str = manifest["spec"]["predictors"][0].get("annotations", {}).get(seldon.RELEASE, "")
    return release


def _annotation(one: Any) -> str:
    release: str = (one.metadata.annotations or {}).get(seldon.RELEASE, "")
    return release


def _is_ours(current: dict[str, Any]) -> bool:
    key, value = OURS
    return bool(current["metadata"].get("labels", {}).get(key) == value)


def _is_ending(current: dict[str, Any]) -> bool:
    return "deletionTimestamp" in current["metadata"]


def _has_ended(pod: Any) -> bool:
    """Whether a pod answers no more; one of a lost node can stay in the API for long after its end."""
    ending = pod.metadata.deletion_timestamp
    return pod.status.phase in ("Succeeded", "Failed") or (ending is not None and ending < _now())


def _now() -> datetime:
    return datetime.now(UTC)
