"""What a team may say about a model: which one, and its hyperparameters."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from cd4ml import settings
from cd4ml.errors import TrainingError
from cd4ml.names import nearest


def _each_once(columns: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(columns)) < len(columns):
        raise ValueError("name each column once")
    return columns


Columns = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], AfterValidator(_each_once)]


class Linear(BaseModel):
    """Logistic regression on the preprocessed features: the baseline of the first day."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: Literal["linear"] = "linear"
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 4096
    learning_rate: PositiveFloat = 0.02
    patience: PositiveInt = 2
    """Epochs without a better AUC on the eval split before training ends."""
    reweight: Columns = ()
    """Columns whose groups get the same label rate, by weights on the train rows (`cd4ml.training.reweight`)."""


class Dnn(BaseModel):
    """A network with hidden layers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: Literal["dnn"] = "dnn"
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 2048
    learning_rate: PositiveFloat = 0.003
    patience: PositiveInt = 2
    """Epochs without a better AUC on the eval split before training ends."""
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 32)
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
    name = str(spec.get("model"))
    if name not in MODELS:
        raise TrainingError(f"model specification: 'model' is {name}; {nearest(name, MODELS)}")
    return settings.parse(MODELS[name], spec, f"model specification of {name!r}", TrainingError)
