"""How a model's probabilities were calibrated: by the eval split, so that the test split can judge it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from cd4ml.names import counted

Method = Literal["temperature", "isotonic"]


@dataclass(frozen=True)
class Calibration:
    """What was fitted to the eval split once training had ended, and what it changed there."""

    method: Method
    rows: int
    """Of the eval split."""
    loss: tuple[float, float]
    """The logarithmic loss there, before and after."""
    error: tuple[float, float]
    """How far the mean probability of a tenth of the rows is from its share of positives, in the mean; likewise. Of
    three classes and more: the mean probability of the predicted class, from the share that is of it."""
    positives: int | None = None
    """Of two classes: the rows of the positive one."""
    temperature: float | None = None
    """What log odds are divided by; of three classes and more the logarithms of the probabilities."""
    levels: int | None = None
    """How many an isotonic regression has."""
    warning: str = ""
    """What to look at, where there is something."""

    def __str__(self) -> str:
        fitted = f"an isotonic regression of {counted(self.levels or 0, 'level')}"
        if self.temperature is not None:
            fitted = f"a temperature of {self.temperature:.4g}"
        positive = "" if self.positives is None else f", {self.positives:,} of them positive"
        return (
            f"by {fitted}, fitted to the {self.rows:,} rows of eval{positive}: loss "
            f"{self.loss[0]:.4f} before and {self.loss[1]:.4f} after, calibration error {self.error[0]:.4f} and "
            f"{self.error[1]:.4f}{self.warning and '; '}{self.warning}"
        )

    @property
    def written(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Calibration":
        """Reads what `written` gave."""
        known = {one.name for one in fields(cls)}
        pairs = {name: tuple(content[name]) for name in ("loss", "error")}
        return cls(**{name: value for name, value in content.items() if name in known} | pairs)
