"""The arguments of an evaluation, checked before anything runs: each by itself, and the limits against the others."""

from collections.abc import Iterator, Sequence
from typing import Any

from cd4ml.contracts import problems
from cd4ml.contracts.chosen import CHOSEN
from cd4ml.contracts.evaluation import at
from cd4ml.contracts.slices import Pattern, columns_of
from cd4ml.errors import EvaluationError
from cd4ml.evaluation import fairness, limits
from cd4ml.evaluation.limits import FirstModelLimit, Limits
from cd4ml.names import nearest


def thresholds(values: Sequence[Any]) -> tuple[float, ...]:
    """The probabilities above which a row counts as positive, each once, with the six digits that TFMA keeps.

    Raises:
        EvaluationError: There is none, or one is no such number.
    """
    wrong = [one for one in _listed(values) if not _is_threshold(one)]
    if wrong or not values:
        given = f"{wrong[0]!r} is no threshold" if wrong else "no threshold is given"
        raise EvaluationError(f"{given}; give numbers from 0.000001 to 0.999999, such as [0.5]")
    return tuple(dict.fromkeys(round(float(one), 6) for one in values))


def columns(values: Sequence[Any]) -> list[tuple[str, ...]]:
    """The columns of each kind of slice by alphabet, each kind once, from names and lists of names to cross.

    Raises:
        EvaluationError: Something is no name of a column, nor a list of names.
    """
    kinds = [[one] if isinstance(one, str) else one for one in _listed(values)]
    for kind in kinds:
        if not (isinstance(kind, list | tuple) and kind and all(isinstance(name, str) for name in kind)):
            raise EvaluationError(
                f"{kind!r} must be names of columns, or lists of names to cross, such as [region, [gender, region]]"
            )
    return list(dict.fromkeys(tuple(sorted(set(kind))) for kind in kinds))


def sensitive(values: Sequence[Any]) -> tuple[str, ...]:
    """The sensitive columns, each once.

    Raises:
        EvaluationError: Something is no name of a column.
    """
    crossed = [one for one in _listed(values) if isinstance(one, list | tuple)]
    if crossed:
        raise EvaluationError(
            f"{crossed[0]!r} is no column; name sensitive columns one by one, and cross them in `slices`"
        )
    return tuple(name for kind in columns(values) for name in kind)


def runner(values: Sequence[Any]) -> list[str]:
    """A runner of Beam and its options.

    Raises:
        EvaluationError: It begins with no name, or something that follows is no option.
    """
    words = list(_listed(values))
    if any(not isinstance(word, str) or word.startswith("--") != (place > 0) for place, word in enumerate(words)):
        raise EvaluationError(f"runner: {words!r} is none; write its name and options, [FlinkRunner, --flink_master=…]")
    return words


def crosses(slices: Sequence[Any], sensitive: Sequence[Any]) -> list[tuple[str, ...]]:
    """The columns of each kind of slice, each once: those of `slices`, then the sensitive ones.

    Raises:
        EvaluationError: Something in them is no name of a column.
    """
    return columns([*_listed(slices), *_listed(sensitive)])


def check_together(
    model_limits: Limits,
    *,
    thresholds: Sequence[Any],
    slices: Sequence[Any],
    sensitive: Sequence[Any],
    problem: str = "",
    chosen: bool = False,
) -> None:
    """Makes sure that everything which the limits name will be evaluated.

    Args:
        model_limits: What the candidate must keep.
        thresholds: Probabilities above which a row counts as positive.
        slices: Columns, or lists of columns to cross.
        sensitive: Columns whose groups are compared.
        problem: What the label asks for, by its name; any other text where only the label tells.
        chosen: Whether the candidate has a threshold chosen.

    Raises:
        EvaluationError: With every mistake; of an argument that is not good by itself, with the first.
    """
    mistakes = dict.fromkeys(_mistakes(model_limits, cuts=thresholds, slices=slices, compared=sensitive))
    if not chosen:
        mistakes |= dict.fromkeys(_at_chosen(model_limits))
    if problem in problems.PROBLEMS:
        mistakes |= dict.fromkeys(limits.misfits(model_limits, problems.named(problem)))
    if mistakes:
        lines = "".join(f"\n  - {mistake}" for mistake in mistakes)
        raise EvaluationError(f"model limits: they name what is not evaluated{lines}")


