"""A gate's verdict: which limits were held against what, and whether the run may go on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cd4ml.contracts.document import Content, Document
from cd4ml.errors import GateError

Interval = tuple[float, float]
MODEL_GATE = "check_model"
"""The gate whose verdict lets a model be published and deployed."""


@dataclass(frozen=True)
class Check:
    """One limit held against one measured value."""

    name: str
    """What was measured, and where: `auc on region=south`."""
    limit: str
    """The limit in words: `at least 0.7`."""
    value: float | None
    """What was measured; None where it could not be computed, which fails."""
    passed: bool
    reason: str
    """A sentence that a person can act on."""
    slice: str = ""
    """The rows it was measured on, as `cd4ml.contracts.evaluation` names them; empty where that is not one slice."""
    interval: Interval | None = None
    """Of the value, at 95% confidence; None where it has none."""


@dataclass(frozen=True)
class Verdict(Document, kind="cd4ml/Verdict", remedy="run the gate again"):
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
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """Why it did not pass: one sentence a failed check."""
        if not self.checks:
            return ["no limit was held against anything; name at least one"]
        return [check.reason for check in self.checks if not check.passed]

    @property
    def headline(self) -> str:
        """How many limits are kept, and how many warnings there are."""
        kept = sum(check.passed for check in self.checks)
        noted = f", {len(self.warnings)} warning{'s' * (len(self.warnings) > 1)}" if self.warnings else ""
        return f"{kept} of {len(self.checks)} limits kept{noted}"

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
            failed = sum(not check.passed for check in self.checks)
            raise GateError(f"{self.gate}: {failed} of {len(self.checks)} limits not kept{lines}")
        return self
