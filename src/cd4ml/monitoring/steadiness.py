"""Does what a model is asked change faster than labels ripen? Then what is learnt from them is out of date."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import NormalDist

import numpy as np

from cd4ml.errors import DataError
from cd4ml.names import counted, lasting

FEWEST = 100
"""Labelled rows of a window that is compared."""
CONFIDENCE = 0.99
MOST = 0.5
"""The share of windows that may be others than those before them."""
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True)
class Lost:
    """How wrong a version was within a window whose labels are ripe."""

    version: str
    begin: float
    """Seconds since 1970."""
    rows: int
    mean: float
    """Of the loss of a row."""
    variance: float

    @classmethod
    def of(cls, version: str, begin: float, losses: np.ndarray) -> "Lost":
        """Of the losses of its rows."""
        return cls(version, begin, len(losses), float(losses.mean()), float(losses.var()))

    def is_other(self, earlier: "Lost") -> bool:
        """Whether its loss is another than that of an earlier one, beyond chance."""
        spread = np.sqrt(self.variance / self.rows + earlier.variance / earlier.rows)
        return bool(abs(self.mean - earlier.mean) > _Z * spread)


def check(model: str, windows: Sequence[Lost], ripe_after: float) -> str:
    """Makes sure that what is learnt from ripe labels still holds when it is learnt.

    A window is held against the last one that began so long before it as labels take to ripen. Where more than half of
    the windows had another loss than that one, beyond chance, what labels teach is out of date once they are ripe.

    Args:
        model: Its name.
        windows: Those with ripe labels, by version.
        ripe_after: Seconds after which labels are ripe.

    Returns:
        What was found, in words.

    Raises:
        DataError: More than half are others; or there are none to compare.
    """
    age = lasting(timedelta(seconds=ripe_after))
    pairs = list(_pairs([one for one in windows if one.rows >= FEWEST], ripe_after))
    if not pairs:
        raise DataError(
            f"{model}: whether it changes faster than labels ripen ({age}) is not known: no two windows with ripe "
            f"labels, {FEWEST} rows of them at least, lie that far apart; collect for longer, or wider windows"
        )
    others = [(one, earlier) for one, earlier in pairs if one.is_other(earlier)]
    said = (
        f"labels are ripe after {age}, and {len(others)} of {counted(len(pairs), 'window')} had another loss than the "
        f"window so long before ({CONFIDENCE:.0%} confidence)"
    )
    if len(others) <= MOST * len(pairs):
        return said
    one, earlier = max(others, key=lambda pair: abs(pair[0].mean - pair[1].mean))
    raise DataError(
        f"{model}: {said}, the most from {earlier.mean:.3g} to {one.mean:.3g}; more than {MOST:.0%} may not, for what "
        "was learnt would be out of date when it is learnt; have labels sooner, or retrain on all rows"
    )


def _pairs(windows: Sequence[Lost], apart: float) -> Iterator[tuple[Lost, Lost]]:
    """Each window with the last of its version that began so many seconds before it."""
    ordered = sorted(windows, key=lambda one: one.begin)
    for place, one in enumerate(ordered):
        before = [other for other in ordered[:place] if other.version == one.version]
        far = [other for other in before if one.begin - other.begin >= apart]
        if far:
            yield one, far[-1]
