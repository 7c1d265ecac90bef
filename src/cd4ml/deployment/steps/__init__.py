"""The steps of a strategy (`written`), each of which passes or fails, and what a rollout is while it takes them."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cd4ml.contracts.deployment import Answered, Held
from cd4ml.contracts.release import Verification
from cd4ml.deployment import decided, verify
from cd4ml.deployment.targets import Release, Split, Target
from cd4ml.errors import DeploymentError
from cd4ml.registry import clock

LIVES_SECONDS = 15
"""How long a server that was ready may take to answer, when it is asked whether it still does."""
LOOK_SECONDS = 5
NOBODY = "nothing was served before"


def now() -> datetime:
    """The time, in UTC."""
    return clock.exact()


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
    split: Split | None = None
    """How requests are divided or copied; None where one server alone gets them."""
    split_at: datetime | None = None
    """Since when."""
    features: list[str] = field(default_factory=list)
    """Those that its steps need the values of."""
    looks: int = 1
    """The steps among which the error is divided."""
    answered: dict[str, Answered] = field(default_factory=dict)
    """How both answered, as the step that is taken has seen it last."""
    held: Held = field(init=False)
    """The event that says that it holds, from when it does."""


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


def wait(rollout: Rollout, seconds: float) -> None:
    """Waits, as long as what was served before and the release live, and nobody decides otherwise.

    Raises:
        DeploymentError: One of them does not live, or people have the rollout undone.
        Promoted: People give the release all requests.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_lives(rollout)
        time.sleep(min(left, LOOK_SECONDS))


def check_lives(rollout: Rollout) -> None:
    """Heeds what people have decided, and makes sure that what was served before still answers, and the release too.

    Raises:
        DeploymentError: One of them does not, or people have the rollout undone.
        Promoted: People give the release all requests.
    """
    decided.heed(rollout.target.store, rollout.release.begun)
    if rollout.split and not rollout.target.divides():
        raise DeploymentError("what was served before has ended, or the router has")
    verify.wait_until_ready(rollout.url, LIVES_SECONDS, alive=lambda: True)
