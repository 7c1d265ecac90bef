"""Where a team's table comes from, as a person writes it: a path, or an object that names its kind."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from cd4ml.errors import DataError, StorageError
from cd4ml.names import shown
from cd4ml.settings import Strict, sentence
from cd4ml.storage import check_uri

EXAMPLE = "{file: PATH}"


def _place(uri: str) -> str:
    if not uri:
        raise ValueError("is empty; write a text")
    try:
        return check_uri(uri)
    except StorageError as error:
        raise ValueError(str(error)) from error


class FileSource(Strict):
    """A table in a file."""

    file: Annotated[str, AfterValidator(_place), Field(json_schema_extra={"minLength": 1})]
    """A path or `s3://` URI of a Parquet or CSV file."""


def _as_object(source: Any) -> Any:
    """The object that a text stands for: a path is a file, and a parameter of KFP holds an object as JSON."""
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, str):
        raise ValueError(f"{shown(source)} is no source; write a path, or an object such as {EXAMPLE}")
    if not source.startswith("{"):
        return {"file": _place(source)}
    try:
        return json.loads(source)
    except ValueError as error:
        raise ValueError(f"is no object in JSON ({error}); write a path, or an object such as {EXAMPLE}") from error


Text = Annotated[str, Field(min_length=1)]
Source = Annotated[FileSource, BeforeValidator(_as_object, json_schema_input_type=Text | FileSource)]
_SOURCE: TypeAdapter[FileSource] = TypeAdapter(Source)


def parse(source: str) -> FileSource:
    """Reads what a task is told of its source.

    Args:
        source: A path or `s3://` URI of a file, or an object as JSON.

    Raises:
        DataError: It is no source.
    """
    try:
        return _SOURCE.validate_python(source)
    except ValidationError as invalid:
        told = "; ".join(sentence(mistake, model=FileSource, content=None) for mistake in invalid.errors())
        raise DataError(f"source: {told}") from invalid
