"""Whether a release keeps limits of its own, by what the router captured of the requests that it answered.

Each limit allows a share of the requests to be bad: to fail, or to take longer than a quantile may. How large the share
is lies in an interval that may be looked at again and again (`cd4ml.deployment.anytime`).
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import pyarrow.compute as pc
from pydantic import Field, model_validator

from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.deployment import anytime
from cd4ml.deployment.compared import answers, first_of_each_caller
from cd4ml.settings import Span, Strict

GATE = "watch"


class ErrorRate(Strict):
    """Of the share of requests that fail (a status of 500 or more)."""

    max: Annotated[float, Field(gt=0, lt=1)]


class Latency(Strict):
    """Of a quantile of the latency."""

    max: Annotated[float, Field(gt=0)]
    """Milliseconds."""


class Watched(Strict):
    """What a release must keep, and for how long it is looked at."""

    span: Annotated[Span, Field(alias="for")]
    """All of it is waited for; what is not known to be kept by then has failed."""
    error_rate: ErrorRate | None = None
    latency_p50: Latency | None = None
    latency_p95: Latency | None = None
    latency_p99: Latency | None = None
    error: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """How often a release that keeps all limits may fail, and how often one that breaks a limit may pass."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not list(self.each()):
            raise ValueError("names no limit, so that every release would pass; write one: error_rate: {max: 0.02}")
        return self

    def each(self) -> Iterator[tuple[str, ErrorRate | Latency]]:
        """Each name and limit."""
        for name in type(self).model_fields:
            limit = getattr(self, name)
            if isinstance(limit, ErrorRate | Latency):
                yield name, limit


def judge(
    folder: str | Path,
    limits: Watched,
    *,
    arm: str,
    since: datetime | None = None,
    until: datetime | None = None,
    looks: int = 1,
) -> Verdict:
    """Holds what an arm answered against limits.

    Of the requests of one caller the first alone counts, for those of one are not independent.

    Args:
        folder: Of the capture, a path or `s3://bucket/prefix`.
        limits: What must be kept.
        arm: Whose answers count.
        since: The first moment that counts.
        until: The moment that does not count any more.
        looks: How many steps of a rollout the error is divided among.

    Returns:
        With a check for each limit. It may be asked for again with more requests, as often as one likes.

    Raises:
        DeploymentError: What was captured cannot be read.
    """
    own = (pc.field("arm") == arm) & ~pc.field("mirrored")
    table = first_of_each_caller(answers(folder, own, since=since, until=until))
    statuses, latencies = table["status"].to_numpy(), table["latency_ms"].to_numpy()
    held = list(limits.each())
    error = limits.error / looks / len(held)
    checks = []
    for name, limit in held:
        if isinstance(limit, ErrorRate):
            what, bad, allowed = "failed", statuses >= 500, limit.max
        else:
            what, bad = f"took more than {limit.max:g} ms", latencies > limit.max
            allowed = (100 - int(name.removeprefix("latency_p"))) / 100
        checks.append(_held(name, what, bad, allowed=allowed, error=error))
    return Verdict(GATE, {"arm": arm}, tuple(checks))


def _held(name: str, what: str, bad: np.ndarray, *, allowed: float, error: float) -> Check:
    """One limit: no more than a share of the requests may be bad (bool [requests])."""
    part, count, limit = int(bad.sum()), len(bad), f"at most {allowed:g}"
    low, high = anytime.share(part, count, error=error)
    outcome, told = Outcome.INCONCLUSIVE, f"whether {limit} is kept cannot be told yet"
    if high <= allowed:
        outcome, told = Outcome.PASSED, f"{limit} is kept"
    elif low > allowed:
        outcome, told = Outcome.FAILED, f"{limit} is broken"
    said = f"{name}: {part:,} of {count:,} requests {what}, a share in [{low:.4g}, {high:.4g}]; {told}"
    return Check(name, limit, part / count if count else None, outcome, said, interval=(low, high))
