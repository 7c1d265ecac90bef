"""The limits that let a version in, held against what was measured of it in production."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cd4ml.contracts import problems
from cd4ml.contracts.chosen import CHOSEN
from cd4ml.contracts.evaluation import Summary, at
from cd4ml.contracts.slices import Pattern
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window_quality import Estimate, Labelling
from cd4ml.evaluation import gate, limits
from cd4ml.evaluation.limits import FirstModelLimit, Limits
from cd4ml.monitoring.as_published import AsPublished
from cd4ml.names import amount, counted

MORE_ROWS = "take a wider window"
REMEDY = (
    "see what drifted in this window, and train again (`cd4ml monitor retrain`) "
    "or go back (`cd4ml deployments rollback`)"
)
NO_OTHER = "that takes the answers of another model to the same requests, which a window has not"


@dataclass(frozen=True)
class Known:
    """What one knows of what was measured."""

    settled: bool
    """Whether labels are ripe and stand for all rows, so that there is a verdict."""
    ripe: bool
    """Whether labels are, so that nothing is waited for."""
    labelling: Labelling
    estimates: Sequence[Estimate]
    uncaptured: tuple[str, ...]
    """Columns of slices that the router does not keep."""
    rows: int
    labelled: int
    when: str
    """When labels are ripe, in words."""


def checks(published: AsPublished, found: Summary, known: Known, *, error: float) -> Iterator[Check]:
    """Each limit, held.

    Args:
        published: The version, with its limits.
        found: What was measured.
        known: How far that can be relied on.
        error: How often chance alone may break any of the limits, all together.
    """
    if published.limits is None:
        said = f"limits: they are not known, for {published.why_no_limits}"
        yield Check("limits", "those that it was published with", None, Outcome.ERROR, said)
        return
    own = _own(published.limits, first=not published.version.champion)
    each = error / max(len(list(gate.held(found, own))), 1)
    estimates = _by_subject(known.estimates, found.chosen_threshold)
    for check in gate.held(found, own, error=each, more_rows=MORE_ROWS):
        yield _told(check, known, estimates.get(check.name))
    yield from _skipped(published.limits, first=not published.version.champion)


def borne_out(found: Iterable[Check], alone: Iterable[Check], callers: int) -> Iterator[Check]:
    """Checks, of which those fail that one row a caller fails too; rows of one caller are alike, and tell as one.

    Args:
        found: The checks on all rows.
        alone: The same on one row of each caller.
        callers: How many callers there are.
    """
    fails = {(one.name, one.limit) for one in alone if one.outcome is Outcome.FAILED}
    for check in found:
        if check.outcome is Outcome.FAILED and (check.name, check.limit) not in fails:
            of = counted(callers, "caller")
            said = f"which may be chance: all rows are of {of}, and one row of each does not show it"
            yield replace(check, outcome=Outcome.INCONCLUSIVE, reason=f"{check.reason}, {said}")
        else:
            yield check


def with_remedy(checks: Iterable[Check]) -> Iterator[Check]:
    """The same, those that fail with what to do."""
    for check in checks:
        fails = check.outcome is Outcome.FAILED
        yield replace(check, reason=f"{check.reason}; {REMEDY}") if fails else check


def _own(allowed: Limits, *, first: bool) -> Limits:
    """The limits of the model alone, on rows."""
    of_first = allowed.bootstrap if first else None
    return allowed.model_copy(
        update={
            "as_good_as": None,
            "metrics": dict(_absolute(allowed.metrics)),
            "bootstrap": dict(_absolute(of_first)) or None if of_first else None,
        }
    )


def _absolute(held: Mapping[str, FirstModelLimit]) -> Iterator[tuple[str, FirstModelLimit]]:
    for metric, limit in held.items():
        others = dict.fromkeys(other for other, _ in limits.changes(limit))
        if problems.metric(metric).of != "model" and (limit.min is not None or limit.max is not None):
            yield metric, limit.model_copy(update=others)


def _skipped(allowed: Limits, *, first: bool) -> Iterator[Check]:
    """What is not of the model alone, or of no rows, with the reason."""
    if allowed.as_good_as:
        yield _not_held("as_good_as", f"as good as the {allowed.as_good_as}", NO_OTHER)
    for metric, limit in (*allowed.metrics.items(), *((allowed.bootstrap or {}).items() if first else ())):
        for other, change in limits.changes(limit):
            low, high = change.min_change, change.max_change
            bounds = " and ".join(
                f"{word} {one:g}" for word, one in (("at least", low), ("at most", high)) if one is not None
            )
            yield _not_held(f"change of {metric} against the {other}", bounds, NO_OTHER)
        if problems.metric(metric).of == "model" and (limit.min is not None or limit.max is not None):
            why = "that is of the model itself and not of what it is asked; the evaluation held it"
            yield _not_held(f"{metric} of the model", "as evaluated", why)
    if allowed.bootstrap and not first:
        why = f"there was a champion, so what a first model must keep is not held ({', '.join(allowed.bootstrap)})"
        yield _not_held("bootstrap", "for a first model", why)


def _not_held(name: str, limit: str, why: str) -> Check:
    return Check(name, limit, None, Outcome.SKIPPED, f"{name}: {why}")


def _told(check: Check, known: Known, estimate: Estimate | None) -> Check:
    """A check as far as it is known."""
    missing = sorted(set(_columns(check.slice)) & set(known.uncaptured))
    if missing and check.outcome is Outcome.ERROR:
        names = " and ".join(missing)
        said = f"{check.name}: {names} is not captured; name it in `captured_features`, or leave the limit out"
        return replace(check, outcome=Outcome.INCONCLUSIVE, reason=said)
    if known.settled:
        return check
    until = "" if known.ripe else " until then"
    guess = "" if estimate is None else f"; it is {_said(estimate)}{until}"
    if not known.labelling.used:
        said = f"{check.name}: {known.labelling.reason}{guess}"
        return replace(check, value=None, interval=None, outcome=Outcome.INCONCLUSIVE, reason=said)
    so_far = f"that is of the {known.labelled:,} of {known.rows:,} rows that have a label so far"
    return replace(check, outcome=Outcome.INCONCLUSIVE, reason=f"{check.reason}; {so_far}, and {known.when}{guess}")


def _said(estimate: Estimate) -> str:
    interval = estimate.interval
    ends = f" [{amount(interval[0])}, {amount(interval[1])}]" if interval else ""
    return f"estimated to be {amount(estimate.value)}{ends}"


def _columns(slice_: str) -> tuple[str, ...]:
    return Pattern.parse(slice_).columns if "=" in slice_ else ()


def _by_subject(estimates: Sequence[Estimate], chosen: float | None) -> dict[str, Estimate]:
    """By what a check of it is called."""
    found = {}
    for one in estimates:
        found[f"{one.metric} on {one.slice}"] = one
        name, _, _ = one.metric.partition("@")
        if chosen is not None and one.metric == at(name, chosen):
            found[f"{at(name, CHOSEN)} on {one.slice}"] = one
    return found
