"""Pipelines: `cd4ml compile`, `cd4ml pipelines`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cd4ml.cli import address as kfp
from cd4ml.cli import asked
from cd4ml.cli.address import Yes
from cd4ml.cli.application import app, console, writing
from cd4ml.errors import KubeflowError
from cd4ml.storage import local_path

if TYPE_CHECKING:
    from cd4ml.kubeflow.connection import Address

COMPILED = Path("compiled")
pipelines_app = typer.Typer(help="Pipelines on KFP: upload.", no_args_is_help=True)
app.add_typer(pipelines_app, name="pipelines")


@app.command("compile")
def compile_pipelines(
    output: Annotated[
        Path, typer.Option(parser=local_path, metavar="FOLDER", help="The folder that takes one YAML file a pipeline.")
    ] = COMPILED,
) -> None:
    """Compiles every pipeline for a KFP backend."""
    from kfp import compiler

    with writing(output, "--output"):
        output.mkdir(parents=True, exist_ok=True)
        for name in asked.pipelines():
            target = output / f"{name}.yaml"
            compiler.Compiler().compile(asked.pipeline(name), str(target))
            console.print(f"{target}")


@pipelines_app.command("upload")
@kfp.options
def upload_pipelines(
    address: "Address",
    name: Annotated[list[str] | None, typer.Argument(help="Pipelines; all if none is named.")] = None,
    yes: Yes = False,
) -> None:
    """Uploads pipelines, each as a version named by the revision of the code; one that is there stays as it is."""
    from cd4ml.kubeflow import versions
    from cd4ml.names import nearest

    known = asked.pipelines()
    unknown = [one for one in name or [] if one not in known]
    if unknown:
        raise KubeflowError(f"{unknown[0]}: there is no such pipeline; {nearest(unknown[0], known)}")
    connection = kfp.connected(address, changes=True, sure=yes)
    for one in name or known:
        version = versions.upload(connection, asked.pipeline(one), one)
        console.print(
            f"{one}: version {version.name} {'is uploaded' if version.new else 'is there already'}",
            soft_wrap=True,
        )
