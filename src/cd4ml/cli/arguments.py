"""Commands about what pipelines take: `cd4ml arguments`, `cd4ml schema`."""

import json
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

Pipeline = Annotated[str, typer.Argument(metavar="PIPELINE", help="As `training`.", show_default=False)]


@app.command()
def arguments(pipeline: Pipeline) -> None:
    """Lists what a pipeline takes: the arguments, then the settings within them.

    Example: cd4ml arguments training
    """
    model = _model(pipeline)
    from cd4ml.running import schema

    for table in schema.tables(model):
        shown = Table(title=escape(f"{table.name}: {table.description}"), title_justify="left", box=None)
        for heading in (table.name, "what", "default", ""):
            shown.add_column(heading, overflow="fold", header_style="dim")
        for row in table.rows:
            default = "[bold]must be written[/]" if row.required else escape(row.default)
            shown.add_row(row.name, escape(row.kind), default, escape(row.description))
        console.print(shown)
        console.print()


@app.command()
def schema(pipeline: Pipeline) -> None:
    """Prints the JSON Schema of a pipeline's run file, by which an editor completes and checks it.

    Example: cd4ml schema training > training.schema.json
    """
    model = _model(pipeline)
    from cd4ml.running import schema as schemas

    # Not by the console, which folds long lines.
    typer.echo(json.dumps(schemas.of_run_file(pipeline, model), indent=2, ensure_ascii=False))


def _model(pipeline: str) -> "type[Arguments]":
    from cd4ml.running.arguments import model_of

    known = asked.pipelines()
    if pipeline not in known:
        raise ArgumentsError(f"{pipeline}: there is no such pipeline; {nearest(pipeline, known)}")
    return model_of(pipeline)
