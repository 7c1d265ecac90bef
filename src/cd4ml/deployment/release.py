"""Putting a published model into production, step by step, and undoing it when a step fails.

What `deploy` writes is a folder: `deployment.json` (a `Deployment` of the registry), `verification.json`
(a `Verification`) and `server.log`.
"""

import signal
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from cd4ml.contracts.release import DEPLOYMENT, VERIFICATION, Deployment, Verification, Version
from cd4ml.contracts.verdict import MODEL_GATE, Verdict
from cd4ml.deployment import targets, verify
from cd4ml.deployment.targets import machine
from cd4ml.errors import DeploymentError
from cd4ml.registry import deployments, models
from cd4ml.storage import Store, local_copy, open_store
from cd4ml.storage.folder import FolderStore

READY_SECONDS = 60


@dataclass(frozen=True)
class Release:
    """A deployment that holds."""

    deployment: Deployment
    verification: Verification

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of this release in the UI."""
        return {
            **self.verification.metadata,
            "target": self.deployment.target,
            "version": self.deployment.version,
        }


def deploy(
    location: str, *, published_file: str, verdict_file: str, target: str, port: int, run: str, folder: str
) -> Release:
    """Serves a published version in place of the one that was served.

    Args:
        location: The store that holds the registry.
        published_file: What `publish_model` wrote.
        verdict_file: What `check_model` wrote about this very model.
        target: `machine`: a process of this machine, or `cluster`: Seldon, in the namespace of this pod.
        port: Where the server of a machine listens.
        run: The run that deploys.
        folder: Takes the result and the server's log.

    Raises:
        DeploymentError: The verdict is not about this version, or a step of the verification failed; then what
            was served before is served again.
    """
    version = Version.read(published_file)
    targets.check_together(targets.check(target), location, version.name)
    _check_verdict(version, Verdict.read(verdict_file))
    signal.signal(signal.SIGTERM, _raise_stopped)  # so that a stopped task undoes what it began

    store = open_store(location)
    with _rollout(store, version=version, port=port, run=run, folder=Path(folder)) as served:
        verification = _verify(store, version, served.url)
        served.keep()  # and then the record: what is in the registry does hold
        deployment = deployments.record(store, version=version, run=run, target=target, endpoint=verification.endpoint)
    verification.write(Path(folder) / VERIFICATION)
    deployment.write(Path(folder) / DEPLOYMENT)
    return Release(deployment, verification)


def verify_latest(location: str, name: str) -> Verification:
    """Verifies what was deployed last.

    Raises:
        DeploymentError: Nothing was deployed, or it does not hold.
    """
    store = open_store(location)
    history = deployments.history(store, name)
    if not history:
        raise DeploymentError(f"store {store.location}: {name} was never deployed; run the pipeline `training`")
    version = models.read(store, name, history[-1].version)
    return _verify(store, version, history[-1].endpoint.removesuffix(verify.PREDICTIONS))


def _check_verdict(version: Version, verdict: Verdict) -> None:
    if verdict.gate != MODEL_GATE or verdict.about.get("model") != version.digest or not verdict.passed:
        raise DeploymentError(
            f"{version.name} version {version.version} ({version.digest}) has no passed verdict of {MODEL_GATE}: the "
            f"one given is {verdict.gate}'s, about {verdict.about.get('model')}, and "
            f"{'passed' if verdict.passed else 'did not pass'}; run {MODEL_GATE} on this model"
        )


def _rollout(
    store: Store, *, version: Version, port: int, run: str, folder: Path
) -> AbstractContextManager[targets.Served]:
    """Serves the version, and takes it back when what follows fails."""
    if isinstance(store, FolderStore):
        return machine.rollout(
            store, name=version.name, model=f"{version.folder}/model", port=port, run=run, log=folder / "server.log"
        )
    return _rollout_in_cluster(store, version, run)


@contextmanager
def _rollout_in_cluster(store: Store, version: Version, run: str) -> Iterator[targets.Served]:
    from cd4ml.cluster import connection
    from cd4ml.deployment.targets import cluster

    models.read(store, version.name, version.version)  # it is there, and whole
    release = f"{run}-{uuid.uuid4().hex[:8]}"  # a second try of a run is another release
    with cluster.rollout(
        version.name,
        namespace=connection.own_namespace(),
        model_uri=store.uri(f"{version.folder}/model"),
        version=version.version,
        digest=version.digest,
        release=release,
    ) as served:
        verify.wait_until_ready(served.url, READY_SECONDS, alive=lambda: True)  # its Service may lag behind
        yield served


def _verify(store: Store, version: Version, url: str) -> Verification:
    with local_copy(store.uri(f"{version.folder}/predictions.parquet")) as predictions:
        return verify.verify(url, version.digest, predictions)


def _raise_stopped(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
