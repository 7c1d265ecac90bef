"""Commands about the data that a store keeps: `cd4ml datasets`."""

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cd4ml.cli import asked
from cd4ml.cli.application import app, console, print_whole, say, table
from cd4ml.errors import DataError
from cd4ml.storage import open_store

if TYPE_CHECKING:
    from cd4ml.data.table import Commit
    from cd4ml.data.versions import Dataset

datasets_app = typer.Typer(
    help="The datasets of a store: list, show, history, diff, tag, restore, erase, search, catalogue.",
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The dataset's name.")]
Which = Annotated[str, typer.Argument(metavar="VERSION", help="A version: its number, a tag, or `latest`.")]


@datasets_app.command("list")
def list_datasets(store: asked.StoreOption = asked.STORE) -> None:
    """Lists the datasets of a store, each with its latest version."""
    from cd4ml.data.versions import Datasets

    opened = open_store(store)
    shown = table("dataset", "version", "rows", "time", "owner", "tags")
    for dataset in Datasets(opened):
        about, at = dataset.latest.about, _time(dataset.latest.at)
        tags = ", ".join(f"{tag}: {number}" for tag, number in dataset.tags.items())
        shown.add_row(dataset.name, str(about.version), f"{about.rows:,}", at, escape(about.owner), escape(tags))
    if not shown.row_count:
        raise DataError(f"store {opened.location}: holds no dataset; the pipeline `training` brings the first")
    console.print(shown)


@datasets_app.command()
def show(name: Name, version: Which = "latest", store: asked.StoreOption = asked.STORE) -> None:
    """Shows a version of a dataset: where it came from, how it was read, its columns, and the models on it."""
    dataset = _dataset(name, store)
    found = dataset.version(version)
    for word, what in _said(dataset, found):
        say(word, what)
    shown = table("column", "type")
    for column in dataset.columns(found):
        shown.add_row(escape(column.name), column.type)
    console.print()
    console.print(shown)


@datasets_app.command()
def history(name: Name, store: asked.StoreOption = asked.STORE) -> None:
    """Shows which versions a dataset has had, the newest first, and what each came from."""
    dataset = _dataset(name, store)
    shown = table("version", "time", "rows", "mode", "run", "tags", "models")
    for one in reversed(dataset.commits):
        about = one.about
        cells = (about.mode, about.run, ", ".join(dataset.tags_of(one)), ", ".join(dataset.models_of(one)))
        shown.add_row(str(about.version), _time(one.at), f"{about.rows:,}", *map(escape, cells))
    print_whole(shown)


@datasets_app.command()
def diff(
    name: Name,
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A version: its number, a tag, or `latest`.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="The version to compare it with.")] = "latest",
    key: Annotated[
        list[str] | None,
        typer.Option(help="A column that tells rows apart, where the versions do not say; may be repeated."),
    ] = None,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Shows what changed from one version to another: rows by their key, values by column, with examples.

    Example: cd4ml datasets diff players 3 latest
    """
    from cd4ml.data import differences

    dataset = _dataset(name, store)
    old, new = dataset.version(before), dataset.version(after)
    keys = key or new.about.key_in_table
    found = differences.between(dataset.uri, before=old.number, after=new.number, key=keys)
    say("added", f"{found.added:,} rows{_examples(found.added_keys)}")
    say("removed", f"{found.removed:,} rows{_examples(found.removed_keys)}")
    say("changed", f"{found.changed:,} rows; {found.same:,} are the same")
    for word, columns in (("new", found.new_columns), ("gone", found.gone_columns)):
        if columns:
            say(word, f"columns {', '.join(columns)}")
    for column, (was, is_now) in found.retyped.items():
        say("retyped", f"{column}: was {was}, is {is_now}")
    if found.columns:
        shown = table("column", "rows", "key", "before", "after")
        for one in found.columns:
            examples = [(each.key, each.before, each.after) for each in one.examples] or [("", "", "")]
            for place, cells in enumerate(examples):
                first = ("", "") if place else (escape(one.column), f"{one.rows:,}")
                shown.add_row(*first, *("[dim]missing[/]" if cell is None else escape(cell) for cell in cells))
        console.print()
        console.print(shown)


@datasets_app.command()
def tag(
    name: Name,
    tag: Annotated[str, typer.Argument(metavar="TAG", help="The name that the version gets.")],
    version: Which = "latest",
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Gives a version a name, as `audited`; a name that another version has moves on.

    Example: cd4ml datasets tag players audited 3
    """
    number = _dataset(name, store).tag(tag, version)
    console.print(f"{name}: version {number} is {escape(tag)}")


