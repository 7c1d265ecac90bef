"""With what delay labels come, estimated from those that have come.

Of recent requests the late labels are still to come, so that the delays that were seen are too short. As with
diseases that are reported late, time is turned round: of the labels that are in with a delay of `d` or less, of
requests that are at least `d` old, the part with the delay `d` is not biased, and the product of what such parts leave
is the share that is in earlier (Kalbfleisch and Lawless, 1989; the product limit with time reversed). What will never
have a label plays no part. Which share comes later than any request is old, no data can tell: so labels count up to a
horizon that enough labelled requests have reached, and a window is called ripe only from an age on that is half of it.
"""

from datetime import datetime
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cd4ml.contracts.delays import RIPE, Delays, Share
from cd4ml.registry import clock

FEWEST = 100
"""Labelled rows of requests that are as old as the horizon."""
POINTS = 200
"""Of the curve, at most."""
_Z = NormalDist().inv_cdf(0.975)
_SECOND = 1_000_000

Numbers = npt.NDArray[np.float64]


def delays(rows: pa.Table, seen: pa.ChunkedArray, now: datetime) -> Delays:
    """Estimates with what delay labels come.

    Args:
        rows: Predicted rows, with `at`, and `labelled_at` where a label is known (`cd4ml.contracts.window`).
        seen: Of each row, the moment up to which it is known whether it has one.
        now: The moment of the estimate.
    """
    asked, told, until = (
        one.cast(pa.int64()).fill_null(-1).to_numpy() for one in (rows["at"], rows["labelled_at"], seen)
    )
    known = (told >= 0) & (told <= until)
    asked, told, until = (one[known] for one in (asked, told, until))
    return estimate((told - asked) / _SECOND, (until - asked) / _SECOND, at=clock.written(now))


def estimate(delay: Numbers, age: Numbers, *, at: str = "") -> Delays:
    """The same of labels that are in.

    Args:
        delay: Seconds from the request to its label (float64 [labels]).
        age: Seconds from the request until now, no less (float64 [labels]).
        at: What now is, for the document.
    """
    labels = len(delay)
    if labels < FEWEST:
        return Delays(at, labels, 0.0, (), None)
    horizon = float(np.partition(age, labels - FEWEST)[labels - FEWEST])
    within = delay <= horizon
    delay, age = np.sort(delay[within]), np.sort(np.minimum(age[within], horizon))
    times, first, ended = np.unique(delay, return_index=True, return_counts=True)
    at_risk = first + ended - np.searchsorted(age, times, side="left")
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.log1p(-ended / at_risk)
        spread = ended / (at_risk * (at_risk - ended))
    logs, variances = _later(left), _later(spread)
    curve = np.exp(logs)
    low, high = _interval(logs, variances)
    ripe = times[np.argmax(low >= RIPE)] if (low >= RIPE).any() else np.inf
    chosen = _few(curve)
    shares = tuple(Share(*map(float, one)) for one in np.array([times, curve, low, high]).T[chosen])
    return Delays(at, labels, horizon, shares, float(ripe) if 2 * ripe <= horizon else None)


def _later(parts: Numbers) -> Numbers:
    """The sum of what comes after each (float64 [parts])."""
    sums: Numbers = np.append(np.cumsum(parts[::-1])[::-1][1:], 0.0)
    return sums


def _interval(logs: Numbers, variances: Numbers) -> tuple[Numbers, Numbers]:
    """Of a share, by Greenwood's variance on the scale of log(-log), so that it stays from 0 to 1."""
    size = -logs
    with np.errstate(divide="ignore", invalid="ignore"):
        wide = _Z * np.sqrt(variances) / size
        low, high = np.exp(-size * np.exp(wide)), np.exp(-size * np.exp(-wide))
    is_end = size == 0
    unknown = ~np.isfinite(size) | ~np.isfinite(variances)
    return (
        np.where(is_end, 1.0, np.where(unknown, 0.0, low)),
        np.where(is_end, 1.0, np.where(unknown, 1.0, high)),
    )


def _few(curve: Numbers) -> npt.NDArray[np.int64]:
    """The places of points that draw it: those where it has risen by a part, the first and the last."""
    steps = np.linspace(0, 1, POINTS - 2)
    found = np.minimum(np.searchsorted(curve, steps), len(curve) - 1)
    return np.unique(np.concatenate([[0], found, [len(curve) - 1]]))
