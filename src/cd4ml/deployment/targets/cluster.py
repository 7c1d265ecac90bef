"""A model on a cluster: each release is an object of its own, beside the one that serves; Seldon's SeldonDeployment.

It is named as the model and the number of the deployment, and never changes after it is made. It is up when every
Deployment that the operator makes of it is: its controller has seen it, and all its pods are available. What the object
says of itself (Seldon's `status.state`) comes too early, so it counts for nothing here. The release then answers at the
Service that the operator makes for it, and nobody else asks there. Routing switches the model's own Service (`stable`)
to it, and back. Where requests are divided or copied, the Service is switched to a router (`router_pods`) meanwhile.

What a release is made as is a `Kind`: another operator (`kserve`) has another, and all else in common.

Versions before served a model by one SeldonDeployment of its name, which they changed. It is replaced like any other.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import urllib3
from kubernetes import client

from cd4ml.cluster import connection, events, pods
from cd4ml.contracts.deployment import WORDS, Begun, Event, Undone
from cd4ml.contracts.release import Version
from cd4ml.contracts.traffic import Arm, Sticky, Traffic
from cd4ml.deployment.targets import CLUSTER, Release, Served, Split, Target, Unfinished, router_pods, seldon, stable
from cd4ml.deployment.targets.kind import DEPLOYMENT, POD, RELEASE, VERSION, Kind, labels, object_name
from cd4ml.deployment.targets.router import FOLLOW_SECONDS, arm_name, traffic_of
from cd4ml.deployment.targets.router_pods import ROUTER, RouterPods
from cd4ml.deployment.targets.stable import Note, StableService
from cd4ml.errors import Cd4mlError, DeploymentError
from cd4ml.registry import approvals, deployments
from cd4ml.registry.deployments import Series
from cd4ml.storage import NUMBER, Store

log = logging.getLogger(__name__)

ROLLOUT_SECONDS = 600.0
DEAD_SECONDS = 300.0
"""After which, since the note of a rollout was written or renewed, another rollout takes its process for dead."""
RENEW_SECONDS = 30.0
POLL_SECONDS = 2.0
_NEEDED = {
    ("", "services", ""): ("get", "create", "update", "delete"),
    ("discovery.k8s.io", "endpointslices", ""): ("list",),
    ("apps", "deployments", ""): ("list", "create", "delete"),
    ("", "pods", ""): ("list",),
    ("", "pods", "log"): ("get",),
    ("", "events", ""): ("list",),
}


def needed(kind: Kind) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """What a rollout does in its namespace, by API group, resource and subresource."""
    return {(kind.group, kind.plural, ""): ("get", "create", "delete"), **_NEEDED}


class Cluster(Target):
    """Seldon, in a namespace of a cluster."""

    name = CLUSTER
    splits = True
    kind: ClassVar[Kind] = seldon.KIND
    """What a release is made as."""

    def __init__(self, store: Store, model: str, *, namespace: str = "", seconds: float = ROLLOUT_SECONDS) -> None:
        super().__init__(store, model)
        api = connection.connect()
        self._namespace = namespace or connection.own_namespace()
        self._seconds = seconds
        self._api, self._apps, self._core = api, client.AppsV1Api(api), client.CoreV1Api(api)
        self._slices = client.DiscoveryV1Api(api)
        self._objects = _Objects(api, self._namespace, model, kind=self.kind)
        self._service = StableService(api, self._namespace, model, target=self.name)
        self._routers = RouterPods(store, api, namespace=self._namespace, model=model)
        self._begun: Begun | None = None  # of the release that is raised

    def check(self, version: Version) -> None:  # noqa: D102
        self._manifest(version, release="any", number=1)
        with connection.told():
            self._check_kind()

    @property
    def where(self) -> str:  # noqa: D102
        return f"the namespace {self._namespace} of the cluster"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for the others; what keeps them waiting is the note that `raise_` writes, which is renewed meanwhile.

        Raises:
            DeploymentError: Who asks may not do all that whoever has the turn does, stopping included.
        """
        with connection.told():
            connection.check(self._api, self._namespace, needed(self.kind))
            self._when_free()
        ended = threading.Event()
        threading.Thread(target=self._renew, args=(ended,), daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def unfinished(self) -> Unfinished | None:
        """What the note says; one that is none of this history's is put back by the next rollout."""
        with connection.told():
            note = stable.note_of(self._service.read())
            series = note and self._series(note.number, note.release)
            if not note or not series:
                return None
            return Unfinished(series.begun.number, self._served(note.before), under_way=self._is_under_way(note))

    def raise_(self, release: Release) -> str:
        """Notes what is served, makes the release's object, and waits until all its pods are up."""
        begun = release.begun
        manifest = self._manifest(release.version, release=begun.release, number=begun.number)
        metadata = manifest["metadata"]
        metadata["annotations"] = {**metadata.get("annotations", {}), **self._about(release.version, begun)}
        with connection.told():
            self._begun = begun
            self._note(begun)
            self._objects.create(manifest)
            name = self._name(begun.number)
            log.info("%s: release %s comes up as %s", self.model, begun.release, name)
            self._wait(begun, lambda: self._missing_of_release(begun), failed="did not come up", label=pods_of(name))
        return f"http://{self.kind.address(manifest)}"

    def route(self, release: Release) -> str:
        """Switches the model's Service, and waits until it leads to the pods of the release and to no other."""
        name = self._name(release.begun.number)
        with connection.told():
            self._switch(release.begun, POD, name)
            self._lead_router(release.begun.number, to=name)
        log.info("%s: all requests to %s", self.model, name)
        return self._service.url

    def share(
        self, release: Release, weight: float, features: list[str], *, sticky: Sticky | None = None
    ) -> Split | None:
        """Has a router ask the release for a part, and what was served before for the rest."""

        def part(arm: Arm) -> Arm:
            return replace(arm, weight=weight)

        return self._divide(release.begun, features, champion=1 - weight, part=part, sticky=sticky)

    def mirror(self, release: Release, copied: float, features: list[str]) -> Split | None:
        """Has a router copy a part to the release."""

        def part(arm: Arm) -> Arm:
            return replace(arm, mirror=True, copied=copied)

        return self._divide(release.begun, features, champion=1.0, part=part)

    def current(self) -> Served | None:
        """What is served; while requests are divided, what was served before."""
        with connection.told():
            service = self._service.read()
            if service is None:
                return self._served(self._of_before())
            note = stable.note_of(service)
            return self._served(stable.selected(service) or (note.before if note else ""))

    def divides(self) -> bool:
        """Whether both releases are there, and a pod of the router that takes requests; yes where the API is away."""
        with connection.told():
            try:
                return self._divides()
            except (client.ApiException, urllib3.exceptions.HTTPError) as error:
                log.warning("%s: whether requests are divided cannot be told (%s)", self.model, _away(error))
                return True

    def meant(self) -> Served | None:
        """What is served; or the model's Service, where somebody else has removed what it selects."""
        with connection.told():
            left = Served(None, self._service.url) if self._service.read() else None
        return self.current() or left

    def keep(self) -> None:
        """Removes what was served before, and then the note: killed in between, the next rollout does both again."""
        with connection.told():
            while (note := stable.note_of(service := self._service.read())) and self._holds(note):
                self._routers.delete(self._name(note.number))
                self._objects.delete(note.before)
                stable.write_note(service, None)
                if self._service.write(service):
                    return

    def undo(self) -> str:  # noqa: D102
        with connection.told():
            note = stable.note_of(self._service.read())
            if note and (note.release == self._begun.release if self._begun else not self._is_under_way(note)):
                return self._put_back(note)
            if self._begun:  # another has taken this rollout for dead
                self._objects.delete(self._name(self._begun.number), release=self._begun.release)  # and its router
            return f"nothing is left of it in {self._namespace}"

    def remove(self) -> None:  # noqa: D102
        with connection.told():
            while True:
                service = self._service.read()
                note = stable.note_of(service)
                ours = {stable.selected(service), self._of_before()}
                if note:
                    self._routers.delete(self._name(note.number))
                for name in ours | ({note.before, self._name(note.number)} if note else set()):
                    self._objects.delete(name)
                if service is None or self._service.delete(service):
                    return

    def tell(self, begun: Begun, event: Event) -> None:
        """Writes an Event about the model's Service."""
        try:
            with connection.told():
                service = self._service.read()
                about = client.V1ObjectReference(
                    api_version="v1",
                    kind="Service",
                    name=self.model,
                    namespace=self._namespace,
                    uid=service.metadata.uid if service else None,
                )
                told = f"Deployment {begun.number}, version {begun.version}, {WORDS[type(event)]}"
                events.write(
                    self._core,
                    about,
                    reason=event.kind.removeprefix("cd4ml/"),
                    message=": ".join(filter(None, (told, event.headline))),
                    warning=isinstance(event, Undone),
                )
        except DeploymentError as error:
            log.warning("%s: the cluster could not be told of deployment %d: %s", self.model, begun.number, error)

    def _describe(self, service: Any, name: str) -> None:
        """Has the model's Service say what the object of a release says of itself."""
        found = self._objects.read(name)
        stable.describe(service, (found["metadata"].get("annotations") or {}) if found else {})

    def _name(self, number: int) -> str:
        return object_name(self.model, number)

    def _about(self, version: Version, begun: Begun) -> dict[str, str]:
        """What people want to know of a release, and where it comes from, by annotation."""
        among = deployments.every(self.store, self.model)
        approved = ", ".join(one.headline for one in approvals.of(self.store, Series(begun, (begun,)), among))
        about = {
            "version": str(version.version),
            "digest": version.digest,
            "deployment": str(begun.number),
            "run": begun.run,
            "revision": version.revision,
            "dataset": f"{version.dataset.name}@{version.dataset.version}",
            "approved-by": approved,
        }
        return {f"cd4ml/{name}": text for name, text in about.items() if text}

    def _manifest(self, version: Version, *, release: str, number: int) -> dict[str, Any]:
        return self.kind.manifest(
            self.model,
            namespace=self._namespace,
            model_uri=self.store.uri(f"{version.folder}/model"),
            version=version.version,
            digest=version.digest,
            release=release,
            number=number,
            capture=self._routers.capture,
        )

    def _when_free(self, but: str = "") -> Any:
        """The model's Service, once no rollout may change it but the one whose release is named."""
        say = _Progress()
        while True:
            service = self._service.read()
            note = stable.note_of(service)
            if note is None or note.release == but or not self._is_under_way(note):
                return service
            say(f"{self.model}: waiting for the rollout {note.release} to end")
            time.sleep(POLL_SECONDS)

    def _is_under_way(self, note: Note) -> bool:
        if note.until <= _now():
            return False
        series = self._series(note.number, note.release)
        return series is None or series.state == "begun"

    def _note(self, begun: Begun) -> None:
        """Writes down what is served, once there is no other rollout."""
        while True:
            service = self._when_free(but=begun.release)
            left = stable.note_of(service)
            if left and left.release == begun.release:
                return  # written before, and the answer was lost
            if left:
                self.keep() if self._holds(left) else self._put_back(left)
                continue
            before = stable.selected(service) if service else self._of_before()
            service = service or self._service.new(before)
            stable.write_note(service, Note(_until(), release=begun.release, number=begun.number, before=before))
            if self._service.write(service):
                return

    def _renew(self, ended: threading.Event) -> None:
        """Renews the note of this rollout, if there is one, until it is over."""
        while not ended.wait(RENEW_SECONDS):
            try:
                with connection.told():
                    service = self._service.read()
                    note = stable.note_of(service)
                    if note and self._begun and note.release == self._begun.release:
                        stable.write_note(service, replace(note, until=_until()))
                        self._service.write(service)
            except DeploymentError as error:
                log.warning("%s: the note of this rollout could not be renewed: %s", self.model, error)

    def _own_note(self, begun: Begun) -> tuple[Any, Note]:
        """The model's Service, and the note of this rollout on it."""
        service = self._service.read()
        note = stable.note_of(service)
        if note is None or note.release != begun.release:
            raise DeploymentError(f"{self.model}: {begun.release} was undone by another rollout")
        return service, note

    def _switch(self, begun: Begun, label: str, name: str) -> None:
        """Has the model's Service select the pods of a label, and waits until it leads to them and to no other."""
        while True:
            service, _ = self._own_note(begun)
            stable.select(service, label, name)
            if label == POD:
                self._describe(service, name)
            if self._service.write(service):
                break
        pods = f"{label}={name}"
        self._wait(begun, lambda: self._missing_of_route(pods), failed="does not get the requests", label=pods)

    def _divide(
        self,
        begun: Begun,
        features: list[str],
        *,
        champion: float,
        part: Callable[[Arm], Arm],
        sticky: Sticky | None = None,
    ) -> Split | None:
        """Has a router divide requests; callers reach it once it does.

        Args:
            begun: The release's.
            features: Those whose values are to be captured.
            champion: The part of what was served before.
            part: Gives the release its own, of nothing.
            sticky: By what callers are known; None where they need not be.
        """
        name = self._name(begun.number)
        with connection.told():
            service, note = self._own_note(begun)
            release, before = self._objects.read(name), self._objects.read(note.before) if note.before else None
            if before is None:
                return None
            if release is None:
                raise DeploymentError(f"the {self.kind.name} {name} in {self._namespace} was deleted")
            arms = self._arm(before, champion), part(self._arm(release, 0.0))
            traffic = traffic_of(self.store, self.model, arms, features=features, sticky=sticky)
            self._routers.write(begun.number, traffic)
            if not self._routers.find(name):
                self._routers.create(release, begun.number)
            self._wait(
                begun,
                lambda: self._missing_of_router(name, traffic),
                failed="got no router that divides requests",
                label=router_pods.selector(name),
            )
            if stable.selected(service):
                self._switch(begun, ROUTER, name)
        log.info("%s: requests to %s", self.model, traffic.headline)
        return Split(self._routers.capture, arms[0].name, arms[1].name, mirrored=arms[1].mirror)

    def _divides(self) -> bool:
        note = stable.note_of(self._service.read())
        if note is None:
            return False
        release = self._name(note.number)
        router = self._routers.find(release)
        both = all(self._objects.read(name) for name in (note.before, release))
        return both and bool(router and router.status.available_replicas)

    def _lead_router(self, number: int, to: str) -> None:
        """Has those who are still connected to the router of a deployment answered by one release, where it can be."""
        name = self._name(number)
        found = self._objects.read(to)
        if not self._routers.find(name) or not found:
            return
        end = time.monotonic() + FOLLOW_SECONDS
        try:
            traffic = traffic_of(self.store, self.model, (self._arm(found, 1.0),))
            self._routers.write(number, traffic)
            while said := self._routers.strays(self._running(router_pods.selector(name)), traffic):
                if time.monotonic() > end:
                    raise DeploymentError(said)
                time.sleep(POLL_SECONDS)
        except Cd4mlError as error:
            log.warning("%s: requests on open connections may fail while the router ends: %s", self.model, error)

    def _arm(self, found: dict[str, Any], weight: float) -> Arm:
        """A release as the router asks it."""
        number, version = (self.kind.annotation(found, key) for key in (DEPLOYMENT, VERSION))
        name = arm_name(int(number) if NUMBER.fullmatch(number) else None, version)
        return Arm(name, f"http://{self.kind.address(found)}", weight, version)

    def _of_before(self) -> str:
        """The object by which a version before served the model; empty where there is none.

        Raises:
            DeploymentError: A rollout of that version is not over.
        """
        found = self._objects.read(self.model)
        if not found or not self._objects.is_ours(found) or _is_ending(found):
            return ""
        if stable.NOTE in found["metadata"].get("annotations", {}):
            raise DeploymentError(
                f"the {self.kind.name} {self.model} in {self._namespace}: its annotation {stable.NOTE} says that a "
                "rollout of an earlier version of cd4ml is not over; wait for it, or take the annotation away, and "
                "what is served now counts"
            )
        return self.model

    def _put_back(self, note: Note) -> str:
        """Routes back to what a note has, and takes away the release and then the note; what became of it."""
        said = "is served as before"
        while True:
            service = self._service.read()
            now = stable.note_of(service)
            if now is None or now.release != note.release:
                return f"{self.model} is another's by now, or is gone, and was left as it is"
            if note.before and stable.selected(service) != note.before:
                stable.select(service, POD, note.before)
                self._describe(service, note.before)
                self._service.write(service)
                said = "was put back"
                continue
            self._lead_router(note.number, to=note.before)
            self._routers.delete(self._name(note.number))
            self._objects.delete(self._name(note.number), release=note.release)
            if not note.before:
                if self._service.delete(service):
                    return f"{self.model} was not served before and was removed again"
                continue
            stable.write_note(service, None)
            if self._service.write(service):
                return f"{note.before}, which was served before, {said}"

    def _served(self, name: str) -> Served | None:
        found = self._objects.read(name) if name else None
        if not found or _is_ending(found):
            return None
        number, release = (self.kind.annotation(found, key) for key in (DEPLOYMENT, RELEASE))
        series = self._series(int(number), release) if NUMBER.fullmatch(number) else None
        of_before = name == self.model and self._service.read() is None
        url = f"http://{self.kind.address(found)}" if of_before else self._service.url
        return Served(series.begun.number if series else None, url)

    def _series(self, number: int, release: str) -> Series | None:
        """What the history has of a release; nothing of one of another store, or of an older version."""
        series = deployments.find(self.store, self.model, number)
        return series if series and series.begun.release == release else None

    def _holds(self, note: Note) -> bool:
        series = self._series(note.number, note.release)
        return series is not None and series.state in ("held", "stopped")

    def _wait(self, begun: Begun, missing: Callable[[], str], *, failed: str, label: str) -> None:
        """Waits until nothing of a release is missing any more; the cluster's API may be away meanwhile.

        Args:
            begun: The release's.
            missing: What is.
            failed: What is said of it where the time is up.
            label: Of the pods that it is about.
        """
        deadline, say = time.monotonic() + self._seconds, _Progress()
        while waits_for := _unless_away(missing):
            say(f"{self.model}: waiting for {waits_for}")
            if time.monotonic() > deadline:
                raise DeploymentError(
                    f"release {begun.release} of {self.model} in {self._namespace} {failed} in "
                    f"{self._seconds:.0f} s; it waited for {waits_for}{self._words(self._pods(label))}"
                )
            time.sleep(POLL_SECONDS)

    def _missing_of_release(self, begun: Begun) -> str:
        """What of a release is not up yet; empty when all is."""
        name = self._name(begun.number)
        current = self._objects.read(name)
        if not current or _is_ending(current) or self.kind.annotation(current, RELEASE) != begun.release:
            raise DeploymentError(f"the {self.kind.name} {name} in {self._namespace} was deleted while it came up")
        found = [one for one in self._deployments(name) if _release_of(one.spec.template) == begun.release]
        if len(found) < self.kind.deployments(current):
            failed = self.kind.failure(current)
            return f"{self.kind.operator} to act" + (f" (it says: {failed})" if failed else "")
        made = self._pods(pods_of(name))
        others = [pod.metadata.name for pod in made if _release_of(pod) != begun.release]
        if others:  # of another store's deployment of that number
            return f"the pods of another release to end: {', '.join(others)}"
        return next(filter(None, (self._missing_of(deployment, name, made) for deployment in found)), "")

    def _missing_of(self, deployment: Any, name: str, made: list[Any]) -> str:
        status, wanted = deployment.status, deployment.spec.replicas
        if (status.observed_generation or 0) < deployment.metadata.generation:
            return "the cluster to see the new Deployment"
        self._check_pods(deployment, name, made)
        if (status.replicas, status.updated_replicas, status.available_replicas) == (wanted, wanted, wanted):
            return ""
        trouble = next(iter(pods.troubles(made)), None)
        counts = f"{len(made)} made, {sum(map(pods.is_ready, made))} ready"
        return f"{wanted} new pods: {counts}" + (f" ({trouble})" if trouble else "")

    def _missing_of_router(self, name: str, traffic: Traffic) -> str:
        """What of a router is not up yet, or does not divide requests so; empty when all does."""
        found = self._routers.find(name)
        if found is None:
            raise DeploymentError(f"the router of {name} in {self._namespace} was deleted")
        made = self._running(router_pods.selector(name))
        return self._missing_of(found, f"the router of {name}", made) or self._routers.strays(made, traffic)

    def _missing_of_route(self, pods_label: str) -> str:
        """Which pods the model's Service leads to that have not a label, or that it leads to none."""
        label = f"kubernetes.io/service-name={self.model}"
        slices = self._slices.list_namespaced_endpoint_slice(self._namespace, label_selector=label).items
        endpoints = [one for part in slices for one in part.endpoints or [] if one.conditions.ready is not False]
        answering = {one.target_ref.name for one in endpoints if one.target_ref}
        others = answering - {pod.metadata.name for pod in self._pods(pods_label)}
        if others:
            return f"the Service {self.model} to leave the pods {', '.join(sorted(others))}"
        return "" if answering else f"the Service {self.model} to find the pods with {pods_label}"

    def _deployments(self, name: str) -> list[Any]:
        found: list[Any] = self._apps.list_namespaced_deployment(self._namespace, label_selector=pods_of(name)).items
        return found

    def _running(self, label: str) -> list[Any]:
        return [pod for pod in self._pods(label) if pod.metadata.deletion_timestamp is None]

    def _pods(self, label: str) -> list[Any]:
        found: list[Any] = self._core.list_namespaced_pod(self._namespace, label_selector=label).items
        return found

    def _check_pods(self, deployment: Any, name: str, made: list[Any]) -> None:
        for condition in deployment.status.conditions or []:
            if condition.type == "ReplicaFailure" and condition.status == "True":
                raise DeploymentError(f"the cluster refuses the pods of {self.model}: {condition.message}")
        if any(trouble.hopeless for trouble in pods.troubles(made)):
            raise DeploymentError(f"{name} does not come up{self._words(made)}")

    def _check_kind(self) -> None:
        kind = self.kind
        try:
            known = client.CustomObjectsApi(self._api).get_api_resources(kind.group, kind.version).resources
        except client.ApiException as error:
            if error.status != 404:
                raise
            known = []
        if kind.plural not in [resource.name for resource in known]:
            raise DeploymentError(
                f"{kind.product} is not installed in this cluster (it knows no {kind.plural}.{kind.group}/"
                f"{kind.version}): ask its admin to install {kind.install}, or deploy with the target `machine`"
            )

    def _words(self, found: list[Any]) -> str:
        told = [pods.words(self._core, self._namespace, trouble) for trouble in pods.troubles(found)[:3]]
        return "".join(f"\n{words}" for words in told)


class _Objects:
    """The objects of a model."""

    def __init__(self, api: client.ApiClient, namespace: str, model: str, *, kind: Kind) -> None:
        self._api = client.CustomObjectsApi(api)
        self._namespace = namespace
        self._labels = labels(model)
        self._kind, self._place = kind, (kind.group, kind.version, namespace, kind.plural)

    def is_ours(self, found: dict[str, Any]) -> bool:
        """Whether we made it, for this model."""
        labels: dict[str, str] = found["metadata"].get("labels", {})
        return self._labels.items() <= labels.items()

    def _release(self, found: dict[str, Any]) -> str:
        return self._kind.annotation(found, RELEASE)

    def read(self, name: str) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = self._api.get_namespaced_custom_object(*self._place, name)
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise
        return content

    def create(self, content: dict[str, Any]) -> None:
        try:
            self._api.create_namespaced_custom_object(*self._place, content)
        except client.ApiException as error:
            if error.status != 409:
                raise
            found = self.read(content["metadata"]["name"])
            if found and self._release(found) == self._release(content):
                return  # made before, and the answer was lost
            raise DeploymentError(
                f"the {self._kind.name} {content['metadata']['name']} is in {self._namespace} already, and this "
                "rollout did not make it: deploy again, which takes the next number, or remove it"
            ) from error

    def delete(self, name: str, release: str = "") -> None:
        """Deletes what is ours; where a release is named, only if it is that one's."""
        found = self.read(name) if name else None
        if not found or not self.is_ours(found) or (release and self._release(found) != release):
            return
        try:
            only = {"preconditions": {"uid": found["metadata"]["uid"]}}
            self._api.delete_namespaced_custom_object(*self._place, name, body=only)
        except client.ApiException as error:
            if error.status not in (404, 409):
                raise


class _Progress:
    """Says what has changed since it was said last."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, words: str) -> None:
        if words != self._said:
            log.info(words)
        self._said = words


def pods_of(name: str) -> str:
    """Selects the pods of a release, by the name of its object."""
    return f"{POD}={name}"


def _unless_away(missing: Callable[[], str]) -> str:
    """What is missing; the cluster's API itself, where it does not answer."""
    try:
        return missing()
    except (client.ApiException, urllib3.exceptions.HTTPError) as error:
        return f"the cluster's API to answer ({_away(error)})"


def _away(error: client.ApiException | urllib3.exceptions.HTTPError) -> str:
    """What an API says that is away; one that refuses is not, and its error is raised."""
    if not isinstance(error, client.ApiException):
        return str(error)
    if error.status != 429 and error.status < 500:
        raise error
    return f"it says {error.status} {error.reason}"


def _release_of(one: Any) -> str:
    release: str = (one.metadata.annotations or {}).get(RELEASE, "")
    return release


def _is_ending(current: dict[str, Any]) -> bool:
    return "deletionTimestamp" in current["metadata"]


def _now() -> datetime:
    return datetime.now(UTC)


def _until() -> datetime:
    """How long the note of a rollout holds that is written now."""
    return _now() + timedelta(seconds=DEAD_SECONDS)
