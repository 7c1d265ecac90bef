"""How old a version of a dataset is: by its newest row, and by when it came."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from cd4ml.contracts.bounds import Bounds, Measured, hold
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.verdict import Check
from cd4ml.names import lasting
from cd4ml.reports.page import minute
from cd4ml.validation.limits import Freshness

DAY = timedelta(days=1)


def checks(version: DatasetVersion, allowed: Freshness, now: datetime) -> Iterator[Check]:
    """Holds the ages of a version against limits.

    Args:
        version: What is held.
        allowed: The limits.
        now: The moment at which it is held.
    """
    if allowed.max_age is not None:
        why_not = "no row has a time that is not in the future, or rows were erased"
        if not version.time_column:
            why_not = "the dataset names no `time_column`"
        yield _age("newest row", _newest(version, now), limit=allowed.max_age, now=now, why_not=why_not)
    if allowed.max_arrival_age is not None:
        why_not = "nothing says when it came"
        yield _age("latest version", version.arrived, limit=allowed.max_arrival_age, now=now, why_not=why_not)


def warnings(version: DatasetVersion, now: datetime) -> Iterator[str]:
    """What of a version lies in the future, a sentence each."""
    if version.ahead and datetime.fromisoformat(version.last) > now:
        rows = f"{version.ahead:,} row{'s' * (version.ahead != 1)}"
        yield (
            f"{version.time_column!r} of {rows} was in the future when they came, the last {minute(version.last)}, and "
            "does not count as fresh; look whether it is in another time zone, or stands for a missing one"
        )


def _newest(version: DatasetVersion, now: datetime) -> str:
    """The time of the newest row, which may have been in the future when it was read."""
    return version.last if version.last and datetime.fromisoformat(version.last) <= now else version.newest


def _age(what: str, at: str, *, limit: timedelta, now: datetime, why_not: str) -> Check:
    subject, bounds = f"age of the {what}, in days", Bounds(None, limit / DAY, shown=_days)
    if not at:
        return hold(subject, slice_="", bounds=bounds, measured=Measured(None, why_not=why_not))
    age = now - datetime.fromisoformat(at)
    said = f"the {what} is {lasting(age)} old ({minute(at)}), the limit is {lasting(limit)}"
    return hold(subject, slice_="", bounds=bounds, measured=Measured(age / DAY), said=said)


def _days(days: float) -> str:
    return lasting(timedelta(days=days))
