"""Which KFP a command asks: the options that say so, and the connection."""

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cd4ml.cli.application import say
from cd4ml.errors import KubeflowError
from cd4ml.storage import local_path

if TYPE_CHECKING:
    from cd4ml.kubeflow.connection import Address, Connection

OPTIONS: dict[str, Any] = {
    "host": Annotated[
        str | None,
        typer.Option(
            envvar="KF_PIPELINES_ENDPOINT",
            help="KFP's address, as http://localhost:8080; else it is reached through the kubeconfig.",
        ),
    ],
    "namespace": Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="The namespace of the runs (of KFP, where it has one user)."),
    ],
    "context": Annotated[str | None, typer.Option(help="The context of the kubeconfig.")],
    "token_file": Annotated[
        Path | None,
        typer.Option(
            parser=local_path,
            metavar="FILE",
            envvar="KF_PIPELINES_SA_TOKEN_PATH",
            help="A file with a bearer token; read again for each request.",
        ),
    ],
    "ca": Annotated[
        Path | None,
        typer.Option(
            parser=local_path,
            metavar="FILE",
            help="A PEM file with the authority of KFP's certificate.",
        ),
    ],
}
Experiment = Annotated[
    str | None,
    typer.Option(
        envvar="KF_PIPELINES_DEFAULT_EXPERIMENT_NAME",
        help="The experiment that it belongs to; the pipeline's name if not said.",
    ),
]
ServiceAccount = Annotated[str | None, typer.Option(help="As whom the tasks ask the cluster; KFP's own if not said.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the kubeconfig's own context is changed.")]


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say which KFP is asked, together as its argument `address`."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        from cd4ml.kubeflow.connection import Address

        address = Address(**{name: given.pop(name) for name in OPTIONS})
        command(address=address, **given)

    own = [one for name, one in inspect.signature(command).parameters.items() if name != "address"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(name, keyword, default=None, annotation=annotation) for name, annotation in OPTIONS.items()
    ]
    parameters = [*(one.replace(kind=keyword) for one in own), *options]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    del wrapped.__wrapped__
    return wrapped


def connected(address: "Address", changes: bool = False, sure: bool = False) -> "Connection":
    """The KFP that is asked; told before it is changed, and asked about where only the kubeconfig named it."""
    from cd4ml.kubeflow.connection import connect

    connection = connect(address)
    connection.check()
    if changes:
        say("to", connection.where)
        if connection.context and not address.context and not sure:
            if not sys.stdin.isatty():
                raise KubeflowError(
                    f"{connection.where}: only the kubeconfig's current context says so; name it with "
                    f"--context {connection.context}, or say --yes"
                )
            typer.confirm("Go on?", abort=True)
    return connection
