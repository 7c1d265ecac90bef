"""Commands about what came to be true of predictions: `cd4ml labels`."""

from typing import Annotated

import typer
from rich.markup import escape

from cd4ml.cli import asked
from cd4ml.cli.application import app, moment, print_whole, say, table
from cd4ml.errors import DataError
from cd4ml.names import counted
from cd4ml.storage import open_store

labels_app = typer.Typer(help="Labels that come late, in bulk: take, list.", no_args_is_help=True)


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
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Takes labels that came late, from any source, for the requests that a model answered.

    The same labels are taken once, however often they are brought. Rows without a label yet are passed over. Where one
    row has a label that the model cannot have, nothing is taken, and the row is told.

    Examples:
    cd4ml labels take uptake outcomes.csv

    cd4ml labels take uptake outcomes.parquet --key player --known decided_at
    """
    from cd4ml.monitoring import taking
    from cd4ml.monitoring.taking import Where

    where = Where(label=label, request=request, row=row, key=tuple(key or ()), known=known)
    found = taking.take(model, source=source, store=store, where=where)
    say("taken", f"{found.headline}, {moment(found.taken_at)} UTC")
    if found.without:
        say("without", f"{counted(found.without, 'row')} without a label yet")


@labels_app.command("list")
def list_labels(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Lists the labels that were taken in bulk of a model, the newest first."""
    from cd4ml.monitoring import taking

    found = taking.taken(open_store(store), model)
    if not found:
        raise DataError(f"store {store}: no labels of {model} were taken; `cd4ml labels take` takes them")
    shown = table("taken (UTC)", "labels", "by", "column", "source")
    for one in reversed(found):
        by = " and ".join(one.key) or "request"
        shown.add_row(moment(one.taken_at), f"{one.rows:,}", *map(escape, (by, one.column, one.source)))
    print_whole(shown)


app.add_typer(labels_app, name="labels")
