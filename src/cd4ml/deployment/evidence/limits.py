"""What a challenger must keep against the champion, as a person writes it."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from cd4ml import settings
from cd4ml.contracts.binary import CRITERIA
from cd4ml.contracts.bounds import Bounds
from cd4ml.contracts.model import Contract
from cd4ml.contracts.slices import ANY, OVERALL, Pattern, columns_of, name_of
from cd4ml.errors import DeploymentError
from cd4ml.settings import Strict

EXAMPLE = "error_rate: {max_increase: 0.01}"
_Share = Annotated[float, Field(gt=0, le=1)]
_Threshold = Annotated[float, Field(gt=0, lt=1)]


class _Limit(Strict):
    slices: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = (OVERALL,)
    """Of requests, such as `region=south`, whose features are captured."""

    @model_validator(mode="after")
    def _names_slices(self) -> Self:
        for name in self.slices:
            if ANY in Pattern.parse(name).values.values():
                raise ValueError(f"slices: {name!r} stands for several; name each, for each needs a part of the error")
        return self

    @property
    @abstractmethod
    def bounds(self) -> Bounds:
        """What is held against it."""


class _Of(_Limit):
    range: Annotated[tuple[float, float], Field(strict=False)] = (0.0, 1.0)
    """The least and the greatest value that there can be."""

    @model_validator(mode="after")
    def _has_width(self) -> Self:
        if not self.range[0] < self.range[1]:
            raise ValueError("range: write the least value and then a greater one")
        return self


class ErrorRate(_Limit):
    """Of the share of requests that fail (a status of 500 or more)."""

    max_increase: _Share

    @property
    def bounds(self) -> Bounds:
        """Of the change."""
        return Bounds(None, self.max_increase)


class Latency(_Limit):
    """Of a quantile of the latency."""

    max_ratio: Annotated[float, Field(gt=0)]
    """Of the challenger's to the champion's."""

    @property
    def bounds(self) -> Bounds:
        """Of the ratio."""
        return Bounds(None, self.max_ratio)


class MeanPrediction(_Of):
    """Of the mean of what is predicted."""

    max_change: Annotated[float, Field(gt=0)]
    """Up or down."""

    @property
    def bounds(self) -> Bounds:
        """Of the change."""
        return Bounds(-self.max_change, self.max_change)


class PredictionDifference(_Of):
    """Of how far the predictions of both for one row are apart, where both answered it."""

    max_mean: Annotated[float, Field(gt=0)]

    @property
    def bounds(self) -> Bounds:
        """Of the mean."""
        return Bounds(None, self.max_mean)


class Reward(_Of):
    """Of the mean of what feedback says."""

    min_change: float
    """Below 0 what may be lost, above 0 what must be won."""

    @property
    def bounds(self) -> Bounds:
        """Of the change."""
        return Bounds(self.min_change, None)


class Accuracy(_Limit):
    """Of the share of rows that are predicted as their labels came to be."""

    min_change: Annotated[float, Field(gt=-1, lt=1)]
    """Below 0 what may be lost, above 0 what must be won."""
    threshold: _Threshold = 0.5
    """Of two classes: a probability above it counts as positive. Of more the most probable one is predicted."""

    @property
    def bounds(self) -> Bounds:
        """Of the change."""
        return Bounds(self.min_change, None)


class BrierScore(_Limit):
    """Of the mean of the squared difference of probability and label, which is 0 at best."""

    max_increase: _Share

    @property
    def bounds(self) -> Bounds:
        """Of the change."""
        return Bounds(None, self.max_increase)


class AbsoluteError(_Of):
    """Of the mean distance of prediction and label, where that is a number."""

    range: Annotated[tuple[float, float], Field(strict=False)]
    """The least and the greatest label and prediction that there can be."""
    max_increase: Annotated[float, Field(gt=0)]

    @property
    def bounds(self) -> Bounds:
        """Of the change."""
        return Bounds(None, self.max_increase)


OnSlices = ErrorRate | Latency | MeanPrediction | PredictionDifference | Reward | Accuracy | BrierScore | AbsoluteError


class Gap(Strict):
    """How far a rate may differ between groups."""

    max_gap: _Share | None = None
    """Of the highest rate of a group and the lowest, the challenger's own."""
    max_increase: _Share | None = None
    """Of this gap, from the champion's to the challenger's."""
    threshold: _Threshold = 0.5

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.max_gap is None and self.max_increase is None:
            raise ValueError("names no limit; give max_gap or max_increase")
        return self


