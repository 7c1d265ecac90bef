"""Times as the registry writes them: ISO 8601, UTC, in seconds, so that the later one is the greater text."""

from datetime import UTC, datetime


def now() -> str:
    """The time."""
    return written(datetime.now(UTC))


def moment() -> datetime:
    """The time, to compute with."""
    return datetime.fromisoformat(now())


def written(moment: datetime) -> str:
    """A moment, as the registry writes it."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")
