"""The limits that a dataset must keep to be trained on."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from cd4ml import settings
from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.drift import FALSE_ALARMS, LARGE
from cd4ml.errors import DataError
from cd4ml.settings import Span, Strict, Whole

Count = Annotated[Whole, Field(ge=0)]
Split = Literal["train", "eval", "test"]


class Drift(Strict):
    """How much a column may change, and how seldom chance alone may raise an alarm."""

    max_effect: float = Field(default=LARGE, ge=0, le=1)
    """The largest effect of a column that has changed beyond chance."""
    false_alarm_rate: float = Field(default=FALSE_ALARMS, gt=0, lt=1)
    """Of comparisons of tables that do not differ, the share that may raise an alarm."""


class Freshness(Strict):
    """How old the data may be when they are checked, as `7 days`, `36 hours` or P7D."""

    max_age: Span | None = None
    """Of the newest row, by the `time_column`; rows of the future do not count."""
    max_arrival_age: Span | None = None
    """Of the version, since its content first came."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.max_age is None and self.max_arrival_age is None:
            raise ValueError("write at least one of `max_age` and `max_arrival_age`")
        return self


class Limits(Strict):
    """What the gate allows; a limit that is None is not held against anything."""

    anomalies: Count = 0
    """Anomalies at most; those that TFDV calls warnings do not count."""
    personal_data: Count = 0
    """Columns of personal data at most."""
    leaks: Count = 0
    """Columns that tell the label as nothing known before the event could, at most; warnings do not count."""
    min_rows: dict[Split, Count] = Field(default_factory=dict)
    """Rows of a split at least."""
    min_class_rows: dict[Split, Count] = Field(default={"test": FEWEST_ROWS})
    """Rows of each class in a split at least: with fewer in test, a metric of a class is not judged."""
    min_group_share: float | None = Field(default=None, ge=0, le=1)
    """Share of the rows that each sensitive group has at least."""
    max_label_rate_gap: float | None = Field(default=None, ge=0, le=1)
    """How far the label rate of a group may be from that of the others."""
    max_copies: float | None = Field(default=None, ge=0, le=1)
    """Share of the rows of eval or test that are in train too, beyond chance, at most."""
    max_proxy_auc: float | None = Field(default=None, ge=0.5, le=1)
    """AUC with which the features together tell a group of a sensitive column at most."""
    min_alike: Count | None = None
    """Rows at least that are alike in what others may know of a person: the k of k-anonymity."""
    drift: Drift | None = None
    """How much the columns may change: train from the rows of the last model, eval and test from train."""
    freshness: Freshness | None = None
    """How old the data may be."""


def parse(limits: dict[str, Any]) -> Limits:
    """Checks limits, before anything runs.

    Raises:
        DataError: With every mistake.
    """
    return settings.parse(Limits, content=limits, name="data limits", error=DataError)