class Groups(Strict):
    """Which groups of a feature are compared, and by which rates."""

    groups: Annotated[tuple[str, ...], Field(strict=False, min_length=2)]
    """Its values, as text."""
    selection_rate: Gap | None = None
    accuracy: Gap | None = None
    true_positive_rate: Gap | None = None
    false_positive_rate: Gap | None = None
    demographic_parity: Gap | None = None
    equal_opportunity: Gap | None = None
    equalised_odds: Gap | None = None

    @model_validator(mode="after")
    def _compares_some(self) -> Self:
        if len(set(self.groups)) < len(self.groups):
            raise ValueError("groups: names one twice")
        if not list(self.by_rate()):
            raise ValueError("names no limit; write one, such as selection_rate: {max_gap: 0.1}")
        return self

    def by_rate(self) -> Iterator[tuple[str, str, Gap]]:
        """Each limit with the name that it was given under, and the rate that it is about."""
        for name in type(self).model_fields:
            limit = getattr(self, name)
            if isinstance(limit, Gap):
                yield from ((name, rate, limit) for rate in CRITERIA.get(name, (name,)))


def _one_column(fairness: dict[str, Groups]) -> dict[str, Groups]:
    for key in fairness:
        if len(columns_of(key)) > 1:
            raise ValueError(f"{key}: the groups of one feature are compared; name one")
    return fairness


@dataclass(frozen=True)
class Between:
    """Which gap between groups a limit is about."""

    column: str
    groups: tuple[str, ...]
    rate: str
    threshold: float
    most: float
    increase: bool
    """Whether it is about how far the champion's gap is exceeded."""
    at_threshold: bool
    """Whether a person wrote the threshold."""


