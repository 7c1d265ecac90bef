"""Whether a window has as many requests, and dates as old, as the same hours of earlier weeks had.

Nights differ from days and Sundays from Mondays, so a window is held against those of the same width that were whole
weeks earlier, and one of a week or longer against those before it. How far these are apart says how far the next one
may be (Student's t), which is no less than chance alone makes counts vary.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from cd4ml.contracts.drift import FALSE_ALARMS
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window import Window, key_of
from cd4ml.contracts.window_drift import Age, VersionDrift
from cd4ml.monitoring import monitored
from cd4ml.monitoring.monitored import Judged
from cd4ml.registry import clock
from cd4ml.storage import Store

Floats = npt.NDArray[np.float64]

WEEK = timedelta(days=7)
MOST, LEAST = 8, 4
"""Earlier windows that are looked at, and how many it takes to know what is usual."""
TIMES = 2.0
"""How many times as many requests, as few or as old is much: what is less fails nothing, however sure it is."""
PLACES = 9
"""After the point that count: twice as much is no more than twice, however the mean is rounded."""
TRAFFIC, AGE = "traffic", "age of"
_HOUR, _MINUTE = 1 / 24, 1 / 1440
"""Of a day."""


def of_window(store: Store, about: Window, found: Sequence[VersionDrift]) -> Iterator[Check]:
    """A check of the requests and one of each date; none of what fewer than four earlier windows tell.

    Args:
        store: Has the earlier windows, as they were judged.
        about: The window.
        found: What the versions were asked that answered in it.
    """
    earlier = monitored.every(store, about.model, of=list(_keys(about)))
    weeks = f"the same hours of {len(earlier)} earlier weeks"
    what = weeks if _step(about) == WEEK else f"{len(earlier)} earlier windows"
    yield from _traffic(about, earlier, what)
    yield from _ages(found, earlier, what)


def usual(earlier: Floats, *, rate: float, least: Floats | float) -> tuple[Floats, Floats, Floats]:
    """What windows had, and between what the next one lies.

    Args:
        earlier: What each had (float64 [..., windows], two at least).
        rate: How often the next one is not between them, though nothing has changed.
        least: How far they are apart at least (a standard deviation; float64 [...]).

    Returns:
        The mean, and both ends (float64 [...]).
    """
    count = earlier.shape[-1]
    mean: Floats = earlier.mean(axis=-1)
    spread = np.maximum(earlier.std(axis=-1, ddof=1), least) * np.sqrt(1 + 1 / count)
    reach = student(count - 1, rate) * spread
    return mean, mean - reach, mean + reach


def student(freedom: int, rate: float) -> float:
    """How far from 0 a value of Student's t is with this probability; by bisection of its distribution.

    Args:
        freedom: Its degrees of freedom, one at least.
        rate: Of both sides together.
    """
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / sqrt(freedom)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - _within(middle, freedom) > rate else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """How likely t is nearer to 0 (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    odd, cosine = freedom % 2, math.cos(angle)
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine**2 * (power - 1) / power
    return (angle + math.sin(angle) * total) * 2 / math.pi if odd else math.sin(angle) * total


def usual_requests(earlier: Floats) -> tuple[Floats, Floats, Floats]:
    """The same of requests, none of which are 0: they vary by shares, and by chance besides.

    Logarithms of counts lean to the low side, so half of the stated rate is asked for, which keeps the whole.
    """
    logs = np.log(earlier)
    middle, low, high = usual(logs, rate=FALSE_ALARMS / 2, least=np.exp(-logs.mean(axis=-1) / 2))
    return np.exp(middle), np.exp(low), np.exp(high)


def oldest(before: Floats, *, rate: float = FALSE_ALARMS) -> Floats:
    """How old a date may be, in days (float64 [...]); ages lean to the high side, and all above 0 vary by shares."""
    middle, _, high = usual(before, rate=rate, least=_MINUTE)
    above = before > 0
    by_shares = np.exp(usual(np.log(np.where(above, before, 1.0)), rate=rate, least=0.0)[2])
    high = np.where(above.all(axis=-1), np.maximum(high, by_shares), high)
    most: Floats = np.maximum(high, middle + np.maximum(np.abs(middle) * (TIMES - 1), _HOUR))
    return most


def _step(about: Window) -> timedelta:
    return max(datetime.fromisoformat(about.until) - datetime.fromisoformat(about.begin), WEEK)


def _keys(about: Window) -> Iterator[str]:
    """Those of the earlier windows, whether there are such or not."""
    begin, until = (datetime.fromisoformat(one) for one in (about.begin, about.until))
    for before in range(1, MOST + 1):
        away = before * _step(about)
        yield key_of(clock.written(begin - away), clock.written(until - away))


def _traffic(about: Window, earlier: Sequence[Judged], what: str) -> Iterator[Check]:
    counts = np.array([one.window.requests for one in earlier if one.window.requests], np.float64)
    if len(counts) < LEAST:
        return
    middle, low, high = (float(one) for one in usual_requests(counts))
    here, ratio = about.requests, round(about.requests / middle, PLACES)
    told = (
        f"{here:,} requests, where {what} had about {middle:,.0f}, and {low:,.0f} to {high:,.0f} are no news by how "
        "far these are apart"
    )
    beyond, much = not low <= max(here, 0.5) <= high, not 1 / TIMES <= ratio <= TIMES
    outcome = Outcome.PASSED
    if beyond and much:
        remedy = "who has begun to ask" if ratio > 1 else "whether callers still reach the model"
        outcome, told = Outcome.FAILED, f"{told}; see {remedy}"
    elif much:
        outcome, told = Outcome.INCONCLUSIVE, f"{told}, which chance can make; see the next windows"
    limit = f"half to twice as many as usual, or what comes in more than {FALSE_ALARMS:.0%} of such windows"
    yield Check(TRAFFIC, limit, float(here), outcome, told, interval=(low, high))


def _ages(found: Sequence[VersionDrift], earlier: Sequence[Judged], what: str) -> Iterator[Check]:
    before = [_by_column(one.drift.by_version) for one in earlier if one.drift]
    here = _by_column(found)
    for column, age in here.items():
        medians = np.array([one[column].median for one in before if column in one])
        if len(medians) >= LEAST:
            yield _age(age, medians, what, rate=FALSE_ALARMS / len(here))


def _age(age: Age, before: Floats, what: str, *, rate: float) -> Check:
    middle, low, high = (float(one) for one in usual(before, rate=rate, least=_MINUTE))
    most = float(oldest(before, rate=rate))
    told = f"half of the rows have a `{age.column}` of more than {_shown(age.median)}, and {what} had {_shown(middle)}"
    outcome = Outcome.PASSED
    if round(age.median - most, PLACES) > 0:
        outcome, told = Outcome.FAILED, f"{told}; see whether what makes it still runs"
    return Check(f"{AGE} {age.column}", f"at most {_shown(most)}", age.median, outcome, told, interval=(low, high))


def _by_column(versions: Sequence[VersionDrift]) -> dict[str, Age]:
    """The ages that the version saw which answered most."""
    most = max(versions, key=lambda one: one.rows, default=None)
    return {one.column: one for one in most.ages} if most else {}


def _shown(days: float) -> str:
    """`3.2 days`, `5 hours`, `12 minutes`."""
    for size, unit in ((1.0, "days"), (_HOUR, "hours")):
        if abs(days) >= 2 * size:
            return f"{days / size:.3g} {unit}"
    return f"{days / _MINUTE:.3g} minutes"
