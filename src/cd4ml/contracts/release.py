"""What is published and deployed of a model: the records of the registry, which the tasks after it read too."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cd4ml.contracts.document import Content, Document

DEPLOYMENT = "deployment.json"
VERIFICATION = "verification.json"
"""What `deploy_model` calls both in its folder."""


@dataclass(frozen=True)
class DatasetReference:
    """A version of a dataset, by name."""

    name: str
    version: int
    digest: str
    """Of its content."""


def dataset_of_its_own(content: Content) -> Content:
    """From schema version 1, which had the dataset's fields among those of the model."""
    dataset = {
        "name": content.pop("dataset"),
        "version": content.pop("dataset_version"),
        "digest": content.pop("dataset_digest"),
    }
    return {**content, "dataset": dataset}


@dataclass(frozen=True)
class Version(
    Document,
    kind="cd4ml/Version",
    schema_version=2,
    remedy="put back what publish_model wrote, or publish the model again",
    upgrades={1: dataset_of_its_own},
):
    """One published version of a model."""

    name: str
    version: int
    digest: str
    """Of the model's files, as `cd4ml.contracts.model.digest` gives it."""
    published_at: str
    """ISO 8601, UTC."""
    run: str
    """The run that published it."""
    revision: str
    """Of the code; empty where it is not known."""
    dataset: DatasetReference
    image: str = ""
    """That it was published from; the images of its other tasks have the same tag."""
    locks: Mapping[str, str] = field(default_factory=dict)
    """By environment: the digest of the lock that its image holds; none where the pipeline was compiled elsewhere."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of the run, defaults included."""
    champion: str = ""
    """The digest of the model in production that it was held against; empty where there was none."""

    @property
    def folder(self) -> str:
        """Its name in the store."""
        return f"models/{self.name}/{self.version}"

    @property
    def headline(self) -> str:
        """Its number."""
        return f"version {self.version}"

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of it in the UI."""
        dataset = {"dataset_version": self.dataset.version, "dataset_digest": self.dataset.digest}
        shown = {name: value for name, value in super().metadata.items() if name not in ("locks", "arguments")}
        return {**shown, "dataset": self.dataset.name, **dataset}


@dataclass(frozen=True)
class Deployment(
    Document, kind="cd4ml/Deployment", remedy="put back what deploy_model wrote, or remove it and deploy again"
):
    """A model that was put into production, and verified there."""

    name: str
    number: int
    version: int
    digest: str
    run: str
    target: str
    """Where: `machine`, `cluster` or `kserve`."""
    endpoint: str
    """The URL that takes predictions."""
    deployed_at: str
    """ISO 8601, UTC."""


@dataclass(frozen=True)
class Verification(Document, kind="cd4ml/Verification", remedy="deploy the model again"):
    """What an endpoint answered."""

    endpoint: str
    """That was asked: the release's own where it was verified beside another."""
    digest: str
    predictions_checked: int
    max_difference: float
    """Between served and evaluated probability."""
    p50_ms: float
    """Latency of a request for one row, median."""
    p99_ms: float

    @property
    def headline(self) -> str:
        """How many rows were held against the evaluation, and how fast one is answered."""
        return f"{self.predictions_checked} rows as evaluated, p50 {self.p50_ms:.1f} ms"

    @property
    def metrics(self) -> dict[str, float]:
        """What the UI compares between runs."""
        return {"p50_ms": self.p50_ms, "p99_ms": self.p99_ms, "max_difference": self.max_difference}
