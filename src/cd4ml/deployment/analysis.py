"""Whether a challenger keeps its limits against the champion, by requests that both had a chance to get, or did get.

Every check has an interval that may be looked at again and again (`cd4ml.deployment.anytime`), and all of them together
keep the error that is stated: each gets an equal part of it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from cd4ml import settings
from cd4ml.contracts.bounds import Bounds
from cd4ml.contracts.shares import Interval
from cd4ml.contracts.slices import ANY, OVERALL, Pattern
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.deployment import anytime
from cd4ml.errors import DeploymentError
from cd4ml.settings import Strict

if TYPE_CHECKING:
    from cd4ml.deployment.compared import Compared

GATE = "analysis"
EXAMPLE = "error_rate: {max_increase: 0.01}"
SAMPLE_RATIO = "sample_ratio"


class _Limit(Strict):
    slices: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = (OVERALL,)
    """Of requests, such as `region=south`, whose features are captured."""

    @model_validator(mode="after")
    def _names_slices(self) -> Self:
        for name in self.slices:
            if ANY in Pattern.parse(name).values.values():
                raise ValueError(f"slices: {name!r} stands for several; name each, for each needs a part of the error")
        return self


class _Of(_Limit):
    range: Annotated[tuple[float, float], Field(strict=False)] = (0.0, 1.0)
    """The least and the greatest value that there can be."""

    @model_validator(mode="after")
    def _has_width(self) -> Self:
        if not self.range[0] < self.range[1]:
            raise ValueError("range: write the least value and then a greater one")
        return self


class ErrorRate(_Limit):
    """Of the share of requests that fail (a status of 500 or more)."""

    max_increase: Annotated[float, Field(gt=0, le=1)]


class Latency(_Limit):
    """Of a quantile of the latency."""

    max_ratio: Annotated[float, Field(gt=0)]
    """Of the challenger's to the champion's."""


class MeanPrediction(_Of):
    """Of the mean of what is predicted."""

    max_change: Annotated[float, Field(gt=0)]
    """Up or down."""


class PredictionDifference(_Of):
    """Of how far the predictions of both for one row are apart, where both answered it."""

    max_mean: Annotated[float, Field(gt=0)]


class Reward(_Of):
    """Of the mean of what feedback says."""

    min_change: float
    """Below 0 what may be lost, above 0 what must be won."""


class Limits(Strict):
    """What the challenger must keep."""

    error_rate: ErrorRate | None = None
    latency_p50: Latency | None = None
    latency_p95: Latency | None = None
    latency_p99: Latency | None = None
    mean_prediction: MeanPrediction | None = None
    prediction_difference: PredictionDifference | None = None
    reward: Reward | None = None
    error: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """How often a challenger that keeps all limits may fail, and how often one that breaks a limit may pass."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not list(self.each()):
            raise ValueError(f"names no limit, so that every challenger would pass; write one, such as {EXAMPLE}")
        return self

    def each(self) -> Iterator[tuple[str, str, Any]]:
        """Each name, slice and limit."""
        for name in type(self).model_fields:
            limit = getattr(self, name)
            if isinstance(limit, _Limit):
                yield from ((name, slice_, limit) for slice_ in limit.slices)


def parse(content: object) -> Limits:
    """Checks limits.

    Raises:
        DeploymentError: With every mistake.
    """
    return settings.parse(Limits, content=content, name="analyse", error=DeploymentError)


@dataclass(frozen=True)
class _Found:
    """What is known of one measure."""

    value: float | None
    """None where there is none yet."""
    interval: Interval
    said: str
    """Of the value and what it was made of."""
    times: float
    """How many times the requests it takes to tell; infinite where that is not known."""


def analyse(compared: "Compared", limits: Limits, *, about: dict[str, str], looks: int = 1) -> Verdict:
    """Holds the challenger against the champion.

    Args:
        compared: Their requests.
        limits: What must be kept.
        about: Who they are, for the verdict.
        looks: The analyses among which the error is divided: those of a rollout, each of requests of its own.

    Returns:
        With a check for each limit, and one of how the requests were divided. It may be asked for again with more
        requests, as often as one likes.
    """
    held = list(limits.each())
    error = limits.error / looks / (len(held) + 1)
    checks = [_sample_ratio(compared, error)]
    for name, slice_, limit in held:
        checks.append(_held(compared, name=name, slice_=slice_, limit=limit, error=error))
    return Verdict(GATE, about, tuple(checks))


