"""Settings that come as plain data, from YAML or from KFP: checked once, with every mistake reported together."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from cd4ml.errors import Cd4mlError
from cd4ml.names import nearest, shown


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"write a whole number, not {shown(value)}")
    return value


Whole = Annotated[int, BeforeValidator(_number), Field(strict=False)]
"""A whole number, also as 3.0: KFP makes no difference."""
MAX_SEED = 2**31 - 1
"""Every generator of random numbers takes a seed up to here."""
Seed = Annotated[Whole, Field(ge=0, le=MAX_SEED)]


class Strict(BaseModel):
    """Settings that a person writes: no other names, no text or truth value for a number, and nothing left empty."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_given(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("null is no value; write one, or leave it out")
        return value


Settings = TypeVar("Settings", bound=BaseModel)


def parse(model: type[Settings], content: object, name: str, error: type[Cd4mlError], unnamed: str = "") -> Settings:
    """Checks settings.

    Args:
        model: What they must be.
        content: What was given.
        name: What a person calls them: `split`.
        error: What is raised.
        unnamed: A part of the model that whoever wrote the settings does not write.

    Raises:
        Cd4mlError: The error that was named, with one line for each mistake.
    """
    try:
        return model.model_validate(content)
    except ValidationError as invalid:
        lines = "".join(f"\n  - {_sentence(mistake, model, unnamed)}" for mistake in invalid.errors())
        raise error(f"{name}: not as it should be{lines}") from invalid


def _sentence(mistake: ErrorDetails, model: type[BaseModel], unnamed: str) -> str:
    parts = [part for part in mistake["loc"] if part != "[key]"]
    place = ".".join(str(part) for part in parts if part != unnamed)
    if mistake["type"] == "extra_forbidden":
        return f"{place}: unknown; {nearest(str(parts[-1]), _fields(model, parts[:-1]))}"
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "value_error":
        return f"{place}: {message}" if place else message
    return f"{place}: {message}, not {shown(mistake['input'])}"


def _fields(model: type[BaseModel], place: Iterable[int | str]) -> Mapping[str, Any]:
    """The fields that there are at a place within settings."""
    for part in place:
        field = model.model_fields.get(str(part))
        model = (field and _model_in(field.annotation)) or model
    return model.model_fields


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as `dict[str, Limit] | None` is about."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
