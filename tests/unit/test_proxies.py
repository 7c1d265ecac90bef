"""Behind a proxy: servers of this machine and of the cluster are asked without it, others through it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import deltalake
import pytest

from cd4ml.data import table
from cd4ml.errors import DataError
from cd4ml.proxies import is_near
from cd4ml.storage import bucket as s3
from cd4ml.storage import open_store


class EmptyBucket(BaseHTTPRequestHandler):
    """An S3 that holds nothing."""

    def do_GET(self) -> None:
        listed = "list-type" in self.path
        self.send_response(200 if listed else 404)
        self.end_headers()
        if listed:
            self.wfile.write(b"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyBucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("bucket")
def test_a_store_of_this_machine_is_asked_without_the_proxy(proxied: list[str]) -> None:
    with pytest.raises(DataError, match="no dataset here"):
        table.at_version("s3://bucket/datasets/players", 0)

    assert open_store("s3://bucket").children("models") == []
    assert proxied == []


def test_a_store_outside_is_asked_for_its_tables_through_the_proxy(
    proxied: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.example.org")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")

    with pytest.raises(OSError, match="S3"):
        deltalake.DeltaTable("s3://bucket/datasets/players", storage_options={**s3.delta_options(), "max_retries": "0"})

    assert any("s3.example.org" in caller for caller in proxied)


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://127.0.0.1:9000", True),
        ("http://[::1]:9000", True),
        ("http://localhost:9000", True),
        ("http://minio:9000", True),
        ("http://minio.cd4ml.svc:9000", True),
        ("https://minio.cd4ml.svc.cluster.local.", True),
        ("https://s3.amazonaws.com", False),
        ("http://10.1.2.3:9000", False),
        ("https://minio.example.svc.com", False),
        ("", False),
    ],
)
def test_near_is_this_machine_and_this_cluster(url: str, near: bool) -> None:
    assert is_near(url) is near
