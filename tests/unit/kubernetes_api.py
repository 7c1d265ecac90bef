"""As much of a cluster's API as a rollout asks, in memory: objects with versions, and pods that are ready at once.

It plays the operators of Seldon and KServe, the controllers behind a Service and the pods of a router too, and can fail
as an API server does.
"""

import json
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]

NAMED = re.compile(r"/(?:api|apis/[^/]+)/v1(beta1)?/namespaces/(?P<namespace>[^/]+)/(?P<kind>[^/]+)(/(?P<name>[^/]+))?")


ROUTER = "cd4ml/router"
KINDS = {
    "/apis/machinelearning.seldon.io/v1": "seldondeployments",
    "/apis/serving.kserve.io/v1beta1": "inferenceservices",
}
"""What a release can be made as, by the path that says whether it is known."""


class RefusedError(Exception):
    """The API says no: a status and the words."""


@dataclass
class Fault:
    """What the next requests of a method and a kind are answered with."""

    method: str
    kind: str
    status: int
    """0 for a connection that is cut."""
    times: int
    does: bool = False
    """Whether what was asked for is done all the same."""


class Api(ThreadingHTTPServer):
    """One namespace."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.objects: dict[tuple[str, str], Object] = {}
        """By kind and name."""
        self.events: list[Object] = []
        """Those that were written, in turn."""
        self.faults: list[Fault] = []
        self.hidden: set[str] = set()
        """SeldonDeployments that the operator does not act on."""
        self.waits: set[str] = set()
        """SeldonDeployments, or Deployments of routers, whose pods do not get ready."""
        self.answered: list[str] = []
        """The SeldonDeployment, or router, that callers of the Service `uptake` reached, after each change."""
        self.unreached = ""
        """What the router's pods say of the releases that they cannot reach."""
        self.seldon = True
        """Whether the kinds are known that a release can be made as."""
        self.before_put: Callable[[], None] | None = None
        """Happens once, before the next object is replaced."""
        self._version, self._lock = 0, threading.RLock()

    def kubeconfig(self, folder: Path) -> Path:
        """Points a client here."""
        context = {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "team"}}
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server_address[1]}"}}
        content = {"current-context": "c", "contexts": [context], "clusters": [cluster]}
        (folder / "kubeconfig").write_text(json.dumps({**content, "users": [{"name": "u", "user": {}}]}))
        return folder / "kubeconfig"

    def put(self, kind: str, content: Object) -> Object:
        """Stores an object as it is."""
        self._version += 1
        metadata = {"namespace": "team", "uid": uuid.uuid4().hex, **content["metadata"]}
        stored = {**content, "metadata": {**metadata, "resourceVersion": str(self._version)}}
        self.objects[kind, metadata["name"]] = stored
        return stored

    def names(self, kind: str) -> list[str]:
        """Of all objects of a kind."""
        return sorted(name for one, name in self.objects if one == kind)

    def service(self) -> Object:
        """The Service that callers ask."""
        return self.objects["services", "uptake"]

    def reached(self) -> str:
        """The SeldonDeployment whose pods answer callers, or the router; empty where none do."""
        selector = self.objects.get(("services", "uptake"), {"spec": {}})["spec"].get("selector") or {}
        ready = (pod for pod in self._pods() if pod["ready"]) if selector else ()
        return next((pod["id"] for pod in ready if selector.items() <= pod["labels"].items()), "")

    def followed(self) -> Any:
        """What the router follows: the file that its pods are told of."""
        [router] = [one for (kind, _), one in self.objects.items() if kind == "deployments"]
        [container] = router["spec"]["template"]["spec"]["containers"]
        environment = {one["name"]: one["value"] for one in container["env"]}
        return json.loads(Path(environment["TRAFFIC_FILE"]).read_text())

    def ask(self, method: str, path: str, query: dict[str, list[str]], body: Object) -> Object:
        """Answers a request."""
        if path.endswith("selfsubjectaccessreviews"):
            return {**body, "status": {"allowed": True}}
        if path in KINDS:
            kind = {"kind": "Kind", "name": KINDS[path], "namespaced": True, "singularName": "kind", "verbs": []}
            return {"groupVersion": "v1", "resources": [kind] if self.seldon else []}
        if path == "/api/v1/namespaces/team":
            return {"metadata": {"name": "team"}}
        found = NAMED.fullmatch(path)
        if not found:
            raise RefusedError(404, path)
        kind, name = found["kind"], found["name"] or body.get("metadata", {}).get("name", "")
        with self._lock:
            if method == "GET" and not found["name"]:
                return {"items": self._listed(kind, query.get("labelSelector", [""])[0])}
            changed = getattr(self, f"_{method.lower()}")(kind, name, body)
            if method != "GET" and kind != "events":
                self.answered.append(self.reached())
            return changed

    def _get(self, kind: str, name: str, _: Object) -> Object:
        if (kind, name) not in self.objects:
            raise RefusedError(404, f"{kind} {name} not found")
        return self.objects[kind, name]

    def _post(self, kind: str, name: str, body: Object) -> Object:
        if kind == "events":
            self.events.append(body)
            return body
        if (kind, name) in self.objects:
            raise RefusedError(409, f"{kind} {name} already exists")
        return self.put(kind, body)

    def _put(self, kind: str, name: str, body: Object) -> Object:
        meddle, self.before_put = self.before_put, None
        if meddle:
            meddle()
        if self._get(kind, name, body)["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise RefusedError(409, "the object has been modified")
        return self.put(kind, body)

    def _delete(self, kind: str, name: str, body: Object) -> Object:
        metadata = self._get(kind, name, body)["metadata"]
        if any(metadata[key] != value for key, value in (body.get("preconditions") or {}).items() if value):
            raise RefusedError(409, "the precondition failed")
        for key, other in list(self.objects.items()):
            if metadata["uid"] in [owner["uid"] for owner in other["metadata"].get("ownerReferences", [])]:
                del self.objects[key]
        return self.objects.pop((kind, name))

    def _pods(self) -> list[Object]:
        made = []
        for (kind, name), one in self.objects.items():
            if kind == "seldondeployments" and name not in self.hidden:
                annotations = one["spec"]["predictors"][0].get("annotations", {})
                labels = {"seldon-deployment-id": name}
                made.append({"id": name, "ready": name not in self.waits, "annotations": annotations, "labels": labels})
            elif kind == "inferenceservices" and name not in self.hidden:
                about = {key: one["spec"]["predictor"][key] for key in ("annotations", "labels")}
                made.append({"id": name, "ready": name not in self.waits, **about})
            elif kind == "deployments":
                labels = one["spec"]["template"]["metadata"]["labels"]
                made.append({"id": name, "ready": name not in self.waits, "annotations": {}, "labels": labels})
        return made

    def _listed(self, kind: str, selector: str) -> list[Object]:
        label, _, value = selector.partition("=")
        if kind == "endpointslices":
            endpoints = [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "targetRef": {"name": f"{one['id']}-pod"}}
                for one in self._pods()
                if one["id"] == self.reached()
            ]
            return [{"addressType": "IPv4", "endpoints": endpoints, "metadata": {"name": "s"}, "ports": []}]
        made = [one for one in self._pods() if one["labels"].get(label) == value]
        return [_deployment(one) if kind == "deployments" else _pod(one) for one in made if kind != "events"]


