"""Commands for what is in production: `cd4ml stop`."""

from typing import Annotated

import typer

from cd4ml.cli.application import app, console
from cd4ml.storage import open_store

Name = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]
Location = Annotated[str, typer.Option("--store", metavar="STORE", help="The store: a folder, or s3://bucket/prefix.")]


@app.command()
def stop(
    name: Name,
    store: Location = "store",
    target: Annotated[str, typer.Option(help="Where it is served: `machine`, `cluster`.")] = "machine",
) -> None:
    """Ends what is served of a model, such as the server that `cd4ml run --keep-serving` left up.

    The history says that its deployment was stopped: it is no champion any more, and is not verified.
    """
    from cd4ml.deployment import rollout, targets

    stopped = rollout.stop(targets.TARGETS.load(target)(open_store(store), name))
    if stopped.halfway:
        console.print(f"{name}: a rollout that was killed halfway was undone; what it replaced is not served again")
    if stopped.served:
        console.print(f"{name}: the server at {stopped.served.url} has ended")
