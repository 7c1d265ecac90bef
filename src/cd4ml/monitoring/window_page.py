"""What comparing or measuring found of the windows of a run, as a page for people: the last window first.

The tasks that find it write it, for KFP keeps nothing of the gate after them where it fails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window import ends_of
from cd4ml.registry import clock
from cd4ml.reports import page

MOST_WHOLE = 10
"""Windows of which all checks are shown, the latest."""


class Found(Protocol):
    """What was found of a window, as `WindowDrift` and `WindowQuality` have it."""

    @property
    def model(self) -> str:
        """Its name."""

    @property
    def window(self) -> str:
        """Its key."""

    @property
    def headline(self) -> str:
        """In a few words."""

    @property
    def outcome(self) -> Outcome:
        """The worst of the checks."""

    @property
    def checks(self) -> Sequence[Check]:
        """What was held against what."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """What the UI compares between runs."""


@dataclass(frozen=True)
class _Shown:
    """A window on the page."""

    found: Found

    @property
    def begin(self) -> str:
        return clock.written(ends_of(self.found.window)[0])

    @property
    def until(self) -> str:
        return clock.written(ends_of(self.found.window)[1])

    @property
    def checks(self) -> list[Check]:
        """The worst first."""
        return sorted(self.found.checks, key=lambda one: list(Outcome).index(one.outcome), reverse=True)


def write(found: Sequence[Found], file: str | Path, *, about: str) -> None:
    """Writes the page.

    Args:
        found: What was found, the earliest window first.
        file: The HTML file.
        about: What was looked for, as a title: `what differs from training`.
    """
    title = f"{found[-1].model}: {about}" if found else f"{about[:1].upper()}{about[1:]}"
    shown = [_Shown(one) for one in reversed(found)]
    page.render("windows.html.j2", file, title, windows=shown, whole=shown[:MOST_WHOLE])
