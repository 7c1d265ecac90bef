"""The intervals of shares of rows, and of their differences, at 95%."""

import math

Interval = tuple[float, float]
"""Low and high end at 95% confidence."""
Z = 1.959964
"""Of 95%."""


def share_interval(share: float, rows: int) -> Interval:
    """Wilson's interval of a share of rows."""
    centre = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    half = Z / (1 + Z**2 / rows) * math.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def difference_interval(one: tuple[float, int], other: tuple[float, int]) -> Interval:
    """Newcombe's interval of the first share less the second, each with its rows."""
    (low, high), (other_low, other_high) = share_interval(*one), share_interval(*other)
    gap = one[0] - other[0]
    return (
        gap - math.hypot(one[0] - low, other_high - other[0]),
        gap + math.hypot(high - one[0], other[0] - other_low),
    )
