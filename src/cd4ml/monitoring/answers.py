"""How a window was answered: errors, latency, and a caller that floods."""

from collections import Counter
from collections.abc import Iterator

from cd4ml.contracts.shares import share_interval
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window import Part, Window
from cd4ml.contracts.window_drift import ERRORS, FLOOD
from cd4ml.monitoring.callers import Loudest
from cd4ml.monitoring.shares_held import percent

MOST_ERRORS = 0.05
"""The share of answers that may be errors."""
FEWEST_ANSWERS = 100
MOST_OF_ONE = 0.5
"""The share of the rows that one of many callers may send."""
MANY_CALLERS = 30


def errors(parts: list[Part], where: str) -> Check:
    """Whether the answers of one version are errors too often.

    Args:
        parts: Its own.
        where: What stands behind the name of the check: ` in version 3`.
    """
    answers, wrong = sum(one.requests for one in parts), sum(one.errors for one in parts)
    share, (low, high) = wrong / answers, share_interval(wrong / answers, answers)
    told, limit = f"{percent(share)} of {answers:,} answers are errors", percent(MOST_ERRORS)
    outcome, reason = Outcome.PASSED, told
    if low > MOST_ERRORS:
        outcome, reason = Outcome.FAILED, f"{told} ({_wrong(parts)}), where {limit} may; {_why(parts)}"
    elif answers < FEWEST_ANSWERS:
        outcome = Outcome.INCONCLUSIVE
        reason = f"{told}; {FEWEST_ANSWERS - answers} more answers are needed to tell"
    return Check(f"{ERRORS}{where}", f"at most {limit}", share, outcome, reason, interval=(low, high))


def flood(loudest: Loudest | None) -> Check:
    """Whether one of many callers sends more rows than all others."""
    limit = f"at most {percent(MOST_OF_ONE)} of the rows of {MANY_CALLERS} callers and more"
    if loudest is None:
        reason = "no caller is known; a router with `sticky` tells who is one (docs/routing.md)"
        return Check(FLOOD, limit, None, Outcome.SKIPPED, reason)
    share = loudest.rows / loudest.all_rows
    told = f"the caller {loudest.unit} sent {percent(share)} of {loudest.all_rows:,} rows"
    outcome, reason = Outcome.PASSED, f"{told}, and {loudest.others:,} others sent the rest"
    if share > MOST_OF_ONE and loudest.others + 1 >= MANY_CALLERS:
        outcome = Outcome.FAILED
        reason = f"{told}, more than all {loudest.others:,} others; see what it does, and whether it has to be limited"
    return Check(FLOOD, limit, share, outcome, reason)


def latencies(parts: list[Part]) -> dict[str, float]:
    """By arm and percentile, in milliseconds."""
    return {f"{one.arm} {at}": value for one in parts for at, value in one.latency_ms.items()}


def given(window: Window) -> Iterator[tuple[str, list[Part]]]:
    """By version the parts of a window that were given to somebody."""
    parts = [one for one in window.parts if not one.mirrored]
    for version in sorted({one.version for one in parts}):
        yield version, [one for one in parts if one.version == version]


def _wrong(parts: list[Part]) -> str:
    """How many errors have which status, the most frequent first."""
    counts = Counter[str]()
    for part in parts:
        counts.update({status: count for status, count in part.statuses.items() if int(status) >= 400})
    return ", ".join(f"{count:,} of status {status}" for status, count in counts.most_common())


def _why(parts: list[Part]) -> str:
    """What to look at: at callers where most errors are theirs."""
    theirs = sum(count for part in parts for status, count in part.statuses.items() if 400 <= int(status) < 500)
    if 2 * theirs > sum(one.errors for one in parts):
        return "most are of requests that the model does not take: has the schema changed on the side of callers?"
    return "see the log of the model server"
