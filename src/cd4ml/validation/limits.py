"""The limits that a dataset must keep to be trained on."""

from typing import Annotated, Any, Literal

from pydantic import Field

from cd4ml import settings
from cd4ml.errors import DataError
from cd4ml.settings import Strict, Whole

Count = Annotated[Whole, Field(ge=0)]


class Limits(Strict):
    """What the gate allows; a limit that is None is not held against anything."""

    anomalies: Count = 0
    """Anomalies at most; those that TFDV calls warnings do not count."""
    personal_data: Count = 0
    """Columns of personal data at most."""
    leaks: Count = 0
    """Columns that tell the label as nothing known before the event could, at most; warnings do not count."""
    min_rows: dict[Literal["train", "eval", "test"], Count] = Field(default_factory=dict)
    """Rows of a split at least."""
    min_group_share: float | None = Field(default=None, ge=0, le=1)
    """Share of the rows that each sensitive group has at least."""
    max_label_rate_gap: float | None = Field(default=None, ge=0, le=1)
    """How far the label rate of a group may be from that of the others."""


def parse(limits: dict[str, Any]) -> Limits:
    """Checks limits, before anything runs.

    Raises:
        DataError: With every mistake.
    """
    return settings.parse(Limits, content=limits, name="data limits", error=DataError)
