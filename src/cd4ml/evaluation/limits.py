"""The limits that a model must keep to be published."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from cd4ml import settings
from cd4ml.errors import EvaluationError
from cd4ml.evaluation.summary import FAIRNESS_METRICS, METRICS, METRICS_AT_THRESHOLDS, OVERALL, at
from cd4ml.names import nearest

EXAMPLE = "auc: {baseline: {min_change: 0.0}}"


def _known_form(name: str) -> str:
    if name != OVERALL and "=" not in name:
        raise ValueError(f"{name!r} is no slice; write {OVERALL}, or a column with its value or *, such as region=*")
    return name


def _names_a_rate(rates: dict[str, Any]) -> dict[str, Any]:
    if not rates:
        raise ValueError(f"names no limit; give {' or '.join(FAIRNESS_METRICS)}")
    return rates


Slices = Annotated[tuple[Annotated[str, AfterValidator(_known_form)], ...], Field(min_length=1)]
"""Names as in the summary; `region=*` is each region."""
Fraction = Annotated[float, Field(ge=0, le=1)]


def _check_order(limit: BaseModel, low: str, high: str) -> None:
    least, most = getattr(limit, low), getattr(limit, high)
    if least is not None and most is not None and least > most:
        raise ValueError(f"{low} {least:g} is above {high} {most:g}, so nothing can keep both")


def _known_metric(name: str) -> str:
    metric, found, threshold = name.partition("@")
    if metric in METRICS_AT_THRESHOLDS and not found:
        raise ValueError(f"is measured at a threshold: write {at(name, 0.5)}")
    if metric in METRICS_AT_THRESHOLDS:
        if not _is_threshold(threshold):
            raise ValueError(f"{threshold!r} is no threshold between 0 and 1")
    elif name not in METRICS:
        known = (*METRICS, *(at(one, 0.5) for one in METRICS_AT_THRESHOLDS))
        raise ValueError(f"unknown; {nearest(name, known)}")
    return name


def _is_threshold(text: str) -> bool:
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if all(value is None for name, value in self if name not in ("slices", "threshold")):
            names = [name for name in type(self).model_fields if name not in ("slices", "threshold")]
            raise ValueError(f"names no limit; give {' or '.join(names)}")
        return self


class Change(_Settings):
    """How far a metric may be from that of another model."""

    min_change: FiniteFloat | None = None
    max_change: FiniteFloat | None = None
    slices: Slices = (OVERALL,)

    @model_validator(mode="after")
    def _not_contradictory(self) -> Self:
        _check_order(self, "min_change", "max_change")
        return self


class MetricLimit(_Settings):
    """What one metric must be."""

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    slices: Slices = (OVERALL,)
    """Where `min` and `max` hold."""
    baseline: Change | None = None
    champion: Change | None = None

    @model_validator(mode="after")
    def _not_contradictory(self) -> Self:
        _check_order(self, "min", "max")
        return self


class FairnessLimit(_Settings):
    """How far a rate may differ between groups."""

    max_gap: Fraction | None = None
    min_ratio: Fraction | None = None
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """None: at every threshold of the evaluation."""


class Limits(BaseModel):
    """What the gate holds the candidate against."""

    model_config = ConfigDict(frozen=True)

    metrics: dict[Annotated[str, AfterValidator(_known_metric)], MetricLimit]
    fairness: dict[
        str,
        Annotated[
            dict[Literal["true_positive_rate", "false_positive_rate", "selection_rate"], FairnessLimit],
            AfterValidator(_names_a_rate),
        ],
    ]
    """By sensitive column, or columns with a comma between them; then by rate."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not self.metrics and not self.fairness:
            raise ValueError(f"there is no limit, so every model would pass; write at least one, such as {EXAMPLE}")
        return self


def parse(limits: Mapping[str, Any]) -> Limits:
    """Checks limits, before anything runs.

    Args:
        limits: By metric, and by sensitive column under `fairness`, as `docs/limits.md` has them.

    Raises:
        EvaluationError: With every mistake.
    """
    metrics = {name: limit for name, limit in limits.items() if name != "fairness"}
    content = {"metrics": metrics, "fairness": limits.get("fairness", {})}
    return settings.parse(Limits, content, "model limits", EvaluationError, unnamed="metrics")


def values_of(pattern: str) -> dict[str, str]:
    """The value, or `*`, by column that the name of a slice asks for; a value may have commas."""
    parts = (part.partition("=") for part in re.split(",(?=[^,]*=)", pattern))
    return {column.strip(): value.strip() for column, _, value in parts}


def columns_of(key: str) -> tuple[str, ...]:
    """The columns, by alphabet, whose groups a key of `fairness` is about."""
    return tuple(sorted(column.strip() for column in key.split(",")))
