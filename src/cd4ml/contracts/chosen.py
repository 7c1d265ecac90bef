"""The threshold that was chosen for a model: on the eval split, so that the test split can judge it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from cd4ml.names import shown

CHOSEN = "chosen"
"""What limits call it, as in `recall@chosen`."""


def cut(content: Any) -> float | str:
    """A threshold as a person writes it, or the one that training chose.

    Raises:
        ValueError: It is neither.
    """
    if content == CHOSEN:
        return CHOSEN
    if isinstance(content, bool) or not isinstance(content, int | float) or not 0 < content < 1:
        raise ValueError(f"write a number above 0 and below 1, or {CHOSEN}, not {shown(content)}")
    return content


@dataclass(frozen=True)
class ChosenThreshold:
    """From which probability on a row counts as positive, and why."""

    value: float
    """A row counts as positive above it."""
    rows: int
    """Of the eval split."""
    cost: float
    """What a row costs there, in the mean, at this threshold."""
    false_positive: float
    """What each one costs."""
    false_negative: float
    """Likewise."""
    metric: str = ""
    """The rate by which groups are held together; empty where none is."""
    most: float | None = None
    """How far it may be apart between groups."""
    gaps: Mapping[str, float] = field(default_factory=dict)
    """By column, how far it is."""
    free: tuple[float, float] | None = None
    """Where groups are held together: the threshold that would be the cheapest without, and its cost."""

    @property
    def kept(self) -> bool:
        """Whether groups are as close together as was asked for."""
        return self.most is None or all(gap <= self.most for gap in self.gaps.values())

    def __str__(self) -> str:
        said = (
            f"{self.value:g}, at which a row of the {self.rows:,} of eval costs {self.cost:.4g} in the mean "
            f"(a false positive {self.false_positive:g}, a false negative {self.false_negative:g})"
        )
        if self.free is None or self.most is None:
            return said
        gaps = ", ".join(f"{gap:.3f} by {column}" for column, gap in self.gaps.items())
        rate, (free, cost) = self.metric.replace("_", " "), self.free
        without = f"without that, the cheapest is {free:g}, at {cost:.4g}"
        if self.kept:
            return f"{said}; the {rate} of groups is {gaps} apart, at most {self.most:g} wanted; {without}"
        return (
            f"{said}; no threshold has the {rate} of groups at most {self.most:g} apart, and this one is nearest to "
            f"it: {gaps}; {without}; raise `most`, or even the groups out by `reweight`"
        )

    @property
    def written(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "", {})}

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "ChosenThreshold":
        """Reads what `written` gave."""
        known = {one.name for one in fields(cls)}
        free = {"free": tuple(content["free"])} if "free" in content else {}
        return cls(**{name: value for name, value in content.items() if name in known} | free)
