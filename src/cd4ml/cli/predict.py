"""Offline prediction on this machine: `cd4ml predict`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cd4ml.cli import asked
from cd4ml.cli.application import app, say
from cd4ml.errors import ArgumentsError
from cd4ml.storage import open_store

PIPELINE = "batch_prediction"


@app.command()
def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="NAME@VERSION; or NAME, the champion.")],
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="The rows: a path, an s3:// URI, a web address, or a source as JSON."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME@VERSION", help="Or a dataset of the store; the latest without @VERSION.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="A column that stands beside the predictions, as one that tells rows apart; may be repeated."
        ),
    ] = None,
    output: Annotated[
        str, typer.Option(metavar="NAME", help="What the predictions are called; as the file or dataset if not said.")
    ] = "",
    store: asked.StoreOption = asked.STORE,
    runs: asked.RunsOption = asked.RUNS,
) -> None:
    """Predicts every row of a table by a published model, on this machine: the pipeline `batch_prediction`.

    The predictions are a version of a Delta table in the store, `predictions/MODEL/NAME`. A run that was ended goes on
    where it was, and where nothing changed nothing is done.

    Examples:
    cd4ml predict churn customers.parquet --key customer

    cd4ml predict churn@3 --dataset customers@7
    """
    if (source is None) == (dataset is None):
        raise ArgumentsError("name one of SOURCE and --dataset: what is to be predicted")
    from cd4ml.cli.run import execute
    from cd4ml.prediction import given
    from cd4ml.running.run_file import RunFile

    rows = json.dumps({given.DATASET: dataset}) if source is None else source
    arguments = {"model": model, "source": rows, "store": store, "output": output, "key": key or []}
    wanted = asked.checked(RunFile(Path("cd4ml predict"), PIPELINE, arguments))
    code = execute(wanted, runs)
    if not code:
        _tell(wanted, store)
    raise typer.Exit(code)


def _tell(wanted: asked.Asked, store: str) -> None:
    """Where the predictions lie, and what the model did not know of the rows."""
    from cd4ml.prediction import given, results
    from cd4ml.registry import named

    opened = open_store(store)
    name, _ = named.parts(wanted.arguments["model"])
    output = given.output(wanted.arguments["output"], json.dumps(wanted.recorded["source"]))
    found = results.latest(opened.uri(results.folder(name, output)))
    if found:
        say("wrote", f"{found.uri}, version {found.version}: {found.headline}")
        for line in [*found.said, *found.lines]:
            say("rows", line)
