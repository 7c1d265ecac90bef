"""The last line that a benchmark prints: JSON, for whoever keeps the figures of each version."""

import json
import os
import platform
from datetime import date
from typing import Any

FIGURES = ("ratio", "seconds", "peer_seconds", "peak_mib", "rows")
"""Those that each has, null where it has none of its own."""


def close(name: str, **figures: Any) -> None:
    """Prints the line.

    Args:
        name: The benchmark's.
        figures: Those that it has of `FIGURES`, its `goals`, and others.
    """
    where = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "date": f"{date.today()}"}
    print(json.dumps({"name": name, **dict.fromkeys(FIGURES), **figures, **where}))  # noqa: T201


def at_most(goal: str, value: float, limit: float, *, digits: int = 3) -> dict[str, Any]:
    """A goal that is met up to its limit."""
    return {"goal": goal, "value": round(value, digits or None), "limit": limit, "met": bool(value <= limit)}


def at_least(goal: str, value: float, limit: float, *, digits: int = 3) -> dict[str, Any]:
    """A goal that is met from its limit on."""
    return {"goal": goal, "value": round(value, digits or None), "limit": limit, "met": bool(value >= limit)}
