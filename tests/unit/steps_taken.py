"""A step of a rollout in place of the one that asks a server, and the time in which steps are taken."""

from collections.abc import Callable
from dataclasses import dataclass

from cd4ml.contracts.release import Verification
from cd4ml.deployment.steps import Rollout


@dataclass(frozen=True)
class Answers:
    """A step that says that the release answers as evaluated; or does what else it was told to."""

    name = "answers"
    instead: Callable[[Rollout], object] = lambda _: None

    def take(self, now: Rollout) -> str:
        self.instead(now)
        now.verification = Verification(now.url, "sha256:m", 3, 0.0, p50_ms=1.0, p99_ms=2.0)
        return now.verification.headline


@dataclass
class Clock:
    """The time of the capture, which passes while one sleeps, in seconds."""

    passed: float = 0.0
    meanwhile: Callable[[], object] = lambda: None
    """What others do while one sleeps."""

    def sleep(self, seconds: float) -> None:
        self.passed += seconds
        self.meanwhile()

    def monotonic(self) -> float:
        return self.passed
