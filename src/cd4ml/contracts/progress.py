"""How far a training is: what it says of itself in the store, again and again, until it ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeVar

from cd4ml.contracts.document import Document
from cd4ml.names import amount, lasting

SILENT_SECONDS = 300.0
"""A training that runs and has not said anything for so long was killed, or stands still."""
MOST_EPOCHS = 200
"""Of a curve, at most; of a longer one some are left out, evenly."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class Progress(Document, kind="cd4ml/Progress", remedy="the log of the task says how far it is"):
    """How far one training is."""

    task: str
    """Its name in the pipeline."""
    model: str
    began_at: str
    """When this attempt began; ISO 8601, UTC, as the other times."""
    seen_at: str
    """When this was written."""
    state: Literal["running", "ended", "failed", "stopped"] = "running"
    said: str = ""
    """Why it ended, failed or was stopped."""
    unit: str = "epoch"
    """What is counted: epochs, or trees."""
    epoch: int = 1
    """The one that runs; of trees those that are there."""
    epochs: int | None = None
    """How many there will be at most."""
    step: int = 0
    """Of the epoch that runs."""
    steps: int | None = None
    loss: float | None = None
    """Of the rows of the epoch that were seen."""
    rows_per_second: float | None = None
    seconds: float = 0.0
    """How long it has trained, in all attempts together."""
    left_seconds: float | None = None
    """How long it will go on at most."""
    metric: str = ""
    """Whose value on eval tells the best epoch."""
    best: Mapping[str, float] | None = None
    """The best epoch so far, as the curve has it."""
    curve: tuple[Mapping[str, float], ...] = ()
    """The epochs, as a model's history has them; at most `MOST_EPOCHS` of them, the last among them."""
    device: str = ""
    memory_bytes: int | None = None
    """The most that the process has held."""
    device_memory_bytes: int | None = None
    """The most that it has held of the GPUs' own."""

    def __post_init__(self) -> None:
        """Raises ValueError for a time that is none."""
        for at in (self.began_at, self.seen_at):
            if datetime.fromisoformat(at).tzinfo is None:
                raise ValueError(f"{at!r} has no time zone")

    @property
    def headline(self) -> str:
        """Where it is, in a few words."""
        of = f" of at most {self.epochs:,}" if self.epochs else ""
        step = f", step {self.step:,} of {self.steps:,}" if self.steps and self.state == "running" else ""
        return f"{self.unit} {self.epoch:,}{of}{step}"

    def facts(self, now: datetime, *, over: bool = False) -> dict[str, str]:
        """What a person wants to know of it, by name; what is not known is empty.

        Args:
            now: The time.
            over: Whether its run has ended.
        """
        best = self.best or {}
        score = best.get(f"eval_{self.metric}")
        return {
            "model": self.model,
            "state": self._state(now, over=over),
            "at": self.headline,
            "loss": "" if self.loss is None else f"{self.loss:.4f}",
            f"best {self.metric} on eval": (
                "" if score is None else f"{amount(score)}, {self.unit} {best['epoch']:,.0f}"
            ),
            "rows a second": "" if self.rows_per_second is None else f"{self.rows_per_second:,.0f}",
            "trained for": lasting(timedelta(seconds=self.seconds)),
            "left at most": "" if self.left_seconds is None else lasting(timedelta(seconds=self.left_seconds)),
            "device": self.device,
            "memory at most": _gibibytes(self.memory_bytes),
            "GPU memory at most": _gibibytes(self.device_memory_bytes),
            "last word": f"{lasting(self._age(now))} ago",
        }

    def _state(self, now: datetime, *, over: bool) -> str:
        if self.state != "running":
            return " ".join(filter(None, (self.state, self.said)))
        if over:
            return "killed, for it did not say that it ended"
        if self._age(now) >= timedelta(seconds=SILENT_SECONDS):
            return f"no word for {lasting(self._age(now))}: it was killed, or stands still"
        return self.state

    def _age(self, now: datetime) -> timedelta:
        return max(now - datetime.fromisoformat(self.seen_at), timedelta())


def thinned(epochs: Sequence[_T]) -> list[_T]:
    """Of many epochs at most `MOST_EPOCHS`, evenly, the last among them."""
    every = -(-len(epochs) // MOST_EPOCHS) or 1
    return list(reversed(epochs[::-1][::every]))


def _gibibytes(number: int | None) -> str:
    return "" if number is None else f"{number / 2**30:.1f} GiB"