def _deployment(one: Object) -> Object:
    ready = int(one["ready"])
    template = {"metadata": {"annotations": one["annotations"]}, "spec": {"containers": [{"name": "model"}]}}
    return {
        "metadata": {"name": one["id"] if ROUTER in one["labels"] else f"{one['id']}-p-0-model", "generation": 1},
        "spec": {"replicas": 1, "selector": {}, "template": template},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": ready},
    }


def _pod(one: Object) -> Object:
    ready = {"type": "Ready", "status": str(one["ready"])}
    metadata = {"name": f"{one['id']}-pod", "annotations": one["annotations"]}
    status = {"phase": "Running", "conditions": [ready], "podIP": "127.0.0.1"}
    return {"metadata": metadata, "spec": {"containers": [{"name": "model"}]}, "status": status}


class _Answers(BaseHTTPRequestHandler):
    server: Api
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        url = urlsplit(self.path)
        if url.path in ("/traffic", "/health/status"):  # of the router's pods, which have the API's address
            if url.path == "/traffic":
                self._say(200, {"followed": self.server.followed()})
            else:
                self._say(503 if self.server.unreached else 200, {"said": self.server.unreached})
            return
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        fault = next((one for one in self.server.faults if self._meets(one, url.path)), None)
        try:
            if fault:
                fault.times -= 1
                if fault.does:
                    self.server.ask(self.command, url.path, parse_qs(url.query), body)
                if not fault.status:
                    self.close_connection = True
                    self.connection.close()
                    return
                raise RefusedError(fault.status, "not now")
            self._say(200, self.server.ask(self.command, url.path, parse_qs(url.query), body))
        except RefusedError as refused:
            status, words = refused.args
            self._say(status, {"kind": "Status", "code": status, "message": words})

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 (as the class above wants them)

    def _meets(self, fault: Fault, path: str) -> bool:
        return fault.times > 0 and fault.method == self.command and f"/{fault.kind}" in path

    def _say(self, status: int, content: Object) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass
