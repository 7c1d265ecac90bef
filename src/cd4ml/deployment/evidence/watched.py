"""Whether a release keeps limits of its own, by what the router captured of the requests that it answered.

Each limit allows a share of the requests to be bad: to fail, or to take longer than a quantile may. How large the share
is lies in an interval that may be looked at again and again (`cd4ml.deployment.evidence.anytime`).
"""

from datetime import datetime

import numpy as np
import pyarrow.compute as pc

from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.deployment.evidence import anytime
from cd4ml.deployment.evidence.compared import NO_ROOM, at_fault
from cd4ml.deployment.evidence.own_limits import OwnErrorRate, OwnLimits
from cd4ml.deployment.evidence.reading import Captured

GATE = "watch"
NEEDED = {"status", "latency_ms"}
"""The columns of a capture that tell."""


def asked(arm: str) -> pc.Expression:
    """Which answers count: those of an arm to callers."""
    return (pc.field("arm") == arm) & ~pc.field("mirrored")


def judge(captured: Captured, limits: OwnLimits, *, arm: str, until: datetime | None = None, looks: int = 1) -> Verdict:
    """Holds what an arm answered against limits.

    Of the requests of one caller the first alone counts, for those of one are not independent.

    Args:
        captured: Of the answers those of the arm, as `asked` says.
        limits: What must be kept.
        arm: Whose answers count.
        until: The moment that does not count any more.
        looks: How many steps of a rollout the error is divided among.

    Returns:
        With a check for each limit. It may be asked for again with more requests, as often as one likes.

    Raises:
        DeploymentError: What was captured cannot be read.
    """
    table = captured.requests(until)
    statuses = table["status"].to_numpy()
    late = np.where(statuses == NO_ROOM, np.inf, table["latency_ms"].to_numpy())
    held = list(limits.each())
    error = limits.error / looks / len(held)
    checks = []
    for name, limit in held:
        if isinstance(limit, OwnErrorRate):
            what, bad, allowed = "failed", at_fault(statuses), limit.max
        else:
            what, bad = f"took more than {limit.max:g} ms", late > limit.max
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
