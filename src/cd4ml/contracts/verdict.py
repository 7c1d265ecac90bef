"""A gate's verdict: which limits were held against what, and whether the run may go on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from cd4ml.contracts.document import Content, Document
from cd4ml.contracts.shares import Interval
from cd4ml.errors import GateError

DATA_GATE = "check_dataset"
"""The gate whose verdict lets a model be trained."""
MODEL_GATE = "check_model"
"""The gate whose verdict lets a model be published and deployed."""
WINDOW_GATE = "check_window"
"""The gate whose verdict says whether a model in production is still as it was let in."""


class Outcome(StrEnum):
    """What became of one limit, the better before the worse."""

    SKIPPED = "skipped"
    """It is not for this run, and was not held against anything."""
    PASSED = "passed"
    INCONCLUSIVE = "inconclusive"
    """There is too little to tell."""
    ERROR = "error"
    """It could not be checked."""
    FAILED = "failed"

    @property
    def lets_pass(self) -> bool:
        """Whether the run may go on; what is not known to be kept is not."""
        return self in (Outcome.SKIPPED, Outcome.PASSED)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The one that counts of several; of none, `SKIPPED`."""
    return max(outcomes, key=list(Outcome).index, default=Outcome.SKIPPED)


@dataclass(frozen=True)
class Check:
    """One limit held against one measured value."""

    name: str
    """What was measured, and where: `auc on region=south`."""
    limit: str
    """The limit in words: `at least 0.7`."""
    value: float | None
    """What was measured; None where it could not be computed, or was not asked for."""
    outcome: Outcome
    reason: str
    """A sentence that a person can act on."""
    slice: str = ""
    """The rows it was measured on, as `cd4ml.contracts.evaluation` names them; empty where that is not one slice."""
    interval: Interval | None = None
    """Of the value, at 95% confidence, or at what its gate states; None where it has none."""


def _with_outcomes(content: Content) -> Content:
    """Version 1 said of each check whether it passed, and no more."""
    checks = [dict(check) for check in content["checks"]]
    for check in checks:
        check["outcome"] = Outcome.PASSED if check.pop("passed") else Outcome.FAILED
    return {**content, "checks": checks}


@dataclass(frozen=True)
class Verdict(
    Document,
    kind="cd4ml/Verdict",
    remedy="run the gate again",
    schema_version=2,
    upgrades={1: _with_outcomes},
):
    """What one gate says about one thing."""

    gate: str
    about: Mapping[str, str]
    """The digests of what was judged and by what, by its name: `{"model": "sha256:...", "limits": ...}`."""
    checks: tuple[Check, ...]
    warnings: tuple[str, ...] = ()
    """What a person should know although it ends no run: one sentence each."""

    @property
    def passed(self) -> bool:
        """Whether every limit is kept; where none was held against anything, nothing has passed."""
        return worst(check.outcome for check in self.checks) is Outcome.PASSED

    @property
    def reasons(self) -> list[str]:
        """Why it did not pass: one sentence a limit that is not known to be kept."""
        if not self._held:
            return ["no limit was held against anything; name at least one"]
        return [check.reason for check in self.checks if not check.outcome.lets_pass]

    @property
    def skipped(self) -> list[str]:
        """What was not held against anything, and why: one sentence each."""
        return [check.reason for check in self.checks if check.outcome is Outcome.SKIPPED]

    @property
    def headline(self) -> str:
        """The verdict in a few words: `6 of 6 limits kept, 1 skipped`."""
        kept = sum(check.outcome is Outcome.PASSED for check in self.checks)
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        noted = f", {len(self.warnings)} warning{'s' * (len(self.warnings) > 1)}" if self.warnings else ""
        return f"{kept} of {self._held} limits kept{skipped}{noted}"

    @property
    def _held(self) -> int:
        return sum(check.outcome is not Outcome.SKIPPED for check in self.checks)

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of this verdict in the UI."""
        return {
            "headline": self.headline,
            "passed": self.passed,
            "checks": len(self.checks),
            **({"warnings": "; ".join(self.warnings)} if self.warnings else {}),
            **{f"{name}_digest": digest for name, digest in self.about.items()},
        }

    @property
    def content(self) -> Content:
        """Its fields, and for those who read the file without us whether it passed."""
        return {**super().content, "passed": self.passed}

    def raise_if_failed(self) -> Self:
        """Ends the run when a limit is not kept.

        Raises:
            GateError: With one line for each limit that is not kept.
        """
        if not self.passed:
            lines = "".join(f"\n  - {reason}" for reason in self.reasons)
            failed = sum(not check.outcome.lets_pass for check in self.checks)
            raise GateError(f"{self.gate}: {failed} of {self._held} limits not kept{lines}")
        return self
