"""A stand-in for S3: buckets in memory, behind the few requests that the store makes; signatures are not checked."""

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclass
class S3Server:
    """What it holds, how it fails, and what it was asked."""

    bucket: str = "cd4ml"
    objects: dict[str, bytes] = field(default_factory=dict)
    lets_all_win: bool = False
    """Whether a conditional write replaces what is there, as stores do that do not know the condition."""
    races: bool = False
    """Whether it looks, and writes some time later, as stores do that heed the condition but do not hold the name."""
    answers_lost: int = 0
    """How many writes are done and then answered with 503, as a proxy does that lost the answer."""
    unavailable: int = 0
    """How many requests are not done and answered with `overloaded`, as by a store that has too much to do."""
    overloaded: int = 503
    conflicts: int = 0
    """How many writes are answered with 409, as Amazon does while another writes the same object."""
    refused: str = ""
    """A prefix below which nobody may write."""
    listed: int = 0
    """How many names its listings have told."""
    read: int = 0
    """How many objects it has given."""
    connections: int = 0
    """How many were made to it."""
    token: str | None = None
    """Of a session, as the last request had it."""
    asked_as: set[tuple[str, str | None]] = field(default_factory=set)
    """The access key and the token of a session of all requests."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def put(self, key: str, body: bytes, condition: str | None) -> tuple[int, str]:
        taken = key in self.objects
        if self.races:
            time.sleep(0.02)
        with self.lock:
            taken = taken if self.races else key in self.objects
            if self.refused and key.startswith(self.refused):
                return 403, error("AccessDenied")
            if self.conflicts:
                self.conflicts -= 1
                return 409, error("ConditionalRequestConflict")
            if condition == "*" and taken and not self.lets_all_win:
                return 412, error("PreconditionFailed")
            self.objects[key] = body
            if self.answers_lost:
                self.answers_lost -= 1
                return 503, error("ServiceUnavailable")
            return 200, ""

    def list(self, prefix: str, delimiter: str) -> str:
        with self.lock:
            found = sorted(key for key in self.objects if key.startswith(prefix))
        folders, keys = set(), []
        for key in found:
            head, cut, _ = key.removeprefix(prefix).partition(delimiter or "\0")
            folders.add(prefix + head + cut) if cut else keys.append(key)
        self.listed += len(folders) + len(keys)
        told = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;0&quot;</ETag><Size>{len(self.objects[key])}</Size></Contents>"
            for key in keys
        ) + "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders))
        name = f"<Name>{self.bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
        return f"<ListBucketResult {NAMESPACE}>{name}<IsTruncated>false</IsTruncated>{told}</ListBucketResult>"


def error(code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>{code}</Message><Resource>/</Resource></Error>"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server of this machine, for as long as the context lasts."""
    state = S3Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            with state.lock:
                state.connections += 1

        def is_overloaded(self) -> bool:
            """Whether this request is one that is not done, and told so."""
            with state.lock:
                if not state.unavailable:
                    return False
                state.unavailable -= 1
            self.answer(state.overloaded, error("SlowDown"))
            return True

        def key(self) -> tuple[str, str, dict[str, list[str]]]:
            state.token = self.headers["X-Amz-Security-Token"]
            parts = urlsplit(self.path)
            bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
            query = parse_qs(parts.query, keep_blank_values=True)
            if "X-Amz-Credential" in query:
                signed, token = query["X-Amz-Credential"][0], query.get("X-Amz-Security-Token", [None])[0]
            else:
                signed, token = self.headers.get("Authorization", "").partition("Credential=")[2], state.token
            state.asked_as.add((signed.partition("/")[0], token))
            return bucket, key, query

        def do_GET(self) -> None:
            bucket, key, query = self.key()
            if self.is_overloaded():
                return
            if bucket != state.bucket:
                self.answer(404, error("NoSuchBucket"))
            elif not key:
                self.answer(200, state.list(query.get("prefix", [""])[0], query.get("delimiter", [""])[0]))
            elif key in state.objects:
                with state.lock:
                    state.read += 1
                self.answer_part(state.objects[key])
            else:
                self.answer(404, error("NoSuchKey"))

        def do_HEAD(self) -> None:
            bucket, key, _ = self.key()
            there = bucket == state.bucket and (not key or key in state.objects)
            self.answer(200 if there else 404, state.objects.get(key, "") if there else "")

        def do_PUT(self) -> None:
            bucket, key, _ = self.key()
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.is_overloaded():
                return
            if bucket != state.bucket:
                self.answer(404, error("NoSuchBucket"))
            else:
                self.answer(*state.put(key, body, self.headers["If-None-Match"]))

        def answer_part(self, content: bytes) -> None:
            """An object, or the bytes of it that were asked for."""
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if not asked:
                self.answer(200, content)
                return
            first, last = map(int, asked.groups())
            self.answer(206, content[first : last + 1])

        def answer(self, status: int, body: str | bytes) -> None:
            content = body.encode() if isinstance(body, str) else body
            self.send_response(status)
            self.send_header("Content-Type", "application/xml" if isinstance(body, str) else "binary/octet-stream")
            self.send_header("ETag", f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
