"""How a release gets into production: a strategy is a list of steps, each of which passes or fails."""

from dataclasses import dataclass
from typing import Protocol

from cd4ml.contracts.release import Verification
from cd4ml.deployment import verify
from cd4ml.deployment.targets import Release, Target

READY_SECONDS = 60
"""How long a server may take to answer that its target holds for ready: the cluster's Services may lag behind."""


@dataclass
class Rollout:
    """A release on its way, as its steps find and leave it."""

    target: Target
    release: Release
    url: str = ""
    """Its own address, where it alone answers; empty before it is raised."""
    endpoint: str = ""
    """The address that callers ask; empty before they get this release there."""
    verification: Verification | None = None
    """What it answered, when it was verified last."""


class Step(Protocol):
    """A step of a strategy."""

    @property
    def name(self) -> str:
        """What the history calls it."""

    def take(self, rollout: Rollout) -> str:
        """Takes the step; what came of it, for people.

        Raises:
            DeploymentError: It failed, which undoes the rollout.
        """


@dataclass(frozen=True)
class Verify:
    """Holds what the release answers against what evaluation got."""

    name = "verify"

    def take(self, rollout: Rollout) -> str:
        """Takes the step; how many rows were held against the evaluation."""
        verify.wait_until_ready(rollout.url, READY_SECONDS, alive=lambda: True)
        rollout.verification = verify.verify_version(rollout.target.store, rollout.release.version, rollout.url)
        return rollout.verification.headline


@dataclass(frozen=True)
class Route:
    """Gives the release all requests."""

    name = "route"

    def take(self, rollout: Rollout) -> str:
        """Takes the step; where callers reach it."""
        rollout.endpoint = rollout.target.route(rollout.release)
        return f"all requests to {rollout.endpoint}"


@dataclass(frozen=True)
class Strategy:
    """A way into production, by name."""

    name: str
    steps: tuple[Step, ...]


REPLACE = Strategy("replace", (Verify(), Route()))
"""The release is verified beside what is served, and takes its place."""
