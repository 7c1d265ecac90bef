"""The router of a model on this machine: callers ask it, and it asks the servers of several versions."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from cd4ml.contracts.document import Document
from cd4ml.contracts.traffic import Traffic
from cd4ml.deployment.targets import servers
from cd4ml.errors import DeploymentError

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
        end, mistake = time.monotonic() + FOLLOW_SECONDS, ""
        while time.monotonic() < end and router.process():
            try:
                told = httpx.get(f"http://127.0.0.1:{router.watch_port}/traffic", trust_env=False).json()
            except (httpx.TransportError, json.JSONDecodeError):
                told = {}
            followed = told.get("followed")  # of a router of an older version, without what is new since
            if followed and Traffic.parse(json.dumps(followed), self._traffic_file.name) == traffic:
                return
            mistake = told.get("mistake", "")
            time.sleep(0.1)
        said = mistake or ("it does not answer" if router.process() else "it has ended")
        raise DeploymentError(f"the router at port {router.port} does not divide requests: {said}; see {router.log}")
