"""The services that these tests use: a cluster that they may fill, and MinIO beside it.

CD4ML_TEST_KUBECONFIG names the cluster, so that no test ever meets the one that a person happens to work with;
MINIO_ENDPOINT, MINIO_ACCESS_KEY, MINIO_SECRET_KEY and MINIO_SECURE name the store.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import installation
import pytest
from backend import Task
from installation import Installed
from minio import Minio

CLUSTER = "CD4ML_TEST_KUBECONFIG"
LOAD = "CD4ML_TEST_LOAD"
WITHOUT_PODS = ("test_kfp_driver.py", "test_store.py")
"""What needs no node that runs our images."""
MINIO = ("MINIO_ENDPOINT", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get(LOAD):
        without = pytest.mark.skip(reason=f"{LOAD} not set: no node has our images (docs/development.md says how)")
        for item in items:
            if item.path.parent.name == "cluster" and item.path.name not in WITHOUT_PODS:
                item.add_marker(without)


@dataclass
class Cluster:
    """A Kubernetes cluster."""

    kubeconfig: str
    namespaces: list[str] = field(default_factory=list)

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """What kubectl prints; an AssertionError with its own words where it fails."""
        command = ["kubectl", "--kubeconfig", self.kubeconfig, *arguments]
        ended = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"kubectl {' '.join(arguments)}: {ended.stderr}"
        return ended.stdout

    def namespace(self, labels: Mapping[str, str] = {}) -> str:
        """A namespace of the test's own, deleted with all in it when the test ends."""
        name = f"test-{uuid.uuid4().hex[:10]}"
        self.kubectl("create", "namespace", name)
        self.namespaces.append(name)
        if labels:
            self.kubectl("label", "namespace", name, *(f"{key}={value}" for key, value in labels.items()))
        return name

    def as_account(self, namespace: str, account: str, folder: Path) -> Path:
        """A kubeconfig of a ServiceAccount, in a folder."""
        return self.with_token(self.kubectl("create", "token", account, "-n", namespace).strip(), folder)

    def with_token(self, token: str, folder: Path) -> Path:
        """A kubeconfig of who has a token, in a folder."""
        config = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
        file = folder / "kubeconfig"
        file.write_text(json.dumps(config))
        return file


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    return _required(CLUSTER)[CLUSTER]


@pytest.fixture
def cluster(kubeconfig: str) -> Iterator[Cluster]:
    yield from _cluster(kubeconfig)


@pytest.fixture(scope="module")
def shared_cluster(kubeconfig: str) -> Iterator[Cluster]:
    """A cluster whose namespaces stay until the module's last test has ended."""
    yield from _cluster(kubeconfig)


@pytest.fixture(scope="session")
def installed(kubeconfig: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A namespace that an admin has set up."""
    for cluster in _cluster(kubeconfig):
        with installation.installed(cluster, tmp_path_factory.mktemp("compiled")) as found:
            yield found


@pytest.fixture(scope="session")
def trained(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    """The tasks of a run of the example, by their names."""
    players = installation.players(tmp_path_factory.mktemp("data") / "players.parquet")
    installed.store.fput_object("cd4ml", "sources/players.parquet", str(players))
    return installation.trained(installed, "training-1")


def _cluster(kubeconfig: str) -> Iterator[Cluster]:
    cluster = Cluster(kubeconfig)
    yield cluster
    for name in cluster.namespaces:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@dataclass(frozen=True)
class ObjectStore:
    """A MinIO server, and a bucket of the test's own."""

    client: Minio
    bucket: str
    environment: Mapping[str, str]
    """What points a program at it: the AWS_* variables."""

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty bucket, to which the AWS_* variables of the test point."""
    settings = _required(*MINIO)
    secure = os.environ.get("MINIO_SECURE", "true") == "true"
    access, secret = settings["MINIO_ACCESS_KEY"], settings["MINIO_SECRET_KEY"]
    client = Minio(settings["MINIO_ENDPOINT"], access, secret, secure=secure)
    name = f"test-{uuid.uuid4().hex[:10]}"
    environment = {
        "AWS_ENDPOINT_URL": f"{'https' if secure else 'http'}://{settings['MINIO_ENDPOINT']}",
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
    }
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    client.make_bucket(name)
    yield ObjectStore(client, name, environment)
    for stored in client.list_objects(name, recursive=True):
        client.remove_object(name, stored.object_name)
    client.remove_bucket(name)


def _required(*names: str) -> dict[str, str]:
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        reason = f"{', '.join(missing)} not set: no service for the tests to use (docs/development.md says how)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return {name: os.environ[name] for name in names}
