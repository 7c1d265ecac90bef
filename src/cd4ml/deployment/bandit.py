"""A bandit: how much of the requests the challenger gets, by what is known of both arms so far.

Shares that follow outcomes mislead whoever takes plain means: outcomes change with the hour, and so does who gets the
requests. So nothing here takes them: each caller's outcome, divided by how likely its arm was to get that caller, is a
guess of the difference that is right on average whatever the shares were (`cd4ml.deployment.anytime`), and both the
policies and the end go by these guesses.
"""

import math
from datetime import timedelta
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cd4ml.deployment.ab_test import Outcomes
from cd4ml.deployment.units import Counted
from cd4ml.settings import Span

EVEN = 0.5
"""The challenger's share while nothing is known."""


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
        return Counted(self.outcome, self.window, self.missing, first=True)

    def shares(self, guesses: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The challenger's share, once so many outcomes are known, to a hundredth.

        Args:
            guesses: Of the difference, in parts of the range, in order (float64 [..., units]).
            counts: How many of them are known (int64 [looks]).

        Returns:
            Within the floors (float64 [..., looks]).
        """
        total = _sums(guesses)[..., counts]
        if self.policy == "thompson":
            likely = _chance(total, squares=_sums(guesses**2)[..., counts], counts=counts)
        else:
            likely = (1 + np.sign(total)) / 2
        shares: np.ndarray = np.clip(np.round(likely, 2), self.floor, 1 - self.floor)
        return shares


def _sums(values: np.ndarray) -> np.ndarray:
    """Those of the first none, one, two, … values (float64 [..., values + 1])."""
    none = np.zeros((*values.shape[:-1], 1))
    return np.concatenate([none, np.cumsum(values, axis=-1)], axis=-1)


def _chance(total: np.ndarray, *, squares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How likely the true difference is above 0, by a normal posterior of the mean of guesses.

    The prior is worth two guesses that the arms are as far apart as can be, one for each.
    """
    count = counts + 2
    mean = total / count
    spread = np.sqrt(((squares + 2) / count - mean**2) / count)
    chance: np.ndarray = (1 + _erf(mean / spread / math.sqrt(2))) / 2
    return chance


_erf = np.vectorize(math.erf, otypes=[np.float64])
