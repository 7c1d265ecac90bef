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
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from kubernetes import client

from cd4ml.cluster import connection, pods
from cd4ml.contracts.release import Version
from cd4ml.deployment.targets import CLUSTER, Release, Served, Target, Unfinished, seldon
from cd4ml.errors import DeploymentError
from cd4ml.registry import deployments
from cd4ml.registry.deployments import Series
from cd4ml.storage import NUMBER, Store

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


class Cluster(Target):
    """Seldon, in a namespace of a cluster."""

    name = CLUSTER

    def __init__(self, store: Store, model: str, *, namespace: str = "", seconds: float = ROLLOUT_SECONDS) -> None:
        super().__init__(store, model)
        api = connection.connect()
        self._namespace = namespace or connection.own_namespace()
        self._seconds = seconds
        self._api, self._apps, self._core = api, client.AppsV1Api(api), client.CoreV1Api(api)
        self._objects = _Objects(api, self._namespace, model)
        self._release: Release | None = None  # that is raised
        self._before: dict[str, Any] | None = None

    def check(self, version: Version) -> None:  # noqa: D102
        self._manifest(version, release="any", number=1)
        with connection.told():
            _check_seldon(self._api)

    @property
    def where(self) -> str:  # noqa: D102
        return f"the namespace {self._namespace} of the cluster"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for the others; what keeps them waiting is the note that `raise_` writes.

        Raises:
            DeploymentError: Who asks may not do all that whoever has the turn does, stopping included.
        """
        with connection.told():
            connection.check(self._api, self._namespace, NEEDED)
            self._when_free()
        yield

    def unfinished(self) -> Unfinished | None:
        """What the note says; where it is none of this history's, the next rollout takes the place of that one."""
        with connection.told():
            current = self._objects.read()
        note, series = _note(current), self._series(current)
        return Unfinished(series.begun.number, self._served(note.before)) if note and series else None

    def raise_(self, release: Release) -> str:
        """Writes the object, and waits until Kubernetes has ended the old pods and only the new ones answer."""
        manifest = self._manifest(release.version, release=release.begun.release, number=release.begun.number)
        with connection.told():
            while True:
                current = self._when_free()
                self._before = self._verified(current)
                self._release = release
                if self._objects.write(self._changed(manifest, current)):
                    log.info("%s: applied release %s in %s", self.model, release.begun.release, self._namespace)
                    break
        self._wait(release)
        return self._url

    def route(self, release: Release) -> str:  # noqa: ARG002
        """The predictor's own Service has led to the release since it was raised."""
        return self._url

    def _wait(self, release: Release) -> None:
        deadline = time.monotonic() + self._seconds
        say = _Progress()
        with connection.told():
            while waits_for := self._waits_for():
                say(f"{self.model}: waiting for {waits_for}")
                if time.monotonic() > deadline:
                    raise DeploymentError(
                        f"release {release.begun.release} of {self.model} in {self._namespace} was not rolled out in "
                        f"{self._seconds:.0f} s; it waited for {waits_for}{self._words(self._pods())}"
                    )
                time.sleep(POLL_SECONDS)
        log.info("%s: release %s is rolled out", self.model, release.begun.release)

    def current(self) -> Served | None:  # noqa: D102
        with connection.told():
            found = self._objects.read()
        if not found or not _is_ours(found) or _is_ending(found):
            return None
        return self._served(found)

    def keep(self) -> None:  # noqa: D102
        with connection.told():
            while (current := self._objects.read()) and _note(current) and self._holds(current):
                current["metadata"]["annotations"].pop(UNVERIFIED)
                if self._objects.write(current):
                    return

    def undo(self) -> str:  # noqa: D102
        try:
            with connection.told():
                if self._release is None and self.unfinished():
                    return f"{self.model}: a rollout whose process was killed is undone: the next takes its place"
                return self._undo() if self._release else f"nothing was changed in {self._namespace}"
        except DeploymentError as error:
            return f"what was there before could not be put back: {error}"

    def _undo(self) -> str:
        while current := self._ours():
            if self._before is None:
                self._objects.delete(current["metadata"]["uid"])
                return f"{self.model} was not served before and was removed again"
            metadata = {**current["metadata"], **self._before["metadata"]}
            if self._objects.write({**current, "metadata": metadata, "spec": self._before["spec"]}):
                return f"release {_release(self._before)}, which was served before, was put back"
        return f"{self.model} is another's by now, or is gone, and was left as it is"

    def remove(self) -> None:  # noqa: D102
        with connection.told():
            found = self._objects.read()
            if found and _is_ours(found):
                self._objects.delete(found["metadata"]["uid"])

    def _served(self, found: dict[str, Any] | None) -> Served | None:
        if found is None:
            return None
        series = self._series(found)
        return Served(series.begun.number if series else None, self._url)

    def _series(self, found: dict[str, Any] | None) -> Series | None:
        """What the history has of a release; nothing of one of another store, or of an older version."""
        number = found["spec"]["predictors"][0].get("annotations", {}).get(seldon.DEPLOYMENT, "") if found else ""
        series = deployments.find(self.store, self.model, int(number)) if NUMBER.fullmatch(number) else None
        return series if series and found and series.begun.release == _release(found) else None

    def _holds(self, found: dict[str, Any]) -> bool:
        series = self._series(found)
        return series is not None and series.state in ("held", "stopped")

    @property
    def _id(self) -> str:
        return self._release.begun.release if self._release else ""

    @property
    def _url(self) -> str:
        return f"http://{seldon.service(self.model)}.{self._namespace}.svc:{seldon.PORT}"

    def _manifest(self, version: Version, *, release: str, number: int) -> dict[str, Any]:
        return seldon.deployment(
            self.model,
            namespace=self._namespace,
            model_uri=self.store.uri(f"{version.folder}/model"),
            version=version.version,
            digest=version.digest,
            release=release,
            number=number,
        ).manifest()

    def _when_free(self) -> dict[str, Any] | None:
        """The object, once no rollout but ours may change it."""
        say = _Progress()
        while True:
            current = self._objects.read()
            if current and not _is_ours(current):
                raise DeploymentError(
                    f"the SeldonDeployment {self.model} in {self._namespace} was not made by cd4ml (it lacks the label "
                    f"{'='.join(OURS)}): remove it, or give the model another name"
                )
            if not current or not (_is_ending(current) or self._is_under_way(current)):
                return current
            say(f"{self.model}: waiting for the rollout {_release(current)} to end")
            time.sleep(POLL_SECONDS)

    def _is_under_way(self, current: dict[str, Any]) -> bool:
        note = _note(current)
        if note is None or note.until <= _now():
            return False
        series = self._series(current)
        return series is None or series.state == "begun"

    def _verified(self, current: dict[str, Any] | None) -> dict[str, Any] | None:
        """What of the object, or of its note, was served and verified last."""
        note = _note(current)
        if current is None or note is None or self._holds(current):
            return _content(current)
        return note.before

    def _ours(self) -> dict[str, Any] | None:
        current = self._objects.read()
        return current if current and _release(current) == self._id else None

    def _changed(self, manifest: dict[str, Any], current: dict[str, Any] | None) -> dict[str, Any]:
        until = _now() + timedelta(seconds=self._seconds + VERIFICATION_SECONDS)
        note = _Note(until, self._before)
        metadata = current["metadata"] if current else {}
        return {
            **manifest,
            "metadata": {
                **metadata,
                **manifest["metadata"],
                "labels": {**metadata.get("labels", {}), **manifest["metadata"]["labels"]},
                "annotations": {**metadata.get("annotations", {}), UNVERIFIED: note.text},
            },
        }

    def _waits_for(self) -> str:
        """What is still missing; empty when all is there."""
        current = self._objects.read()
        if not current or _release(current) != self._id:
            by = f"was replaced by release {_release(current)}" if current else "was deleted"
            raise DeploymentError(f"{self.model} in {self._namespace} {by} while release {self._id} rolled out")
        deployment = self._deployment()
        if not deployment:
            status = current.get("status", {})
            failed = status.get("state") == "Failed" and status.get("description")
            return "Seldon's operator to act" + (f" (it says: {failed})" if failed else "")

        status, wanted = deployment.status, current["spec"]["predictors"][0]["replicas"]
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
            self._namespace, label_selector=f"seldon-deployment-id={self.model}"
        ).items
        return next((one for one in found if _annotation(one.spec.template) == self._id), None)

    def _pods(self, other: bool = False) -> list[Any]:
        """The pods of this release, or all others of this name."""
        found = self._core.list_namespaced_pod(
            self._namespace, label_selector=f"seldon-deployment-id={self.model}"
        ).items
        return [pod for pod in found if (_annotation(pod) != self._id) == other]

    def _check_pods(self, deployment: Any) -> None:
        for condition in deployment.status.conditions or []:
            if condition.type == "ReplicaFailure" and condition.status == "True":
                raise DeploymentError(f"the cluster refuses the pods of {self.model}: {condition.message}")
        found = self._pods()
        if any(trouble.hopeless for trouble in pods.troubles(found)):
            raise DeploymentError(f"release {self._id} of {self.model} does not come up{self._words(found)}")

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


