"""How far what is measured in production is from what was measured when the version was evaluated."""

from collections.abc import Iterator
from statistics import NormalDist

from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.evaluation import CANDIDATE, Summary
from cd4ml.contracts.problem import Metric
from cd4ml.contracts.shares import Interval
from cd4ml.contracts.window_quality import Moved, Word
from cd4ml.evaluation.fairness import difference_interval
from cd4ml.monitoring.as_published import AsPublished


def of(published: AsPublished, found: Summary, error: float) -> Iterator[Moved]:
    """Each metric on each slice that both have.

    Args:
        published: The version, with its evaluation.
        found: What was measured in production.
        error: How often any is said to have changed by chance, all together.
    """
    pairs = [
        (now, then, metric)
        for name, now in found.of(CANDIDATE).items()
        if (then := published.evaluated.get(name))
        for metric in now.metrics
        if found.problem.metric(metric).of != "model" and found.problem.metric(metric).interval is not None
    ]
    for now, then, metric in pairs:
        one, other = now.metrics[metric], then.metrics.get(metric)
        if one is None or other is None:
            continue
        interval = None
        if min(now.counted(found.problem, metric), then.counted(found.problem, metric)) >= FEWEST_ROWS:
            interval = difference_interval((one, now.intervals.get(metric)), (other, then.intervals.get(metric)))
        word = _word(found.problem.metric(metric), now=one, then=other, interval=interval, error=error / len(pairs))
        yield Moved(now.slice, metric, one, other, interval, word)


def _word(metric: Metric, *, now: float, then: float, interval: Interval | None, error: float) -> Word:
    if interval is None:
        return "unknown"
    value = now - then
    wider = NormalDist().inv_cdf(1 - error / 2) / NormalDist().inv_cdf(0.975)
    towards_none = (value - interval[0]) if value > 0 else (interval[1] - value)
    if abs(value) <= wider * towards_none:
        return "as evaluated"
    if metric.of == "data" or metric.better == "neither":
        return "other"
    nearer = {"nearer 1": 1.0, "nearer 0": 0.0}.get(metric.better)
    better = value > 0 if metric.better == "higher" else value < 0
    if nearer is not None:
        better = abs(now - nearer) < abs(then - nearer)
    return "better" if better else "worse"
