"""A year of a model in production, played in minutes: `cd4ml demo`."""

from pathlib import Path
from typing import Annotated

import typer

from cd4ml.cli import asked
from cd4ml.cli.application import app, console, print_outcome, say
from cd4ml.storage import local_path

YEAR = Path("examples/promotions/year")


@app.command()
def demo(
    year: Annotated[
        Path,
        typer.Argument(parser=local_path, metavar="FOLDER", help="Has year.yaml: who asks, and what is trained."),
    ] = YEAR,
    runs: asked.RunsOption = asked.RUNS,
) -> None:
    """Plays a year of a model in production in minutes, on this machine.

    A model is trained, deployed, and asked week after week; labels come weeks later. The traffic changes: that is seen,
    estimated, confirmed, decided on and answered by a new version, all of it on one page. Each time in a new folder,
    with a store of its own; in the end nothing is served.

    Example: cd4ml demo examples/promotions/year
    """
    from cd4ml.cli.run import new_folder
    from cd4ml.demo import playing, year_file

    wanted, traffic = year_file.read(year)
    folder = new_folder(runs, "demo")

    def tell(at: str, what: str) -> None:
        say(at.ljust(10), what)

    try:
        page = playing.play(wanted, traffic, folder, say=tell)
    except KeyboardInterrupt:
        console.print()
        print_outcome("stopped", "yellow", f"nothing is served any more; what there is so far lies in {folder}")
        raise typer.Exit(1) from None
    say("page", str(page))
    say("store", f"{folder / 'store'}; `cd4ml monitor windows MODEL --store ...` and all other commands read it")