@dataclass(frozen=True)
class _Note:
    """What the annotation of an object says of a rollout that is not over."""

    until: datetime
    """When others may take its process for dead."""
    before: dict[str, Any] | None
    """What of the object was served when it began."""

    @classmethod
    def of(cls, text: str) -> Self:
        content = json.loads(text)
        before = content["before"]
        if before is not None:
            before = {"metadata": {**before["metadata"]}, "spec": {**before["spec"]}}
        return cls(datetime.fromisoformat(content["until"]).astimezone(UTC), before)

    @property
    def text(self) -> str:
        return json.dumps({"until": self.until.isoformat(timespec="seconds"), "before": self.before})


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
    annotations = {key: value for key, value in metadata.get("annotations", {}).items() if key != UNVERIFIED}
    kept = {"labels": metadata.get("labels", {}), "annotations": annotations}
    return {"metadata": kept, "spec": current["spec"]}


def _note(current: dict[str, Any] | None) -> _Note | None:
    metadata = (current or {}).get("metadata", {})
    text = (metadata.get("annotations") or {}).get(UNVERIFIED)
    if not text:
        return None
    try:
        return _Note.of(text)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DeploymentError(
            f"the SeldonDeployment {metadata['name']}: its annotation {UNVERIFIED} is no note of what was served "
            f"before ({error!r}); take the annotation away, and what is served now counts"
        ) from error


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
