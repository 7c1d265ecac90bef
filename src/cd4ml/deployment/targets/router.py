"""The router of a model, which callers ask, and which asks the servers of several versions: that of this machine."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil

from cd4ml.contracts.document import Document
from cd4ml.contracts.traffic import Arm, Sticky, Traffic, arm_of
from cd4ml.deployment.targets import servers
from cd4ml.errors import DeploymentError
from cd4ml.registry import models
from cd4ml.registry.numbers import numbers
from cd4ml.storage import Store

FOLLOW_SECONDS = 20
"""How long it may take to start, or to follow another division of requests."""


@dataclass(frozen=True)
class Router(
    Document, kind="cd4ml/Router", remedy="end the router that it is about, if it still runs, and remove the file"
):
    """A router process."""

    pid: int
    started: float
    """When the process was made (seconds since the epoch)."""
    port: int
    """Where callers ask."""
    watch_port: int
    """Where it says what it follows."""
    log: str

    def process(self) -> psutil.Process | None:
        """The process, while it runs."""
        return servers.process_of(self.pid, self.started)


class Place:
    """Where the router of a model is known, and what it reads and writes.

    Args:
        folder: Of what is served of the model.
    """

    def __init__(self, folder: Path) -> None:
        self.file, self.capture = folder / "router.json", folder / "capture"
        self._traffic_file, self._log = folder / "traffic.json", folder / "router.log"

    def router(self) -> Router | None:
        """The router, while it runs."""
        return servers.find_as(Router, self.file)

    def traffic(self) -> Traffic:
        """How requests are divided."""
        return Traffic.read(self._traffic_file)

    def start(self, port: int, traffic: Traffic) -> Router:
        """Starts a router at a port, at which a server that is about to end may still listen; returns once it routes.

        Raises:
            EnvironmentSetupError: The serve environment is not on this machine.
            DeploymentError: It does not start.
        """
        watch_port = servers.free_port()
        traffic.write(self._traffic_file)
        environment = {
            "TRAFFIC_FILE": str(self._traffic_file),
            "CAPTURE_FOLDER": str(self.capture),
            "PORT_BESIDE": "1",
            **servers.ports(port, watch_port),
        }
        router = servers.spawn(
            self.file,
            "cd4ml.serving.router",
            environment=environment,
            log=self._log,
            known=lambda pid, started: Router(pid, started, port, watch_port, str(self._log)),
        )
        self.follow(router, traffic)
        return router

    def follow(self, router: Router, traffic: Traffic) -> None:
        """Has requests divided; returns once they are.

        Raises:
            DeploymentError: The router has ended, or does not take it.
        """
        traffic.write(self._traffic_file)
        end, said = time.monotonic() + FOLLOW_SECONDS, ""
        while time.monotonic() < end and router.process():
            said = missing(f"http://127.0.0.1:{router.watch_port}", traffic)
            if not said:
                return
            time.sleep(0.1)
        if not router.process():
            said = "it has ended"
        raise DeploymentError(f"the router at port {router.port} does not divide requests: {said}; see {router.log}")


def traffic_of(
    store: Store, model: str, arms: tuple[Arm, ...], *, features: Iterable[str] = (), sticky: Sticky | None = None
) -> Traffic:
    """Has requests divided among arms, with all features of their versions captured, as model servers do.

    A version that this store does not have, as what another one's run has put there, says nothing of its features.

    Args:
        store: The store.
        model: The model's name.
        arms: Of the model.
        features: Those that are captured at any rate, such as those that a limit names.
        sticky: By what callers are known.
    """
    versions = [models.read(store, model, one) for one in _published(store, model, arms)]
    inputs = [one for version in versions for one in models.contract(store, version).inputs]
    marked = {one.name for one in inputs if one.personal}
    own, wanted = dict.fromkeys(one.name for one in inputs), dict.fromkeys(features)
    personal = tuple(name for name in wanted | own if name in marked)
    return Traffic(arms, sticky, tuple(wanted), personal, tuple(own))


def _published(store: Store, model: str, arms: Iterable[Arm]) -> list[int]:
    named = {int(arm.version) for arm in arms if arm.version.isdecimal()}
    return sorted(named & set(numbers(store, f"models/{model}")))


def missing(watched: str, traffic: Traffic) -> str:
    """Why a router does not divide requests so; empty where it does.

    Args:
        watched: Where it says what it follows, `http://host:port`.
        traffic: Which it is to follow.
    """
    try:
        told = httpx.get(f"{watched}/traffic", trust_env=False).json()
    except (httpx.TransportError, json.JSONDecodeError):
        return "it does not answer"
    followed = told.get("followed")  # of a router of an older version, without what is new since
    if followed and "model_features" not in followed:
        traffic = replace(traffic, model_features=())
    if followed and Traffic.parse(json.dumps(followed), watched) == traffic:
        return ""
    mistake: str = told.get("mistake") or "it follows what was written before"
    return mistake


def not_ready(asked: str) -> str:
    """Why a router cannot answer callers; empty where it can.

    Args:
        asked: Where they ask it, `http://host:port`.
    """
    try:
        answer = httpx.get(f"{asked}/health/status", timeout=30, trust_env=False)
    except httpx.TransportError as error:
        return f"it does not answer callers ({error})"
    return "" if answer.is_success else answer.text


def arm_name(number: int | None, version: str) -> str:
    """What the router calls a server: by the number of its deployment, which tells two of one version apart."""
    return arm_of(version) if number is None else f"deployment-{number}"
