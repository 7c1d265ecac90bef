"""Whether a challenger keeps its limits against the champion, by requests that both had a chance to get, or did get.

Every check has an interval that may be looked at again and again (`cd4ml.deployment.evidence.anytime`), and all of them
together keep the error that is stated: each gets an equal part of it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cd4ml.contracts.bounds import Bounds
from cd4ml.contracts.shares import Interval
from cd4ml.contracts.slices import OVERALL, Pattern
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.deployment.evidence import anytime, gaps, labelled, strange
from cd4ml.deployment.evidence.labelled import Labels
from cd4ml.deployment.evidence.limits import (
    AbsoluteError,
    Accuracy,
    Between,
    BrierScore,
    ErrorRate,
    Held,
    Latency,
    Limits,
    PredictionDifference,
    Reward,
)
from cd4ml.errors import DeploymentError
from cd4ml.names import amount

if TYPE_CHECKING:
    from cd4ml.deployment.evidence.compared import Compared

GATE = "analysis"
SAMPLE_RATIO = "sample_ratio"
LABEL_RATIO = "label_ratio"
REWARD_RATIO = "reward_ratio"


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


def analyse(
    compared: "Compared",
    limits: Limits,
    *,
    about: dict[str, str],
    looks: int = 1,
    classes: Sequence[str] | None = None,
) -> Verdict:
    """Holds the challenger against the champion.

    Args:
        compared: Their requests.
        limits: What must be kept.
        about: Who they are, for the verdict.
        looks: How many steps of a rollout the error is divided among, each of which looks at requests of its own.
        classes: Of the label, as the contract of the model has them, none of a number; None where that is not known.

    Returns:
        With a check for each limit, one of how the requests were divided, and one of the labels, and of the rewards,
        where a limit is of them. It may be asked for again with more requests, as often as one likes.
    """
    held = list(limits.each())
    labels = None if classes is None else Labels(classes, limits.labels_within)
    ratios: list[Callable[[Compared, float], Check]] = [_sample_ratio]
    if limits.of_labels:
        ratios.append(partial(_label_ratio, labels=labels))
    if limits.reward and not compared.pairs:
        ratios.append(partial(_reward_ratio, limit=limits.reward))
    error = limits.error / looks / (len(held) + len(ratios))
    checks = [ratio(compared, error) for ratio in ratios]
    checks += [_held(compared, one, labels=labels, error=error) for one in held]
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


def _label_ratio(compared: "Compared", error: float, *, labels: Labels | None) -> Check:
    told = compared.told("labels")
    bad = told.of(labelled.strange(told, labels) if labels else np.zeros(len(told.table), bool))
    why = labelled.why_strange(bad, labels) if labels and bad.count else ""
    return _feedback_ratio(compared, told, bad, name=LABEL_RATIO, what="labels", why=why, error=error)


def _reward_ratio(compared: "Compared", error: float, *, limit: Reward) -> Check:
    told, rewards = compared.rewarded()
    outside = strange.outside(rewards, limit.range)
    why = strange.why_outside(rewards[outside][0], limit.range) if outside.any() else ""
    return _feedback_ratio(compared, told, told.of(outside), name=REWARD_RATIO, what="a reward", why=why, error=error)


def _feedback_ratio(
    compared: "Compared", told: "Compared", bad: "Compared", *, name: str, what: str, why: str, error: float
) -> Check:
    """Whether feedback came for the requests of both arms alike, and such as can be used; of pairs it is for both.

    Args:
        compared: The requests.
        told: Those that have feedback.
        bad: Those of them whose feedback is left out.
        name: Of the check.
        what: They have.
        why: It is left out.
        error: Of the check.
    """
    (theirs, champions), (ours, challengers) = (
        (int((told.challenged == arm).sum()), int((compared.challenged == arm).sum())) for arm in (False, True)
    )
    said = (
        f"{name}: {theirs:,} of {champions:,} requests of the champion have {what}, and {ours:,} of "
        f"{challengers:,} of the challenger"
    )
    left_out, too_strange = strange.left_out(bad, told=told.count, why=why, error=error / 2)
    outcome = Outcome.PASSED
    if not (compared.pairs or anytime.by_chance(told.got, told.chances, error / 2)):
        outcome = Outcome.ERROR
        said += (
            ", which is not chance, so that they do not tell of the arms; look why those of one arm come later or "
            "not at all"
        )
    if left_out:
        said += f"; {left_out}"
    if too_strange:
        outcome = Outcome.ERROR
    value = ours / (ours + theirs) if ours + theirs else None
    return Check(name, "as the weights say", value, outcome, said, OVERALL)


def _held(compared: "Compared", held: Held, *, labels: Labels | None, error: float) -> Check:
    requests = compared.count
    try:
        found = _found(compared, held, labels=labels, error=error)
    except DeploymentError as why_not:
        said = f"{held.subject}: {why_not}; the limit '{held.bounds}' could not be checked"
        return Check(held.subject, str(held.bounds), None, Outcome.ERROR, said, held.slice)
    outcome, told = _told(found, held.bounds, requests)
    said = f"{held.subject}: {found.said}; {told}"
    interval = found.interval if all(map(math.isfinite, found.interval)) else None
    return Check(held.subject, str(held.bounds), found.value, outcome, said, held.slice, interval)


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


def _found(compared: "Compared", held: Held, *, labels: Labels | None, error: float) -> _Found:
    limit, bounds = held.limit, held.bounds
    if isinstance(limit, Between):
        return _between(compared, limit, labels=labels, error=error)
    if held.slice != OVERALL:
        compared = compared.of(compared.within(Pattern.parse(held.slice)))
    if isinstance(limit, Latency):
        return _slower(compared, quantile=int(held.name.removeprefix("latency_p")) / 100, limit=limit, error=error)
    if isinstance(limit, ErrorRate):
        return _changed(compared, compared.failed, bounds=bounds, range_=(0.0, 1.0), error=error)
    if isinstance(limit, Reward):
        rewarded, rewards = compared.rewarded()
        within = ~strange.outside(rewards, limit.range)
        return _changed(rewarded.of(within), rewards[within], bounds=bounds, range_=limit.range, error=error)
    if isinstance(limit, AbsoluteError):
        known, came = labelled.labelled(compared, labels)
        width, errors = _width(known.predicted()[0], limit.range), np.abs(known.predicted()[0] - came)
        return _changed(known, known.mean(errors), bounds=bounds, range_=(0.0, width), error=error)
    if isinstance(limit, Accuracy):
        known, came = labelled.labelled(compared, labels)
        right = labelled.predicted(known, labels, limit.threshold) == came
        return _changed(known, known.mean(right), bounds=bounds, range_=(0.0, 1.0), error=error)
    if isinstance(limit, BrierScore):
        known, came = labelled.labelled(compared, labels)
        probabilities = known.predicted()[0]
        _width(probabilities, (0.0, 1.0))
        return _changed(known, known.mean((probabilities - came) ** 2), bounds=bounds, range_=(0.0, 1.0), error=error)
    known = labelled.with_predictions(compared)
    if isinstance(limit, PredictionDifference):
        return _apart(known, bounds=bounds, range_=limit.range, error=error)
    return _changed(known, known.predictions, bounds=bounds, range_=limit.range, error=error)


def _between(compared: "Compared", limit: Between, *, labels: Labels | None, error: float) -> _Found:
    """The gap between groups, or its increase."""
    if limit.rate == "selection_rate":
        known = labelled.with_predictions(compared)
        came = np.zeros(len(known.given()[0]))
    else:
        known, came = labelled.labelled(compared, labels)
    counted, made = gaps.RATES[limit.rate](labelled.predicted(known, labels, limit.threshold), came)
    groups = gaps.grouped(known, feature=limit.column, groups=limit.groups, counted=counted, made=made)
    missing = [group.name for group in groups if not group.is_known]
    if missing:
        interval = (-1.0 if limit.increase else 0.0, 1.0)
        return _Found(None, interval, f"of {' and '.join(missing)} one arm had no request yet", math.inf)
    measure = gaps.increase if limit.increase else gaps.gap
    found = measure(groups, limit.most, error)
    of = gaps.said({group.name: group.challenger for group in groups})
    if limit.increase:
        of += "; the champion's " + gaps.said({group.name: group.champion for group in groups})
    return _Found(found.value, found.interval, _said(found.value, found.interval, of), found.times)


def _changed(
    compared: "Compared", values: np.ndarray, *, bounds: Bounds, range_: tuple[float, float], error: float
) -> _Found:
    """The difference of means of values within a range."""
    low, width = range_[0], _width(values, range_)
    ours, theirs = values[compared.challenged], values[~compared.challenged]
    if not len(ours) or not len(theirs):
        return _Found(None, (-width, width), _nothing(ours), math.inf)
    guesses = compared.differences((values - low) / width)
    of = f"from {amount(theirs.mean())} of {len(theirs):,} to {amount(ours.mean())} of {len(ours):,}"
    return _guessed(guesses, of=of, bounds=bounds, width=width, error=error)


def _apart(compared: "Compared", *, bounds: Bounds, range_: tuple[float, float], error: float) -> _Found:
    """How far predictions for one row are apart, on average."""
    from cd4ml.deployment.evidence.paired import Paired

    if not isinstance(compared, Paired):
        raise DeploymentError("one arm alone answered each request; it takes a mirror")
    apart = compared.apart()
    width = 1.0 if compared.width > 1 else _width(compared.predicted()[0], range_)
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
    return _Found(value, (low, high), _said(value, (low, high), of), times)


def _said(value: float, interval: Interval, of: str) -> str:
    change, low, high = (amount(one, "+") for one in (value, *interval))
    return f"{change} [{low}, {high}], {of}"


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
    ours, theirs = latencies[compared.challenged & known], latencies[~compared.challenged & known]
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
