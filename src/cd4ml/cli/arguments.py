"""What pipelines take: the command `cd4ml arguments`."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cd4ml.cli import asked
from cd4ml.cli.application import app, console
from cd4ml.errors import ArgumentsError
from cd4ml.names import nearest

if TYPE_CHECKING:
    from cd4ml.running.arguments import Arguments

Pipeline = Annotated[str, typer.Argument(metavar="PIPELINE", help="As `training`.")]


@app.command()
def arguments(pipeline: Pipeline) -> None:
    """Lists what a pipeline takes: the arguments, then the settings within them.

    Example: cd4ml arguments training
    """
    model = model_of(pipeline)
    from cd4ml.running import schema

    for table in schema.tables(model):
        console.print(f"[italic]{escape(f'{table.name}: {table.description}')}[/]")
        shown = Table(box=None)
        for heading in (table.name, "what", "default", ""):
            shown.add_column(heading, overflow="fold", header_style="dim")
        for row in table.rows:
            default = "[bold]must be written[/]" if row.required else escape(row.default)
            shown.add_row(row.name, escape(row.kind), default, escape(row.description))
        console.print(shown)
        console.print()


def model_of(pipeline: str) -> "type[Arguments]":
    """The model of a pipeline's arguments.

    Raises:
        ArgumentsError: There is no such pipeline.
    """
    from cd4ml.running import arguments

    known = asked.pipelines()
    if pipeline not in known:
        raise ArgumentsError(f"{pipeline}: there is no such pipeline; {nearest(pipeline, known)}")
    return arguments.model_of(pipeline)
