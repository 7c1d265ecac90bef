"""A namespace that an admin has set up with the standalone overlay, with Seldon's operator."""

import base64
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import overlays
import pytest
import seldon_kind
import yaml
from backend import Backend, Task
from kubernetes import client
from minio import Minio
from seldon_operator import Operator
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.cluster import accounts, connection
from cd4ml.pipelines.training.arguments import Training
from cd4ml.registry import clock

if TYPE_CHECKING:
    from conftest import Cluster

EXAMPLE = Path(__file__).parents[2] / "examples/promotions"
BEGIN = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)
"""When it is set up, by the clock that is played (`cd4ml.registry.clock`), so that days can pass after it."""
AUC = 0.77
"""The least that a version must have."""
SMALL = {
    "data_limits": {"anomalies": 0},
    "baseline": {"model": "linear", "epochs": 2},
    "candidate": {"model": "dnn", "hidden": [16], "epochs": 6},
    "model_limits": {"auc": {"min": AUC}},
}
"""For the few rows of these tests."""


@dataclass(frozen=True)
class Installed:
    """The namespace, and what runs pipelines there."""

    namespace: str
    backend: Backend
    core: client.CoreV1Api
    pipelines: Path
    """The compiled pipelines, which name the images that the cluster has."""

    @cached_property
    def store(self) -> Minio:
        """Its MinIO, as root."""
        root = self.secret("minio-root")
        return Minio(self.address("minio"), root["MINIO_ROOT_USER"], root["MINIO_ROOT_PASSWORD"], secure=False)

    def run(self, pipeline: str, arguments: Mapping[str, Any], run: str) -> dict[str, Task]:
        """The tasks of a run, by their names."""
        return dict(self.backend.run((self.pipelines / f"{pipeline}.yaml").read_text(), arguments, run))

    def play(self, moment: datetime) -> None:
        """Has the clock of tasks and of servers that are started from now on begin with a moment."""
        ahead = {clock.AHEAD: str(round((moment - datetime.now(UTC)).total_seconds()))}
        self.backend.environment.update(ahead)
        capture = client.V1Secret(
            metadata=client.V1ObjectMeta(name=accounts.CAPTURE_SECRET), string_data={**ahead, "CAPTURE_SECONDS": "1"}
        )
        with suppress(client.ApiException):  # there is none the first time
            self.core.delete_namespaced_secret(accounts.CAPTURE_SECRET, self.namespace)
        self.core.create_namespaced_secret(self.namespace, capture)

    def address(self, service: str) -> str:
        """That of a Service, as this machine reaches it."""
        found = self.core.read_namespaced_service(service, self.namespace).spec
        return f"{found.cluster_ip}:{found.ports[0].port}"

    def secret(self, name: str) -> dict[str, str]:
        """What a Secret holds."""
        found = self.core.read_namespaced_secret(name, self.namespace).data
        return {key: base64.b64decode(value).decode() for key, value in found.items()}

    def as_whom(self, secret: str) -> dict[str, str]:
        """The variables by which this machine asks the store as a pod with a Secret does; as root with root's."""
        held = self.secret(secret)
        if secret == accounts.ROOT_SECRET:
            held = {"AWS_ACCESS_KEY_ID": held["MINIO_ROOT_USER"], "AWS_SECRET_ACCESS_KEY": held["MINIO_ROOT_PASSWORD"]}
        own = {name: value for name, value in held.items() if name.startswith("AWS_")}
        return own | {"AWS_ENDPOINT_URL": f"http://{self.address('minio')}"}


@contextmanager
def installed(cluster: "Cluster", pipelines: Path) -> Iterator[Installed]:
    """Sets such a namespace up.

    Args:
        cluster: Where; KUBECONFIG names it.
        pipelines: The folder that takes the compiled pipelines.
    """
    assert CliRunner().invoke(app, ["compile", "--output", str(pipelines)]).exit_code == 0
    namespace = cluster.namespace()
    cluster.kubectl("apply", "--server-side", "-f", "-", input=overlays.render("standalone", namespace))
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Complete", "job/minio-setup", "--timeout=180s")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", cluster.kubeconfig)
        api = connection.connect()
    core = client.CoreV1Api(api)
    backend = Backend(core, namespace, "deployer", f"minio.{namespace}.svc:9000")
    with seldon_kind.known(api), Operator(api, namespace, container=None).acting():
        found = Installed(namespace, backend, core, pipelines)
        found.play(BEGIN)
        yield found


def players(file: Path) -> Path:
    """Writes a small table of the example."""
    generator = EXAMPLE / "generate.py"
    subprocess.run([sys.executable, generator, "--rows=12000", f"--output={file}"], check=True)
    return file


def arguments(file: str) -> dict[str, Any]:
    """Those that a file of the example has, for few rows, as a person writes them."""
    found: dict[str, Any] = yaml.safe_load((EXAMPLE / file).read_text())["arguments"]
    return found | SMALL


def trained(place: Installed, run: str, **more: Any) -> dict[str, Task]:
    """The tasks of a run of the example, by their names."""
    return place.run("training", Training.in_kfp(arguments("training-cluster.yaml") | more), run)
