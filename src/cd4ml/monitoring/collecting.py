"""The windows that are due are collected, and those that are to be judged are handed on (`cd4ml.monitoring.handed`).

One that cannot be collected keeps no other: it is handed on as an error, and is due again at the next run.
"""

import shutil
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window import DOCUMENT, TABLE, Window, key_of
from cd4ml.errors import Cd4mlError
from cd4ml.monitoring import handed, monitored, spans, window_table, windows
from cd4ml.monitoring.windows import Span
from cd4ml.names import counted
from cd4ml.storage import Store, open_store

MOST = 50
"""Windows that one run takes on."""
BACK = 1000
"""Of so many windows it is asked whether they were judged."""


@dataclass(frozen=True)
class Collected:
    """What is to be judged now."""

    windows: tuple[Window, ...]
    left: int
    """How many more are due, for the next run."""
    failed: tuple[Check, ...] = ()
    """A check with an error for each window that could not be collected."""
    is_captured: bool = True
    """Whether anything is."""

    @property
    def headline(self) -> str:
        """How many windows, rows and labels."""
        failed = [f"{counted(len(self.failed), 'window')} could not be collected"] if self.failed else []
        if not self.windows:
            return "".join(failed) or (handed.NONE if self.is_captured else handed.UNCAPTURED)
        rows, labelled = (sum(getattr(one, name) for one in self.windows) for name in ("rows", "labelled"))
        said = [counted(len(self.windows), "window"), counted(rows, "row"), f"{labelled:,} labelled"]
        return ", ".join([*said, *([f"{self.left:,} more due"] if self.left else []), *failed])

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of it in the UI."""
        return {"headline": self.headline, "windows": [one.key for one in self.windows], "left": self.left}


def collect(
    store: str,
    model: str,
    *,
    every: str,
    output: str | Path,
    since: str = "",
    until: str = "",
    capture: str = "",
) -> Collected:
    """Collects the windows of a model that are due, and hands on those that are to be judged.

    Due are those that `windows.due` names, and those that were collected and not judged since. Windows that are over
    and not collected come first.

    Args:
        store: The store that holds the registry, and takes the windows.
        model: The model's name.
        every: How long a window is, as `1 hour`.
        output: The folder that takes what is handed on.
        since: Where the first window begins; where it is named, the windows from then on, whether due or not.
        until: The moment that does not count any more; all that is over where it is not named.
        capture: What a router captured; that of the model if not said.

    Raises:
        DataError: The capture or the store cannot be read or written.
        RegistryError: No version of the model is published.
        Exception: What ended the first of the windows, where none could be collected.
    """
    opened, width = open_store(store), spans.width(every)
    Path(output).mkdir(parents=True, exist_ok=True)
    if since:
        judged, end = dict[str, int](), spans.moment(until) if until else None
        wanted = most = windows.named(opened, model, spans.moment(since), until=end, width=width, capture=capture)
    else:
        judged = _judged(opened, model)
        wanted = _due(opened, model, judged, width=width, capture=capture)
        most = wanted[:MOST]
    found: list[Window] = []
    failed: dict[Span, Exception] = {}
    feedback = windows.feedback(opened, model, most, capture=capture)
    for span in most:
        folder = Path(output) / key_of(*span.written)
        try:
            window = windows.collect(store, model, span, capture=capture, feedback=feedback)
            if judged.get(window.key) != window.number:
                _write(opened, window, folder)
                found.append(window)
        except Exception as error:  # whatever it is, the other windows are worth more
            shutil.rmtree(folder, ignore_errors=True)
            failed[span] = error
    if failed and len(failed) == len(most):
        raise next(iter(failed.values()))
    errors = tuple(_error(span, why) for span, why in failed.items())
    uncaptured = windows.uncaptured(opened, model, capture=capture)
    unknown = (Check("capture", "requests are captured", None, Outcome.INCONCLUSIVE, uncaptured),) if uncaptured else ()
    warnings = [] if since else windows.passed_over(opened, model, capture=capture)
    handed.tell(output, (*errors, *unknown), [*warnings, *(one.reason for one in unknown)])
    return Collected(tuple(found), len(wanted) - len(most), errors, is_captured=not uncaptured)


def told(error: Exception) -> str:
    """Why a window could not be collected, for people; what no one foresaw goes to the log whole."""
    if isinstance(error, Cd4mlError):
        return str(error)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def due(store: str, model: str, *, every: str, capture: str = "") -> int:
    """How many windows of a model are to be collected or judged now.

    Raises:
        DataError: The capture or the store cannot be read.
    """
    opened = open_store(store)
    return len(_due(opened, model, _judged(opened, model), width=spans.width(every), capture=capture))


def _due(store: Store, model: str, judged: Mapping[str, int], *, width: timedelta, capture: str) -> list[Span]:
    known = {one.key: one for one in window_table.every(store, model)}
    over = {key_of(*one.written): one for one in windows.due(store, model, width, capture=capture)}
    first = min(judged) if len(judged) == BACK else ""
    unjudged = {
        key: Span.of(one)
        for key, one in known.items()
        if key >= first and judged.get(key) != one.number and key not in over
    }
    new, again = ([one for key, one in over.items() if (key in known) is old] for old in (False, True))
    return [*new, *unjudged.values(), *again]


def _judged(store: Store, model: str) -> dict[str, int]:
    """By window the number of the document that was judged last."""
    return {one.window.key: one.window.number for one in monitored.verdicts(store, model, last=BACK)}


def _error(span: Span, error: Exception) -> Check:
    begin, until = span.written
    reason = f"the window from {begin} until {until} could not be collected ({told(error)}); it is tried again"
    return Check(f"collected from {begin}", "it can be collected", None, Outcome.ERROR, reason)


def _write(store: Store, window: Window, folder: Path) -> None:
    folder.mkdir(parents=True)
    pq.write_table(window_table.rows(store, window), folder / TABLE)
    window.write(folder / DOCUMENT)
