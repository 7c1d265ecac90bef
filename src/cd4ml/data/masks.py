"""Columns that a dataset is not to hold as its source has them, as a person writes it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from cd4ml import settings
from cd4ml.contracts.dataset import How
from cd4ml.data.sources.credentials import Credential
from cd4ml.errors import DataError
from cd4ml.names import shown
from cd4ml.settings import OneOf, Strict

BEYOND = 2**63
"""No number of a table is as large."""


class Hash(Strict):
    """A hash of each value in its place: equal values stay equal, and only who has the key can tell which they were."""

    hash: Credential
    """The environment variable that holds the secret key; in a cluster the key of the Secret `cd4ml-sources`."""


def _edges(edges: list[Any]) -> list[Any]:
    """Makes sure that these are edges, of numbers or of moments, each beyond the one before."""
    numbers = [one for one in edges if isinstance(one, int | float) and not isinstance(one, bool)]
    moments = [one for one in edges if isinstance(one, str) and _is_moment(one)]
    if (
        not edges
        or len(edges) not in (len(numbers), len(moments))
        or not all(-BEYOND < one < BEYOND for one in numbers)
    ):
        raise ValueError(
            f"{shown(edges)} are no edges; write numbers, as [18, 30, 50], or moments in UTC, as [2026-01-01]"
        )
    places = numbers or [datetime.fromisoformat(one).replace(tzinfo=UTC).timestamp() for one in moments]
    if any(later <= earlier for earlier, later in pairwise(places)):
        raise ValueError(f"{shown(edges)} are not in ascending order; write each once, the lowest first")
    return [int(one) if isinstance(one, float) and one.is_integer() else one for one in edges]  # KFP makes 18 18.0


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


class Buckets(Strict):
    """The bucket that each number or moment is in, as a text."""

    buckets: Annotated[
        list[Any],
        AfterValidator(_edges),
        WithJsonSchema({"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "string"}]}, "minItems": 1}),
    ]
    """Where one ends and the next begins: a value is in the one that begins with it."""


Drop = Literal["drop"]
DROP: Drop = "drop"
Mask = Drop | Hash | Buckets
_KINDS: Mapping[str, type[Hash] | type[Buckets]] = {"hash": Hash, "buckets": Buckets}


def _checked(mask: Any) -> Mask:
    if mask == DROP:
        return DROP
    kinds = [kind for name, kind in _KINDS.items() if isinstance(mask, Mapping) and name in mask]
    if len(kinds) != 1:
        raise ValueError(f"{shown(mask)} is none; write `drop`, `{{hash: NAME}}` or `{{buckets: [18, 30, 50]}}`")
    return settings.within(kinds[0], mask)


Masks = dict[Annotated[str, Field(min_length=1)], Annotated[Any, OneOf(_checked, lambda: [Drop, Hash, Buckets])]]
"""By column what becomes of it, as a part of other settings."""


class _Asked(Strict):
    columns: Masks


def parse(columns: Mapping[str, Any]) -> Mapping[str, Mask]:
    """Checks what is to become of columns, before anything runs.

    Raises:
        DataError: With every mistake.
    """
    content = {"columns": dict(columns)}
    return settings.parse(_Asked, content=content, name="columns", error=DataError, unnamed="columns").columns


_MAY_BE: Mapping[str, Sequence[How]] = {
    "key": ["hashed"],
    "label": ["bucketed"],
    "time_column": [],
    "dates": [],
    "texts": [],
}
"""By argument, or setting of a model, what may become of the columns that it names."""
_OTHERS_MAY_BE: Sequence[How] = ["hashed", "bucketed"]


def how(mask: Mask) -> How:
    """What becomes of a column, in a word."""
    match mask:
        case Hash():
            return "hashed"
        case Buckets():
            return "bucketed"
    return "dropped"


def unfit(masks: Mapping[str, Mask], named: Mapping[str, Iterable[str]]) -> list[str]:
    """What of the masks does not fit what the columns are to a run, a sentence each.

    Args:
        masks: By column what becomes of it.
        named: By argument, or setting of one as `candidate.dates`, the columns that it names.
    """
    return [
        f"columns.{column}: cannot be {how(masks[column])}, for it is named as `{argument}`; "
        f"{'hash it' if argument == 'key' else 'leave one of them out'}"
        for argument, columns in named.items()
        for column in columns
        if column in masks and how(masks[column]) not in _MAY_BE.get(argument.rpartition(".")[2], _OTHERS_MAY_BE)
    ]
