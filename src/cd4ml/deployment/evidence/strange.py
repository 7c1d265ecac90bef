"""Feedback that says nothing that can be compared: a reward that cannot be, a label that there is not.

Anybody who may send feedback may send such, so a little of it is counted and left out. Where it is much, the feedback
is not what the limits take it for; and where one arm has more of it than chance gives, what is left does not tell of
both.
"""

import numpy as np

from cd4ml.deployment.evidence import anytime
from cd4ml.deployment.evidence.compared import Compared

FEW = 20
"""So many are never too many, whatever the part: one caller can send them."""
SHARE = 0.05
"""The part of all feedback beyond which it is too much."""


def outside(values: np.ndarray, range_: tuple[float, float]) -> np.ndarray:
    """Which values cannot be (bool [values])."""
    found: np.ndarray = (values < range_[0]) | (values > range_[1])
    return found


def why_outside(value: float, range_: tuple[float, float]) -> str:
    """What is strange of a value that is outside."""
    low, high = range_
    return f"{value:g} is not from {low:g} to {high:g}; send such, or write the `range` that they have"


def left_out(strange: Compared, *, told: int, why: str, error: float) -> tuple[str, bool]:
    """What is said of it, and whether the arms cannot be compared because of it.

    Args:
        strange: The requests, or callers, whose feedback is left out.
        told: How many have feedback, these included.
        why: What is strange, with the remedy.
        error: How often chance alone is taken for a difference of the arms, at some look.
    """
    if not strange.count:
        return "", False
    said = f"{strange.count:,} of {told:,} are left out"
    if not strange.pairs:
        ours = int(strange.got.sum())
        said += f" ({strange.count - ours:,} of the champion, {ours:,} of the challenger)"
    said += f", for {why}"
    if not strange.pairs and not anytime.by_chance(strange.got, strange.chances, error):
        return f"{said}; one arm has more of these than chance gives, so that what is left does not tell of both", True
    if strange.count > FEW and strange.count > SHARE * told:
        return f"{said}; these are more than {FEW} and more than {SHARE:.0%}, so that feedback does not tell", True
    return said, False