@dataclass(frozen=True)
class Held:
    """One limit, on one slice or between groups."""

    subject: str
    """What it is about, for people."""
    slice: str
    name: str
    limit: OnSlices | Between
    bounds: Bounds

    @property
    def of_labels(self) -> bool:
        """Whether it takes labels."""
        if isinstance(self.limit, Between):
            return self.limit.rate != "selection_rate"
        return isinstance(self.limit, Accuracy | BrierScore | AbsoluteError)

    def why_not(self, contract: Contract) -> str:
        """Why a model cannot be held against it, with the remedy; empty where it can."""
        if contract.shape:
            return self._why_not_of_classes(contract)
        if contract.classes:
            of_numbers = isinstance(self.limit, AbsoluteError)
            return f"is of numbers, and the model gives {contract.gives}; limit brier_score" if of_numbers else ""
        if isinstance(self.limit, Between | Accuracy | BrierScore):
            return (
                f"is of classes, and the model gives {contract.gives}; limit absolute_error, mean_prediction or "
                "prediction_difference"
            )
        if isinstance(self.limit, MeanPrediction | PredictionDifference) and "range" not in self.limit.model_fields_set:
            return (
                f"has no `range`, and the model gives {contract.gives}; write the least and the greatest that it can "
                "give, and the limit in the same unit"
            )
        return ""

    def _why_not_of_classes(self, contract: Contract) -> str:
        """The same of a model that gives a probability for each of several classes."""
        limit, gives = self.limit, f"the model gives a probability for each class of {contract.label}"
        if isinstance(limit, MeanPrediction | BrierScore | AbsoluteError):
            return f"is of one number a row, and {gives}; limit accuracy, or prediction_difference after a mirror"
        if isinstance(limit, Between) and limit.rate != "accuracy":
            return f"is of a positive class, and {gives}; compare the accuracy of groups"
        if isinstance(limit, Between):
            written = limit.at_threshold
        else:
            written = isinstance(limit, Accuracy) and "threshold" in limit.model_fields_set
        if written:
            return f"has a `threshold`, and {gives} and predicts the most probable one; leave the threshold out"
        if isinstance(limit, PredictionDifference) and "range" in limit.model_fields_set:
            return f"has a `range`, and {gives}, from 0 to 1; leave the range out"
        return ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The features that it takes."""
        return Pattern.parse(self.slice).columns


class Limits(Strict):
    """What the challenger must keep."""

    error_rate: ErrorRate | None = None
    latency_p50: Latency | None = None
    latency_p95: Latency | None = None
    latency_p99: Latency | None = None
    mean_prediction: MeanPrediction | None = None
    prediction_difference: PredictionDifference | None = None
    reward: Reward | None = None
    accuracy: Accuracy | None = None
    brier_score: BrierScore | None = None
    absolute_error: AbsoluteError | None = None
    fairness: Annotated[dict[str, Groups], AfterValidator(_one_column)] = Field(default_factory=dict)
    """By feature."""
    error: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """How often a challenger that keeps all limits may fail, and how often one that breaks a limit may pass."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not list(self.each()):
            raise ValueError(f"names no limit, so that every challenger would pass; write one, such as {EXAMPLE}")
        return self

    @property
    def of_labels(self) -> bool:
        """Whether one of them takes labels."""
        return any(held.of_labels for held in self.each())

    @property
    def labels_within(self) -> tuple[float, float]:
        """The least and the greatest label that there can be, where it is a number."""
        return self.absolute_error.range if self.absolute_error else (-math.inf, math.inf)

    @property
    def needed(self) -> set[str]:
        """The columns of a capture that they need, besides those that say who answered whom and when."""
        held = list(self.each())
        predicted = any(not isinstance(one.limit, ErrorRate | Latency | Reward) for one in held)
        return {"status", "latency_ms"}.union(
            {"features"} if any(one.columns for one in held) else (),
            {"outputs", "predictions"} if predicted else (),
            {"labels"} if self.of_labels else (),
            {"reward"} if self.reward else (),
        )

    def each(self) -> Iterator[Held]:
        """Each limit on each of its slices, and each between groups."""
        for name in type(self).model_fields:
            limit = getattr(self, name)
            if isinstance(limit, OnSlices):
                for slice_ in limit.slices:
                    subject = name if slice_ == OVERALL else f"{name} on {slice_}"
                    yield Held(subject, slice_, name, limit, limit.bounds)
        for key, groups in self.fairness.items():
            yield from _between(key, groups)


def _between(key: str, groups: Groups) -> Iterator[Held]:
    (column,) = columns_of(key)
    for name, rate, gap in groups.by_rate():
        said = rate if name == rate else f"{name.replace('_', ' ')} ({rate})"
        written = "threshold" in gap.model_fields_set
        cut = f" at {gap.threshold:g}" if written or rate != "accuracy" else ""
        said = f"{said} between groups of {key}{cut}: the "
        for what, most in (("gap", gap.max_gap), ("increase of the gap", gap.max_increase)):
            if most is not None:
                between = Between(column, groups.groups, rate, gap.threshold, most, what != "gap", at_threshold=written)
                yield Held(said + what, name_of({column: ANY}), rate, between, Bounds(None, most))


def check_fits(limits: Limits, contract: Contract) -> None:
    """Makes sure that a model can be held against limits.

    Raises:
        DeploymentError: It cannot, with every limit that does not fit.
    """
    mistakes = [f"{held.subject}: {why_not}" for held in limits.each() if (why_not := held.why_not(contract))]
    if mistakes:
        raise DeploymentError("\n  ".join(mistakes))


def parse(content: object) -> Limits:
    """Checks limits.

    Raises:
        DeploymentError: With every mistake.
    """
    return settings.parse(Limits, content=content, name="analyse", error=DeploymentError)
