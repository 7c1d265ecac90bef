"""Skew: what serving sends that training never had, feature by feature, as shares of rows with limits.

A limit is the share that training itself would make new in as many rows, by its own sample, and one in a hundred more:
so a feature of ever new values raises no alarm by being what it was.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import special

from cd4ml.contracts.captured_values import Typed
from cd4ml.contracts.model import Input
from cd4ml.contracts.verdict import Check
from cd4ml.contracts.window_drift import FeatureSkew
from cd4ml.monitoring.shares_held import Limit, Rows, hold
from cd4ml.monitoring.trained_on import TrainedOn

SMALL = 0.01
"""The share of rows up to which what is new does not matter."""
CHECKS = 3
"""Of one feature at most."""


@dataclass(frozen=True)
class Judging:
    """How shares are judged."""

    level: float
    """The rate of false alarms of each check."""
    few: str
    """What is said where the rows are too few; empty where they are enough."""
    where: str
    """What stands behind the names of checks: ` in version 3`."""


@dataclass(frozen=True)
class _Before:
    """One feature in the reference."""

    column: pa.ChunkedArray | None
    """None where it is not kept, or its form alone."""
    trained: int
    """The rows that the version was trained on."""

    def rows(self, flags: np.ndarray) -> Rows:
        return Rows(int(np.count_nonzero(flags)), len(flags))

    @property
    def missing(self) -> Rows | None:
        if self.column is None:
            return None
        blank = pc.fill_null(pc.equal(self.column, ""), True) if pa.types.is_string(self.column.type) else None
        return self.rows((self.column.is_null() if blank is None else blank).to_numpy())

    def new(self, known: frozenset[str]) -> Rows | None:
        """The rows whose value training would not know without them (Good and Turing), or does not know with them."""
        if self.column is None:
            return None
        counts = pc.value_counts(self.column.drop_null())
        values, times = counts.field("values").to_pylist(), counts.field("counts").to_numpy()
        strange = np.array([value not in known for value in values], bool)
        return Rows(int(times[strange | (times == 1)].sum()), int(times.sum()))


def of_features(
    features: Mapping[str, Typed], trained: TrainedOn, judging: Judging
) -> tuple[tuple[FeatureSkew, ...], tuple[Check, ...]]:
    """What serving sends of each feature that training never had.

    Args:
        features: Those that were captured, of rows that speak for themselves.
        trained: What the version was trained on.
        judging: How it is judged; its level is that of all checks together.
    """
    inputs = [one for one in trained.contract.inputs if one.name in features]
    each = Judging(judging.level / max(CHECKS * len(inputs), 1), judging.few, judging.where)
    skews: list[FeatureSkew] = []
    checks: list[Check] = []
    for one in inputs:
        found = _skew(features[one.name], one, _before(trained, one))
        skews.append(found)
        checks += _checks(features[one.name], one, before=_before(trained, one), judging=each)
    return tuple(skews), tuple(checks)


def _before(trained: TrainedOn, one: Input) -> _Before:
    sample, about = trained.sample, trained.about
    if sample is None or about is None:
        return _Before(None, 0)
    kept = one.name in sample.column_names and one.name not in about.patterns
    return _Before(sample.column(one.name) if kept else None, about.rows)


def _skew(given: Typed, one: Input, before: _Before) -> FeatureSkew:
    unseen, outside = _unseen(given, one), _outside(given, one)
    missing = before.missing
    return FeatureSkew(
        feature=one.name,
        kind=one.kind,
        missing=_some(given.missing).share,
        missing_before=missing.share.value if missing else None,
        unreadable=_some(given.unreadable).share,
        unseen=unseen.share if unseen else None,
        outside=outside.share if outside else None,
    )


def _checks(given: Typed, one: Input, *, before: _Before, judging: Judging) -> Iterator[Check]:
    """One of values that are unreadable, one of those that are missing, and one of those that are new."""
    half, few, name = judging.level / 2, judging.few, f"`{one.name}`"
    missing = before.missing
    if not one.is_text and given.unreadable.any():
        yield hold(
            _some(given.unreadable),
            Limit(SMALL, judging.level),
            name=f"unreadable values of {one.name}{judging.where}",
            said=f"of the rows have a value of {name} that is no {one.kind}",
            remedy="see what callers have begun to send",
            few=few,
        )
    if missing and not missing.some:
        yield hold(
            _some(given.missing),
            Limit(SMALL + missing.most(half), half),
            name=f"missing values of {one.name}{judging.where}",
            said=f"of the rows have no {name}, which training always had",
            remedy="see why callers leave it out, or train on such rows",
            few=few,
        )
    unseen, outside = _unseen(given, one), _outside(given, one)
    new = before.new(frozenset(one.vocabulary or ())) if unseen else None
    if unseen and new:
        yield hold(
            unseen,
            Limit(min(SMALL + new.most(half), 1.0), half),
            name=f"unseen categories of {one.name}{judging.where}",
            said=f"of the rows with {name} hold a value that training did not know, and that the model takes for any "
            "other",
            remedy="see what is new, or train on such rows",
            few=few,
        )
    if outside and before.trained:
        beyond = float(special.betaincinv(2, max(before.trained - 1, 1), 1 - half))
        yield hold(
            outside,
            Limit(min(SMALL + beyond, 1.0), half),
            name=f"values of {one.name} outside training's range{judging.where}",
            said=f"of the rows with {name} are below {_ends(one)[0]:g} or above {_ends(one)[1]:g}, between which "
            "training saw all",
            remedy="see whether its unit has changed, or train on such rows",
            few=few,
        )


def _unseen(given: Typed, one: Input) -> Rows | None:
    if one.kind != "category" or one.vocabulary is None:
        return None
    there = given.values.drop_null()
    known = pc.is_in(there, value_set=pa.array(one.vocabulary, pa.string()))
    return _some(~known.to_numpy(zero_copy_only=False))


def _outside(given: Typed, one: Input) -> Rows | None:
    if one.kind != "number" or one.range is None:
        return None
    there = given.values.drop_null().to_numpy().astype(np.float32)
    low, high = _ends(one)
    return _some((there < np.float32(low)) | (there > np.float32(high)))


def _ends(one: Input) -> tuple[float, float]:
    return one.range or (-np.inf, np.inf)


def _some(flags: np.ndarray) -> Rows:
    return Rows(int(np.count_nonzero(flags)), len(flags))
