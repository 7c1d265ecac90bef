"""What a window of production looks like beside what the model was trained on, each version against its own.

All checks of drift and skew of a window together, those of all its versions, raise no more false alarms than are
stated; for that, of each caller one row is looked at.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cd4ml.contracts.drift import FALSE_ALARMS
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window import DOCUMENT, TABLE, Window
from cd4ml.contracts.window_drift import VersionDrift, WindowDrift
from cd4ml.monitoring import answers, callers, handed, trained_on, window_page
from cd4ml.monitoring.of_version import FAMILIES, Asked, judge
from cd4ml.validation.on_disk import OnDisk
from cd4ml.version import VERSION


@dataclass(frozen=True)
class Compared:
    """Windows, the earliest first."""

    windows: tuple[WindowDrift, ...]

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of them in the UI."""
        return {"headline": handed.headline(self.windows), "windows": [one.window for one in self.windows]}

    @property
    def metrics(self) -> dict[str, float]:
        """What the UI compares between runs, of the last window."""
        return self.windows[-1].metrics if self.windows else {}


def compare_each(windows: str | Path, *, store: str, output: str | Path, report: str | Path | None = None) -> Compared:
    """Compares each window that `collect_window` handed on; likewise.

    Args:
        windows: The folder with a folder a window.
        store: The store.
        output: The folder that takes a file a window (layout: `cd4ml.monitoring.handed`).
        report: The HTML file that takes what was found, for people; none if not said.
    """
    found = Compared(tuple(handed.judge_each(windows, compare, store=store, output=output)))
    if report:
        window_page.write(found.windows, report, about="what differs from training")
    return found


def compare(window: Path, *, store: str, output: Path) -> WindowDrift:
    """Compares a window with what the versions that answered in it were trained on.

    Args:
        window: The folder with the window's document and its rows (`cd4ml.contracts.window`).
        store: The store that holds the registry: a folder, or `s3://bucket/prefix`.
        output: The file to write.

    Returns:
        What was found, as it was written.

    Raises:
        DocumentError: The window, or what a version keeps, cannot be read.
        DataError: The rows of the window cannot be read.
        StorageError: The store cannot be read.
    """
    about, rows = Window.read(window / DOCUMENT), OnDisk([window / TABLE])
    drawn = callers.draw(rows)
    by_version: list[VersionDrift] = []
    checks: list[Check] = []
    for version, parts in answers.given(about):
        trained = trained_on.read(store, about.model, version)
        asked = Asked(about, version, parts=parts, drawn=drawn.get(version), families=FAMILIES * max(len(drawn), 1))
        found, told = judge(asked, trained)
        by_version.append(found)
        checks += told
    checks.append(answers.flood(callers.loudest(rows)) if drawn else _nothing(about))
    return WindowDrift(
        model=about.model,
        window=about.key,
        number=about.number,
        false_alarm_rate=FALSE_ALARMS,
        by_version=tuple(by_version),
        checks=tuple(checks),
        cd4ml=VERSION,
    ).write(output)


def _nothing(about: Window) -> Check:
    answered = f"{about.requests:,} answers, and none with a prediction" if about.requests else "no requests"
    reason = f"{answered} from {about.begin} until {about.until}; see whether callers still reach the model"
    return Check("rows", "at least 1", 0.0, Outcome.INCONCLUSIVE, reason)
