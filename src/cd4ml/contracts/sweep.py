"""What a sweep over the settings of a model has tried: `sweeps/<name>/sweep.json` in the store, and its trials beside.

A trial is `00007.json`, written whole each time that there is more to say of it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cd4ml.contracts.document import Document

FOLDER, SWEEP = "sweeps", "sweep.json"
TRIAL_NAME = re.compile(r"[0-9]{5}\.json")


def trial_name(number: int) -> str:
    """What a trial is called beside its sweep."""
    return f"{number:05}.json"


@dataclass(frozen=True)
class Trial(Document, kind="cd4ml/Trial", remedy="it is tried anew where its sweep goes on"):
    """A model that is trained with settings of its own."""

    number: int
    """From 0 on."""
    settings: Mapping[str, Any]
    """By the names of the sweep's ranges."""
    place: int
    """Which of the places that try side by side has it."""
    seen_at: str
    """When this was written; ISO 8601, UTC."""
    attempt: int = 1
    """How often it was begun: again where its process ended without a word; a place that was told to end counts not."""
    state: Literal["running", "ended", "pruned", "failed"] = "running"
    """`pruned`: ended early, for others were better by then."""
    value: float | None = None
    """The objective on eval, of one that has ended."""
    measured: Mapping[str, float | None] = field(default_factory=dict)
    """What the sweep constrains, by the constraint's name; None where it is not defined on the rows of eval."""
    values: tuple[tuple[int, float], ...] = ()
    """The objective on eval after each epoch, or so many trees."""
    seconds: float = 0.0
    """How long its attempts took together."""
    error: str = ""
    """Why it failed."""

    def __post_init__(self) -> None:
        """Raises ValueError for a trial that has ended without a value."""
        if self.state == "ended" and self.value is None:
            raise ValueError("it has ended, and has no value")

    @property
    def is_over(self) -> bool:
        """Whether no more is to come of it."""
        return self.state != "running"


@dataclass(frozen=True)
class Sweep(Document, kind="cd4ml/Sweep", remedy="its trials lie beside it; start its run again to have it written"):
    """What is searched, and for what."""

    name: str
    """Tells it from every other; its budget aside, the same sweep over the same splits has the same."""
    model: Mapping[str, Any]
    """The specification whose settings are varied."""
    objective: str
    """A metric of the model's problem, or `loss`, on eval."""
    better: Literal["higher", "lower"]
    ranges: Mapping[str, Any]
    """By setting a range or a list of choices, as in the run file."""
    constraints: Mapping[str, float]
    """By name the most that is allowed; a gap as `fairness.region.selection_rate@0.5`."""
    parallel: int
    """How many places there are, and trials in a round: what they try follows from the rounds before."""
    seed: int
    trials: int | None
    """How many are tried at most."""
    minutes: float | None
    """After which no round begins."""

    def keeps(self, trial: Trial) -> bool:
        """Whether a trial keeps each constraint; what is not defined is not kept."""
        found = ((trial.measured.get(name), most) for name, most in self.constraints.items())
        return all(value is not None and value <= most for value, most in found)

    def best(self, trials: Iterable[Trial]) -> Trial | None:
        """The winner: of those that have ended and keep all constraints the best, of equals the first."""
        sign = 1 if self.better == "lower" else -1
        allowed = (one for one in trials if one.state == "ended" and self.keeps(one))
        return min(allowed, key=lambda one: (sign * (one.value or 0.0), one.number), default=None)
