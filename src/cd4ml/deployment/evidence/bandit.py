"""A bandit: how much of the requests the challenger gets, by what is known of both arms so far.

Shares that follow outcomes mislead whoever takes plain means: outcomes change with the hour, and so does who gets the
requests. So nothing here takes them: each caller's outcome, divided by how likely its arm was to get that caller, is a
guess of the difference that is right on average whatever the shares were (`cd4ml.deployment.evidence.anytime`), and
both the policies and the end go by these guesses.
"""

import math

import numpy as np

from cd4ml.deployment.evidence.designs import Bandit

EVEN = 0.5
"""The challenger's share while nothing is known."""


def shares(bandit: Bandit, guesses: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The challenger's share, once so many outcomes are known, to a hundredth.

    Args:
        bandit: The policy.
        guesses: Of the difference, in parts of the range, in order (float64 [..., units]).
        counts: How many of them are known (int64 [looks]).

    Returns:
        Within the floors (float64 [..., looks]).
    """
    total = _sums(guesses)[..., counts]
    if bandit.policy == "thompson":
        likely = _chance(total, squares=_sums(guesses**2)[..., counts], counts=counts)
    else:
        likely = (1 + np.sign(total)) / 2
    found: np.ndarray = np.clip(np.round(likely, 2), bandit.floor, 1 - bandit.floor)
    return found


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
