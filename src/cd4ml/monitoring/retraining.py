"""Whether a model is to be trained again: rules of a team, what its windows say, and what speaks against it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from cd4ml.contracts.release import Version
from cd4ml.contracts.retraining import Decided, Gain, Reason
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window import Window
from cd4ml.data.sources.windows import Filled
from cd4ml.monitoring import monitored, window_table, windows
from cd4ml.monitoring.monitored import Judged
from cd4ml.names import counted, lasting, nearest
from cd4ml.registry import clock, deployments, named, retrainings
from cd4ml.registry.retrainings import Retraining
from cd4ml.settings import Span, Strict, Whole
from cd4ml.storage import Store
from cd4ml.version import VERSION

MONTH = timedelta(days=30)
LONGEST_BACK_OFF = 6
"""Failures in a row from which on the time between two retrainings is not doubled any more."""
NOT_ALL = "do not stand for all rows, or nobody has judged that (`cd4ml monitor run` does)"

Backtest = Callable[[pa.Table], Gain | None]
AtLeastOne = Annotated[Whole, Field(ge=1)]


class InARow(Strict):
    """Of the windows that were judged last."""

    windows: AtLeastOne = 2
    """How many in a row."""


class When(Strict):
    """What asks for a retraining, one at least; each that is left out never does."""

    quality: InARow | None = Field(default=None)
    """The version in production breaks a limit of its evaluation, by ripe labels, in so many windows in a row."""
    drift: InARow | None = Field(default=None)
    """What the version in production is asked, or what it answers, drifts in so many windows in a row."""
    new_rows: AtLeastOne | None = Field(default=None)
    """So many labelled rows, of windows whose labels are ripe, came since the last retraining that published one."""
    age: Span | None = Field(default=None)
    """The model in production was published so long ago."""
    every: Span | None = Field(default=None)
    """The last retraining that published a version, or else the publishing of that in production, was so long ago."""

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not self.model_fields_set:
            raise ValueError(
                f"no rule is named, so nothing would ever ask for a retraining; {nearest('', type(self).model_fields)}"
            )
        return self


class Rules(Strict):
    """When a model is trained again, on what, and when not."""

    training: Annotated[str, Field(min_length=1)]
    """The run file that trains it, relative to the file of the rules."""
    columns: Mapping[str, Filled] = Field(default_factory=dict)
    """What columns of its dataset are filled with that are no features (`cd4ml.data.sources.windows`)."""
    when: When
    """What asks for it."""
    cool_down: Span = timedelta(days=1)
    """At least so long after a retraining began; twice as long after each failure in a row."""
    a_month: AtLeastOne = 4
    """At most so many retrainings within 30 days."""
    gain: float | None = Field(default=None)
    """What a retraining must be worth, in log loss or squared error: no part of the interval of the backtest's gain may
    reach it; nothing where it is left out."""

    @property
    def digest(self) -> str:
        """Tells these rules from others."""
        return f"sha256:{hashlib.sha256(self.model_dump_json().encode()).hexdigest()}"


@dataclass(frozen=True)
class Facts:
    """What is known of a model."""

    version: Version
    """The one in production."""
    judged: Sequence[Judged]
    """Its windows, the earliest first."""
    ripe: Sequence[Window]
    """Those that were collected, and whose labels were ripe then; likewise."""
    earlier: Sequence[Retraining]
    now: datetime
    waiting: int | None
    """The version of the last retraining, while it is not in production yet."""

    @property
    def done(self) -> list[Retraining]:
        """The retrainings that there were, but for those that a person stopped."""
        return _done(self.earlier)

    @property
    def learnt(self) -> Retraining | None:
        """The last one that published a version: of one that failed nothing was learnt."""
        return next((one for one in reversed(self.done) if one.ended and one.ended.version), None)

    @property
    def fresh(self) -> list[Window]:
        """The ripe windows that came since the last one that published a version."""
        since = self.learnt.decided.ripe_until if self.learnt else ""
        return [one for one in self.ripe if one.begin >= since]

    @cached_property
    def alike(self) -> Mapping[str, frozenset[str]]:
        """By the key of each ripe window that was judged as it is, the versions whose labels stand for all rows."""
        numbers = {one.key: one.number for one in self.ripe}
        return {
            one.window.key: frozenset(each.version for each in one.quality.by_version if each.is_labelled_alike)
            for one in self.judged
            if one.quality and numbers.get(one.window.key) == one.window.number
        }

    def standing(self, window: Window) -> int:
        """Labelled rows of a ripe window that stand for all rows of their version."""
        known = self.alike.get(window.key, ())
        return sum(one.labelled for one in window.parts if not one.mirrored and one.version in known)

    @property
    def ripe_until(self) -> str:
        """When the last ripe window ended; empty where none has a labelled row."""
        return self.ripe[-1].until if any(one.labelled for one in self.ripe) else ""


def decide(
    store: Store, model: str, rules: Rules, *, backtest: Backtest, check: Callable[[], None] | None = None
) -> Retraining:
    """Decides whether a model is to be trained again, and keeps the decision; whoever gets a new yes has to begin it.

    Args:
        store: The store.
        model: The model's name.
        rules: Of its team.
        backtest: Says what a retraining would gain, by labelled rows of ripe windows; asked where all else says yes.
        check: Raises where a retraining could not begin; called before a yes is kept, which is then not.

    Returns:
        The decision; its number is that of the last one where this says the same.

    Raises:
        RegistryError: No version of the model is in production.
        DataError: Its windows cannot be read.
    """
    while True:
        facts = _facts(store, model)
        decided = _decided(store, facts, rules, backtest=backtest)
        if decided.retrain and check:
            check()
        kept = retrainings.decide(store, facts.earlier, decided)
        if kept:
            return kept


def _facts(store: Store, model: str) -> Facts:
    now = clock.moment()
    earlier = [retrainings.settle(store, one, now) for one in retrainings.every(store, model)]
    done = _done(earlier)
    version = named.find(store, model)
    return Facts(
        version=version,
        judged=monitored.every(store, model),
        ripe=_ripe(store, model),
        earlier=earlier,
        now=now,
        waiting=_waiting(store, version, done[-1], now=now) if done else None,
    )


def _done(decisions: Sequence[Retraining]) -> list[Retraining]:
    return [one for one in decisions if one.decided.retrain and not one.is_stopped]


def _waiting(store: Store, version: Version, last: Retraining, *, now: datetime) -> int | None:
    """The version of the last retraining where it is newer than that in production, and may still come there."""
    newer = last.ended.version if last.ended else None
    if last.ended is None or newer is None or newer <= version.version:
        return None
    if now - datetime.fromisoformat(last.ended.at) >= MONTH:
        return None
    rollouts = [one for one in deployments.newest_first(store, version.name) if one.begun.version == newer]
    return newer if not rollouts or rollouts[0].state == "begun" else None


def _ripe(store: Store, model: str) -> list[Window]:
    """The windows whose labels were ripe when they were collected."""
    delays = windows.delays(store, model)
    return [one for one in window_table.every(store, model) if delays.is_ripe(one.age)]


def _decided(store: Store, facts: Facts, rules: Rules, *, backtest: Backtest) -> Decided:
    reasons = tuple(_reasons(facts, rules.when))
    asked = any(one.asks for one in reasons)
    against = list(_against(facts, rules)) if asked else []
    tells = [key for key, versions in facts.alike.items() if str(facts.version.version) in versions]
    wanted = asked and not against and bool(facts.ripe_until)
    gain = backtest(_rows(store, facts, tells)) if wanted and tells else None
    if gain and gain.interval[1] < (rules.gain or 0.0):
        against.append(("gain", f"it is not worth it: {gain.said}, and at least {rules.gain or 0.0:g} is wanted"))
    return Decided(
        model=facts.version.name,
        version=facts.version.version,
        rules=rules.digest,
        windows=len(facts.judged),
        until=facts.judged[-1].window.until if facts.judged else "",
        ripe_until=facts.ripe_until,
        reasons=reasons,
        against=tuple(said for _, said in against),
        gain=gain,
        at=clock.written(facts.now),
        cd4ml=VERSION,
        gain_unknown=f"the labels of version {facts.version.version} {NOT_ALL}" if wanted and not tells else "",
        against_kinds=tuple(kind for kind, _ in against),
    )


def _rows(store: Store, facts: Facts, windows_: Sequence[str]) -> pa.Table:
    """The labelled rows of some windows, of the version in production."""
    columns = [*("window", "at", "request_id", "unit", "version"), *("outputs", "predictions", "label", "labelled_at")]
    columns += ["features"] if any(one.features for one in facts.ripe) else []
    rows = window_table.given(store, facts.version.name, columns)
    own = (pc.field("version") == str(facts.version.version)) & pc.field("window").isin(windows_)
    return rows.filter(own & pc.field("label").is_valid())


def _reasons(facts: Facts, when: When) -> Iterator[Reason]:
    if when.quality:
        yield _in_a_row(facts, "quality", when.quality.windows)
    if when.drift:
        yield _in_a_row(facts, "drift", when.drift.windows)
    if when.new_rows:
        since = f"retraining {facts.learnt.number}" if facts.learnt else "the first window"
        came, count = sum(one.labelled for one in facts.fresh), sum(map(facts.standing, facts.fresh))
        said = f"{counted(count, 'row')} with ripe labels came since {since}, and {when.new_rows:,} are wanted"
        if came > count:
            said = f"{said}; {came - count:,} more do not count, for their labels {NOT_ALL}"
        yield Reason("new_rows", count >= when.new_rows, said)
    if when.age:
        age = facts.now - datetime.fromisoformat(facts.version.published_at)
        said = f"version {facts.version.version} is {lasting(age)} old, and may be {lasting(when.age)}"
        yield Reason("age", age >= when.age, said)
    if when.every:
        last = facts.learnt.decided.at if facts.learnt else facts.version.published_at
        ago = facts.now - datetime.fromisoformat(last)
        what = "retraining that published a version" if facts.learnt else "publishing"
        said = f"the last {what} was {lasting(ago)} ago, and one is wanted every {lasting(when.every)}"
        yield Reason("every", ago >= when.every, said)


def _in_a_row(facts: Facts, rule: Literal["quality", "drift"], wanted: int) -> Reason:
    """Whether the last windows that the version in production could be judged by all failed."""
    version = str(facts.version.version)
    told = [checks for one in facts.judged if (checks := _told(one, rule, version))]
    failed = 0
    for checks in reversed(told):
        if not any(one.outcome is Outcome.FAILED for one in checks):
            break
        failed += 1
    said = f"{rule} failed in the last {counted(failed, 'window')} that could be judged, and {wanted} are wanted"
    if failed:
        first = next(one.reason for one in told[-1] if one.outcome is Outcome.FAILED)
        said = f"{said}; in the last one {first}"
    return Reason(rule, failed >= wanted, said)


def _told(judged: Judged, rule: Literal["quality", "drift"], version: str) -> list[Check]:
    """The checks of a version in a window that tell anything, of its drift or its quality."""
    if rule == "quality":
        checks = judged.quality.settled(version) if judged.quality else ()
    else:
        checks = judged.drift.beside_training(version) if judged.drift else ()
    return [one for one in checks if one.outcome in (Outcome.PASSED, Outcome.FAILED)]


def _against(facts: Facts, rules: Rules) -> Iterator[tuple[str, str]]:
    """What speaks against a retraining now: its kind, and a sentence."""
    if not facts.done:
        return
    last = facts.done[-1]
    if last.is_open:
        yield "goes_on", f"retraining {last.number} goes on ({last.state})"
        return
    failures = _failures(facts.done)
    wait = rules.cool_down * 2 ** min(failures, LONGEST_BACK_OFF)
    until = datetime.fromisoformat(last.decided.at) + wait
    if facts.now < until:
        again = f", for the last {counted(failures, 'retraining')} failed" if failures else ""
        said = f"retraining {last.number} began at {last.decided.at}, and the next may at {clock.written(until)}{again}"
        yield "back_off" if failures else "cool_down", said
    month = [one for one in facts.done if facts.now - datetime.fromisoformat(one.decided.at) < MONTH]
    if len(month) >= rules.a_month:
        yield "a_month", f"there were {counted(len(month), 'retraining')} within 30 days, and {rules.a_month:,} may be"
    if facts.ripe_until and facts.learnt and not any(one.labelled for one in facts.fresh):
        said = f"no row with a ripe label came since retraining {facts.learnt.number}: it would learn the same again"
        yield "same_rows", said
    if facts.waiting:
        yield "waits", f"version {facts.waiting}, of retraining {last.number}, is not in production yet"
    version = last.ended.version if last.ended else None
    if version == facts.version.version and not _was_judged(facts, version):
        said = f"version {version}, of retraining {last.number}, is in production, and no window of it is judged yet"
        yield "not_seen", said


def _failures(done: Sequence[Retraining]) -> int:
    """How many of the last retrainings in a row failed."""
    count = 0
    for one in reversed(done):
        if one.ended is None or one.ended.version:
            break
        count += 1
    return count


def _was_judged(facts: Facts, version: int) -> bool:
    """Whether a window was judged in which the version answered anybody."""
    parts = (part for one in facts.judged for part in one.window.parts)
    return any(part.version == str(version) and not part.mirrored for part in parts)
