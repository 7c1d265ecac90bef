"""What it cost to learn which arm is better: how much less callers came to than if all had got the better one.

The better arm is the one that does better on the whole, whatever the hour made of both. What a caller would have come
to there is guessed as all differences are (`cd4ml.deployment.evidence.anytime`); how likely each arm was to get the
caller is known, and says how much of that guess was lost.
"""

from dataclasses import dataclass

import numpy as np

from cd4ml.contracts.shares import Interval
from cd4ml.deployment.evidence.anytime import Guesses


@dataclass(frozen=True)
class Regret:
    """A caller's, on average, in parts of the range; below 0 where either arm alone would have done worse."""

    value: float
    interval: Interval
    even: float
    """What equal shares would have cost."""


def regret(guesses: Guesses, shares: np.ndarray, *, error: float) -> Regret:
    """What shares cost that followed what came of callers.

    Args:
        guesses: Of the challenger's outcome less the champion's, a caller each (float64 [callers], one at least).
        shares: How likely the challenger was to get each (float64 [callers]).
        error: How often the interval misses at some look.
    """
    lost = [guesses.values * (1 - shares), guesses.values * -shares]  # had all got the challenger, or the champion
    intervals = [Guesses(one, guesses.reach).interval(error / 2) for one in lost]
    low, high = (max(ends) for ends in zip(*intervals, strict=True))
    value = max(float(one.mean()) for one in lost)
    return Regret(value, (low, high), abs(float(guesses.values.mean())) / 2)
