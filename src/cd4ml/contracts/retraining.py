"""Whether a model is trained again: what was decided, by which reasons, and what came of it; events of the store."""

from dataclasses import dataclass

from cd4ml.contracts.document import Document
from cd4ml.contracts.shares import Interval


@dataclass(frozen=True)
class Reason:
    """What one rule says."""

    rule: str
    """As the rules name it: `quality`."""
    asks: bool
    """Whether it asks for a retraining."""
    said: str
    """A sentence: what was seen, and what the rule wants."""


@dataclass(frozen=True)
class Gain:
    """What a model that learnt from earlier windows would have gained in later ones."""

    metric: str
    """The problem's primary one."""
    served: float
    """Of the predictions that were given."""
    value: float
    """How much better the other one's were, in the unit of the metric, whichever way is better."""
    interval: Interval
    """Of the value, at 95% confidence."""
    learnt: int
    """The rows that it learnt from."""
    rows: int
    """The later ones that both are compared on."""

    @property
    def said(self) -> str:
        """A sentence."""
        low, high = self.interval
        return (
            f"{self.metric} would have been {self.value:+.3g} [{low:+.3g}, {high:+.3g}] better on the {self.rows:,} "
            f"latest labelled rows by what the {self.learnt:,} before them teach"
        )


@dataclass(frozen=True)
class Decided(Document, kind="cd4ml/RetrainingDecided", remedy="decide again"):
    """Whether a model is trained again, and why."""

    model: str
    version: int
    """The one in production."""
    rules: str
    """The digest of the rules."""
    windows: int
    """How many were looked at."""
    until: str
    """Until when they go: ISO 8601, UTC; empty where there are none."""
    ripe_until: str
    """Until when those go whose labels are ripe, which are learnt from; empty where there are none."""
    reasons: tuple[Reason, ...]
    """One a rule."""
    against: tuple[str, ...]
    """What speaks against a retraining now, a sentence each; none where nothing does, or nothing asks for one."""
    gain: Gain | None
    """None where it was not computed, for nothing asks, or something is against it, or labels are too few."""
    at: str
    """ISO 8601, UTC."""
    cd4ml: str = ""
    """The version of cd4ml that decided."""
    gain_unknown: str = ""
    """Why the gain was not computed although nothing else is against it; empty otherwise."""
    against_kinds: tuple[str, ...] = ()
    """What each of `against` is, in a word that stays while its figures change: `cool_down`."""

    @property
    def retrain(self) -> bool:
        """Whether the model is to be trained again now."""
        return any(one.asks for one in self.reasons) and not self.against

    @property
    def headline(self) -> str:
        """Yes or no, and the first reason."""
        if self.against:
            return f"no: {self.against[0]}"
        asking = [one.said for one in self.reasons if one.asks]
        return f"yes: {asking[0]}" if asking else "no: no rule asks for it"

    @property
    def same(self) -> tuple[object, ...]:
        """What tells it from others that a person would call another decision."""
        asking = tuple(one.rule for one in self.reasons if one.asks)
        return self.version, self.rules, self.until, asking, self.against_kinds, self.retrain


@dataclass(frozen=True)
class Started(Document, kind="cd4ml/RetrainingStarted", remedy="remove it, and decide again"):
    """The run that trains."""

    run: str
    """Its id."""
    at: str


@dataclass(frozen=True)
class Ended(Document, kind="cd4ml/RetrainingEnded", remedy="remove it, and decide again"):
    """What came of it."""

    version: int | None
    """That was published; None where none was."""
    failure: str
    """Why not; empty where one was."""
    at: str
    stopped: bool = False
    """Whether a person stopped the run, which is no failure."""
