"""Commands for published models: `cd4ml models`."""

from typing import Annotated

import typer

from cd4ml.cli import asked
from cd4ml.cli.application import app, console
from cd4ml.storage import open_store

models_app = typer.Typer(help="What is published: sign.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The model's name.")]
Number = Annotated[int, typer.Argument(help="The version's number.")]


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
