"""What a person says of a version, or of one deployment of it: an event of its own, about one model."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cd4ml.contracts.document import Document

What = Literal["approved", "promoted", "aborted"]


@dataclass(frozen=True)
class Approval(
    Document,
    kind="cd4ml/Approval",
    remedy="remove it, and say so again",
    schema_version=2,  # one that knows no `what` must not take an abort for an approval
    upgrades={1: lambda content: content},
):
    """A person's word that a version may be deployed, or that its rollout gets all requests now, or is undone."""

    name: str
    version: int
    digest: str
    """Of the model: another under the same number is not approved."""
    by: str
    """Who, as they say themselves."""
    reason: str
    at: str
    """ISO 8601, UTC."""
    until: str
    """When it expires; ISO 8601, UTC."""
    despite_freeze: bool = False
    """Whether it may be deployed also while nothing else is."""
    what: What = "approved"
    deployment: int = 0
    """The number of the one deployment that is promoted or aborted; 0 of an approval, which is about none."""

    def __post_init__(self) -> None:
        for time in (self.at, self.until):
            if datetime.fromisoformat(time).tzinfo is None:
                raise ValueError(f"{time} has no zone")

    @property
    def headline(self) -> str:
        """Who, and why."""
        return f"{self.by}: {self.reason}{' (despite a freeze)' if self.despite_freeze else ''}"

    def stands(self, digest: str, at: datetime) -> bool:
        """Whether it is about this model, and has not expired by then."""
        return self.digest == digest and datetime.fromisoformat(self.at) <= at < datetime.fromisoformat(self.until)
