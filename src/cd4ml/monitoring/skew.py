"""Skew: what serving sends that training never had, feature by feature, as shares of rows with limits.

A limit is the share that training itself would make new in as many rows, by its own sample, and one in a hundred more:
so a feature of ever new values raises no alarm by being what it was.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

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
    given = [_Feature(one, features[one.name], _before(trained, one)) for one in inputs]
    checks = (check for one in given for check in one.checks(each))
    return tuple(one.skew for one in given), tuple(checks)


def _before(trained: TrainedOn, one: Input) -> _Before:
    sample, about = trained.sample, trained.about
    if sample is None or about is None:
        return _Before(None, 0)
    kept = one.name in sample.column_names and one.name not in about.patterns
    return _Before(sample.column(one.name) if kept else None, about.rows)


@dataclass(frozen=True)
class _Feature:
    """One feature as it was captured, beside the reference."""

    input: Input
    given: Typed
    before: _Before

    @cached_property
    def missing(self) -> Rows:
        """Rows without a value."""
        return _some(self.given.missing)

    @cached_property
    def unreadable(self) -> Rows:
        """Rows with a value of another kind."""
        return _some(self.given.unreadable)

    @cached_property
    def missing_before(self) -> Rows | None:
        """Those of the reference; None where it does not keep the feature."""
        return self.before.missing

    @cached_property
    def unseen(self) -> Rows | None:
        """Rows of a category that training did not know; None of what is none, or where that is not known."""
        if self.input.kind != "category" or self.input.vocabulary is None:
            return None
        there = self.given.values.drop_null()
        known = pc.is_in(there, value_set=pa.array(self.input.vocabulary, pa.string()))
        return _some(~known.to_numpy(zero_copy_only=False))

    @cached_property
    def outside(self) -> Rows | None:
        """Rows with a number beyond those that training saw; None likewise."""
        if self.input.kind != "number" or self.input.range is None:
            return None
        there = self.given.values.drop_null().to_numpy().astype(np.float32)
        low, high = self.input.range
        return _some((there < np.float32(low)) | (there > np.float32(high)))

    @property
    def skew(self) -> FeatureSkew:
        """What was found."""
        return FeatureSkew(
            feature=self.input.name,
            kind=self.input.kind,
            missing=self.missing.share,
            missing_before=self.missing_before.share.value if self.missing_before else None,
            unreadable=self.unreadable.share,
            unseen=self.unseen.share if self.unseen else None,
            outside=self.outside.share if self.outside else None,
        )

    def checks(self, judging: Judging) -> Iterator[Check]:
        """One of values that are unreadable, one of those that are missing, and one of those that are new."""
        one, half, few, name = self.input, judging.level / 2, judging.few, f"`{self.input.name}`"
        if not one.is_text and self.unreadable.some:
            yield hold(
                self.unreadable,
                Limit(SMALL, judging.level),
                name=f"unreadable values of {one.name}{judging.where}",
                said=f"of the rows have a value of {name} that is no {one.kind}",
                remedy="see what callers have begun to send",
                few=few,
            )
        if self.missing_before and not self.missing_before.some:
            yield hold(
                self.missing,
                Limit(SMALL + self.missing_before.most(half), half),
                name=f"missing values of {one.name}{judging.where}",
                said=f"of the rows have no {name}, which training always had",
                remedy="see why callers leave it out, or train on such rows",
                few=few,
            )
        new = self.before.new(frozenset(one.vocabulary or ())) if self.unseen else None
        if self.unseen and new:
            yield hold(
                self.unseen,
                Limit(min(SMALL + new.most(half), 1.0), half),
                name=f"unseen categories of {one.name}{judging.where}",
                said=f"of the rows with {name} hold a value that training did not know, and that the model takes for "
                "any other",
                remedy="see what is new, or train on such rows",
                few=few,
            )
        if self.outside and one.range and self.before.trained:
            beyond = float(special.betaincinv(2, max(self.before.trained - 1, 1), 1 - half))
            yield hold(
                self.outside,
                Limit(min(SMALL + beyond, 1.0), half),
                name=f"values of {one.name} outside training's range{judging.where}",
                said=f"of the rows with {name} are below {one.range[0]:g} or above {one.range[1]:g}, between which "
                "training saw all",
                remedy="see whether its unit has changed, or train on such rows",
                few=few,
            )


def _some(flags: np.ndarray) -> Rows:
    return Rows(int(np.count_nonzero(flags)), len(flags))
