"""Commands for published models: `cd4ml models`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cd4ml.cli import asked
from cd4ml.cli.application import app, console, moment, print_whole, say, table
from cd4ml.errors import RegistryError
from cd4ml.storage import local_path, open_store

models_app = typer.Typer(help="What is published: list, show, export, sign.", no_args_is_help=True)
Model = Annotated[str, typer.Argument(metavar="MODEL", help="NAME@VERSION; or NAME, the champion.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]
Number = Annotated[int, typer.Argument(metavar="VERSION", help="The version's number.")]


@models_app.command("list")
def list_models(store: asked.StoreOption = asked.STORE) -> None:
    """Lists the published versions of all models, the newest of each first."""
    from cd4ml.registry import deployments, models

    opened = open_store(store)
    shown = table("model", "published (UTC)", "dataset", "run", "state")
    for name in opened.children("models"):
        champion = deployments.latest(opened, name)
        for one in reversed(models.versions(opened, name)):
            dataset = f"{one.dataset.name}@{one.dataset.version}"
            state = "champion" if champion and champion.version == one.version else ""
            shown.add_row(f"{name}@{one.version}", moment(one.published_at), dataset, escape(one.run), state)
    if not shown.row_count:
        raise RegistryError(f"store {opened.location}: no model is published; the pipeline `training` publishes them")
    print_whole(shown)


@models_app.command()
def show(model: Model, store: asked.StoreOption = asked.STORE) -> None:
    """Shows a published version: where it comes from, what it takes and gives."""
    from cd4ml.prediction import loading
    from cd4ml.registry import named

    opened = open_store(store)
    version = named.find(opened, model)
    contract = loading.contract(opened, version)
    say("model", f"{version.name}@{version.version}, published {version.published_at} by {version.run}")
    say("digest", version.digest)
    say("dataset", f"{version.dataset.name}@{version.dataset.version}")
    say("gives", contract.gives)
    say("files", opened.uri(version.folder))
    shown = table("column", "holds")
    for one in contract.inputs:
        shown.add_row(escape(one.name), one.kind)
    console.print()
    console.print(shown)


@models_app.command()
def export(
    model: Model,
    folder: Annotated[Path, typer.Argument(parser=local_path, metavar="FOLDER", help="To be made.")],
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Writes a published version as a Python package, which needs TensorFlow and nothing of cd4ml.

    Example: cd4ml models export churn@3 churn-3
    """
    from cd4ml.prediction import package

    version = package.export(store, model, folder)
    say("wrote", f"{folder}: {version.name}@{version.version}, {version.digest}")
    say("use", f"pip install {folder.resolve()}; from {package.package_of(version)} import predict")


@models_app.command()
def sign(name: Name, version: Number, store: asked.StoreOption = asked.STORE) -> None:
    """Signs a published version with the key whose file CD4ML_SIGNING_KEY names.

    For versions that were published unsigned, or signed by a key that is trusted no more. Who signs vouches for what
    lies in the store: compare the digest with that of the run that published it.
    """
    from cd4ml.registry import signing

    signed = signing.sign(open_store(store), name, version)
    console.print(f"{name} version {version} is signed: {signed.digest}, published by run {signed.run}", soft_wrap=True)


app.add_typer(models_app, name="models")
