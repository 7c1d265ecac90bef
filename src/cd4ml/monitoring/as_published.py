"""What a version was published with: what was measured of it, and the limits that let it in."""

from collections.abc import Mapping
from dataclasses import dataclass

from cd4ml.contracts.evaluation import CANDIDATE, SUMMARY, Slice, Summary
from cd4ml.contracts.model import Contract
from cd4ml.contracts.release import Version
from cd4ml.contracts.verdict import Verdict
from cd4ml.errors import EvaluationError
from cd4ml.evaluation import limits
from cd4ml.evaluation.limits import Limits
from cd4ml.registry import models
from cd4ml.storage import Store

VERDICT = "verdict.json"
LIMITS = "model_limits"
"""The argument of the run that published it."""


@dataclass(frozen=True)
class AsPublished:
    """A version as it was when it was published."""

    version: Version
    contract: Contract
    summary: Summary | None
    """None of what an old cd4ml published."""
    limits: Limits | None
    why_no_limits: str = ""

    @property
    def evaluated(self) -> Mapping[str, Slice]:
        """What was measured of it, by slice."""
        return self.summary.of(CANDIDATE) if self.summary else {}

    @property
    def kinds(self) -> list[tuple[str, ...]]:
        """The columns of each kind of slice, as they were evaluated."""
        return list(dict.fromkeys(tuple(sorted(one.values)) for one in self.evaluated.values() if one.values))


def read(store: Store, model: str, number: int) -> AsPublished:
    """Reads it.

    Raises:
        RegistryError: There is no such version.
        DocumentError: What it was published with cannot be read.
    """
    version = models.read(store, model, number)
    parts = store.children(version.folder)
    summary = Summary.parse(*_file(store, version, SUMMARY)) if SUMMARY in parts else None
    verdict = Verdict.parse(*_file(store, version, VERDICT)) if VERDICT in parts else None
    allowed, why = _limits(version, verdict)
    return AsPublished(version, models.contract(store, version), summary, allowed, why)


def _file(store: Store, version: Version, name: str) -> tuple[str, str]:
    place = f"{version.folder}/{name}"
    return store.read(place), store.uri(place)


def _limits(version: Version, verdict: Verdict | None) -> tuple[Limits | None, str]:
    """The limits; or none, and why."""
    if LIMITS not in version.arguments:
        return None, "it was published without the arguments of its run; publish one that a run of `training` made"
    try:
        allowed = limits.recorded(version.arguments[LIMITS])
    except EvaluationError as error:
        return None, f"those that it was published with cannot be read ({error}); publish a new version"
    judged_by = verdict.about.get("limits") if verdict else None
    if judged_by not in (None, limits.digest(allowed)):
        return None, "those among its arguments are not those of its verdict; put back what publish_model wrote"
    return allowed, ""
