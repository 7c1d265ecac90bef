"""The arguments of a pipeline: one model, from which come their checks, their help and their JSON Schema."""

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, ParamSpec

from pydantic import AfterValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from cd4ml import settings
from cd4ml.errors import ArgumentsError, Cd4mlError
from cd4ml.names import shown
from cd4ml.running.run_file import RunFile
from cd4ml.settings import Strict
from cd4ml.storage import check_name, open_store

Given = ParamSpec("Given")
MAX_BYTES = 100_000
"""Of all arguments as JSON: a task gets its own on the command line, which Linux ends at 131,072 bytes a word."""


class Means(Enum):
    """What an argument is to whoever runs a pipeline, whatever its name."""

    STORE = "where datasets, published models and deployments lie"
    MODEL = "the name of the model that is published or served"
    PORT = "where this machine serves the model"
    TARGET = "where the model is served"
    REVISION = "the revision of the code; git's where it is empty"
    PLACE = "a file, folder or bucket, which whoever runs the pipeline must see"
    SPECIFICATION = "a model, which may name a function whose module lies beside the run file"
    TEXT_IN_KFP = "a text to KFP, as JSON where it is none: one parameter has one type, and pods are made of texts"


@dataclass(frozen=True)
class Within:
    """Bounds of a whole number."""

    lowest: int
    highest: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"minimum": self.lowest, "maximum": self.highest}

    def _check(self, value: int) -> int:
        if not self.lowest <= value <= self.highest:
            raise ValueError(f"{value} is out of range; write a whole number from {self.lowest} to {self.highest}")
        return value


def checked_by(check: Callable[[Any], Any]) -> AfterValidator:
    """A check of a value, which raises a `Cd4mlError` when it is not good."""

    def told(value: Any) -> Any:
        try:
            check(value)
        except Cd4mlError as error:
            raise ValueError(str(error)) from error
        return value

    return AfterValidator(told)


def written(default: Any) -> Any:
    """A default as a person writes it, which KFP and the JSON Schema show; checked as what is given is."""
    return Field(default)


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("is empty; write a text")
    return text


Text = Annotated[str, AfterValidator(_not_empty), Field(json_schema_extra={"minLength": 1})]
Name = Annotated[Text, checked_by(check_name)]
Store = Annotated[Text, checked_by(open_store), Means.STORE, Means.PLACE]


class Arguments(Strict):
    """The arguments of a pipeline: each a field, whose docstring tells people what it is."""

    model_config = ConfigDict(validate_default=True)

    def mistakes_together(self) -> Iterator[str]:
        """What no argument shows by itself, once each is good."""
        yield from ()

    def mistakes_in_a_cluster(self) -> Iterator[str]:
        """What a cluster, which sees no folder of this machine, cannot use."""
        for name in self.named(Means.PLACE):
            yield from on_this_machine(name, getattr(self, name))

    @classmethod
    def named(cls, meaning: Means) -> list[str]:
        """The names of the arguments that have this meaning."""
        return [name for name, field in cls.model_fields.items() if meaning in field.metadata]

    def value(self, meaning: Means) -> Any:
        """The argument of this meaning; None where the pipeline has none."""
        return next((getattr(self, name) for name in self.named(meaning)), None)

    @classmethod
    def in_kfp(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as KFP takes them."""
        texts = cls.named(Means.TEXT_IN_KFP)
        return {
            name: json.dumps(value) if name in texts and not isinstance(value, str) else value
            for name, value in arguments.items()
        }


def model_of(pipeline: str) -> type[Arguments]:
    """What a pipeline takes."""
    module = importlib.import_module(f"cd4ml.pipelines.{pipeline}.arguments")
    model: type[Arguments] = getattr(module, pipeline.title().replace("_", ""))
    return model


def check(file: RunFile, model: type[Arguments], *, in_a_cluster: bool = False) -> Arguments:
    """Makes sure that the arguments are what the pipeline takes, and what a cluster can use where that runs it.

    Returns:
        The arguments, defaults included.

    Raises:
        ArgumentsError: With every mistake, one a line.
    """
    mistakes = [f"{'.'.join(place)}: {said}" for place, said in file.mistakes.items()]
    told = {place[0] for place in file.mistakes}
    content = {name: value for name, value in file.arguments.items() if name not in told}
    found = None
    try:
        found = model.model_validate(content)
    except ValidationError as invalid:
        new = [mistake for mistake in settings.mistakes(invalid) if mistake["loc"][0] not in told]
        mistakes += [_sentence(mistake, model, file) for mistake in new]
    mistakes += _too_long(file.arguments)
    if found and not mistakes:
        mistakes += found.mistakes_together()
        mistakes += found.mistakes_in_a_cluster() if in_a_cluster else ()
    if mistakes or not found:
        raise ArgumentsError(
            f"{file.path}: the arguments are not what {file.pipeline} takes{' in a cluster' * in_a_cluster}:\n  "
            + "\n  ".join(mistakes)
        )
    return found


def described_by(model: type[Arguments]) -> Callable[[Callable[Given, None]], Callable[Given, None]]:
    """Tells KFP, which reads the docstring of a pipeline, what each argument is."""

    def describe(pipeline: Callable[Given, None]) -> Callable[Given, None]:
        lines = [f"    {name}: {field.description}" for name, field in model.model_fields.items()]
        pipeline.__doc__ = "\n".join([f"{pipeline.__doc__}\n", "Args:", *lines])
        return pipeline

    return describe


def on_this_machine(name: str, place: str) -> Iterator[str]:
    """The mistake of an argument that names a file or folder, where a cluster runs the pipeline."""
    if place and "://" not in place:
        yield f"{name}: {place!r} lies on this machine, where no cluster sees it; name an s3:// URI"


def told(check_values: Callable[[], object]) -> list[str]:
    """The sentence of the `Cd4mlError` that a check raises; none where it passes."""
    try:
        check_values()
    except Cd4mlError as error:
        return [str(error)]
    return []


_KINDS = {
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
"""What pydantic missed, by its name of the mistake."""


def _sentence(mistake: ErrorDetails, model: type[Arguments], file: RunFile) -> str:
    """A mistake; of a value that is of another kind with what stands in the file."""
    place = tuple(map(str, mistake["loc"]))
    kind = _KINDS.get(mistake["type"])
    if not kind or len(place) > 1:
        return settings.sentence(mistake, model, unnamed="metrics")
    written = file.written.get(place)
    remedy = f"; write it in quotes: {json.dumps(written)}" if kind == _KINDS["string_type"] and written else ""
    return f"{place[0]}: {written or shown(mistake['input'])} is not {kind}{remedy}"


def _too_long(arguments: Mapping[str, Any]) -> list[str]:
    sizes = {name: len(json.dumps(value)) for name, value in arguments.items()}
    if sum(sizes.values()) <= MAX_BYTES:
        return []
    longest = max(sizes, key=lambda name: sizes[name])
    return [
        f"{longest}: has {sizes[longest]:,} bytes as JSON, and all arguments together may have {MAX_BYTES:,}, for a "
        "task gets them on its command line; shorten it"
    ]
