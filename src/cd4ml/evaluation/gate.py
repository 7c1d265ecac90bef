"""The gate after evaluation: is this model good enough to publish?"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cd4ml.contracts import evaluation as summary
from cd4ml.contracts.bounds import FEWEST_ALIKE, FEWEST_ROWS, Bounds, Measured, hold
from cd4ml.contracts.chosen import CHOSEN
from cd4ml.contracts.evaluation import CANDIDATE, TOO_MANY_CLASSES, Slice, Summary
from cd4ml.contracts.problem import NOT_FINITE
from cd4ml.contracts.record import found_by
from cd4ml.contracts.shares import Interval
from cd4ml.contracts.slices import Pattern, columns_of
from cd4ml.contracts.verdict import MODEL_GATE, Check, Outcome, Verdict
from cd4ml.errors import EvaluationError
from cd4ml.evaluation import fairness_checks, limits
from cd4ml.evaluation.limits import Change, FirstModelLimit, Limits
from cd4ml.names import amount, nearest
from cd4ml.registry import records

ENDS: Mapping[str | None, tuple[float | None, float | None]] = {
    "bounded": (0.0, 1.0),
    "positive": (0.0, None),
    "below 1": (None, None),
    "signed": (None, None),
}
"""The least and the most that a metric can be, by the kind of its interval; a few rows may take R² to either end."""
MORE_ROWS = "take more test rows, or name larger slices"
"""What helps where a slice of the test split is too small."""
MOST_JUDGED = 20
"""Candidates after which a test split has been chosen by, and flatters the next one."""


def judge(folder: str | Path, settings: Mapping[str, Any], *, store: str, file: str | Path) -> Verdict:
    """Holds an evaluated candidate against the limits, and ends the run where one is not kept.

    Args:
        folder: What `evaluate_model` wrote.
        settings: As `Limits` has them.
        store: The store, which gets the record of a run that ends here.
        file: Takes the verdict.

    Raises:
        GateError: A limit is not kept.
        DocumentError: The folder holds no evaluation.
        EvaluationError: The limits are none, or they name a metric that the problem has not, or that was not measured.
    """
    return records.judge(store, check(folder, settings).write(file), found_by(folder))


def check(folder: str | Path, settings: Mapping[str, Any]) -> Verdict:
    """Holds an evaluated candidate against the limits.

    Args:
        folder: What `evaluate_model` wrote.
        settings: As `Limits` has them.

    Raises:
        DocumentError: The folder holds no evaluation.
        EvaluationError: The limits are none, or they name a metric that the problem has not, or that was not measured.
    """
    allowed = limits.parse(settings)
    found = summary.read(folder)
    measured = found.models[CANDIDATE].metrics
    named = dict.fromkeys((*allowed.metrics, *(allowed.bootstrap or {})))
    unknown = list(limits.misfits(allowed, found.problem)) or [
        _not_measured(name, found) for name in named if found.measured_as(name) not in measured
    ]
    if unknown:
        raise EvaluationError("model limits: " + "; ".join(unknown))
    about = {
        "model": found.models[CANDIDATE].digest,
        "data": found.test_digest,
        "evaluation": summary.digest(folder),
        "limits": limits.digest(allowed),
    }
    return Verdict(MODEL_GATE, about, tuple(held(found, allowed)), tuple(_warnings(found)))


def _not_measured(name: str, found: Summary) -> str:
    if name.partition("@")[2] == CHOSEN and found.problem.metric(name).at_thresholds:
        return f"{name}: training chose no threshold for the candidate; write `threshold` in it (docs/training.md)"
    return f"{name}: not measured; {nearest(name, found.models[CANDIDATE].metrics)}"


def held(found: Summary, allowed: Limits, *, error: float | None = None, more_rows: str = MORE_ROWS) -> Iterator[Check]:
    """Each limit held against what was measured of the candidate.

    Args:
        found: What was measured.
        allowed: The limits; every metric that they name was measured.
        error: How often chance alone may break a limit that is kept, of those that are of the candidate alone; None
            where what was measured is what counts.
        more_rows: What helps where a slice is too small.
    """
    for pattern in allowed.required_slices or ():
        yield from _required(found, pattern, error)
    if allowed.as_good_as:
        yield from _change(found, metric=found.problem.primary, other=allowed.as_good_as, limit=_no_worse(found))
    for metric, limit in allowed.metrics.items():
        yield from _metric(found, metric, limit, error=error, more_rows=more_rows)
    if allowed.bootstrap:
        yield from _bootstrap(found, allowed.bootstrap, error=error, more_rows=more_rows)
    for key, rates in allowed.fairness.items():
        for name, rate, fairness_limit in rates.by_rate():
            subject = rate if name == rate else f"{name.replace('_', ' ')} ({rate})"
            yield from fairness_checks.checks(
                found, columns=columns_of(key), subject=subject, rate=rate, limit=fairness_limit, error=error
            )


def _warnings(found: Summary) -> Iterator[str]:
    if found.judged > MOST_JUDGED:
        yield (
            f"this test split has judged {found.judged} models, so the best of them is in part the luckiest; "
            "take another: a new split.seed, or a newer time window"
        )


def _required(found: Summary, pattern: Pattern, error: float | None) -> Iterator[Check]:
    bounds, slices = Bounds(FEWEST_ROWS, None), found.of(CANDIDATE)
    names = _matching(slices, pattern)
    if not names:
        yield _no_rows(f"row count of the required slice {pattern}", bounds=bounds, slices=slices, pattern=pattern)
    for name in names:
        measured = Measured(slices[name].rows)
        yield hold(
            f"row count of the required slice {name}", slice_=name, bounds=bounds, measured=measured, error=error
        )


def _metric(
    found: Summary, metric: str, limit: FirstModelLimit, *, error: float | None, more_rows: str
) -> Iterator[Check]:
    if limit.min is not None or limit.max is not None:
        bounds = Bounds(limit.min, limit.max, limit.confident)
        for pattern in limit.slices:
            yield from _value(found, metric=metric, pattern=pattern, bounds=bounds, error=error, more_rows=more_rows)
    for other, change in limits.changes(limit):
        yield from _change(found, metric=metric, other=other, limit=change)


def _no_worse(found: Summary) -> Change:
    """At most what another model has of an error, at least what it has of anything else that is primary."""
    lower = found.problem.metric(found.problem.primary).better == "lower"
    return Change(max_change=0.0) if lower else Change(min_change=0.0)


def _bootstrap(
    found: Summary, first: Mapping[str, FirstModelLimit], *, error: float | None, more_rows: str
) -> Iterator[Check]:
    if "champion" in found.models:
        reason = f"there is a champion, so what a first model must keep is not held ({', '.join(first)})"
        yield Check("bootstrap", "for a first model", None, Outcome.SKIPPED, reason)
        return
    for metric, limit in first.items():
        yield from _metric(found, metric, limit, error=error, more_rows=more_rows)


def _value(
    found: Summary, *, metric: str, pattern: Pattern, bounds: Bounds, error: float | None, more_rows: str
) -> Iterator[Check]:
    if found.problem.metric(metric).of == "model":
        yield hold(f"{metric} of the model", slice_="", bounds=bounds, measured=_of_model(found, CANDIDATE, metric))
        return
    slices = found.of(CANDIDATE)
    names = _matching(slices, pattern)
    if not names:
        yield _no_rows(f"{metric} on {pattern}", bounds=bounds, slices=slices, pattern=pattern)
    for name in names:
        measured = _on_slice(found, slices[name], metric, more_rows=more_rows)
        yield hold(f"{metric} on {name}", slice_=name, bounds=bounds, measured=measured, error=error)


def _change(found: Summary, *, metric: str, other: str, limit: Change) -> Iterator[Check]:
    bounds = Bounds(limit.min_change, limit.max_change, limit.confident)
    if other not in found.models:
        subject = f"change of {metric} against the {other}"
        first = "first model: no champion to compare with; the limits of bootstrap are held instead"
        missing = f"{subject}: no {other} was evaluated, so the limit '{bounds}' could not be checked"
        outcome, reason = (Outcome.SKIPPED, first) if other == "champion" else (Outcome.ERROR, missing)
        yield Check(subject, str(bounds), None, outcome, reason)
        return
    if found.problem.metric(metric).of == "model":
        pair = _of_model(found, CANDIDATE, metric), _of_model(found, other, metric)
        yield hold(
            f"change of {metric} against the {other}", slice_="", bounds=bounds, measured=_difference(*pair, None)
        )
        return
    slices, others = found.of(CANDIDATE), found.of(other)
    compared = (other, found.measured_as(metric))
    intervals = {one.slice: one.interval for one in found.changes if (one.other, one.metric) == compared}
    for pattern in limit.slices:
        names = _matching(slices, pattern)
        if not names:
            yield _no_rows(
                f"change of {metric} on {pattern} against the {other}", bounds=bounds, slices=slices, pattern=pattern
            )
        for name in names:
            after, before = (_on_slice(found, one[name], metric) for one in (slices, others))
            measured = _difference(after, before, intervals.get(name))
            yield hold(
                f"change of {metric} on {name} against the {other}", slice_=name, bounds=bounds, measured=measured
            )


def _on_slice(found: Summary, one: Slice, named: str, *, more_rows: str = MORE_ROWS) -> Measured:
    problem, metric = found.problem, found.measured_as(named)
    detail = "" if metric == named else f"at {metric.partition('@')[2]}"
    if metric not in one.metrics:
        return Measured(None, why_not=TOO_MANY_CLASSES)
    value = one.metrics[metric]
    if value is None:
        why_not = problem.why_undefined(metric, one.rows, one.metrics)
        too_few = one.counted(problem, metric) < FEWEST_ROWS
        return Measured(None, why_not=why_not, too_few=too_few, undefined=why_not != NOT_FINITE)
    if problem.metric(metric).counted and (counted := one.counted(problem, metric)) < FEWEST_ROWS:
        of = f"{counted} of its {one.rows:,} rows count, {FEWEST_ROWS} are needed"
        return Measured(None, why_not=f"too small to judge ({of}: {more_rows})", too_few=True)
    kind, interval = problem.metric(metric).interval, one.intervals.get(metric)
    if interval or kind not in ENDS:
        return Measured(value, interval, detail=detail)
    alike = problem.carrying(metric, one.rows, one.metrics)
    return Measured(value, detail=detail, alike=alike if alike >= FEWEST_ALIKE else 0, ends=ENDS[kind])


def _of_model(found: Summary, model: str, metric: str) -> Measured:
    one = found.models[model]
    value = one.metrics.get(metric)
    return Measured(
        value, one.intervals.get(metric), "" if value is not None else f"it was not measured of the {model}"
    )


def _difference(after: Measured, before: Measured, interval: Interval | None) -> Measured:
    if after.value is None or before.value is None:
        return Measured(None, why_not=after.why_not or before.why_not, too_few=after.too_few or before.too_few)
    cut = f" {after.detail}" if after.detail else ""
    return Measured(
        after.value - before.value, interval, detail=f"{amount(before.value)} to {amount(after.value)}{cut}"
    )


def _no_rows(subject: str, *, bounds: Bounds, slices: Mapping[str, Slice], pattern: Pattern) -> Check:
    known = dict.fromkeys(column for one in slices.values() for column in one.values)
    unknown = [column for column in pattern.columns if column not in known]
    why = f"no slice by {unknown[0]!r} was evaluated" if unknown else "no rows in this slice"
    hint = f"; {nearest(unknown[0], known)}" if unknown else ""
    reason = f"{subject}: {why}, so the limit '{bounds}' could not be checked{hint}"
    outcome = Outcome.ERROR if unknown else Outcome.INCONCLUSIVE
    return Check(subject, str(bounds), None, outcome, reason, str(pattern))


def _matching(slices: Mapping[str, Slice], pattern: Pattern) -> list[str]:
    return pattern.among({name: one.values for name, one in slices.items()})
