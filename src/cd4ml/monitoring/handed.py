"""What collecting hands on to comparing, measuring and checking: a folder a window, called by its key.

Each has the window's document and its rows (`cd4ml.contracts.window`). What is made of a window lies in a file of its
key, `KEY.json`. Windows that could not be collected are errors of a verdict beside the folders.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from cd4ml.contracts.document import Document
from cd4ml.contracts.verdict import Check, Verdict
from cd4ml.names import counted

NONE, UNCAPTURED = "no window is due", "nothing is captured"
COLLECTING = "collect_window"
COLLECTED = "collected.json"
Made = TypeVar("Made", bound=Document, covariant=True)


class Judge(Protocol[Made]):
    """What compares or measures one window."""

    def __call__(self, window: Path, *, store: str, output: Path) -> Made:
        """Judges the window of a folder, and writes what it found."""


def every(folder: str | Path) -> list[Path]:
    """The folders of the windows, the earliest first."""
    return sorted(one for one in Path(folder).iterdir() if one.is_dir())


def tell(folder: str | Path, errors: Sequence[Check], warnings: Sequence[str]) -> None:
    """Hands on what could not be collected, or not be told, and what else a person should know."""
    Verdict(COLLECTING, {}, tuple(errors), tuple(warnings)).write(Path(folder) / COLLECTED)


def collecting(folder: str | Path) -> Verdict:
    """What could not be collected: an error for each window, and warnings.

    Raises:
        DocumentError: It cannot be read.
    """
    file = Path(folder) / COLLECTED
    return Verdict.read(file) if file.exists() else Verdict(COLLECTING, {}, ())


def judge_each(folder: str | Path, judge: Judge[Made], *, store: str, output: str | Path) -> list[Made]:
    """Has each window judged.

    Args:
        folder: With what was handed on.
        judge: Compares or measures one window.
        store: The store.
        output: The folder that takes a file a window.

    Returns:
        What was found of each, the earliest window first.
    """
    Path(output).mkdir(parents=True, exist_ok=True)
    return [judge(one, store=store, output=Path(output) / f"{one.name}.json") for one in every(folder)]


def headline(found: Sequence[Document]) -> str:
    """What was found of the last window, and of how many."""
    if not found:
        return NONE
    of = f" (the last of {counted(len(found), 'window')})" if len(found) > 1 else ""
    return f"{found[-1].headline}{of}"
