"""The application that every command belongs to, and how it prints."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cd4ml.errors import StorageError
from cd4ml.names import one_line

if TYPE_CHECKING:
    from cd4ml.reports.comparison import Section

app = typer.Typer(
    help="Continuous delivery for machine learning on Kubeflow Pipelines.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)
_AN_ID = "11111111-1111-1111-1111-111111111111"


def table(*headings: str) -> Table:
    """A table without lines; ids and times keep to one line."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        whole = heading in ("id", "made", "time") or heading.endswith("(UTC)")
        made.add_column(heading, overflow="fold", no_wrap=whole, min_width=len(_AN_ID) if heading == "id" else None)
    return made


def moment(at: str, to: Literal["minutes", "seconds"] = "minutes") -> str:
    """A time of a record, for a column of times in UTC; what is none stays as it is."""
    with suppress(ValueError):
        return datetime.fromisoformat(at).astimezone(UTC).replace(tzinfo=None).isoformat(" ", timespec=to)
    return at


def print_whole(shown: Table) -> None:
    """Prints a table as wide as it is, so that whoever searches or copies a name finds it in one piece."""
    Console(width=1_000).print(shown)


def print_outcome(state: str, colour: str, words: str) -> None:
    """How something ended, and what there is to say of it."""
    console.print(f"[bold {colour}]{state}[/] {escape(words)}", soft_wrap=True)


def print_sections(sections: Sequence["Section"], names: Sequence[str]) -> None:
    """Rows by section, a column a thing that is compared; what differs is marked."""
    for section in sections:
        if not section.rows:
            continue
        shown = table("", section.title.lower(), *(escape(name) for name in names))
        for row in section.rows:
            style = "yellow" if row.differs else ""
            shown.add_row("≠" if row.differs else "", escape(row.name), *map(escape, row.values), style=style)
        console.print()
        console.print(shown)


def plain(text: str) -> str:
    """What somebody else wrote, for a line or a cell of what is printed."""
    return escape(one_line(text))


def say(word: str, what: str) -> None:
    """What is known, under one word; a line that it begins itself is set in."""
    first, *others = [plain(line) for line in what.splitlines()] or [""]
    console.print("\n".join([f"[dim]{word:<8}[/] {first}", *(f"{'':8} {line}" for line in others)]), soft_wrap=True)


@contextmanager
def writing(path: Path, option: str) -> Iterator[None]:
    """Tells where what a person named cannot be written, and by which option."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); name another with {option}") from error