def _listed(values: Sequence[Any]) -> Sequence[Any]:
    if not isinstance(values, list | tuple):
        raise EvaluationError(f"{values!r} is no list; write [{values}]")
    return values


def _is_threshold(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < round(value, 6) < 1


def _mistakes(allowed: Limits, *, cuts: Sequence[Any], slices: Sequence[Any], compared: Sequence[Any]) -> Iterator[str]:
    cuts, by, compared = thresholds(cuts), crosses(slices, sensitive(compared)), sensitive(compared)
    for pattern in allowed.required_slices or ():
        yield from _slice("required_slices", pattern, by)
    for metric, limit in (*allowed.metrics.items(), *(allowed.bootstrap or {}).items()):
        yield from _metric(metric, cuts)
        for pattern in _patterns(limit):
            yield from _slice(metric, pattern, by)
    groups = [tuple(sorted(kind)) for kind in fairness.crosses(by, compared)]
    for key, rates in allowed.fairness.items():
        yield from _groups(key, groups, compared)
        for name, _, fairness_limit in rates.by_rate():
            cut = fairness_limit.threshold
            if cut not in (None, CHOSEN, *cuts):
                known = ", ".join(f"{one:g}" for one in cuts)
                yield f"fairness.{key}.{name}: not evaluated at {cut}; add it to thresholds, or name one of {known}"


def _at_chosen(allowed: Limits) -> Iterator[str]:
    """What is of a threshold that the candidate does not choose."""
    of_metrics = (*allowed.metrics, *(allowed.bootstrap or {}))
    named = [one for one in of_metrics if problems.metric(one).at_thresholds and one.endswith(f"@{CHOSEN}")]
    of_groups = (
        f"fairness.{key}.{name}"
        for key, rates in allowed.fairness.items()
        for name, _, limit in rates.by_rate()
        if limit.threshold == CHOSEN
    )
    for one in (*named, *of_groups):
        yield (
            f"{one}: the candidate chooses no threshold; write in it what errors cost, as "
            "`threshold: {costs: {false_negative: 5}}`, or name one of thresholds"
        )


def _metric(metric: str, cuts: Sequence[float]) -> Iterator[str]:
    name, _, threshold = metric.partition("@")
    known = [*(at(name, cut) for cut in cuts), at(name, CHOSEN)]
    if problems.metric(name).at_thresholds and metric not in known:
        add = "" if float(threshold) in cuts else "add it to thresholds; "
        yield f"{metric}: not evaluated at {threshold}; {add}{nearest(metric, known)}"


def _patterns(limit: FirstModelLimit) -> Iterator[Pattern]:
    if limit.min is not None or limit.max is not None:
        yield from limit.slices
    for _, change in limits.changes(limit):
        yield from change.slices


def _slice(subject: str, pattern: Pattern, by: Sequence[tuple[str, ...]]) -> Iterator[str]:
    wanted = pattern.columns
    if not wanted or wanted in by:
        return
    known = dict.fromkeys(name for kind in by for name in kind)
    unknown = [name for name in wanted if name not in known]
    for name in unknown:
        yield (
            f"{subject} on {pattern}: {name!r} is in neither slices nor sensitive; add it to slices; "
            f"{nearest(name, known)}"
        )
    if not unknown:
        yield f"{subject} on {pattern}: no slice by {' × '.join(wanted)} is evaluated; {_add_to_slices(wanted)}"


def _groups(key: str, groups: Sequence[tuple[str, ...]], compared: Sequence[str]) -> Iterator[str]:
    wanted = columns_of(key)
    unknown = [name for name in wanted if name not in compared]
    for name in unknown:
        yield f"fairness.{key}: {name!r} is no sensitive column; add it to sensitive; {nearest(name, compared)}"
    if not unknown and wanted not in groups:
        yield f"fairness.{key}: the groups of {' × '.join(wanted)} are not evaluated; {_add_to_slices(wanted)}"


def _add_to_slices(wanted: Sequence[str]) -> str:
    return f"add {wanted[0] if len(wanted) == 1 else '[' + ', '.join(wanted) + ']'} to slices"