def _sample_ratio(compared: "Compared", error: float) -> Check:
    got, due, requests = int(compared.got.sum()), float(compared.chances.sum()), len(compared.got)
    said = f"{SAMPLE_RATIO}: the challenger got {got:,} of {requests:,} requests, and {due:,.0f} were due"
    if compared.dropped:
        said += f" ({compared.dropped:,} copies were dropped, for which it had no room, and count as failed)"
    outcome = Outcome.PASSED
    if not anytime.by_chance(compared.got, compared.chances, error):
        outcome = Outcome.ERROR
        said += ", which is not chance, so that the arms cannot be compared; look for requests that one of them loses"
    value = got / requests if requests else None
    return Check(SAMPLE_RATIO, "as the weights say", value, outcome, said, OVERALL)


def _held(compared: "Compared", *, name: str, slice_: str, limit: Any, error: float) -> Check:
    bounds, requests = _bounds(limit), compared.count
    subject = name if slice_ == OVERALL else f"{name} on {slice_}"
    try:
        if slice_ != OVERALL:
            compared = compared.of(compared.within(Pattern.parse(slice_)))
        found = _found(compared, name=name, limit=limit, bounds=bounds, error=error)
    except DeploymentError as why_not:
        said = f"{subject}: {why_not}; the limit '{bounds}' could not be checked"
        return Check(subject, str(bounds), None, Outcome.ERROR, said, slice_)
    outcome, told = _told(found, bounds, requests)
    said = f"{subject}: {found.said}; {told}"
    interval = found.interval if all(map(math.isfinite, found.interval)) else None
    return Check(subject, str(bounds), found.value, outcome, said, slice_, interval)


def _bounds(limit: Any) -> Bounds:
    if isinstance(limit, MeanPrediction):
        return Bounds(-limit.max_change, limit.max_change)
    if isinstance(limit, Reward):
        return Bounds(limit.min_change, None)
    if isinstance(limit, PredictionDifference):
        return Bounds(None, limit.max_mean)
    return Bounds(None, limit.max_increase if isinstance(limit, ErrorRate) else limit.max_ratio)


def _told(found: _Found, bounds: Bounds, requests: int) -> tuple[Outcome, str]:
    low, high = found.interval
    least, most = (-math.inf if bounds.low is None else bounds.low), (math.inf if bounds.high is None else bounds.high)
    if least <= low and high <= most:
        return Outcome.PASSED, f"{bounds} is kept"
    if high < least or low > most:
        return Outcome.FAILED, f"{bounds} is broken"
    if math.isinf(found.times):
        return Outcome.INCONCLUSIVE, f"whether {bounds} is kept cannot be told yet"
    more = _rounded(max(found.times - 1, 0) * requests)
    return Outcome.INCONCLUSIVE, f"about {more:,} requests more, like these, tell whether {bounds} is kept"


def _found(compared: "Compared", *, name: str, limit: Any, bounds: Bounds, error: float) -> _Found:
    if isinstance(limit, Latency):
        return _slower(compared, quantile=int(name.removeprefix("latency_p")) / 100, limit=limit, error=error)
    if isinstance(limit, ErrorRate):
        return _changed(compared, compared.failed, bounds=bounds, range_=(0.0, 1.0), error=error)
    if isinstance(limit, Reward):
        rewarded, rewards = compared.rewarded()
        return _changed(rewarded, rewards, bounds=bounds, range_=limit.range, error=error)
    known = compared.of(~np.isnan(compared.predictions))
    if isinstance(limit, PredictionDifference):
        return _apart(known, bounds=bounds, range_=limit.range, error=error)
    return _changed(known, known.predictions, bounds=bounds, range_=limit.range, error=error)


