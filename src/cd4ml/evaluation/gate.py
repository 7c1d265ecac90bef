"""The gate after evaluation: is this model good enough to publish?"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cd4ml.errors import EvaluationError
from cd4ml.evaluation import limits, summary
from cd4ml.evaluation.limits import Change, FairnessLimit, Limits, MetricLimit
from cd4ml.evaluation.summary import FEWEST_ROWS, Fairness, Slice, Summary
from cd4ml.gates import Check, Verdict
from cd4ml.names import nearest

CANDIDATE = "candidate"


def check(folder: str | Path, settings: Mapping[str, Any]) -> Verdict:
    """Holds an evaluated candidate against the limits.

    Args:
        folder: What `evaluate_model` wrote.
        settings: As `Limits` has them.

    Raises:
        EvaluationError: The folder holds no evaluation, the limits are none, or they name a metric that was not
            measured.
    """
    allowed = limits.parse(settings)
    found = summary.read(folder)
    measured = found.models[CANDIDATE].metrics
    unknown = [f"{name}: not measured; {nearest(name, measured)}" for name in allowed.metrics if name not in measured]
    if unknown:
        raise EvaluationError("model limits: " + "; ".join(unknown))
    return Verdict("check_model", {"model": found.models[CANDIDATE].digest}, tuple(_checks(found, allowed)))


def _checks(found: Summary, allowed: Limits) -> Iterator[Check]:
    for metric, limit in allowed.metrics.items():
        yield from _values(found, metric, limit)
        for other, change in (("baseline", limit.baseline), ("champion", limit.champion)):
            if change:
                yield from _changes(found, metric, other, change)
    for columns, rates in allowed.fairness.items():
        for rate, fairness_limit in rates.items():
            yield from _gaps(found, ",".join(limits.columns_of(columns)), rate, fairness_limit)


def _values(found: Summary, metric: str, limit: MetricLimit) -> Iterator[Check]:
    if limit.min is None and limit.max is None:
        return
    words = _words(limit.min, limit.max)
    slices = found.of(CANDIDATE)
    for pattern in limit.slices:
        names = _matching(slices, pattern)
        if not names:
            yield _no_rows(f"{metric} on {pattern}", words, slices, pattern)
        for name in names:
            why = _why_not(slices[name], metric)
            value = None if why else slices[name].metrics[metric]
            yield _held(f"{metric} on {name}", words, value, limit.min, limit.max, why)


def _changes(found: Summary, metric: str, other: str, limit: Change) -> Iterator[Check]:
    words = _words(limit.min_change, limit.max_change)
    if other not in found.models:
        reason = f"first model: no {other} to compare with"
        yield Check(f"change of {metric} against the {other}", words, None, True, reason)
        return
    slices, others = found.of(CANDIDATE), found.of(other)
    for pattern in limit.slices:
        names = _matching(slices, pattern)
        if not names:
            yield _no_rows(f"change of {metric} on {pattern} against the {other}", words, slices, pattern)
        for name in names:
            after, before = slices[name].metrics[metric], others[name].metrics[metric]
            subject = f"change of {metric} on {name} against the {other}"
            why = _why_not(slices[name], metric) or _why_not(others[name], metric)
            value = None if why or after is None or before is None else after - before
            pair = "" if value is None else f"{before:.4g} to {after:.4g}"
            yield _held(subject, words, value, limit.min_change, limit.max_change, why, pair)


def _gaps(found: Summary, column: str, rate: str, limit: FairnessLimit) -> Iterator[Check]:
    rows = [one for one in found.fairness if one.model == CANDIDATE and one.column == column and one.metric == rate]
    rows = [one for one in rows if limit.threshold in (None, one.threshold)]
    if not rows:
        subject = f"{rate} between groups of {column}" + (f" at {limit.threshold:g}" if limit.threshold else "")
        words = _words(limit.min_ratio, limit.max_gap)
        known = dict.fromkeys(one.column for one in found.fairness)
        why = (
            f"it was measured at {', '.join(f'{one:g}' for one in found.thresholds)} only; name it in `thresholds`"
            if column in known
            else f"it is no sensitive column of the evaluation; {nearest(column, known)}"
        )
        yield Check(subject, words, None, False, f"{subject}: {why}")
    for one in rows:
        subject = f"{rate} between groups of {column} at {one.threshold:g}"
        groups, why = _groups(one), _why_no_value(one)
        if limit.max_gap is not None:
            yield _held(f"{subject}: the gap", _words(None, limit.max_gap), one.gap, None, limit.max_gap, why, groups)
        if limit.min_ratio is not None:
            words = _words(limit.min_ratio, None)
            yield _held(f"{subject}: the ratio", words, one.ratio, limit.min_ratio, None, why, groups)


def _held(
    subject: str, words: str, value: float | None, low: float | None, high: float | None, why: str, detail: str = ""
) -> Check:
    if value is None:
        return Check(subject, words, None, False, f"{subject}: {why}, so the limit '{words}' could not be checked")
    said = f"{subject} is {_number(value)}" + (f" ({detail})" if detail else "")
    if low is not None and value < low:
        return Check(subject, words, value, False, f"{said}, below the limit {low:g}")
    if high is not None and value > high:
        return Check(subject, words, value, False, f"{said}, above the limit {high:g}")
    return Check(subject, words, value, True, f"{said}, {words} wanted")


def _no_rows(subject: str, words: str, slices: Mapping[str, Slice], pattern: str) -> Check:
    known = dict.fromkeys(column for one in slices.values() for column in one.values)
    unknown = [column for column in limits.values_of(pattern) if column not in known]
    why = f"no slice by {unknown[0]!r} was evaluated" if unknown else "no rows in this slice"
    hint = f"; {nearest(unknown[0], known)}" if unknown else ""
    reason = f"{subject}: {why}, so the limit '{words}' could not be checked{hint}"
    return Check(subject, words, None, False, reason)


def _matching(slices: Mapping[str, Slice], pattern: str) -> list[str]:
    """The slices that a name with `*` for any value stands for."""
    if pattern in slices:
        return [pattern]
    wanted = limits.values_of(pattern)
    return [
        name
        for name, one in slices.items()
        if wanted.keys() == one.values.keys()
        and all(value in ("*", one.values[column]) for column, value in wanted.items())
    ]


def _why_not(one: Slice, metric: str) -> str:
    """Why a slice cannot be judged by a metric; empty where it can."""
    if one.metrics[metric] is None:
        if one.metrics["label_rate"] in (0, 1):
            return f"it is not defined on {one.rows:,} rows that are all of one class"
        if metric.startswith("precision@"):
            return f"none of the {one.rows:,} rows is predicted positive"
        return "it is not a finite number"
    if metric != "example_count" and (counted := one.counted(metric)) < FEWEST_ROWS:
        return (
            f"too small to judge ({counted} of its {one.rows:,} rows count, {FEWEST_ROWS} are needed: "
            "evaluate more rows, or name larger slices)"
        )
    return ""


def _groups(one: Fairness) -> str:
    if one.lowest is None or one.highest is None:
        return ""
    groups = f"{one.lowest} {one.groups[one.lowest]:.2f}, {one.highest} {one.groups[one.highest]:.2f}"
    return groups + (f"; too small to judge: {', '.join(one.too_small)}" if one.too_small else "")


def _why_no_value(one: Fairness) -> str:
    if one.gap is not None:
        return "no group has a rate above 0, so there is no ratio"
    return f"fewer than two groups are large enough to judge (too small: {', '.join(one.too_small) or 'none'})"


def _words(low: float | None, high: float | None) -> str:
    return " and ".join(
        f"{word} {bound:g}" for word, bound in (("at least", low), ("at most", high)) if bound is not None
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
