"""When nothing is deployed from a store: `freezes/<1, 2, …>.json`, each a freeze, or that an earlier one is lifted.

They are written by people, and by no task.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from cd4ml.contracts import freeze as events
from cd4ml.contracts.freeze import Freeze, Lifted, Window
from cd4ml.errors import RegistryError
from cd4ml.registry import approvals, clock, numbers
from cd4ml.storage import Store

FOLDER = "freezes"
FARTHEST = timedelta(days=366)
"""How far the end of what is frozen is looked for."""


@dataclass(frozen=True)
class Frozen:
    """That nothing is deployed now."""

    freeze: Freeze
    """One that is on, of which the end is told."""
    since: datetime
    until: datetime

    @property
    def headline(self) -> str:
        """Until when, and who said so and why."""
        zone = Window.parse(self.freeze.window).zone
        return f"nothing is deployed until {self.until.astimezone(zone):%Y-%m-%d %H:%M} {zone} ({self.freeze.headline})"


def add(store: Store, window: str, *, by: str, reason: str) -> int:
    """Says that nothing is deployed at a time; the freeze's number.

    Args:
        store: The store.
        window: The time, as `Window` reads it.
        by: Who says so.
        reason: Why.

    Raises:
        RegistryError: The time is none, or is over, or who or why is missing, or too long.
    """
    try:
        over = Window.parse(window).over(clock.moment())
    except ValueError as error:
        raise RegistryError(str(error)) from error
    if over:
        raise RegistryError(f"{window} is over; write a time to come")
    said = Freeze(" ".join(window.split()), by=approvals.who(by), reason=approvals.why(reason), at=clock.now())
    return numbers.append(store, FOLDER, said.text)


def lift(store: Store, number: int, *, by: str, reason: str) -> Freeze:
    """Says that a freeze does not count any more.

    Args:
        store: The store.
        number: The freeze's.
        by: Who says so.
        reason: Why.

    Raises:
        RegistryError: No such freeze stands, or who or why is missing, or too long.
    """
    known = standing(store)
    if number not in known:
        raise RegistryError(
            f"store {store.location}: no freeze {number} stands; `cd4ml deployments freezes` has those that do"
        )
    lifted = Lifted(number, by=approvals.who(by), reason=approvals.why(reason), at=clock.now())
    numbers.append(store, FOLDER, lifted.text)
    return known[number]


def standing(store: Store) -> dict[int, Freeze]:
    """By number the freezes that are neither lifted nor over."""
    now = clock.moment()
    said = {
        int(PurePosixPath(place).stem): events.parse(text, place) for text, place in numbers.documents(store, FOLDER)
    }
    lifted = {one.number for one in said.values() if isinstance(one, Lifted)}
    freezes = {number: one for number, one in said.items() if isinstance(one, Freeze) and number not in lifted}
    return {number: one for number, one in freezes.items() if not Window.parse(one.window).over(now)}


def now(store: Store) -> Frozen | None:
    """Whether nothing is deployed now."""
    moment = until = clock.moment()
    on, since = None, moment
    freezes = [(one, Window.parse(one.window)) for one in standing(store).values()]
    while until < moment + FARTHEST:  # one may begin before another ends
        found = next(((one, *around) for one, window in freezes if (around := window.around(until))), None)
        if found is None:
            break
        on, begin, until = found
        since = min(since, begin)
    return Frozen(on, since, until) if on else None
