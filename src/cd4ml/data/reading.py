"""How a file is read, where a person says it: what is left out is found by looking at the file."""

import codecs
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from cd4ml.settings import Strict


def _one_character(sign: str) -> str:
    if len(sign) != 1:
        raise ValueError(f"{sign!r} is no single character; write one")
    return sign


def _known_encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError as error:
        raise ValueError(f"{name!r} is no encoding; write one such as utf-8, utf-16, latin-1 or cp1252") from error


def _any_format(template: str) -> str:
    if template not in ("day first", "month first") and "%" not in template:
        raise ValueError(f"{template!r}: write `day first`, `month first`, or a format such as '%d.%m.%Y'")
    return template


Sign = Annotated[str, AfterValidator(_one_character)]
Type = Literal["text", "whole", "number", "boolean", "date"]
"""What a column can be said to hold."""


class Reading(Strict):
    """How a file is read. What is left out is found by looking at its beginning, and said."""

    format: Literal["csv", "jsonl", "parquet", "arrow", "tfrecord"] | None = Field(default=None)
    """Where the name of the file does not tell."""
    delimiter: Sign | None = Field(default=None)
    """What parts the cells of a line."""
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = Field(default=None)
    """`utf-8`, `utf-16`, `cp1252`, …"""
    quote: Sign | None = Field(default=None)
    """What stands around a cell that holds a delimiter or a line's end; `"` where it is not said."""
    escape: Sign | None = Field(default=None)
    r"""What stands before a quote within a cell, such as `\`; else a quote is doubled."""
    comment: Sign | None = Field(default=None)
    """What begins a line that is no row."""
    skip: Annotated[int, Field(ge=0)] | None = Field(default=None)
    """The lines before the header."""
    header: bool | list[str] = True
    """Whether a line of names comes before the rows; or the names, where none does."""
    decimal: Literal[".", ","] | None = Field(default=None)
    """The decimal sign."""
    thousands: Sign | None = Field(default=None)
    """What parts the digits of large numbers in threes."""
    missing: list[str] | None = Field(default=None)
    """The cells that hold no value, in every column, beside empty ones."""
    dates: Annotated[str, AfterValidator(_any_format)] | None = Field(default=None)
    """`day first`, `month first`, or a format such as `%d.%m.%Y %H:%M`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.thousands is not None and self.thousands == self.decimal:
            raise ValueError(f"thousands: {self.thousands!r} is the decimal sign already; write another")
        return self
