"""Settings that come as plain data, from YAML or from KFP: checked once, with every mistake reported together."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

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

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_given(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("null is no value; write one, or leave it out")
        return value


Settings = TypeVar("Settings", bound=BaseModel)


def parse(model: type[Settings], *, content: object, name: str, error: type[Cd4mlError], unnamed: str = "") -> Settings:
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
        told = (sentence(mistake, model=model, content=content, unnamed=unnamed) for mistake in invalid.errors())
        lines = "".join(f"\n  - {one}" for one in told)
        raise error(f"{name}: not as it should be{lines}") from invalid


def sentence(mistake: ErrorDetails, *, model: type[BaseModel], content: object, unnamed: str = "") -> str:
    """A mistake in the words of people.

    Args:
        mistake: One of a `ValidationError`.
        model: What the settings must be.
        content: What was given.
        unnamed: A part of the model that whoever wrote the settings does not write.
    """
    parts = [part for part in mistake["loc"] if part != "[key]"]
    place = ".".join(str(part) for part in parts if part != unnamed)
    if mistake["type"] == "missing":
        return f"{place}: missing"
    if mistake["type"] == "extra_forbidden":
        return f"{place}: unknown; {nearest(str(parts[-1]), _fields(model, content, parts[:-1]))}"
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "value_error":
        return f"{place}: {message}" if place else message
    return f"{place}: {message}, not {shown(mistake['input'])}"


def _fields(model: type[BaseModel], content: Any, place: Iterable[int | str]) -> Mapping[str, Any]:
    """The fields that there are at a place within settings."""
    for part in place:
        content = content.get(part) if isinstance(content, Mapping) else None
        field = model.model_fields.get(str(part))
        models = list(_models_in(field.annotation)) if field else []
        model = next((one for one in models if _is_about(one, content)), models[0] if models else model)
    return model.model_fields


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation such as `dict[str, Limit] | None` is about."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _is_about(model: type[BaseModel], content: Any) -> bool:
    """Whether the content names this model, where several can be."""
    kinds = [
        (name, one.annotation) for name, one in model.model_fields.items() if get_origin(one.annotation) is Literal
    ]
    return isinstance(content, Mapping) and all(content.get(name) in get_args(kind) for name, kind in kinds)
