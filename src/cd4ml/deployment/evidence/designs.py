"""What a person writes of an experiment or a bandit: what is compared, of whom, and how sure one must be."""

import math
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cd4ml.contracts.slices import ANY, OVERALL, Pattern
from cd4ml.contracts.traffic import Sticky
from cd4ml.deployment.evidence import anytime
from cd4ml.deployment.evidence.limits import Limits
from cd4ml.settings import Span, Strict

LABEL = "label"


@dataclass(frozen=True)
class Counted:
    """What an outcome is."""

    outcome: str
    """`reward`, what feedback says, or `label`, what it says came to be true."""
    window: timedelta
    """How long after its first request what a unit is given counts; its outcome is known once that is over."""
    missing: float | None
    """The outcome of a unit that is given nothing; None where such a one has none."""
    first: bool = False
    """Whether of a unit's requests the first alone counts, for others may have come to another arm."""
    range: tuple[float, float] = (-math.inf, math.inf)
    """The least and the greatest that can be given; what is not within is left out."""


class CalledBy(Strict):
    """By what a caller is known."""

    header: str | None = None
    feature: str | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.sticky.mistakes:
            raise ValueError("; ".join(self.sticky.mistakes).removeprefix("sticky: "))
        return self

    @property
    def sticky(self) -> Sticky:
        """As the router takes it."""
        return Sticky(self.header, self.feature)


class Outcomes(Strict):
    """What is compared of two arms, and how sure one must be."""

    sticky: CalledBy | None = None
    """By what callers are known, each of whom has one arm: `{header: X-Player}` or `{feature: player}`."""
    outcome: Literal["reward", "label"] = "reward"
    """What is compared: what feedback says a request was worth, or what it says came to be true."""
    range: Annotated[tuple[float, float], Field(strict=False)] = (0.0, 1.0)
    """The least and the greatest outcome that there can be."""
    key: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """The features that tell whose row a label is, where labels are taken in bulk by these."""
    window: Span = timedelta(days=1)
    """For how long after its first request what a caller is given counts."""
    missing: float | None = None
    """The outcome of a caller who is given nothing by then; where it is not given, such a caller does not count."""
    error: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """How often a difference is told where there is none."""
    limits: Limits | None = None
    """What the challenger must keep besides."""
    slices: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Of requests, such as `region=south`, on which the report has the difference too; they decide nothing."""

    @model_validator(mode="after")
    def _is_within_range(self) -> Self:
        low, high = self.range
        if not low < high:
            raise ValueError("range: write the least outcome and then a greater one")
        if self.missing is not None and not low <= self.missing <= high:
            raise ValueError(f"missing: {self.missing:g} does not lie from {low:g} to {high:g}; write the `range`")
        if self.limits and self.limits.prediction_difference:
            raise ValueError("limits: prediction_difference takes requests that both answered; leave it out")
        if self.limits and self.limits.of_labels:
            raise ValueError("limits: those that take labels are of an `analyse`; leave them out")
        if self.key and self.outcome != LABEL:
            raise ValueError("key: tells whose row a label is; write `outcome: label` with it")
        for name in self.slices:
            if name == OVERALL or ANY in Pattern.parse(name).values.values():
                raise ValueError(f"slices: {name!r} is not one part of the requests; write such as `region=south`")
        return self

    @property
    def counted(self) -> Counted:
        """What an outcome is."""
        return Counted(self.outcome, self.window, self.missing, range=self.range)

    @property
    def columns(self) -> set[str]:
        """The features whose values it needs."""
        limited = {column for held in (self.limits.each() if self.limits else ()) for column in held.columns}
        return limited | {column for name in self.slices for column in Pattern.parse(name).columns} | {*self.key}

    @property
    def needed(self) -> set[str]:
        """The columns of a capture that it needs, besides those that say who answered whom and when."""
        needed = {"labels" if self.outcome == LABEL else "reward"} | ({"features"} if self.columns else set())
        return needed | (self.limits.needed if self.limits else set())

    @property
    def width(self) -> float:
        """Of the range of outcomes."""
        return self.range[1] - self.range[0]

    @property
    def planned(self) -> int | None:
        """How many whose outcome is known are asked for; None where the time alone ends it."""
        return None


class Design(Outcomes):
    """An experiment: what is compared, of whom, and how sure one must be."""

    sticky: CalledBy
    """By what callers are known, each of whom always has the same arm: `{header: X-Player}` or `{feature: player}`."""
    baseline: float
    """The mean of the outcome so far."""
    detect: Annotated[float, Field(gt=0)]
    """The least difference that matters."""
    traffic: Annotated[float, Field(gt=0, lt=100)] = 50.0
    """Of the callers, in percent, who get the challenger."""
    power: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    """How likely a difference of `detect` is told by the end of the plan."""
    within: Span = timedelta(days=14)
    """After which the experiment ends, whatever is known."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        low, high = self.range
        if not low <= self.baseline < self.baseline + self.detect <= high:
            raise ValueError(f"baseline: with `detect` it does not lie from {low:g} to {high:g}; write the `range`")
        if self.window >= self.within:
            raise ValueError("within: ends before the `window` of the first caller does; write more than that")
        if math.isinf(self._needed()):
            raise ValueError("detect: a billion callers do not tell so small a difference; write a greater one")
        return self

    @cached_property
    def planned(self) -> int:
        """How many whose outcome is known it takes until a difference of `detect` is told, with the power.

        Exact for outcomes at both ends of the range, such as 0 and 1; outcomes in between take fewer.
        """
        return math.ceil(self._needed())

    def _needed(self) -> float:
        share, before = self.traffic / 100, (self.baseline - self.range[0]) / self.width
        after = before + self.detect / self.width
        challenged, outcomes = np.array([True, True, False, False]), np.array([1.0, 0.0, 1.0, 0.0])
        of_arm = np.where(challenged, share, 1 - share)
        chances = of_arm * np.array([after, 1 - after, before, 1 - before])
        off = outcomes - (share * after + (1 - share) * before)
        guesses = anytime.Guesses(np.where(challenged, off, -off) / of_arm, 1 / min(share, 1 - share))
        return guesses.planned(chances, error=self.error, power=self.power)


class Bandit(Outcomes):
    """What is known of two arms decides again and again who gets how much."""

    policy: Literal["thompson", "epsilon-greedy"] = "thompson"
    """The challenger's share is the probability that it is better, or all goes to the one that has done better."""
    floor: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """The least share of either."""
    every: Span = timedelta(minutes=5)
    """How often the shares are set anew."""
    span: Annotated[Span, Field(alias="for")] = timedelta(days=2)
    """After which it ends, whatever is known."""
    window: Span = timedelta(hours=1)
    """For how long after it what a caller's first request is given counts."""
    replay: Literal["captured", "none"] = "captured"
    """Whether the policy is first replayed on what was captured, without which it does not begin."""

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.window >= self.span:
            raise ValueError("for: ends before the `window` of the first caller does; write more than that")
        return self

    @property
    def counted(self) -> Counted:
        """What an outcome is: that of a caller's first request, for later ones may come to the other arm."""
        return Counted(self.outcome, self.window, self.missing, first=True, range=self.range)
