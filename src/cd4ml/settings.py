"""Settings that come as plain data, from YAML or from KFP: checked once, with every mistake reported together."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema

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


_WORDS = re.compile(r"(\d+)(?: (second|minute|hour|day|week)s?|([smhdw]))")
_LETTERS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _span(text: Any) -> timedelta:
    """The span that `7 days`, `7d` or, as ISO 8601 has it, `P7D` means."""
    words = _WORDS.fullmatch(text) if isinstance(text, str) else None
    try:
        if words:
            found = timedelta(**{f"{words[2]}s" if words[2] else _LETTERS[words[3]]: int(words[1])})
        elif isinstance(text, str) and text.startswith("P"):
            found = TypeAdapter(timedelta).validate_python(text)
        else:
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{shown(text)} is no span of time; write one such as `7 days`, `5 minutes` or P7D") from error
    return found


LONGEST = timedelta(days=36_525)
"""A century, which a span of time is at most."""

Span = Annotated[
    timedelta, BeforeValidator(_span), Field(gt=timedelta(), le=LONGEST), WithJsonSchema({"type": "string"})
]
"""A span of time, as `7 days`, `7d`, `5 minutes` or P7D; of `LONGEST` at most."""


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
        told = (sentence(mistake, model, unnamed) for mistake in mistakes(invalid))
        lines = "".join(f"\n  - {one}" for one in told)
        raise error(f"{name}: not as it should be{lines}") from invalid


def mistakes(invalid: ValidationError) -> list[ErrorDetails]:
    """What is wrong, without what pydantic says of the length of a list whose wrong parts it has left out."""
    found = invalid.errors()
    return [
        one
        for one in found
        if one["type"] != "too_short"
        or all(other is one or other["loc"][: len(one["loc"])] != one["loc"] for other in found)
    ]


def sentence(mistake: ErrorDetails, model: type[BaseModel], unnamed: str = "") -> str:
    """A mistake in the words of people.

    Args:
        mistake: One of a `ValidationError`.
        model: What the settings must be.
        unnamed: A part of the model that whoever wrote the settings does not write.
    """
    parts = [part for part in mistake["loc"] if part != "[key]"]
    place = ".".join(str(part) for part in parts if part != unnamed)
    said = _words(mistake, model)
    return f"{place}: {said}" if place else said


def within(model: type[Settings], content: object) -> Settings:
    """Checks a part of other settings by a model that only the content tells, so that these others cannot name it.

    Raises:
        ValidationError: Whose mistakes are in words already.
    """
    try:
        return model.model_validate(content)
    except ValidationError as invalid:
        raise ValidationError.from_exception_data(
            model.__name__, [_told(mistake, model) for mistake in mistakes(invalid)]
        ) from invalid


@dataclass(frozen=True)
class OneOf:
    """An annotation of settings whose model only the content tells; the models are asked for when they are needed."""

    check: Callable[[Any], Any]
    """Gives the settings of some content; raises a `Cd4mlError`, or as `within`."""
    types: Callable[[], Iterable[Any]]
    """All that the content can be, for the JSON Schema."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._checked)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(core_schema.union_schema([TypeAdapter(one).core_schema for one in self.types()]))

    def _checked(self, content: Any) -> Any:
        try:
            return self.check(content)
        except Cd4mlError as error:
            raise ValueError(str(error)) from error


def _told(mistake: ErrorDetails, model: type[BaseModel]) -> InitErrorDetails:
    said = PydanticCustomError("value_error", "{said}", {"said": _words(mistake, model)})
    return InitErrorDetails(type=said, loc=mistake["loc"], input=mistake["input"])


def _words(mistake: ErrorDetails, model: type[BaseModel]) -> str:
    if mistake["type"] == "missing":
        return "missing"
    if mistake["type"] == "extra_forbidden":
        parts = [part for part in mistake["loc"] if part != "[key]"]
        return f"unknown; {nearest(str(parts[-1]), _fields(model, parts[:-1]))}"
    message = mistake["msg"].removeprefix("Value error, ")
    return message if mistake["type"] == "value_error" else f"{message}, not {shown(mistake['input'])}"


def _fields(model: type[BaseModel], place: Iterable[int | str]) -> Mapping[str, Any]:
    """The fields that there are at a place within settings."""
    for part in place:
        field = _written_fields(model).get(str(part))
        model = next(_models_in(field.annotation), model) if field else model
    return _written_fields(model)


def _written_fields(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The fields by the names that people write."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation such as `dict[str, Limit] | None` is about."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
