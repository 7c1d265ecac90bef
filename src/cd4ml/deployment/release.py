"""Putting a published model into production, step by step, and undoing it when a step fails.

What `deploy` writes is a folder: `deployment.json` (a `Deployment` of the registry), `verification.json`
(a `Verification`) and `server.log`.
"""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from cd4ml.contracts.release import DEPLOYMENT, VERIFICATION, Deployment, Verification, Version
from cd4ml.contracts.verdict import MODEL_GATE, Verdict
from cd4ml.deployment import rollout, strategies, targets, verify, waiting
from cd4ml.deployment.evidence import limits
from cd4ml.errors import Cd4mlError, DeploymentError
from cd4ml.registry import deployments, model_page, models, records, signing
from cd4ml.reports import deployed
from cd4ml.storage import Store, open_store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deployed:
    """A deployment that holds."""

    deployment: Deployment
    verification: Verification

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of this release in the UI."""
        return {
            **self.verification.metadata,
            "endpoint": self.deployment.endpoint,
            "target": self.deployment.target,
            "version": self.deployment.version,
        }


def deploy(
    location: str,
    *,
    published_file: str,
    verdict_file: str,
    target: str,
    port: int,
    run: str,
    folder: str,
    approvals: int = 0,
    strategy: str = "replace",
    report_file: str | None = None,
) -> Deployed:
    """Serves a published version in place of the one that was served.

    Args:
        location: The store that holds the registry.
        published_file: What `publish_model` wrote.
        verdict_file: What `check_model` wrote about this very model.
        target: `machine`: a process of this machine; in the namespace of this pod `cluster`: Seldon, or `kserve`.
        port: Where the server of a machine listens.
        run: The run that deploys.
        folder: Takes the result and the server's log.
        approvals: How many people have to approve the version first.
        strategy: How it takes that place: a name, or JSON of a list of steps.
        report_file: Takes the page about the deployment, also where a step failed.

    Raises:
        DeploymentError: The verdict is not about this version, or a step of the verification failed; then what
            was served before is served again.
        SignatureError: No key that is trusted here has signed the version.
    """
    with records.failing(location):
        version = Version.read(published_file)
        targets.check_together(targets.check(target), location, version.name)
        way = strategies.parse(strategy)
        strategies.check_together(way, target, approvals=approvals)
        _check_verdict(version, Verdict.read(verdict_file))
        signal.signal(signal.SIGTERM, _raise_stopped)  # so that a stopped task undoes what it began

        store = open_store(location)
        models.read(store, version.name, version.version)  # it is there, and whole
        for held in way.limits:
            limits.check_fits(held, models.contract(store, version))
        waiting.wait(store, version, approvals, within=waiting.LONGEST)
        signing.check(store, version)
        with _reporting(store, version.name, run=run, file=report_file):
            deployment, verification = rollout.roll_out(
                targets.TARGETS.load(target)(store, version.name),
                way,
                version=version,
                run=run,
                port=port,
                log_file=Path(folder) / "server.log",
                approvals=approvals,
            )
    verification.write(Path(folder) / VERIFICATION)
    deployment.write(Path(folder) / DEPLOYMENT)
    try:
        records.end(location, status="passed", endpoint=deployment.endpoint)
    except Cd4mlError as untold:  # callers have the release all the same
        log.warning("that the run passed could not be recorded: %s", untold)
    return Deployed(deployment, verification)


@contextmanager
def _reporting(store: Store, name: str, *, run: str, file: str | None) -> Iterator[None]:
    """Writes the page about the deployment of a run in the end, however that is, and that about the model anew."""
    try:
        yield
    finally:
        model_page.refresh(store, name)
        try:
            own = (series for series in deployments.newest_first(store, name) if series.begun.run == run)
            if file and (series := next(own, None)):
                deployed.write(series.events, deployments.experiment(store, series.begun), file)
        except Cd4mlError as unwritten:
            log.warning("%s: the page about the deployment could not be written: %s", name, unwritten)


def verify_latest(location: str, name: str) -> Verification:
    """Verifies what was deployed last and still stands.

    Raises:
        DeploymentError: Nothing is in production, or it does not hold.
    """
    store = open_store(location)
    deployment = deployments.latest(store, name)
    if deployment is None:
        raise DeploymentError(
            f"store {store.location}: {name} was never deployed, or no deployment still stands; run the pipeline "
            "`training`"
        )
    version = models.read(store, name, deployment.version)
    return verify.verify_version(store, version, deployment.endpoint.removesuffix(verify.PREDICTIONS))


def _check_verdict(version: Version, verdict: Verdict) -> None:
    if verdict.gate != MODEL_GATE or verdict.about.get("model") != version.digest or not verdict.passed:
        raise DeploymentError(
            f"{version.name} version {version.version} ({version.digest}) has no passed verdict of {MODEL_GATE}: the "
            f"one given is {verdict.gate}'s, about {verdict.about.get('model')}, and "
            f"{'passed' if verdict.passed else 'did not pass'}; run {MODEL_GATE} on this model"
        )


def _raise_stopped(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, lambda *_: None)  # a second one does not cut short what is undone
    raise SystemExit(128 + number)
