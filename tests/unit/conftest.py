"""What a machine has around it: a proxy, a bucket, a model server."""

import socket
import subprocess
import threading
from collections.abc import Iterator

import psutil
import pytest
from s3_server import S3Server, s3_server

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The environment names a proxy that hangs up on everybody; gives who came to it."""
    callers: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def hang_up() -> None:
            while True:
                try:
                    caller, _ = proxy.accept()
                except OSError:
                    return
                callers.append(caller.recv(65536).decode(errors="replace"))
                caller.close()

        threading.Thread(target=hang_up, daemon=True).start()
        for variable in VARIABLES:
            for name in (variable, variable.lower()):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        yield callers
        proxy.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A bucket, `s3://cd4ml`, which the environment names."""
    with s3_server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
        yield server


@pytest.fixture
def process() -> Iterator[psutil.Process]:
    """In the place of a model server."""
    sleeping = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield psutil.Process(sleeping.pid)
    sleeping.kill()
    sleeping.wait()