@datasets_app.command()
def restore(
    name: Name,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version: its number, or a tag.")],
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Makes an earlier version the latest again; those after it stay in the history.

    A run takes its rows from the source again: point it at what you mean before the next one.
    """
    restored = _dataset(name, store).restore(version)
    console.print(f"{name}: version {restored.about.version} is the latest again, {restored.about.rows:,} rows")


@datasets_app.command()
def erase(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, for the record that is kept.")],
    column: Annotated[str | None, typer.Option(help="By whose values the rows are found; the key if not said.")] = None,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Takes all rows of a person, or of several, out of all versions of a dataset, for good.

    The values by which the rows are found are read from the standard input, one a line, so that they stand in no
    history of commands. What is kept of it is a record: when, why, how many rows of which versions, and which models
    were trained on them. Whoever does it has to have the right to delete in the store. Erase in the source first: what
    is there still comes back with the next change. Copies outside of the dataset stay: the folders of runs, KFP's
    artifacts, tables of predictions, and rows that published models keep to be verified by.

    Example: cd4ml datasets erase customers --reason "request 17" <ids.txt
    """
    from cd4ml.data import erasure

    dataset = _dataset(name, store)
    values = [line.strip() for line in sys.stdin if line.strip()]
    if not values:
        raise DataError("no values are given; write them to the standard input, one a line")
    found = erasure.erase(dataset, column=column or dataset.latest.about.key_column, values=values, reason=reason)
    for version, rows in found.rows.items():
        say("erased", f"{rows:,} rows of version {version}")
    say("models", f"trained on them: {', '.join(found.models) or 'none that is published'}")


@datasets_app.command()
def search(
    words: Annotated[list[str], typer.Argument(metavar="WORDS", help="Parts of names, columns, owners or tags.")],
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Finds datasets by name, column, owner and tag; each word has to be found."""
    from cd4ml.data.versions import Datasets

    shown = table("dataset", "found")
    for dataset, places in Datasets(open_store(store)).search(words):
        shown.add_row(dataset.name, escape(", ".join(places)))
    if not shown.row_count:
        raise DataError(f"store {store}: no dataset has {' and '.join(map(repr, words))}")
    console.print(shown)


@datasets_app.command()
def catalogue(store: asked.StoreOption = asked.STORE) -> None:
    """Makes the pages about all datasets anew, in the store: owner, versions, columns, what the gate said, models.

    The runs keep them current; this is for what they did not write, as before there were pages.
    """
    from cd4ml.data import cataloguing

    say("wrote", cataloguing.write(open_store(store)))


app.add_typer(datasets_app, name="datasets")


def _dataset(name: str, store: str) -> "Dataset":
    from cd4ml.data.versions import Datasets

    return Datasets(open_store(store)).find(name)


def _said(dataset: "Dataset", commit: "Commit") -> Iterator[tuple[str, str]]:
    about = commit.about
    yield "version", f"{about.version} of {dataset.name}, {about.rows:,} rows, {_time(commit.at)}"
    yield "digest", about.digest
    words = {
        "owner": about.owner,
        "source": about.source,
        "newest": f"row of {about.newest}" if about.newest else "",
        "arrived": about.arrived,
        "key": ", ".join(about.key) or ("all columns" if about.duplicates else ""),
        "mode": about.mode,
        "run": about.run,
        "code": about.revision,
        "tags": ", ".join(dataset.tags_of(commit)),
        "models": ", ".join(dataset.models_of(commit)),
    }
    yield from ((word, what) for word, what in words.items() if what)
    yield from (("read", line) for line in about.said)
    judged = dataset.judged(commit)
    if judged:
        yield "gate", f"{'passed' if judged.passed else 'failed'}: {judged.said}"


def _examples(keys: Sequence[str]) -> str:
    return f", as {', '.join(keys)}" if keys else ""


def _time(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M}"
