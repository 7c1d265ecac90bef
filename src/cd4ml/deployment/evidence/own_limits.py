"""What a release must keep by itself, as a person writes it."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from cd4ml.settings import Span, Strict


class OwnErrorRate(Strict):
    """Of the share of requests that fail (a status of 500 or more)."""

    max: Annotated[float, Field(gt=0, lt=1)]


class OwnLatency(Strict):
    """Of a quantile of the latency."""

    max: Annotated[float, Field(gt=0)]
    """Milliseconds."""


class OwnLimits(Strict):
    """What a release must keep, and for how long it is looked at."""

    span: Annotated[Span, Field(alias="for")]
    """All of it is waited for; what is not known to be kept by then has failed."""
    error_rate: OwnErrorRate | None = None
    latency_p50: OwnLatency | None = None
    latency_p95: OwnLatency | None = None
    latency_p99: OwnLatency | None = None
    error: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """How often a release that keeps all limits may fail, and how often one that breaks a limit may pass."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not list(self.each()):
            raise ValueError("names no limit, so that every release would pass; write one: error_rate: {max: 0.02}")
        return self

    def each(self) -> Iterator[tuple[str, OwnErrorRate | OwnLatency]]:
        """Each name and limit."""
        for name in type(self).model_fields:
            limit = getattr(self, name)
            if isinstance(limit, OwnErrorRate | OwnLatency):
                yield name, limit
