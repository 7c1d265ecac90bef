"""The problems that there are, by name, and the metrics of all of them."""

from collections.abc import Mapping

from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.ordinal import ORDINAL
from cd4ml.contracts.problem import Metric, Problem
from cd4ml.contracts.regression import REGRESSION

PROBLEMS: Mapping[str, Problem] = {one.name: one for one in (BINARY, MULTICLASS, ORDINAL, REGRESSION)}


def named(name: str) -> Problem:
    """A problem by its name.

    Raises:
        ValueError: There is none.
    """
    if name not in PROBLEMS:
        raise ValueError(f"the problem {name!r} is not known; there are: {', '.join(PROBLEMS)}")
    return PROBLEMS[name]


def metrics() -> Mapping[str, Metric]:
    """Every metric by its name, which is the same row in all problems that have it."""
    return {one.name: one for problem in PROBLEMS.values() for one in problem.metrics}


def among_groups() -> tuple[Metric, ...]:
    """The metrics that groups are compared by, those of one problem after those of another."""
    return tuple({one.name: one for problem in PROBLEMS.values() for one in problem.among_groups}.values())


def metric(name: str) -> Metric:
    """The row of a metric, by its name with or without a threshold.

    Raises:
        KeyError: No problem has such a metric.
    """
    return metrics()[name.partition("@")[0]]
