"""Waivers: why a finding does not count, until when, and who says so."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, get_args

from pydantic import field_validator, model_validator

from cd4ml import settings
from cd4ml.contracts.findings import Finding, Findings, Kind, Waiver
from cd4ml.errors import DataError
from cd4ml.names import nearest
from cd4ml.settings import Strict

NEVER = ("label",)
"""Kinds of findings with which no model can be trained."""
MEASURED = ("representation", "label_balance", "proxy", "drift", "duplicate")
"""Kinds whose figures a limit is held against, which may be stricter than what makes a finding."""
KINDS = tuple(kind for kind in get_args(Kind) if kind not in NEVER)


class Written(Strict):
    """A waiver as a person writes it."""

    finding: str
    """The kind of finding, such as `leak` or `personal_data`."""
    column: str = ""
    """The column that the finding is about; empty for one that is about none."""
    owner: str
    """Who answers for it."""
    reason: str
    """Why the finding does not count."""
    until: str
    """The last day that it holds, as `2027-03-31`."""

    @field_validator("finding")
    @classmethod
    def _is_a_kind(cls, value: str) -> str:
        if value not in KINDS:
            raise ValueError(f"{value!r} is no kind of finding that can be waived; {nearest(value, KINDS)}")
        return value

    @field_validator("owner", "reason")
    @classmethod
    def _is_said(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; write a text")
        return value

    @field_validator("until")
    @classmethod
    def _is_a_day(cls, value: str) -> str:
        try:
            day = date.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is no day; write one as '2027-03-31'") from error
        if day < today():
            raise ValueError(f"ended on {value}; mend what it is about, or agree on a later day, or take it out")
        return value


SCHEMA = {"type": "array", "items": Written.model_json_schema()}
"""Of waivers, for editors."""


def parse(waivers: Sequence[Any]) -> tuple[Waiver, ...]:
    """Checks waivers, before anything runs.

    Raises:
        DataError: With every mistake; one that has ended is a mistake too.
    """
    found = settings.parse(_Waivers, content={"waivers": waivers}, name="waivers", error=DataError, unnamed="waivers")
    return tuple(Waiver(**one.model_dump()) for one in found.waivers)


def holds(waiver: Waiver) -> bool:
    """Whether its last day is not over."""
    return date.fromisoformat(waiver.until) >= today()


def excused(found: Findings, finding: Finding) -> bool:
    """Whether a waiver that still holds is about a finding."""
    waiver = found.waiver_of(finding)
    return waiver is not None and holds(waiver)


def columns(found: Findings, kind: Kind) -> set[str]:
    """The columns that a waiver which still holds keeps out of the limit of a kind."""
    return {waiver.column for waiver in found.waivers if waiver.finding == kind and holds(waiver)}


def said(found: Findings) -> list[str]:
    """What there is to say of the waivers: one sentence each."""
    kinds = {(finding.kind, finding.column) for finding in found.findings}
    return [
        f"{waiver} is used"
        if (waiver.finding, waiver.column) in kinds and holds(waiver)
        else f"{waiver} has ended, and what it is about counts"
        if not holds(waiver)
        else f"{waiver} fits no finding; take it out"
        + (", unless a limit is stricter than what makes one" if waiver.finding in MEASURED else "")
        for waiver in found.waivers
    ]


def today() -> date:
    """The day, by UTC."""
    return datetime.now(UTC).date()


class _Waivers(Strict):
    """All of them."""

    waivers: list[Written]

    @model_validator(mode="after")
    def _are_about_different_things(self) -> "_Waivers":
        about = [(one.finding, one.column) for one in self.waivers]
        twice = next((one for one in about if about.count(one) > 1), None)
        if twice:
            raise ValueError(f"two are about {twice[0]} of {twice[1]!r}; keep one")
        return self
