"""The application that every command belongs to, and what it prints on."""

import typer
from rich.console import Console

app = typer.Typer(
    help="Continuous delivery for machine learning on Kubeflow Pipelines.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
console = Console()
errors = Console(stderr=True)
