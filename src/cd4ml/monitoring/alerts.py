"""The alerts of a model, `alerts/<model>/<1, 2, …>.json` in the store: each file the state after something changed.

They follow from the verdicts of its windows: a check that failed last, of any version that still answers, is an alert,
since the first window of those that failed in a row; what passed later is resolved, and windows that cannot tell change
nothing. Of many that look at once each finds what the one before wrote, for a state is added under the next number or
not at all; so an alert fires once.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cd4ml.contracts.alerts import Acknowledged, Alert, Alerts, Change
from cd4ml.contracts.verdict import Check, Outcome, worst
from cd4ml.contracts.window import Window
from cd4ml.contracts.window_drift import UNKNOWN_VERSION
from cd4ml.errors import DataError
from cd4ml.monitoring import monitored
from cd4ml.monitoring.monitored import Judged
from cd4ml.monitoring.usual import AGE, TRAFFIC
from cd4ml.names import nearest
from cd4ml.registry import approvals, clock
from cd4ml.registry.numbers import numbers
from cd4ml.storage import AlreadyStoredError, Store, check_name

FOLDER = "alerts"
LOOKED = timedelta(days=100)
"""So far back from the last window is looked, which is longer than captures stay for late labels to be collected."""
LATELY, FEWEST = timedelta(days=1), 3
"""What no window of the last day with rows checks, nor any of the last three, is not checked any more."""
NOT_CHECKED = "is not checked any more"
_VERSION = re.compile(r"version (?P<before>\S*): (?P<name>.*)|(?P<named>.*) in version (?P<behind>\S+)", re.DOTALL)
"""What names of checks say where several versions answered within a window."""
_FAILING = (Outcome.FAILED, Outcome.ERROR)


@dataclass(frozen=True)
class State:
    """The alerts of a model, and the number of the file that says so; 0 where there is none yet."""

    number: int
    alerts: Alerts


def known(store: Store, model: str) -> State:
    """The alerts of a model as they were written last.

    Raises:
        DocumentError: The last state cannot be read.
    """
    number = max(numbers(store, _folder(model), ".json"), default=0)
    return State(number, _read(store, model, number) if number else Alerts(model, at=""))


def history(store: Store, model: str, *, after: int = 0) -> list[State]:
    """The states after that of a number, the oldest first."""
    found = (number for number in numbers(store, _folder(model), ".json") if number > after)
    return [State(number, _read(store, model, number)) for number in found]


def look(store: Store, model: str) -> State:
    """Brings the alerts of a model up to its verdicts.

    Returns:
        The state, a new one where something changed.
    """

    def after(before: Alerts) -> Alerts | None:
        judged = monitored.verdicts(store, model, within=LOOKED)  # read after the state that they change
        return _after(before, list(_found(judged, before))) if judged else None

    return change(store, model, after)


def acknowledge(store: Store, model: str, alert: str, *, by: str, reason: str) -> Alert:
    """Says that a person knows of an alert: it stands, and is quiet.

    Args:
        store: The store.
        model: The model's name.
        alert: Its id, or the name of its check.
        by: Who knows.
        reason: What they make of it.

    Raises:
        DataError: No such alert stands.
        RegistryError: Who or why is missing, or too long.
    """
    said = Acknowledged(by=approvals.who(by), reason=approvals.why(reason), at=clock.now())

    def acknowledged(before: Alerts) -> Alerts:
        ids = {one.id: one for one in before.standing}
        found = ids.get(alert) or next((one for one in before.standing if one.check == alert), None)
        if found is None:
            missing = nearest(alert, list(ids)) if ids else "none stands"
            raise DataError(f"{model}: no alert {alert!r} stands; {missing} (`cd4ml monitor alerts {model}`)")
        now = replace(found, acknowledged=said)
        standing = tuple(now if one is found else one for one in before.standing)
        return replace(before, at=said.at, standing=standing, changes=(Change("acknowledged", now),))

    state = change(store, model, acknowledged)
    return state.alerts.changes[0].alert


def failed(judged: Judged) -> set[str]:
    """The names under which the failed checks of a window are alerts."""
    return {name for (name, _), check in _by_version(judged).items() if check.outcome in _FAILING}


def change(store: Store, model: str, made: Callable[[Alerts], Alerts | None]) -> State:
    """Adds a state that follows from the one before it; of many that do so at once, each follows from another's.

    Args:
        store: The store.
        model: The model's name.
        made: Gives the state after one; None where nothing changes. It is called again where another was faster.
    """
    while True:
        before = known(store, model)
        after = made(before.alerts)
        if after is None:
            return before
        number = before.number + 1
        try:
            store.add(f"{_folder(model)}/{number}.json", after.text)
        except AlreadyStoredError:
            continue
        return State(number, after)


@dataclass(frozen=True)
class _Failing:
    """A check that failed last."""

    check: Check
    """As the last window that failed has it."""
    name: str
    windows: tuple[Window, ...]
    """That failed in a row, the earliest first."""
    before: float | None
    open_from: datetime | None
    """From when on was looked, where no window since then passed: it may fail for longer. None where one passed."""

    def goes_on(self, old: Alert) -> bool:
        """Whether it has failed since an alert of it began, which is longer ago than was looked."""
        return self.open_from is not None and datetime.fromisoformat(old.since) < self.open_from


@dataclass(frozen=True)
class _Resolved:
    """A check that does not fail, whether or not it ever did."""

    name: str
    why: str


@dataclass(frozen=True)
class _Course:
    """How one check of one version went."""

    told: list[tuple[Window, Check]]
    """Where it passed or failed, the earliest first."""
    lately: bool
    """Whether it was checked of late."""

    @property
    def last(self) -> tuple[str, Check]:
        """Where it was told last, and how."""
        window, check = self.told[-1]
        return window.begin, check

    @property
    def fails(self) -> bool:
        return self.told[-1][1].outcome in _FAILING

    @property
    def row(self) -> int:
        """How many failed in a row at last."""
        ends = (at for at, (_, one) in enumerate(reversed(self.told)) if one.outcome is Outcome.PASSED)
        return next(ends, len(self.told))


def _found(judged: Sequence[Judged], before: Alerts) -> Iterator[_Failing | _Resolved]:
    """How each check did last.

    Args:
        judged: The windows, the earliest first.
        before: The alerts that stand.
    """
    seen: dict[str, dict[str, list[tuple[Window, Check]]]] = {one.check: {} for one in before.standing}
    for one in judged:
        for (name, version), check in _by_version(one).items():
            seen.setdefault(name, {}).setdefault(version, []).append((one.window, check))
    since, looked_from = _lately(judged), datetime.fromisoformat(judged[-1].window.begin) - LOOKED
    for name, versions in seen.items():
        yield _of_check(name, [_course(each, since) for each in versions.values()], looked_from=looked_from)


def _lately(judged: Sequence[Judged]) -> datetime:
    """From when on a window has what is still checked; windows without rows make nothing older."""
    windows = [one.window for one in judged if one.window.rows] or [one.window for one in judged]
    few = datetime.fromisoformat(windows[-FEWEST:][0].begin)
    return min(few, datetime.fromisoformat(windows[-1].until) - LATELY)


def _course(checked: Sequence[tuple[Window, Check]], since: datetime) -> _Course:
    told = [(window, check) for window, check in checked if check.outcome in (*_FAILING, Outcome.PASSED)]
    return _Course(told, any(datetime.fromisoformat(window.begin) >= since for window, _ in checked))


def _of_check(name: str, courses: Sequence[_Course], *, looked_from: datetime) -> _Failing | _Resolved:
    """How a check did last: of the versions that answer still, or, where these cannot tell yet, of the one before."""
    if not any(one.lately for one in courses):
        return _Resolved(name, NOT_CHECKED)
    told = sorted((one for one in courses if one.told), key=lambda one: one.last[0])
    if not told:
        return _Resolved(name, f"fails in no window of the last {LOOKED.days} days, as they were judged last")
    counted = [one for one in told if one.lately] or told[-1:]
    failing = [one for one in counted if one.fails]
    if not failing:
        begin, check = counted[-1].last
        return _Resolved(name, f"passed in the window from {begin}: {check.reason}")
    last = failing[-1]
    windows = {window.key: window for one in failing for window, _ in one.told[-one.row :]}
    windows |= {window.key: window for window in _failed_before(min(windows), told)}
    ended = last.row < len(last.told)
    passed = last.told[-last.row - 1][1].value if ended else None
    in_a_row = tuple(windows[key] for key in sorted(windows))
    return _Failing(last.last[1], name, in_a_row, passed, open_from=None if ended else looked_from)


def _failed_before(first: str, courses: Sequence[_Course]) -> Iterator[Window]:
    """The windows in a row before one in which versions failed that may not answer any more, the latest first.

    Args:
        first: The key of the one.
        courses: Of all versions.
    """
    told: dict[str, list[tuple[Window, Check]]] = {}
    for window, check in (one for course in courses for one in course.told if one[0].key < first):
        told.setdefault(window.key, []).append((window, check))
    for key in sorted(told, reverse=True):
        if all(check.outcome is Outcome.PASSED for _, check in told[key]):
            return
        yield told[key][0][0]


def _by_version(judged: Judged) -> dict[tuple[str, str], Check]:
    """What was checked in a window, by name and version; a check that names none is of all that answered.

    Of several of one name, as where `bootstrap` has another limit for the same, the worst counts.
    """
    answered = {one.version for one in judged.window.parts if one.rows and not one.mirrored} or {""}
    found: dict[tuple[str, str], Check] = {}
    for check in judged.verdict.checks:
        name, versions = _named(check.name, answered)
        for key in ((name, version) for version in versions):
            before = found[key].outcome if key in found else Outcome.SKIPPED
            if before is not worst((before, check.outcome)):
                found[key] = check
    return found


def _named(name: str, answered: set[str]) -> tuple[str, set[str]]:
    """What is checked, and of which versions; of none what is the same whichever answers."""
    found = _VERSION.fullmatch(name)
    if found is None:
        return name, {""} if name == TRAFFIC or name.startswith(AGE) else answered
    behind = found["behind"]
    version = found["before"] if behind is None else "" if behind == UNKNOWN_VERSION else behind
    return found["name"] or found["named"], {version}


def _after(before: Alerts, found: Sequence[_Failing | _Resolved]) -> Alerts | None:
    """The state after some verdicts; None where it is the same."""
    now, standing, changes = clock.now(), {one.check: one for one in before.standing}, list[Change]()
    for one in found:
        old = standing.get(one.name)
        if isinstance(one, _Resolved):
            if old:
                changes.append(Change("resolved", standing.pop(one.name), one.why))
            continue
        alert = _alert(one, old, model=before.model, at=now)
        if alert != old:
            changes.append(Change("still" if old else "fired", alert))
        standing[one.name] = alert
    if not changes:
        return None
    by_age = sorted(standing.values(), key=lambda one: (one.since, one.check))
    return replace(before, at=now, standing=tuple(by_age), changes=tuple(changes))


def _alert(found: _Failing, old: Alert | None, *, model: str, at: str) -> Alert:
    first, last = found.windows[0], found.windows[-1]
    alert = Alert(
        id=old.id if old else _id(model, found.name, first.begin, at),
        check=found.name,
        slice=found.check.slice,
        limit=found.check.limit,
        reason=found.check.reason,
        outcome=found.check.outcome,
        value=found.check.value,
        before=found.before,
        since=first.begin,
        until=last.until,
        windows=len(found.windows),
        rows=sum(one.rows for one in found.windows),
        fired_at=old.fired_at if old else at,
        acknowledged=old.acknowledged if old else None,
    )
    return _counted_on(alert, found, old) if old and found.open_from else alert


def _counted_on(alert: Alert, found: _Failing, old: Alert) -> Alert:
    """An alert before which no window passed of those that were looked at: what is known of earlier ones stays."""
    if not found.goes_on(old):
        return replace(alert, before=old.before) if alert.since == old.since else alert
    later = [one for one in found.windows if one.begin >= old.until]
    return replace(
        alert,
        before=old.before,
        since=old.since,
        windows=old.windows + len(later),
        rows=old.rows + sum(one.rows for one in later),
    )


def _id(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _folder(model: str) -> str:
    return f"{FOLDER}/{check_name(model)}"


def _read(store: Store, model: str, number: int) -> Alerts:
    name = f"{_folder(model)}/{number}.json"
    return Alerts.parse(store.read(name), store.uri(name))
