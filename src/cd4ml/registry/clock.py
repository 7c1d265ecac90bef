"""The time as the registry writes it."""

from datetime import UTC, datetime


def now() -> str:
    """The time: ISO 8601, UTC, in seconds, so that the later one is the greater text."""
    return datetime.now(UTC).isoformat(timespec="seconds")
