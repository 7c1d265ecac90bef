"""An experiment: how many it must ask, and whether what came of them promotes the challenger, or rolls it back.

The difference of the outcomes may be looked at again and again (`cd4ml.deployment.evidence.anytime`), so that the
experiment ends as soon as it is known. The plan says when that is at the latest, where the difference is as large as
matters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cd4ml.contracts.experiment import Decision, ExperimentArm, Point
from cd4ml.contracts.slices import OVERALL, Pattern
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.deployment.evidence import analysis, anytime, strange
from cd4ml.deployment.evidence.analysis import SAMPLE_RATIO
from cd4ml.deployment.evidence.designs import Outcomes
from cd4ml.deployment.evidence.divided import Divided
from cd4ml.deployment.evidence.units import Units

RATIO_ERROR = 0.01
"""How often chance alone is taken for arms that cannot be compared."""
POINTS = 30
"""Of the picture."""
FEW = 100
"""Requests, of which nothing is said yet."""
CALLERS = "callers"
FEEDBACK_RATIO = "feedback_ratio"
STRANGE = "strange_feedback"
_LOST = "look for requests that one arm loses, for callers that do not come again, and for a cache before the router"
_MISSING = "send feedback of each, also where nothing came of it, or write what one without counts as: `missing: 0`"


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
    """Holds the challenger against the champion; as often as one likes, while more come."""
    known, outcomes = units.compared.rewarded()
    checks = [_compared(design, known, outcomes, error=design.error), *_ratios(design, units, known)]
    checks += _strange(design, units)
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


def _strange(design: Outcomes, units: Units) -> Iterator[Check]:
    """Whether what was given and cannot be an outcome is little, and of both arms alike."""
    bad = units.compared.of(units.strange)
    said, too_strange = strange.left_out(bad, told=units.told, why=units.why, error=RATIO_ERROR / 2)
    if said:
        outcome = Outcome.ERROR if too_strange else Outcome.PASSED
        told = f"{STRANGE}: of callers with a {design.outcome}, {said}"
        yield Check(STRANGE, "few, and of both arms", bad.count / units.told, outcome, told, OVERALL)


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
        outcomes: Theirs, within the range (float64 [units]).
    """
    return known.differences((outcomes - design.range[0]) / design.width)


def _mean(known: Divided, outcomes: np.ndarray, challenger: bool) -> float:
    """The mean outcome of an arm, as if all units had been as likely to get it."""
    own = known.challenged == challenger
    chances = known.propensities if challenger else 1 - known.propensities
    return float(np.average(outcomes[own], weights=1 / chances[own]))


def _difference(design: Outcomes, guesses: anytime.Guesses, error: float) -> tuple[float, tuple[float, float]]:
    low, high = (end * design.width for end in guesses.interval(error))
    return float(guesses.values.mean()) * design.width, (low, high)
