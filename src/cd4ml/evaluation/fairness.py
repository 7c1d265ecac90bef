"""Compares the groups of sensitive columns: who gets how much of what a model gives."""

from collections.abc import Iterable, Iterator, Sequence

from cd4ml.evaluation.summary import FAIRNESS_METRICS, FEWEST_ROWS, Fairness, Slice, at


def compare(slices: Iterable[Slice], columns: Sequence[Sequence[str]], thresholds: Sequence[float]) -> list[Fairness]:
    """Compares the groups by each rate at each threshold.

    Args:
        slices: Of one model.
        columns: What makes the groups: one sensitive column, or several that are crossed.
        thresholds: Those that the slices were measured at.
    """
    slices = list(slices)
    return [
        _compare(groups, columns_of_groups, metric, threshold)
        for columns_of_groups in columns
        if (groups := [one for one in slices if sorted(one.values) == sorted(columns_of_groups)])
        for metric in FAIRNESS_METRICS
        for threshold in thresholds
    ]


def crosses(slices: Sequence[Sequence[str]], sensitive: Sequence[str]) -> Iterator[Sequence[str]]:
    """What makes groups: each sensitive column, and each cross of slices that has none but sensitive columns."""
    yield from ([column] for column in sensitive)
    yield from (columns for columns in slices if len(columns) > 1 and set(columns) <= set(sensitive))


def _compare(groups: Sequence[Slice], columns: Sequence[str], metric: str, threshold: float) -> Fairness:
    measured = at(metric, threshold)
    rates = {",".join(one.values.values()): one.metrics[measured] for one in groups}
    counted = {",".join(one.values.values()): one.counted(measured) for one in groups}
    judged = {name: rate for name, rate in rates.items() if rate is not None and counted[name] >= FEWEST_ROWS}
    lowest = min(judged, key=lambda name: judged[name]) if len(judged) > 1 else None
    highest = max(judged, key=lambda name: judged[name]) if len(judged) > 1 else None
    gap = ratio = None
    if lowest is not None and highest is not None:
        gap = judged[highest] - judged[lowest]
        ratio = judged[lowest] / judged[highest] if judged[highest] else None
    return Fairness(
        model=groups[0].model,
        column=",".join(sorted(columns)),
        metric=metric,
        threshold=threshold,
        gap=gap,
        ratio=ratio,
        lowest=lowest,
        highest=highest,
        groups=rates,
        too_small=tuple(name for name in rates if name not in judged),
    )
