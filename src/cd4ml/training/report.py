"""The report of a training: its curves, where its time went, its features and settings."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from cd4ml.contracts import moments
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.progress import thinned
from cd4ml.contracts.sweep import Sweep, Trial
from cd4ml.names import amount, counted, lasting, shown
from cd4ml.reports import course, page, tried
from cd4ml.reports.comparison import flat

if TYPE_CHECKING:
    from cd4ml.training.sweeping import Swept
    from cd4ml.training.train import Trained

CUT_SHORT = ("by its cap", "by its budget", "by a flat loss")
"""How the end of a training begins that somebody should look at."""
FEW_VALUES = 8
"""Of a category, those that are named."""


@dataclass(frozen=True)
class Feature:
    """A feature, for people."""

    name: str
    kind: str
    said: str
    """What training saw of it."""


@dataclass(frozen=True)
class Tried:
    """A sweep, for people."""

    sweep: Sweep
    trials: Sequence[Trial]
    won: Trial

    @property
    def said(self) -> str:
        """How it went, in two sentences."""
        count = Counter(one.state for one in self.trials)
        states = ", ".join(f"{number:,} {state}" for state, number in count.items())
        took = lasting(timedelta(seconds=sum(one.seconds for one in self.trials)))
        return (
            f"{counted(len(self.trials), 'trial')} took {took} together: {states}. Trial {self.won.number} won with "
            f"{self.sweep.objective} {amount(self.won.value or 0.0)} on eval."
        )

    @property
    def course(self) -> Markup:
        """As `cd4ml.reports.tried` draws it."""
        return tried.course(self.sweep, self.trials)

    @property
    def coordinates(self) -> Markup | None:
        """Likewise."""
        return tried.coordinates(self.sweep, self.trials)

    @property
    def importance(self) -> Markup | None:
        """Likewise."""
        from cd4ml.training import suggest  # with Optuna, which nothing else here takes

        return tried.importance(suggest.importance(self.sweep, self.trials))

    @property
    def fronts(self) -> Markup | None:
        """Likewise."""
        return tried.fronts(self.sweep, self.trials)


def write(path: str | Path, *, trained: "Trained", contract: Contract, seed: int, swept: "Swept | None" = None) -> None:
    """Writes the report as one HTML file.

    Args:
        path: Where it goes.
        trained: What came of the training.
        contract: What the model takes and gives.
        seed: Of the training.
        swept: The sweep that its settings won, where there was one.
    """
    history, kept = [one.entry for one in trained.history], trained.best.entry
    page.render(
        "training.html.j2",
        path,
        f"Training of {trained.name}",
        trained=trained,
        tried=Tried(swept.sweep, swept.trials, swept.winner) if swept else None,
        metrics=trained.metrics,
        problem=contract.problem,
        kept=kept,
        cut_short=trained.ended.startswith(CUT_SHORT),
        seed=seed,
        took=lasting(timedelta(seconds=trained.metrics["seconds"])),
        learning=course.learning(contract.problem, history, kept=kept["epoch"], unit=trained.unit),
        times=course.times(history, trained.unit),
        settings=flat(contract.model),
        label=contract.label,
        classes=contract.classes,
        features=[Feature(one.name, one.kind, _seen(one)) for one in contract.inputs],
        epochs=thinned(history),
        names=list(dict.fromkeys(name for epoch in history for name in epoch)),
    )


def _seen(one: Input) -> str:
    if one.range and one.kind == "date":
        earliest, latest = (moments.text_of(int(value)) for value in one.range)
        return f"{earliest} to {latest}" + f"; its age at {one.since}" * bool(one.since)
    if one.range:
        return "{:.4g} to {:.4g}".format(*one.range)
    if one.vocabulary is None:
        return ""
    named = ", ".join(map(shown, one.vocabulary[:FEW_VALUES])) + (", …" if len(one.vocabulary) > FEW_VALUES else "")
    return f"{counted(len(one.vocabulary), 'value')}: {named}"
