"""The windows that are due are collected, and those that are to be judged are handed on (`cd4ml.monitoring.handed`).

One that cannot be collected keeps no other: it is handed on as an error, and is due again at the next run.
"""

import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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

    Due are those that `windows.due` names, in its order, and then those that were collected and not judged since.

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
    begin, end = (spans.moment(one) if one else None for one in (since, until))
    wanted, warnings = chosen(opened, model, begin, until=end, width=width, capture=capture)
    judged = dict[str, int]() if since else _judged(opened, model)
    if not since:
        wanted += _unjudged(opened, model, judged, besides=wanted)
    most = wanted if since else wanted[:MOST]
    found: list[Window] = []
    failed: dict[Span, Exception] = {}

    def hand_on(window: Window) -> None:
        if judged.get(window.key) != window.number:
            _write(opened, window, Path(output) / window.key)
            found.append(window)

    for span, made in each(store, model, most, capture=capture, then=hand_on):
        if isinstance(made, Exception):
            failed[span] = made
    if failed and len(failed) == len(most):
        raise next(iter(failed.values()))
    errors = tuple(_error(span, why) for span, why in failed.items())
    uncaptured = windows.uncaptured(opened, model, capture=capture)
    unknown = (Check("capture", "requests are captured", None, Outcome.INCONCLUSIVE, uncaptured),) if uncaptured else ()
    handed.tell(output, (*errors, *unknown), warnings)
    return Collected(tuple(found), len(wanted) - len(most), errors, is_captured=not uncaptured)


def chosen(
    store: Store, model: str, since: datetime | None, *, until: datetime | None, width: timedelta, capture: str = ""
) -> tuple[list[Span], list[str]]:
    """The windows that are named; where no moment is, those that are due, and what of the capture is passed over.

    Args:
        store: The store.
        model: The model's name.
        since: Where the first begins that is named.
        until: As `windows.named` takes it.
        width: Of those that are not collected.
        capture: As `windows.collect` takes it.

    Returns:
        The windows, and a sentence of what is passed over.

    Raises:
        ArgumentsError: No window begins at the moment that is named, or none is over.
        DataError: The capture or the store cannot be read.
        RegistryError: No version of the model is published.
    """
    if since:
        return windows.named(store, model, since, until=until, width=width, capture=capture), []
    due = list(windows.due(store, model, width, capture=capture))
    return due, windows.passed_over(store, model, capture=capture)


def each(
    store: str,
    model: str,
    wanted: Sequence[Span],
    *,
    capture: str = "",
    then: Callable[[Window], None] | None = None,
) -> Iterator[tuple[Span, Window | Exception]]:
    """Collects windows, each for itself: whatever ends one, the others are worth more.

    Args:
        store: The store.
        model: The model's name.
        wanted: The windows.
        capture: As `windows.collect` takes it.
        then: What is done with each, and may fail likewise.

    Yields:
        Each window as it was collected, or what kept it from being so.
    """
    feedback = windows.feedback(open_store(store), model, wanted, capture=capture)
    for span in wanted:
        made: Window | Exception
        try:
            made = windows.collect(store, model, span, capture=capture, feedback=feedback)
            if then:
                then(made)
        except Exception as error:
            made = error
        yield span, made


def told(error: Exception) -> str:
    """Why a window could not be collected, for people."""
    if isinstance(error, Cd4mlError):
        return str(error)
    first, *_ = str(error).splitlines() or [""]  # of a foreign one the rest is of its library
    return f"{type(error).__name__}: {first}"


def log(error: Exception) -> None:
    """Has the log tell the whole of what no one foresaw."""
    if not isinstance(error, Cd4mlError):
        traceback.print_exception(error)


def due(store: str, model: str, *, every: str, capture: str = "") -> list[Span]:
    """The windows of a model that are to be collected or judged now.

    Raises:
        DataError: The capture or the store cannot be read.
        RegistryError: No version of the model is published.
    """
    opened = open_store(store)
    over = list(windows.due(opened, model, spans.width(every), capture=capture))
    return over + _unjudged(opened, model, _judged(opened, model), besides=over)


def _unjudged(store: Store, model: str, judged: Mapping[str, int], *, besides: Sequence[Span]) -> list[Span]:
    """The windows that were collected and not judged since, besides some."""
    first, over = min(judged) if len(judged) == BACK else "", {key_of(*one.written) for one in besides}
    known = [one for one in window_table.every(store, model) if one.key >= first and one.key not in over]
    return [Span.of(one) for one in known if judged.get(one.key) != one.number]


def _judged(store: Store, model: str) -> dict[str, int]:
    """By window the number of the document that was judged last."""
    return {one.window.key: one.window.number for one in monitored.verdicts(store, model, last=BACK)}


def _error(span: Span, error: Exception) -> Check:
    log(error)
    begin, until = span.written
    reason = f"the window from {begin} until {until} could not be collected ({told(error)}); it is tried again"
    return Check(f"collected from {begin}", "it can be collected", None, Outcome.ERROR, reason)


def _write(store: Store, window: Window, folder: Path) -> None:
    """Makes the folder of a window, whole or not at all."""
    folder.mkdir(parents=True)
    try:
        pq.write_table(window_table.rows(store, window), folder / TABLE)
        window.write(folder / DOCUMENT)
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)
        raise
