"""Commands about what came to be true of predictions: `cd4ml labels`."""

import shlex
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cd4ml.cli import asked
from cd4ml.cli.application import app, moment, print_whole, say, table, writing
from cd4ml.errors import DataError
from cd4ml.monitoring import spans
from cd4ml.names import counted
from cd4ml.storage import local_path, open_store

if TYPE_CHECKING:
    from cd4ml.contracts.late_labels import Labels

labels_app = typer.Typer(help="What came to be true of predictions: next, take, list.", no_args_is_help=True)


@labels_app.command("next")
def next_(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    output: Annotated[
        Path, typer.Argument(parser=local_path, metavar="FILE", help="Takes the rows: .csv or .parquet; new.")
    ],
    rows: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 100,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=spans.moment, metavar="TIME", help="From when on they were asked for; the last 30 days if not said."
        ),
    ] = None,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Writes the rows of production that are worth a person's label, with all that is known of each.

    By turns: where the model is uncertain, where a value is new to it, where the challenger disagrees, of small groups,
    and by chance. Fill the last column, and bring the file back with the command that is said.

    Example: cd4ml labels next uptake to-label.csv --rows 50
    """
    from cd4ml.monitoring import labelling

    if output.suffix not in (".csv", ".parquet"):
        raise DataError(f"{output}: write a file of .csv or .parquet")
    if output.exists():
        raise DataError(f"{output}: is there already, perhaps with labels; name another file")
    found = labelling.worth_it(open_store(store), model, rows, since=since)
    counts = Counter(found[labelling.WHY].to_pylist())
    with writing(output, "FILE"):
        labelling.write(found, output)
    say("written", f"{output}: {counted(len(found), 'row')} ({', '.join(f'{n:,} {why}' for why, n in counts.items())})")
    label = found.column_names[-1]
    words = ("cd4ml", "labels", "take", model, str(output), "--row", "row", "--label", label, "--by", "NAME")
    say("then", f"fill in its last column, {label!r}, and bring it back: {shlex.join(words)}")


@labels_app.command()
def take(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="NAME@VERSION, whose labels they are; or NAME, the champion.")
    ],
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A path, an s3:// URI, a web address, or a source as JSON.")
    ],
    label: Annotated[
        str, typer.Option(metavar="COLUMN", help="What came to be true; called as the model's label if not said.")
    ] = "",
    request: Annotated[str, typer.Option(metavar="COLUMN", help="The id of the request.")] = "request_id",
    row: Annotated[
        str, typer.Option(metavar="COLUMN", help="The row's number within its request, from 1, where it has several.")
    ] = "",
    key: Annotated[
        list[str] | None,
        typer.Option(help="A captured feature that tells whose row it is, not the request; may be repeated."),
    ] = None,
    known: Annotated[str, typer.Option(metavar="COLUMN", help="When the label was known; now if not said.")] = "",
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="The person who gave the labels, where one did.")
    ] = None,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Takes labels that came late, from any source, for the requests that a model answered.

    The same labels are taken once, however often they are brought. Rows without a label yet are passed over. Where one
    row has a label that the model cannot have, nothing is taken, and the row is told; nor is it by a key that no window
    has, or that is personal.

    Examples:
    cd4ml labels take uptake outcomes.csv

    cd4ml labels take uptake outcomes.parquet --key player --known decided_at

    cd4ml labels take uptake to-label.csv --row row --by "$USER"
    """
    from cd4ml.monitoring import labels_ahead, taking
    from cd4ml.monitoring.taking import Where

    where = Where(label=label, request=request, row=row, key=tuple(key or ()), known=known)
    found = taking.take(model, source=source, store=store, where=where, by=by)
    labels = found.labels
    if found.before:
        said = f"{moment(labels.taken_at)} UTC{f', by {labels.by}' if labels.by else ''}, and stay as they are"
        say("known", f"{labels.headline} were taken before, at {said}")
    else:
        say("taken", f"{labels.headline}, {moment(labels.taken_at)} UTC{f', by {labels.by}' if labels.by else ''}")
    if labels.without:
        say("without", f"{counted(labels.without, 'row')} without a label yet")
    if found.doubt:
        say("doubt", found.doubt)
    try:
        behind = labels_ahead.windows(open_store(store), labels)
    except DataError as error:  # the labels are taken all the same
        say("unread", str(error))
        return
    if behind:
        said = f"{counted(len(behind), 'window')} with such rows, collected before, can be collected again with them: "
        times = f"--since {behind[0].begin} --until {behind[-1].until}"
        say("then", f"{said}cd4ml monitor collect {labels.model} {times}")


@labels_app.command("list")
def list_labels(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Lists the labels that were taken in bulk of a model, the newest first.

    It says how many are of no request with a row, and of no key that a row has, in the windows that were collected so
    far; and likewise of all labels of feedback that came until the end of the last window.
    """
    from cd4ml.monitoring import of_no_row
    from cd4ml.registry import labels_taken

    opened = open_store(store)
    found, fed = labels_taken.every(opened, model), of_no_row.fed(opened, model)
    if found:
        _print(found, of_no_row.taken(opened, model, found))
    if fed and fed.labels:
        came = f"{counted(fed.labels, 'label')} came until {moment(fed.until)} UTC, the end of the last window"
        say("feedback", f"{came}; {fed.of_no_row:,} of no request with a row in the windows")
    elif not found:
        raise DataError(f"store {store}: no labels of {model} were taken; `cd4ml labels take` takes them")


def _print(found: "list[Labels]", of_no_row: dict[str, int]) -> None:
    shown = table("taken (UTC)", "labels", "of no row", "by", "column", "source", "person", "digest")
    for one in reversed(found):
        by = " and ".join(one.key) or "request"
        none_ = f"{of_no_row[one.digest]:,}"
        shown.add_row(
            moment(one.taken_at), f"{one.rows:,}", none_, *map(escape, (by, one.column, one.source, one.by, one.digest))
        )
    print_whole(shown)


app.add_typer(labels_app, name="labels")
