"""A request that a model server has read, whatever its protocol."""

from collections.abc import Mapping, Sequence
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
    columns: Mapping[str, Sequence[Any]]
    """Its values as they were sent, by name, one a row; more names than those of features, perhaps."""
    id: str | None = None
    """What its answer calls it; None where it has no name."""
