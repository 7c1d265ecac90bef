"""A KFP server of the test's own: it speaks as KFP 2.17's API server and its UI's way to ML Metadata do."""

import json
import re
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

MOMENT_MS = 1_795_942_805_000
"""When every execution began."""
NEVER = "1970-01-01T00:00:00Z"
USUAL_PAGE, LARGEST_PAGE = 20, 200
"""How many of a list KFP gives at once, where it is not asked for a number, and where it is asked for more."""


@dataclass
class Made:
    """An artifact that a task made."""

    name: str
    uri: str
    metadata: dict[str, Any]


@dataclass
class Ran:
    """An execution of a task, or of a group of tasks."""

    task: str
    display_name: str
    state: int = 3
    pod: str = ""
    artifacts: list[Made] = field(default_factory=list)
    kind: str = "system.ContainerExecution"
    within: int = 0
    """The place of its group among the executions of the run, from 1."""
    iteration: int | None = None


@dataclass
class KfpServer:
    """What the server holds, and how it is to behave."""

    version: str = "2.17.0"
    multi_user: bool = False
    through_ui: bool = False
    """Whether KFP's UI stands before it, which says the version by another name."""
    token: str = ""
    """Where it is not empty, only this one is let in."""
    refuses: int = 0
    """Where it is not 0, the status of every answer."""
    metadata_fails: bool = False
    page: str = ""
    """Where it is not empty, the answer to all but a question after its health."""
    health: Any = None
    """Where it is not None, the answer to that question."""
    progress: list[dict[str, Any]] = field(default_factory=list)
    """The answers of a run that is looked at, one after the other; the last stays."""
    lost: int = 0
    """So many of the next looks at a run break the connection off."""
    logs: dict[str, str] = field(default_factory=dict)
    lineage: dict[str, list[Ran]] = field(default_factory=dict)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    pipelines: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    recurring: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """The path of every request."""
    written: list[str] = field(default_factory=list)
    """Every request that changes something."""
    accepted: dict[str, str] = field(default_factory=dict)
    """By path: in which form its answer was wanted."""
    host: str = ""

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        """The status and the content of the answer."""
        named = json.loads(query["filter"][0])["predicates"][0]["string_value"] if "filter" in query else None

        def listed(name: str, held: list[dict[str, Any]]) -> tuple[int, Any]:
            found = [one for one in held if named in (None, one["display_name"])]
            first = int(query.get("page_token", ["0"])[0])
            last = first + min(int(query.get("page_size", [USUAL_PAGE])[0]), LARGEST_PAGE)
            more = {"next_page_token": str(last)} if last < len(found) else {}
            return 200, {name: found[first:last], "total_size": len(found), **more} if found else {}

        self.asked.append(path)
        if method != "GET" and not path.startswith("/ml_metadata"):
            self.written.append(f"{method} {path}")
        if self.refuses:
            return self.refuses, {"error": "no", "code": 2, "message": "no, said the server\nin two lines"}
        if self.page and not path.endswith("/healthz"):
            return 200, self.page.encode()
        if path.endswith("/healthz") and self.health is not None:
            return 200, self.health
        if path == "/apis/v2beta1/healthz":
            if self.version.startswith("1."):
                return 404, "404 page not found"
            named = "apiServerTagName" if self.through_ui else "tag_name"
            return 200, {"commit_sha": "c0ffee", named: self.version, "multi_user": self.multi_user}
        if path == "/apis/v1beta1/healthz":
            return 200, {"commit_sha": "c0ffee", "tag_name": self.version, "multi_user": self.multi_user}
        if self.multi_user and method == "GET" and "filter" in query and "namespace" not in query and "runs" in path:
            return 400, {"error": "no namespace", "code": 3, "message": "Invalid input error: no namespace"}
        if path.startswith("/ml_metadata.MetadataStoreService/"):
            found = self.metadata(path.rsplit("/", 1)[1], body[5:])
            return 200, framed(b"" if self.metadata_fails else found, status=13 if self.metadata_fails else 0)
        if log := re.fullmatch(r"/apis/v1alpha1/runs/[^/]+/nodes/([^/]+)/log", path):
            return 200, self.logs.get(log[1], {"error_message": "Failed to read logs", "error_details": "NoSuchKey"})
        if path == "/apis/v2beta1/experiments":
            if method == "GET":
                return listed("experiments", self.experiments)
            self.experiments.append({"experiment_id": "e1", **json.loads(body)})
            return 200, self.experiments[-1]
        if path == "/apis/v2beta1/runs":
            if method == "GET":
                return listed("runs", self.runs)
            made = {"run_id": "11111111-1111-1111-1111-111111111111", "created_at": "2026-11-21T09:00:00Z"}
            self.runs.append({**json.loads(body), **made, "finished_at": NEVER, "state": "PENDING"})
            return 200, self.runs[-1]
        if run := re.fullmatch(r"/apis/v2beta1/runs/([^/:]+)", path):
            if self.lost:
                self.lost -= 1
                raise ConnectionAbortedError
            held = next((one for one in self.runs if one["run_id"] == run[1]), None)
            if held is None:
                return 404, {
                    "error": "not found",
                    "code": 5,
                    "message": f"ResourceNotFoundError: Run {run[1]} not found",
                }
            if self.progress:
                held |= self.progress.pop(0) if len(self.progress) > 1 else self.progress[0]
            return 200, held
        if path == "/apis/v2beta1/pipelines":
            if method == "GET":
                return listed("pipelines", self.pipelines)
            self.pipelines.append({"pipeline_id": f"p{len(self.pipelines) + 1}", **json.loads(body)})
            return 200, self.pipelines[-1]
        if found := re.fullmatch(r"/apis/v2beta1/pipelines/(\w+)/versions", path):
            return listed("pipeline_versions", [one for one in self.versions if one["pipeline_id"] == found[1]])
        if path == "/apis/v2beta1/pipelines/upload_version":
            assert b"pipelineInfo" in body
            names = {"display_name": query["display_name"][0], "pipeline_id": query["pipelineid"][0]}
            self.versions.append({"pipeline_version_id": f"v{len(self.versions) + 1}", **names})
            return 200, self.versions[-1]
        if path == "/apis/v2beta1/recurringruns":
            if method == "GET":
                return listed("recurringRuns", self.recurring)
            made = {"recurring_run_id": f"r{len(self.written)}", "status": "ENABLED"}
            self.recurring.append({**json.loads(body), **made})
            return 200, self.recurring[-1]
        if method == "DELETE":
            self.recurring = [one for one in self.recurring if not path.endswith(one["recurring_run_id"])]
            return 200, {}
        return 404, {"error": "Not Found", "code": 5, "message": f"Not Found: {path}"}

    def metadata(self, question: str, request: bytes) -> bytes:
        """The answers of ML Metadata, of which each run is a context."""
        contexts = list(self.lineage)
        if question == "GetContextByTypeAndName":
            name = next((one for one in contexts if one.encode() in request), None)
            return message((1, message((1, contexts.index(name) + 1)))) if name else b""
        ran = [(1000 * c + e, one) for c, name in enumerate(contexts, 1) for e, one in enumerate(self.lineage[name], 1)]
        if question == "GetEventsByExecutionIDs":
            return b"".join(
                message((1, message((1, 100 * number + a), (2, number), (3, step(one.name)), (4, 4))))
                for number, execution in ran
                for a, one in enumerate(execution.artifacts, 1)
            )
        of_context = [(number, one) for number, one in ran if number // 1000 == request[1]]
        if question == "GetExecutionsByContext":
            return b"".join(
                message(
                    (
                        1,
                        message(
                            (1, number),
                            (3, one.state),
                            (7, one.kind),
                            (8, MOMENT_MS),
                            (9, MOMENT_MS + 20_000),
                            *properties(placed(one, number // 1000 * 1000)),
                        ),
                    )
                )
                for number, one in of_context
            )
        return b"".join(
            message((1, message((1, 100 * number + a), (3, one.uri), *properties(one.metadata))))
            for number, execution in of_context
            for a, one in enumerate(execution.artifacts, 1)
        )


def placed(execution: Ran, run: int) -> dict[str, Any]:
    """The custom properties of an execution, as KFP's driver writes them."""
    found: dict[str, Any] = {
        "task_name": execution.task,
        "display_name": execution.display_name,
        "pod_name": execution.pod,
    }
    if execution.within:
        found["parent_dag_id"] = run + execution.within
    if execution.iteration is not None:
        found["iteration_index"] = execution.iteration
    return found


def properties(values: dict[str, Any]) -> list[tuple[int, bytes]]:
    """Custom properties as ML Metadata sends them."""
    numbers = {int: 1, float: 2, str: 3}
    return [(5, message((1, name), (2, message((numbers[type(value)], value))))) for name, value in values.items()]


def step(key: str) -> bytes:
    """An event's path of one step."""
    return message((1, message((2, key))))


def message(*fields: tuple[int, Any]) -> bytes:
    """A protobuf message, by the rules of its wire format."""
    content = b""
    for number, value in fields:
        if isinstance(value, float):
            content += varint(number << 3 | 1) + struct.pack("<d", value)
        elif isinstance(value, int):
            content += varint(number << 3) + varint(value)
        else:
            encoded = value.encode() if isinstance(value, str) else value
            content += varint(number << 3 | 2) + varint(len(encoded)) + encoded
    return content


def varint(number: int) -> bytes:
    """A number in protobuf's base 128."""
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def framed(content: bytes, status: int) -> bytes:
    """A gRPC-Web answer: the message, and the trailer that says whether all is well."""
    trailer = f"grpc-status:{status}\r\n".encode()
    return struct.pack(">BI", 0, len(content)) + content + struct.pack(">BI", 0x80, len(trailer)) + trailer


@contextmanager
def serving(server: KfpServer, tls: tuple[Path, Path] | None = None) -> Iterator[KfpServer]:
    """The server, listening on a port of its own; behind TLS with a certificate and its key."""

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply()

        def do_POST(self) -> None:
            self.reply()

        def do_DELETE(self) -> None:
            self.reply()

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            url = urlsplit(self.path)
            server.accepted[url.path] = self.headers.get("Accept", "")
            if server.token and self.headers.get("authorization") != f"Bearer {server.token}":
                status, content = 401, {"error": "Unauthenticated", "code": 16, "message": "Request header error"}
            else:
                try:
                    status, content = server.answer(self.command, url.path, parse_qs(url.query), body)
                except ConnectionAbortedError:
                    return
            data = content if isinstance(content, bytes) else None
            if data is None:
                data = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Keeps the test's output to itself."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    server.host = f"http{'s' if tls else ''}://127.0.0.1:{listener.server_port}"
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
