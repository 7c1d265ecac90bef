"""The command `cd4ml init`."""

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cd4ml.cli import asked
from cd4ml.cli.application import app, console, say, writing
from cd4ml.cli.application import table as tables
from cd4ml.errors import ArgumentsError
from cd4ml.storage import local_path


@app.command()
def init(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="The source: a path, an address, or an object in JSON.")
    ],
    label: Annotated[
        str | None, typer.Option(help="The column to predict; asked for, or guessed, if not said.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The column that tells rows apart; guessed if not said.")] = None,
    output: Annotated[
        Path, typer.Option(parser=local_path, metavar="FILE", help="The run file to write; never overwritten.")
    ] = Path("training.yaml"),
) -> None:
    """Looks at a table, and writes a run file for it that can be run as it is.

    Key, label, time column, sensitive columns and slices are guessed, and each guess is said with its reason.

    Examples:
    cd4ml init customers.csv

    cd4ml init customers.csv --label churned --output churn.yaml

    cd4ml init '{"sql": {"url": "WAREHOUSE", "table": "customers"}}'
    """
    if output.exists():
        raise ArgumentsError(f"{output}: is there already; remove it, or name another file with --output")
    from cd4ml.data import sources
    from cd4ml.data.ingest import look
    from cd4ml.running.proposal import propose

    content, read = look(sources.parse(table))
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(table.rstrip("/")).name.partition(".")[0]).strip("-") or "model"
    found = propose(content, source=table, name=name, key=key, label=label, read=read)
    if label is None and sys.stdin.isatty():
        wanted = typer.prompt(f"label, the column to predict ({found.label.why})", default=found.label.value)
        found = propose(content, source=table, name=name, key=key, label=wanted, read=read)
    _write(found.as_yaml(str(output)), output)
    say("read", f"{found.rows:,} rows, {found.columns} columns")
    for line in read:
        say("read", line)
    shown = tables("argument", "guess", "why")
    for argument, guess in found.said:
        shown.add_row(argument, escape(str(guess.value)), escape(guess.why))
    console.print(shown)
    say("wrote", f"{output}; look through it, then: cd4ml run {output}")


def _write(text: str, output: Path) -> None:
    """Writes a run file, once it is seen to be one."""
    unfinished = output.with_name(f".{output.name}.unfinished")
    try:
        with writing(output, "--output"):
            unfinished.write_text(text, encoding="utf-8")
            asked.read(unfinished)
            unfinished.replace(output)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
