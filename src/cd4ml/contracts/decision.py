"""What a person decides of a rollout that is under way: an event of its own, about one deployment."""

from dataclasses import dataclass
from typing import Literal

from cd4ml.contracts.document import Document

What = Literal["promoted", "aborted"]


@dataclass(frozen=True)
class Decision(Document, kind="cd4ml/Decision", remedy="remove it, and decide again"):
    """A person's word that a release gets all requests now, or that its rollout is undone."""

    name: str
    number: int
    """The deployment's."""
    digest: str
    """Of the model."""
    what: What
    by: str
    """Who, as they say themselves."""
    reason: str
    at: str
    """ISO 8601, UTC."""

    @property
    def headline(self) -> str:
        """Who, and why."""
        return f"{self.by}: {self.reason}"