def _changed(
    compared: "Compared", values: np.ndarray, *, bounds: Bounds, range_: tuple[float, float], error: float
) -> _Found:
    """The difference of means of values within a range."""
    low, width = range_[0], _width(values, range_)
    ours, theirs = values[compared.challenged], values[~compared.challenged]
    if not len(ours) or not len(theirs):
        return _Found(None, (-width, width), _nothing(ours), math.inf)
    guesses = compared.differences((values - low) / width)
    of = f"from {theirs.mean():.4g} of {len(theirs):,} to {ours.mean():.4g} of {len(ours):,}"
    return _guessed(guesses, of=of, bounds=bounds, width=width, error=error)


def _apart(compared: "Compared", *, bounds: Bounds, range_: tuple[float, float], error: float) -> _Found:
    """How far predictions for one row are apart, on average."""
    from cd4ml.deployment.paired import Paired

    if not isinstance(compared, Paired):
        raise DeploymentError("one arm alone answered each request; it takes a mirror")
    width, apart = _width(compared.predicted()[0], range_), compared.apart()
    if not len(apart):
        return _Found(None, (0.0, width), _nothing(apart), math.inf)
    guesses = anytime.paired(apart / width, np.zeros(len(apart)))
    of = f"over {len(apart):,} requests that both answered"
    return _guessed(guesses, of=of, bounds=bounds, width=width, error=error)


def _width(values: np.ndarray, range_: tuple[float, float]) -> float:
    """Of a range that all values are in."""
    low, high = range_
    outside = values[(values < low) | (values > high)]
    if len(outside):
        raise DeploymentError(
            f"{len(outside):,} of {len(values):,} values are not from {low:g} to {high:g}, such as {outside[0]:g}; "
            "write the `range` that they have"
        )
    return high - low


def _guessed(guesses: anytime.Guesses, *, of: str, bounds: Bounds, width: float, error: float) -> _Found:
    """The true mean of guesses, in the width of a range."""
    low, high = (end * width for end in guesses.interval(error))
    value = float(guesses.values.mean()) * width
    times = _times(guesses, value / width, bounds=(bounds.low, bounds.high), width=width, error=error)
    return _Found(value, (low, high), f"{value:+.4g} [{low:+.4g}, {high:+.4g}], {of}", times)


def _times(
    guesses: anytime.Guesses, value: float, *, bounds: tuple[float | None, float | None], width: float, error: float
) -> float:
    """How many times the requests tell, as it looks now: whether all bounds are kept, or that one is broken."""
    kept: list[float] = []
    broken: list[float] = []
    for bound, above in zip(bounds, (False, True), strict=True):
        if bound is not None:
            limit = min(max(bound / width, -1.0), 1.0)
            keeps = value < limit if above else value > limit
            needed = guesses.needed(limit, above=above is keeps, error=error)
            (kept if keeps else broken).append(needed)
    return min(broken) if broken else max(kept)


def _slower(compared: "Compared", *, quantile: float, limit: Latency, error: float) -> _Found:
    """The ratio of quantiles of the latency."""
    latencies, known = compared.latencies, ~np.isnan(compared.latencies)
    ours, theirs = latencies[compared.challenged & known], latencies[~compared.challenged]
    if not len(ours) or not len(theirs):
        return _Found(None, (0.0, math.inf), _nothing(ours), math.inf)
    interval = anytime.ratio(ours, theirs, quantile=quantile, error=error, pairs=compared.pairs)
    before, now = (float(np.quantile(values, quantile)) for values in (theirs, ours))
    said = (
        f"{now / before:.4g} times [{interval[0]:.4g}, {interval[1]:.4g}], from {before:.4g} ms of {len(theirs):,} to "
        f"{now:.4g} ms of {len(ours):,}"
    )
    kept = interval[1] <= limit.max_ratio or interval[0] > limit.max_ratio
    if kept:
        return _Found(now / before, interval, said, 1.0)
    times = anytime.ratio_needed(
        ours, theirs, quantile=quantile, error=error, limit=limit.max_ratio, pairs=compared.pairs
    )
    return _Found(now / before, interval, said, times)


def _nothing(ours: np.ndarray) -> str:
    return f"nothing is known of the {'champion' if len(ours) else 'challenger'} yet"


def _rounded(count: float) -> int:
    """To two digits, up."""
    unit: int = 10 ** max(len(str(int(count))) - 2, 0)
    return math.ceil(count / unit) * unit
