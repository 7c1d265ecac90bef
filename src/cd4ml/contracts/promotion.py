"""How a version of a model came into the store of an environment: copied from that of another."""

from dataclasses import dataclass

from cd4ml.contracts.document import Document
from cd4ml.contracts.verdict import Verdict


@dataclass(frozen=True)
class Promotion(Document, kind="cd4ml/Promotion", remedy="promote the version again, into a store that has no record"):
    """A version that was copied, as it is, from the store of one environment into that of another."""

    name: str
    version: int
    """Its number, which is the same in both."""
    digest: str
    """Of the model."""
    files: str
    """The digest of all its files but the signatures."""
    origin: str
    """The environment that it came from."""
    origin_store: str
    environment: str
    """The one that it came to."""
    by: str
    """Who promoted it, as they say themselves."""
    at: str
    """ISO 8601, UTC."""
    namespace: str = ""
    """Where the environment's runs and models are; empty where it names none."""
    approved_by: tuple[str, ...] = ()
    """Of those whom the environment asks; none where it asks nobody."""
    signed_by: tuple[str, ...] = ()
    """The ids of the keys whose signatures were copied with it."""
    verdict: Verdict | None = None
    """What the environment's own limits say of it; None where it has none."""

    @property
    def headline(self) -> str:
        """Where from, and by whom."""
        approved = f", approved by {', '.join(self.approved_by)}" if self.approved_by else ""
        held = f", {self.verdict.headline}" if self.verdict else ""
        return f"from {self.origin} ({self.origin_store}) by {self.by}{approved}{held}"
