"""A request that a model server has read, whatever its protocol."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cd4ml.serving.rows import Inputs

Form = TypeVar("Form")


@dataclass
class Asked(Generic[Form]):
    """What one asks."""

    inputs: Inputs
    form: Form
    """What its protocol has to know to answer."""
    values: Callable[[str], Sequence[Any] | None]
    """Those that it has of a feature as it was sent, one a row; None where it has none."""
    id: str | None = None
    """What its answer calls it; None where it has no name."""
