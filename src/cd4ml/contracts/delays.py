"""With what delay labels come: the share of them that is in some time after the prediction."""

import bisect
from dataclasses import dataclass
from datetime import timedelta

from cd4ml.contracts.document import Document
from cd4ml.names import counted, lasting

RIPE = 0.95
"""The share of its labels with which a window can be judged."""


@dataclass(frozen=True)
class Share:
    """The share of labels that is in after some time, with its interval at 95 %."""

    seconds: float
    """After the request."""
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Delays(Document, kind="cd4ml/Delays", remedy="estimate the delays again"):
    """The share of labels that is in by the time since the request, of those that come within the horizon."""

    at: str
    """When it was estimated, ISO 8601, UTC."""
    labels: int
    """That it was estimated from."""
    horizon: float
    """Seconds: no later label counts, for too few requests are as old; 0 where there are too few at all."""
    shares: tuple[Share, ...]
    """By time; each holds until the next."""
    ripe_after: float | None
    """Seconds, after which a window has the share `RIPE` of its labels, at the lower end of the interval; None where
    that is not known yet."""

    @property
    def headline(self) -> str:
        """When windows are ripe."""
        if not self.shares:
            return f"{counted(self.labels, 'label')}, too few to tell with what delay they come"
        if self.ripe_after is None:
            oldest = lasting(timedelta(seconds=self.horizon))
            return f"not known yet: labels came for {oldest}, and those that come later may be many"
        return f"{RIPE:.0%} of the labels are in after {lasting(timedelta(seconds=self.ripe_after))}"

    def share(self, seconds: float) -> Share:
        """What is in some seconds after a request.

        Returns:
            All of it from the horizon on; where nothing is known from 0 to 1.
        """
        if not self.shares:
            return Share(seconds, 0.0, 0.0, 1.0)
        place = bisect.bisect_right([one.seconds for one in self.shares], seconds)
        found = self.shares[place - 1] if place else Share(0.0, 0.0, 0.0, self.shares[0].high)
        return Share(seconds, found.value, found.low, found.high)

    def is_ripe(self, seconds: float) -> bool:
        """Whether a window can be judged whose last request came so many seconds ago."""
        return self.ripe_after is not None and seconds >= self.ripe_after
