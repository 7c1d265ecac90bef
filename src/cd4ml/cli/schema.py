"""The commands `cd4ml schema`: of the data, which a team keeps, and of run files, for editors."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from cd4ml.cli import asked
from cd4ml.cli.application import app, console, print_outcome, say, table
from cd4ml.cli.arguments import Pipeline, model_of
from cd4ml.errors import DataError
from cd4ml.storage import local_copy, local_path

OF_RUN_FILE = "run-file"
FIRST = Path("schema.pbtxt")
"""Where a first schema is written."""


class _WithPipelines(TyperGroup):
    """Takes a word that is no command for the pipeline of `run-file`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        return super().resolve_command(ctx, args if args[0] in self.commands else [OF_RUN_FILE, *args])


schema_app = typer.Typer(
    cls=_WithPipelines,
    help="The schema of the data that your team keeps: infer, review, accept; and the JSON Schema of a run file.",
    no_args_is_help=True,
)
app.add_typer(schema_app, name="schema")

Of = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="The name of a run in RUNS, or the folder or URI of statistics, such as those of a published version.",
    ),
]
Curated = Annotated[
    Path | None,
    typer.Option(
        parser=local_path,
        metavar="FILE",
        help="The schema that your team keeps, a text proto; the `curated_schema` of the run if not said, "
        f"or {FIRST} where it has none.",
    ),
]
Output = Annotated[Path, typer.Option(parser=local_path, metavar="FILE", help="The file to write.")]


@dataclass(frozen=True)
class _Known:
    """What the data was found to be."""

    statistics: Path
    key: str = ""
    curated: str = ""
    """The schema that it was held against, where people keep one."""


@schema_app.command()
def infer(run: Of, output: Output = FIRST, runs: asked.RunsOption = asked.RUNS) -> None:
    """Writes a first schema, as TFDV infers it from the train split, for your team to keep.

    Example: cd4ml schema infer training-20261129-081500
    """
    if output.exists():
        raise DataError(
            f"{output}: is there already; `cd4ml schema review` says what the data would change in it, "
            "or name another file with --output"
        )
    with _known(run, runs) as known:
        proposal = _propose(known, "")
    _write(output, proposal["schema"])


@schema_app.command()
def review(run: Of, schema: Curated = None, runs: asked.RunsOption = asked.RUNS) -> None:
    """Says what new data would change in the schema that your team keeps, and fails where a change is not compatible.

    A change is compatible where what was made by the schema, such as a model, can take the new data: a new column is,
    another type, values that were not known and cells that are now missing are not.

    Example: cd4ml schema review training-20261129-081500 --schema customers.pbtxt
    """
    with _known(run, runs) as known:
        changes = _propose(known, str(_file(known, schema)))["changes"]
    if not _print(changes):
        raise typer.Exit(1)


@schema_app.command()
def accept(run: Of, schema: Curated = None, runs: asked.RunsOption = asked.RUNS) -> None:
    """Writes what new data would change into the schema that your team keeps, for a commit of its own.

    Example: cd4ml schema accept training-20261129-081500 --schema customers.pbtxt
    """
    with _known(run, runs) as known:
        file = _file(known, schema)
        proposal = _propose(known, str(file))
    _print(proposal["changes"])
    if proposal["changes"]:
        _write(file, proposal["schema"])


@schema_app.command(OF_RUN_FILE)
def run_file(pipeline: Pipeline) -> None:
    """Prints the JSON Schema of a pipeline's run file, by which an editor completes and checks it.

    Example: cd4ml schema run-file training > training.schema.json
    """
    model = model_of(pipeline)
    from cd4ml.running import schema as schemas

    # Not by the console, which folds long lines.
    typer.echo(json.dumps(schemas.of_run_file(pipeline, model), indent=2, ensure_ascii=False))


@contextmanager
def _known(run: str, runs: Path) -> Iterator[_Known]:
    """What a run found, or statistics that lie elsewhere."""
    from cd4ml.running import earlier

    folder = runs / run
    if (folder / earlier.ARGUMENTS).is_file():
        given = earlier.Given.read(folder / earlier.ARGUMENTS).arguments
        outputs = earlier.outputs(folder, "validate-dataset")
        key = earlier.outputs(folder, "ingest-dataset").get("key", given.get("key", ""))
        yield _Known(Path(outputs["statistics"].path), key, given.get("curated_schema", ""))
        return
    with local_copy(run) as statistics:
        if not statistics.exists():
            raise DataError(f"{run}: is neither a run in {runs}, nor statistics; `ls {runs}` shows the runs")
        yield _Known(statistics)


def _file(known: _Known, schema: Path | None) -> Path:
    file = schema or (local_path(known.curated) if known.curated else FIRST)
    if not file.is_file():
        raise DataError(f"{file}: no such file; name yours with --schema, or `cd4ml schema infer` writes a first one")
    return file


def _propose(known: _Known, schema: str) -> Any:
    from cd4ml.running.asking import ask

    return ask("validate", "cd4ml.validation.schema_changes", str(known.statistics), known.key, schema)


def _print(changes: list[dict[str, Any]]) -> bool:
    """Prints the changes; whether all of them are compatible."""
    shown = table("column", "what", "", "compatible")
    for one in changes:
        verdict = "[green]yes[/]" if one["compatible"] else "[red]no[/]"
        shown.add_row(*(escape(one[field]) for field in ("column", "what", "words")), verdict)
    if changes:
        console.print(shown)
        console.print()
    breaking = sum(not one["compatible"] for one in changes)
    if breaking:
        print_outcome("not compatible", "red", f"{breaking} of {len(changes)} changes")
    else:
        print_outcome("compatible", "green", f"{len(changes)} changes" if changes else "the data keeps the schema")
    return not breaking


def _write(file: Path, text: str) -> None:
    from cd4ml.contracts import document

    document.write_text(file, text)
    say("written", f"{file}; commit it, and name it as the argument curated_schema")
