"""The command line, `cd4ml`."""

import sys

from rich.markup import escape

from cd4ml.cli import run  # the help lists the commands in the order of these imports

# isort: split
from cd4ml.cli import deployments

# isort: split
from cd4ml.cli import arguments

# isort: split
from cd4ml.cli import kubeflow
from cd4ml.cli.application import app, errors
from cd4ml.errors import Cd4mlError

__all__ = ["app", "arguments", "deployments", "kubeflow", "main", "run"]


def main() -> None:
    """Runs the command line; what a user can mend is told without a traceback."""
    try:
        app()
    except Cd4mlError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
