"""The command line, `cd4ml`."""

import sys

from rich.markup import escape

# The help lists the commands in the order of these imports.
# isort: off
from cd4ml.cli import init
from cd4ml.cli import run
from cd4ml.cli import demo
from cd4ml.cli import plan
from cd4ml.cli import predict
from cd4ml.cli import datasets
from cd4ml.cli import models
from cd4ml.cli import deployments
from cd4ml.cli import promote
from cd4ml.cli import labels
from cd4ml.cli import monitor
from cd4ml.cli import production
from cd4ml.cli import learn
from cd4ml.cli import trace
from cd4ml.cli import retrain
from cd4ml.cli import pipelines
from cd4ml.cli import arguments
from cd4ml.cli import schema
from cd4ml.cli import submit
from cd4ml.cli import schedules
from cd4ml.cli import runs
from cd4ml.cli import doctor

# isort: on
from cd4ml.cli.application import app, errors
from cd4ml.errors import Cd4mlError

__all__ = [
    "app",
    "arguments",
    "datasets",
    "demo",
    "deployments",
    "doctor",
    "init",
    "labels",
    "learn",
    "main",
    "models",
    "monitor",
    "pipelines",
    "plan",
    "predict",
    "production",
    "promote",
    "retrain",
    "run",
    "runs",
    "schedules",
    "schema",
    "submit",
    "trace",
]


def main() -> None:
    """Runs the command line; what a user can mend is told without a traceback."""
    try:
        app()
    except Cd4mlError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
