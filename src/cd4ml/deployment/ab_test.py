"""An experiment: how many it must ask, and whether what came of them promotes the challenger, or rolls it back.

The difference of the outcomes may be looked at again and again (`cd4ml.deployment.anytime`), so that the experiment
ends as soon as it is known. The plan says when that is at the latest, where the difference is as large as matters.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cd4ml.contracts.experiment import Decision, ExperimentArm, Point
from cd4ml.contracts.slices import ANY, OVERALL, Pattern
from cd4ml.contracts.traffic import Sticky
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.deployment import analysis, anytime
from cd4ml.deployment.analysis import SAMPLE_RATIO
from cd4ml.deployment.divided import Divided
from cd4ml.deployment.rollout_limits import Limits
from cd4ml.deployment.units import Counted, Units
from cd4ml.errors import DeploymentError
from cd4ml.settings import Span, Strict

RATIO_ERROR = 0.01
"""How often chance alone is taken for arms that cannot be compared."""
POINTS = 30
"""Of the picture."""
FEW = 100
"""Requests, of which nothing is said yet."""
CALLERS = "callers"
FEEDBACK_RATIO = "feedback_ratio"
_LOST = "look for requests that one arm loses, for callers that do not come again, and for a cache before the router"
_MISSING = "send feedback of each, also where nothing came of it, or write what one without counts as: `missing: 0`"


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
        for name in self.slices:
            if name == OVERALL or ANY in Pattern.parse(name).values.values():
                raise ValueError(f"slices: {name!r} is not one part of the requests; write such as `region=south`")
        return self

    @property
    def counted(self) -> Counted:
        """What an outcome is."""
        return Counted(self.outcome, self.window, self.missing)

    @property
    def columns(self) -> set[str]:
        """The features whose values it needs."""
        limited = {column for held in (self.limits.each() if self.limits else ()) for column in held.columns}
        return limited | {column for name in self.slices for column in Pattern.parse(name).columns}

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


@dataclass(frozen=True)
class Judged:
    """What is known of an experiment at one look."""

    design: Outcomes
    units: Units
    checks: tuple[Check, ...]

    @cached_property
    def known(self) -> tuple[Divided, np.ndarray]:
        """The units whose outcome is known, in order, and the outcomes (float64 [units])."""
        return self.units.compared.rewarded()

    @property
    def count(self) -> int:
        """How many these are."""
        return self.known[0].count

    @property
    def said(self) -> str:
        """What is known of the outcome, and how much of the plan that takes."""
        outcome = next(check for check in self.checks if check.name == self.design.outcome)
        of_plan = f" of about {self.design.planned:,}" if self.design.planned else ""
        return f"{outcome.reason}; {self.count:,}{of_plan} callers"

    def decision(self, *, over: bool) -> Decision | None:
        """What is decided; None where one goes on.

        Args:
            over: Whether the time is over.
        """
        outcomes = [check.outcome for check in self.checks]
        if Outcome.ERROR in outcomes:
            return Decision.ERROR
        if Outcome.FAILED in outcomes:
            return Decision.ROLL_BACK
        if Outcome.INCONCLUSIVE not in outcomes:
            return Decision.PROMOTE
        planned = self.design.planned
        return Decision.INCONCLUSIVE if over or (planned and self.count >= planned) else None

    @property
    def limits_kept(self) -> bool:
        """Whether there are limits, and all are known to be kept."""
        return self.design.limits is not None and all(
            check.outcome.lets_pass for check in self.checks if check.name != self.design.outcome
        )

    def arms(self, names: tuple[str, str]) -> tuple[ExperimentArm, ExperimentArm]:
        """What the champion and the challenger got.

        Args:
            names: Theirs.
        """
        chances = self.units.compared.chances
        share = float(chances.mean()) if len(chances) else 0.0
        return self._arm(names[0], 1 - share, False), self._arm(names[1], share, True)

    def _arm(self, name: str, share: float, challenger: bool) -> ExperimentArm:
        everyone, (known, outcomes) = self.units.compared, self.known
        own = outcomes[known.challenged == challenger]
        versions = everyone.table.filter(everyone.challenged == challenger)["version"].unique().to_pylist()
        units = int((everyone.challenged == challenger).sum())
        mean = _mean(known, outcomes, challenger) if len(own) else None
        return ExperimentArm(name, versions[0] if versions else "", share, units, len(own), mean)

    def points(self) -> Iterator[Point]:
        """The difference as it came to be known."""
        known, _ = self.known
        values = differences(self.design, *self.known)
        at = known.table["at"].to_pylist()
        for count in np.unique(np.linspace(0, known.count, POINTS + 1).astype(int))[1:]:
            guesses = anytime.Guesses(values.values[:count], values.reach)
            value, interval = _difference(self.design, guesses, self.design.error)
            ripe = at[count - 1] + self.design.window
            yield Point(ripe.isoformat(timespec="seconds"), int(count), value, interval)

    def slices(self) -> Iterator[Check]:
        """The difference on each slice; all of these intervals hold together, with the error."""
        known, outcomes = self.known
        for name in self.design.slices:
            within = known.within(Pattern.parse(name))
            one = known.of(within), outcomes[within]
            yield _compared(self.design, *one, slice_=name, error=self.design.error / len(self.design.slices))


def judge(design: Outcomes, units: Units) -> Judged:
    """Holds the challenger against the champion; as often as one likes, while more come.

    Raises:
        DeploymentError: An outcome is out of range.
    """
    known, outcomes = units.compared.rewarded()
    checks = [_compared(design, known, outcomes, error=design.error), *_ratios(design, units, known)]
    checks += _callers(units) if design.sticky else ()
    if design.limits:
        verdict = analysis.analyse(units.compared, design.limits, about={})
        checks += [check for check in verdict.checks if check.name != SAMPLE_RATIO]
    return Judged(design, units, tuple(checks))


def _ratios(design: Outcomes, units: Units, known: Divided) -> Iterator[Check]:
    """Whether chance alone divided those who asked, and those of whom something is known."""
    yield _ratio(units.compared, name=SAMPLE_RATIO, said="who asked", more=_LOST, torn=units.torn)
    if design.missing is None:
        yield _ratio(known, name=FEEDBACK_RATIO, said=f"whose {design.outcome} is known", more=_MISSING)


def _ratio(compared: Divided, *, name: str, said: str, more: str, torn: int = 0) -> Check:
    got, due, count = int(compared.got.sum()), float(compared.chances.sum()), compared.count
    told = f"{name}: the challenger got {got:,} of {count:,} {said}, and {due:,.0f} were due"
    outcome = Outcome.PASSED
    if torn:
        outcome = Outcome.ERROR
        told += f"; {torn:,} had both arms; look for a router that was started anew with others"
    if not anytime.by_chance(compared.got, compared.chances, RATIO_ERROR / 2):
        outcome = Outcome.ERROR
        told += f", which is not chance, so that the arms cannot be compared; {more}"
    return Check(name, "as the weights say", got / count if count else None, outcome, told, OVERALL)


def _callers(units: Units) -> Iterator[Check]:
    """Whether requests say whose they are, once there are some."""
    if units.requests >= FEW and units.unnamed > units.requests / 2:
        told = (
            f"{CALLERS}: {units.unnamed:,} of {units.requests:,} requests do not say whose they are; send what "
            "`sticky` names with them, or name what they have"
        )
        yield Check(CALLERS, "most are known", units.unnamed / units.requests, Outcome.ERROR, told, OVERALL)


def _compared(design: Outcomes, known: Divided, outcomes: np.ndarray, *, error: float, slice_: str = OVERALL) -> Check:
    """The difference of the outcomes."""
    name = design.outcome if slice_ == OVERALL else f"{design.outcome} on {slice_}"
    theirs, ours = outcomes[~known.challenged], outcomes[known.challenged]
    if not len(theirs) or not len(ours):
        arm = "champion" if len(ours) else "challenger"
        said = f"{name}: nothing is known of the {arm} yet"
        return Check(name, "more than 0", None, Outcome.INCONCLUSIVE, said, slice_)
    value, interval = _difference(design, differences(design, known, outcomes), error)
    better = Outcome.PASSED if interval[0] > 0 else Outcome.FAILED if interval[1] < 0 else Outcome.INCONCLUSIVE
    words = {Outcome.PASSED: "the challenger is better", Outcome.FAILED: "the challenger is worse"}
    before, after = (_mean(known, outcomes, challenger) for challenger in (False, True))
    said = (
        f"{name}: {value:+.4g} [{interval[0]:+.4g}, {interval[1]:+.4g}], from {before:.4g} of {len(theirs):,} "
        f"to {after:.4g} of {len(ours):,}; {words.get(better, 'which of both is better is not known')}"
    )
    return Check(name, "more than 0", value, better, said, slice_, interval)


def differences(design: Outcomes, known: Divided, outcomes: np.ndarray) -> anytime.Guesses:
    """Guesses of the challenger's mean outcome less the champion's, in parts of the range.

    Args:
        design: What is compared.
        known: The units whose outcome is known, in order.
        outcomes: Theirs (float64 [units]).

    Raises:
        DeploymentError: One is out of range.
    """
    low, high = design.range
    outside = outcomes[(outcomes < low) | (outcomes > high)]
    if len(outside):
        raise DeploymentError(
            f"{design.outcome}: {len(outside):,} of {len(outcomes):,} outcomes are not from {low:g} to {high:g}, such "
            f"as {outside[0]:g}; write the `range` that they have"
        )
    return known.differences((outcomes - low) / design.width)


def _mean(known: Divided, outcomes: np.ndarray, challenger: bool) -> float:
    """The mean outcome of an arm, as if all units had been as likely to get it."""
    own = known.challenged == challenger
    chances = known.propensities if challenger else 1 - known.propensities
    return float(np.average(outcomes[own], weights=1 / chances[own]))


def _difference(design: Outcomes, guesses: anytime.Guesses, error: float) -> tuple[float, tuple[float, float]]:
    low, high = (end * design.width for end in guesses.interval(error))
    return float(guesses.values.mean()) * design.width, (low, high)
