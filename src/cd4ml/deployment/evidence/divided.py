"""Requests of which chance gave each to one of two arms."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.deployment.evidence import anytime
from cd4ml.deployment.evidence.compared import Compared, first_of_each_caller
from cd4ml.deployment.evidence.reading import Captured
from cd4ml.errors import DeploymentError


@dataclass(frozen=True)
class Divided(Compared):
    """An answer a request."""

    propensities: np.ndarray
    """How likely the challenger was to get it, strictly between 0 and 1 (float64 [requests])."""
    rarest: float = 0.5
    """The least that either arm was ever to get, where shares follow what comes of requests."""

    @property
    def count(self) -> int:  # noqa: D102
        return len(self.challenged)

    @property
    def got(self) -> np.ndarray:  # noqa: D102
        return self.challenged

    @property
    def chances(self) -> np.ndarray:  # noqa: D102
        return self.propensities

    def differences(self, values: np.ndarray) -> anytime.Guesses:  # noqa: D102
        return anytime.difference(values, self.challenged, self.propensities, rarest=self.rarest)

    def first(self, count: int) -> Self:
        """So many of the requests."""
        return self._taken(np.arange(min(count, self.count)))

    def of(self, wanted: np.ndarray) -> Self:  # noqa: D102
        return self._taken(np.flatnonzero(wanted))

    def _taken(self, places: np.ndarray) -> Self:
        return replace(
            self,
            challenged=self.challenged[places],
            table=self.table.take(places),
            propensities=self.propensities[places],
        )


def read(captured: Captured, *, champion: str, challenger: str, until: datetime | None = None) -> Divided:
    """Reads what was captured of two arms.

    Of the requests of one caller the first alone counts, for a caller always has the same arm.

    Args:
        captured: Of the answers those by chance (`compared.BY_CHANCE`).
        champion: An arm.
        challenger: The arm that is held against it.
        until: The moment that does not count any more.

    Raises:
        DeploymentError: A third arm answered too, or what was captured cannot be read.
    """
    requests = captured.requests(until)
    others = set(requests["arm"].unique().to_pylist()) - {champion, challenger}
    if others:
        raise DeploymentError(
            f"{captured.folder}: {', '.join(sorted(others))} answered too, and two arms are compared; name those of "
            "one rollout"
        )
    return among(requests, captured.feedback(), challenger=challenger)


def among(requests: pa.Table, feedback: pa.Table, *, challenger: str) -> Divided:
    """What two arms did.

    Args:
        requests: Those that either had a chance to get, as `cd4ml.contracts.captured` has them, in order.
        feedback: Likewise, of these and of others.
        challenger: An arm.
    """
    requests = first_of_each_caller(requests)
    challenged = pc.equal(requests["arm"], challenger).to_numpy()
    own = requests["propensity"].to_numpy()
    return Divided(challenged, requests, feedback, np.where(challenged, own, 1 - own))
