"""Putting a published model into production, step by step, and undoing it when a step fails.

What `deploy` writes is a folder: `deployment.json` (a `Deployment` of the registry), `verification.json`
(a `Verification`) and `server.log`.
"""

import contextlib
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from cd4ml import documents, gates
from cd4ml.deployment import machine, verify
from cd4ml.errors import Cd4mlError, DeploymentError
from cd4ml.registry import deployments, models
from cd4ml.storage import Store

READY_SECONDS = 90


@dataclass(frozen=True)
class Release:
    """A deployment that holds."""

    deployment: deployments.Deployment
    verification: verify.Verification

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of this release in the UI."""
        return {
            **self.verification.metadata,
            "target": self.deployment.target,
            "version": self.deployment.version,
        }


def deploy(location: str, published_file: str, verdict_file: str, port: int, run: str, folder: str) -> Release:
    """Serves a published version on this machine, in place of the one that was served.

    Args:
        location: The store that holds the registry.
        published_file: What `publish_model` wrote.
        verdict_file: What `check_model` wrote about this very model.
        port: Where the server listens.
        run: The run that deploys.
        folder: Takes the result and the server's log.

    Raises:
        DeploymentError: The verdict is not about this version, or a step of the verification failed; then what
            was served before is served again.
    """
    version = models.read_file(published_file)
    _check_verdict(version, gates.read(verdict_file))
    signal.signal(signal.SIGTERM, _raise_stopped)  # so that a stopped task undoes what it began

    store = Store(location)
    with machine.alone(store, version.name):
        release = _replace(store, version, port, run, Path(folder) / "server.log")
    release.verification.write(f"{folder}/verification.json")
    documents.write(f"{folder}/deployment.json", asdict(release.deployment))
    return release


def verify_latest(location: str, name: str) -> verify.Verification:
    """Verifies what was deployed last.

    Raises:
        DeploymentError: Nothing was deployed, or it does not hold.
    """
    store = Store(location)
    history = deployments.history(store, name)
    if not history:
        raise DeploymentError(f"store {store.root}: {name} was never deployed; run the pipeline `training`")
    version = models.read(store, name, history[-1].version)
    return _verify(store, version, history[-1].endpoint.removesuffix(verify.PREDICTIONS))


def _check_verdict(version: models.Version, verdict: gates.Verdict) -> None:
    if verdict.about.get("model") != version.digest or not verdict.passed:
        raise DeploymentError(
            f"{version.name} version {version.version} ({version.digest}) has no passed verdict: the one given is "
            f"about {verdict.about.get('model')} and {'passed' if verdict.passed else 'did not pass'}; run "
            "check_model on this model"
        )


def _replace(store: Store, version: models.Version, port: int, run: str, log: Path) -> Release:
    before = machine.find(store, version.name)
    if not (before and before.port == port):
        machine.check_port(port)
    if before:
        machine.stop(store, before)
    kept = before is not None and before.kept
    server = None
    try:
        server = machine.start(store, version.name, store.path(version.folder) / "model", port, log, run, kept)
        verify.wait_until_ready(server.url, READY_SECONDS, alive=lambda: server.process() is not None)
        verification = _verify(store, version, server.url)
        return Release(deployments.record(store, version, run, "machine", verification.endpoint), verification)
    except BaseException as error:
        if server:
            machine.stop(store, server)
        if before and before.kept:
            _restore(store, before)
        if isinstance(error, DeploymentError) and log.exists():
            raise DeploymentError(f"{error}\nthe server's log ends:\n{_last_lines(log)}") from error
        raise


def _restore(store: Store, before: machine.Server) -> None:
    """Serves again what was served before; where that fails too, the first error is the one to tell."""
    folder, log = Path(before.model_folder), Path(before.log)
    with contextlib.suppress(Cd4mlError):
        machine.start(store, before.name, folder, before.port, log, before.run, before.kept)


def _verify(store: Store, version: models.Version, url: str) -> verify.Verification:
    return verify.verify(url, version.digest, store.path(version.folder) / "predictions.parquet")


def _raise_stopped(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _last_lines(log: Path) -> str:
    return "\n".join(f"  {line}" for line in log.read_text(errors="replace").splitlines()[-5:])
