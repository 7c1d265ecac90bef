"""A deployment is a series of events, each a record of its own, for what is stored never changes.

It has begun, takes its steps, and holds or is undone; what held may be stopped later. It counts when it held and was
neither undone nor stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from cd4ml.contracts.document import Document, kind_of
from cd4ml.contracts.release import Deployment

_REMEDY = "put back what was written there, or remove it, and deploy again"


@dataclass(frozen=True)
class Begun(Document, kind="cd4ml/DeploymentBegun", remedy=_REMEDY):
    """A version is about to be put into production; nothing is changed yet."""

    name: str
    number: int
    version: int
    digest: str
    run: str
    target: str
    """Where, as the argument says: `machine`, `cluster`, `kserve`."""
    strategy: str
    at: str
    """ISO 8601, UTC."""
    persons: int = 0
    """How many people had to let it in, before it or in a step; 0 also of versions before, which did not say."""

    @property
    def release(self) -> str:
        """What its target calls it: tells it from every other, also from those of other stores."""
        return f"{self.run}-{self.number}"

    @property
    def headline(self) -> str:
        """What is to be put where, and for whom."""
        return f"version {self.version} to {self.target} by {self.strategy}, for run {self.run}"


@dataclass(frozen=True)
class Answered:
    """How requests of users were answered while a release was held against what was served before."""

    requests: int
    failed: float | None
    """The share of them; None where there were none."""
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True)
class StepTaken(Document, kind="cd4ml/DeploymentStep", remedy=_REMEDY):
    """A step of the strategy has passed."""

    step: str
    said: str
    """What came of it, for people."""
    at: str
    answered: Mapping[str, Answered] = field(default_factory=dict)
    """By `champion`, what was served before, and `challenger`, the release; none where the step looks at none."""

    @property
    def headline(self) -> str:
        """What came of it."""
        return f"{self.step}: {self.said}"


@dataclass(frozen=True)
class Held(Document, kind="cd4ml/DeploymentHeld", remedy=_REMEDY):
    """All steps have passed: it is in production."""

    endpoint: str
    """The URL that takes predictions."""
    at: str
    verified: Mapping[str, float] = field(default_factory=dict)
    """What the verification measured; versions before kept it with the run alone."""

    @property
    def headline(self) -> str:
        """Where it answers."""
        return self.endpoint


@dataclass(frozen=True)
class Undone(Document, kind="cd4ml/DeploymentUndone", remedy=_REMEDY):
    """It does not hold: what was served before is served again, or is about to be."""

    reason: str
    at: str
    answered: Mapping[str, Answered] = field(default_factory=dict)
    """As that of a step, of the one that it did not pass."""

    @property
    def headline(self) -> str:
        """Why."""
        return self.reason


@dataclass(frozen=True)
class Stopped(Document, kind="cd4ml/DeploymentStopped", remedy=_REMEDY):
    """It was in production until a person ended it."""

    at: str


Event: TypeAlias = Begun | StepTaken | Held | Undone | Stopped
WORDS: dict[type[Event], str] = {Begun: "begun", StepTaken: "step", Held: "held", Undone: "undone", Stopped: "stopped"}
"""What people call each."""
_KINDS: dict[str, type[Event]] = {kind.kind: kind for kind in WORDS}


def parse(text: str, place: str) -> Event | None:
    """Reads an event; None for one of a kind that only a newer cd4ml knows.

    Args:
        text: What the event's `text` was.
        place: Where it lies, for errors.

    Raises:
        DocumentError: It is no event.
    """
    kind = kind_of(text)
    known = _KINDS.get(kind)
    if known is None and kind.startswith("cd4ml/Deployment"):
        return None
    return (known or Begun).parse(text, place)  # which says what is wrong with what is no event


def deployment_of(begun: Begun, held: Held) -> Deployment:
    """The deployment that has begun and held."""
    return Deployment(
        name=begun.name,
        number=begun.number,
        version=begun.version,
        digest=begun.digest,
        run=begun.run,
        target=begun.target,
        endpoint=held.endpoint,
        deployed_at=held.at,
    )


def events_of(deployment: Deployment) -> tuple[Begun, Held]:
    """The events of a deployment of before, of which one record was written when it held."""
    at = deployment.deployed_at
    begun = Begun(
        name=deployment.name,
        number=deployment.number,
        version=deployment.version,
        digest=deployment.digest,
        run=deployment.run,
        target=deployment.target,
        strategy="replace",
        at=at,
    )
    return begun, Held(deployment.endpoint, at)
