"""Whether estimates of quality held so far: in earlier windows, once labels are in, or when the model was evaluated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import comb

from cd4ml.contracts.delays import Delays
from cd4ml.contracts.evaluation import OVERALL, Slice
from cd4ml.contracts.shares import Interval
from cd4ml.contracts.verdict import Outcome
from cd4ml.contracts.window import Window
from cd4ml.contracts.window_quality import Estimate, Reliance, WindowQuality
from cd4ml.monitoring import monitored, window_table
from cd4ml.monitoring.as_published import AsPublished
from cd4ml.names import counted
from cd4ml.storage import Store

WINDOWS = 30
"""That tell, at most."""
FARTHEST = 10 * WINDOWS
"""Windows with ripe labels that are looked through for these, the latest first; some may have no rows."""
ERROR = 0.01
"""How often estimates that hold are said not to."""
MISSES = 0.1
"""In what part of the windows at most one of the two metrics is missed that tell, where probabilities are right."""
OFF = 0.1
"""How far the mean probability may be from the share of positives, as a part of it, when a model was evaluated."""
CALIBRATED = 0.05
"""The same of several classes, as training measured it when it calibrated them."""


def others(store: Store, window: Window, ripening: Delays) -> list[WindowQuality]:
    """What was found of the last earlier windows of a model whose labels are in, as they were judged last.

    Args:
        store: The store.
        window: The window that they are earlier than.
        ripening: With what delay labels come, which says whose were in when they were collected.
    """
    known = [one for one in window_table.every(store, window.model) if one.key < window.key]
    ripe = [one.key for one in known if ripening.is_ripe(one.age)]
    found: list[WindowQuality] = []
    for end in range(len(ripe), max(len(ripe) - FARTHEST, 0), -WINDOWS):
        some = monitored.every(store, window.model, of=ripe[max(end - WINDOWS, 0) : end])
        found = [*(one.quality for one in some if one.quality and _is_settled(one.quality)), *found]
        if len(found) >= WINDOWS:
            break
    return found[-WINDOWS:]


def _is_settled(found: WindowQuality) -> bool:
    return any(one.within is not None for version in found.by_version for one in version.estimates)


def settled(estimates: Sequence[Estimate], slices: Mapping[str, Slice]) -> list[Estimate]:
    """Estimates with what came to be, and whether that is no further from them than chance."""
    return [_settled(one, slices.get(one.slice)) for one in estimates]


def _settled(one: Estimate, slice_: Slice | None) -> Estimate:
    was = slice_.metrics.get(one.metric) if slice_ else None
    if was is None or slice_ is None:
        return one
    ends: list[Interval] = [] if one.interval is None else [one.interval]
    measured = slice_.intervals.get(one.metric)
    if one.interval is None or measured is None:
        return replace(one, was=was)
    within = ends[0][0] <= was <= ends[0][1] or measured[0] <= one.value <= measured[1]
    return replace(one, was=was, within=within)


def of(published: AsPublished, known: Iterable[WindowQuality]) -> Reliance:
    """Whether the estimates of a version can be relied on.

    Args:
        published: The version.
        known: What was found of earlier windows.
    """
    problem = published.contract.problem
    if not problem.has_classes:
        why = "there are none, for a number that is predicted says nothing of how far off it may be"
        return Reliance(Outcome.SKIPPED, 0, 0, why)
    tell = (problem.primary, "label_rate" if problem.at_thresholds else "top_1_accuracy")
    came = [
        [one.within for one in version.estimates if one.slice == OVERALL and one.metric in tell]
        for window in known
        for version in window.by_version
        if version.version == str(published.version.version)
    ]
    windows = [[one for one in each if one is not None] for each in came]
    misses = [not all(each) for each in windows if each]
    if not misses:
        return _when_evaluated(published)
    number, missed = len(misses), sum(misses)
    chance = sum(comb(number, one) * MISSES**one * (1 - MISSES) ** (number - one) for one in range(missed, number + 1))
    said = (
        f"in {number - missed} of {counted(number, 'earlier window')} they were no further than chance from what came"
    )
    if missed and chance <= ERROR:
        return Reliance(Outcome.FAILED, number, missed, f"{said}: do not rely on them; calibrate the model anew")
    return Reliance(Outcome.PASSED, number, missed, said)


def _when_evaluated(published: AsPublished) -> Reliance:
    """By the evaluation, where no window has told yet."""
    overall = published.evaluated.get(OVERALL)
    value = overall.metrics.get("calibration") if overall else None
    if overall and value is not None:
        low, high = overall.intervals.get("calibration") or (value, value)
        said = (
            f"no window has told yet; when the model was evaluated, its mean probability was {value:.3g} of the share "
            "of positives"
        )
        off = abs(value - 1) > OFF and not low <= 1 <= high
        more = "; calibrate it" if off else ""
        return Reliance(Outcome.FAILED if off else Outcome.PASSED, 0, 0, said + more)
    calibration = published.contract.calibration
    if calibration:
        said = f"no window has told yet; when the model was calibrated, it was {calibration.error[1]:.3g} off"
        kept = calibration.error[1] <= CALIBRATED
        return Reliance(Outcome.PASSED if kept else Outcome.FAILED, 0, 0, said)
    return Reliance(Outcome.INCONCLUSIVE, 0, 0, "no window has told yet whether its probabilities come true")
