"""What a team may say about a model: which one, and its hyperparameters."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WrapValidator
from pydantic_core import PydanticKnownError

from cd4ml import settings
from cd4ml.errors import TrainingError
from cd4ml.names import nearest, shown
from cd4ml.settings import Strict, Whole


def _each_once(columns: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(columns)) < len(columns):
        raise ValueError("name each column once")
    return columns


Columns = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False), AfterValidator(_each_once)]
Epochs = Annotated[Whole, Field(ge=1, le=100_000)]
Rows = Annotated[Whole, Field(ge=1, le=2**24)]
Units = Annotated[Whole, Field(ge=1, le=2**16)]
LearningRate = Annotated[float, Field(gt=0, le=100)]


class Linear(Strict, json_schema_extra={"required": ["model"]}):
    """Logistic regression on the preprocessed features: the baseline of the first day."""

    model: Literal["linear"] = "linear"
    epochs: Epochs = 10
    batch_size: Rows = 4096
    learning_rate: LearningRate = 0.02
    patience: Epochs = 2
    """Epochs without a better AUC on the eval split before training ends."""
    reweight: Columns = ()
    """Columns whose groups get the same label rate, by weights on the train rows (`cd4ml.training.reweight`)."""


class Dnn(Strict, json_schema_extra={"required": ["model"]}):
    """A network with hidden layers."""

    model: Literal["dnn"] = "dnn"
    epochs: Epochs = 10
    batch_size: Rows = 2048
    learning_rate: LearningRate = 0.003
    patience: Epochs = 2
    """Epochs without a better AUC on the eval split before training ends."""
    hidden: Annotated[tuple[Units, ...], Field(min_length=1, max_length=64, strict=False)] = (64, 32)
    """Units of each hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    reweight: Columns = ()
    """Columns whose groups get the same label rate, by weights on the train rows (`cd4ml.training.reweight`)."""


Spec = Linear | Dnn

MODELS: Mapping[str, type[Linear] | type[Dnn]] = {"linear": Linear, "dnn": Dnn}


def parse(spec: Mapping[str, Any]) -> Spec:
    """Checks a specification and fills in its defaults.

    Args:
        spec: As in a pipeline's arguments: `{"model": "dnn", "hidden": [64, 32]}`.

    Raises:
        TrainingError: With every mistake, each on its line.
    """
    try:
        model = _named(spec)
    except ValueError as unknown:
        raise TrainingError(f"model specification: {unknown}") from unknown
    return settings.parse(model, content=spec, name=f"model specification of {spec['model']!r}", error=TrainingError)


def _named(spec: Mapping[str, Any]) -> type[Linear] | type[Dnn]:
    name = str(spec.get("model"))
    if name not in MODELS:
        raise ValueError(f"'model' is {name}; {nearest(name, MODELS)}")
    return MODELS[name]


def _of_one_model(spec: Any, _: Any) -> Spec:
    """Checks a specification by the model that it names, so that the mistakes are about that one alone."""
    if not isinstance(spec, Mapping):
        raise PydanticKnownError("dict_type")
    return _named(spec).model_validate(spec)


AnySpec = Annotated[Spec, WrapValidator(_of_one_model)]
"""A specification as a part of other settings."""


def check_columns(columns: Sequence[Any]) -> Sequence[str]:
    """Makes sure that these are names of columns.

    Raises:
        TrainingError: One is none.
    """
    wrong = [one for one in columns if not (one and isinstance(one, str))]
    if wrong:
        raise TrainingError(f"{shown(wrong[0])} is no name of a column; write names, in quotes where they are numbers")
    return columns
