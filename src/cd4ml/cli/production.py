"""What production does, as a page: `cd4ml monitor page`."""

from pathlib import Path
from typing import Annotated

import typer

from cd4ml.cli import asked
from cd4ml.cli.application import say, writing
from cd4ml.cli.monitor import Model, monitor_app
from cd4ml.contracts import document
from cd4ml.storage import local_path, open_store


@monitor_app.command("page")
def write_page(
    model: Model,
    html: Annotated[
        Path | None,
        typer.Option("--html", parser=local_path, metavar="FILE", help="The file; MODEL-production.html if not said."),
    ] = None,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Writes the page of a model in production: quality, drift, gaps, traffic and labels over time, and what happened.

    Example: cd4ml monitor page promotion-uptake --html uptake.html
    """
    from cd4ml.monitoring import production_page

    file = html or Path(f"{model}-production.html")
    text = production_page.text(open_store(store), model)
    with writing(file, "--html"):
        document.write_text(file, text)
    say("wrote", str(file))
