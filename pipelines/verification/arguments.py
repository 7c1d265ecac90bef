"""What the verification pipeline takes."""

from typing import Annotated

from cd4ml.running.arguments import Arguments, Means, Name, Store


class Verification(Arguments):
    """A run of the verification pipeline."""

    name: Annotated[Name, Means.MODEL]
    """The model's name in the registry."""
    store: Store
    """The store that holds the registry."""
