"""Published models: `models/<name>/<version>/` in the store, immutable, with the whole history of each.

model/                what training wrote (layout: `cd4ml.contracts.model`)
predictions.parquet   rows with the probabilities that evaluation got for them (layout: `cd4ml.contracts.predictions`)
summary.json          all numbers of the evaluation (layout: `cd4ml.contracts.evaluation`)
verdict.json          the gate's verdict about this very model (layout: `cd4ml.contracts.verdict`)
card.md, card.html    the model card
version.json          a `Version`
"""

import itertools
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cd4ml.contracts import model
from cd4ml.contracts import verdict as gates
from cd4ml.contracts.problem import BINARY
from cd4ml.errors import RegistryError
from cd4ml.registry import card
from cd4ml.storage import AlreadyStoredError, Store, open_store

TREND_VERSIONS = 10


@dataclass(frozen=True)
class Version:
    """One published model."""

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
    dataset: str
    dataset_version: int
    dataset_digest: str

    @property
    def folder(self) -> str:
        """Its name in the store."""
        return f"models/{self.name}/{self.version}"

    def text(self) -> str:
        """The version as `version.json` has it."""
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass(frozen=True)
class Published:
    """A version as the registry has it."""

    version: Version
    uri: str
    """Where it lies."""
    card: str
    """The model card, Markdown."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of this version in the UI."""
        return {"headline": f"version {self.version.version}", "uri": self.uri, **asdict(self.version)}

    def write(self, version_file: str, card_file: str) -> Self:
        """Writes both, for the tasks that follow and for the UI."""
        for path, text in ((version_file, self.version.text()), (card_file, self.card)):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text, encoding="utf-8")
        return self


def publish(
    location: str,
    name: str,
    model_folder: str,
    verdict_file: str,
    evaluation: str,
    dataset_file: str,
    run: str,
    revision: str,
) -> Published:
    """Adds a model to the registry; the one that is there already is returned as it is.

    Args:
        location: The store that holds the registry.
        name: The model's name.
        model_folder: What training wrote.
        verdict_file: What `check_model` wrote about this model.
        evaluation: What `evaluate_model` wrote.
        dataset_file: What `ingest_dataset` wrote.
        run: The run that publishes.
        revision: The revision of the code.

    Raises:
        RegistryError: The verdict is about another model, or did not pass.
    """
    digest = model.digest(model_folder)
    verdict = gates.read(verdict_file)
    if verdict.about.get("model") != digest:
        raise RegistryError(
            f"the verdict is about the model {verdict.about.get('model')}, not about {digest}: "
            "evaluate and check this model first"
        )
    found = json.loads((Path(evaluation) / "summary.json").read_text(encoding="utf-8"))
    evaluated = {"model": found["models"]["candidate"]["digest"], "data": found["test_digest"]}
    if evaluated != {"model": digest, "data": verdict.about.get("data")}:
        raise RegistryError(
            f"the evaluation is about the model {evaluated['model']} on the test split {evaluated['data']}, the "
            f"verdict about {digest} on {verdict.about.get('data')}: check this evaluation first"
        )
    if not verdict.passed:
        raise RegistryError(f"the model {digest} did not pass its gate: " + "; ".join(verdict.reasons))

    store = open_store(location)
    dataset = json.loads(Path(dataset_file).read_text(encoding="utf-8"))
    number = 0
    while True:
        published = versions(store, name)
        for known in published:
            if known.digest == digest:
                return Published(known, store.uri(known.folder), store.read(f"{known.folder}/card.md"))
        number = max([number, *(known.version for known in published)]) + 1
        version = Version(
            name=name,
            version=number,
            digest=digest,
            published_at=datetime.now(UTC).isoformat(timespec="seconds"),
            run=run,
            revision=revision,
            dataset=dataset["name"],
            dataset_version=dataset["version"],
            dataset_digest=dataset["digest"],
        )
        card_text = card.text(version, model.read_contract(model_folder), verdict, evaluation)
        try:
            store.add_folder(
                version.folder,
                {
                    "model": Path(model_folder),
                    "predictions.parquet": Path(evaluation) / "predictions.parquet",
                    "summary.json": Path(evaluation) / "summary.json",
                    "verdict.json": Path(verdict_file),
                    "card.md": card_text,
                    "card.html": card.html(card_text, verdict),
                    "version.json": version.text(),
                },
            )
        except AlreadyStoredError:
            continue  # another run took this number, or was ended while it wrote; take the next
        return Published(version, store.uri(version.folder), card_text)


def versions(store: Store, name: str) -> list[Version]:
    """All published versions of a model, the oldest first."""
    numbers = sorted(int(child) for child in store.children(f"models/{name}") if child.isdigit())
    return [read(store, name, number) for number in numbers]


def trend(location: str, name: str, candidate_folder: str) -> list[dict[str, Any]]:
    """The primary metric of the last published versions, the oldest first, as it was when each was evaluated.

    Of a candidate that was published already, only the versions before it count, so that a run that repeats another
    asks the same question.

    Returns:
        By version: `version`, `value`, and `interval`, two numbers or None.
    """
    store, candidate = open_store(location), model.digest(candidate_folder)
    before = list(itertools.takewhile(lambda one: one.digest != candidate, versions(store, name)))
    points = []
    for version in before[-TREND_VERSIONS:]:
        if "summary.json" not in store.children(version.folder):
            continue  # published by a cd4ml that kept none
        found = json.loads(store.read(f"{version.folder}/summary.json"))["models"]["candidate"]
        value, interval = found["metrics"].get(BINARY.primary), found["intervals"].get(BINARY.primary)
        points.append({"version": version.version, "value": value, "interval": interval})
    return points


def read(store: Store, name: str, version: int) -> Version:
    """One published version.

    Raises:
        RegistryError: There is none of this number.
    """
    if str(version) not in store.children(f"models/{name}"):
        known = ", ".join(store.children(f"models/{name}")) or "none"
        raise RegistryError(f"store {store.location}: no version {version} of the model {name}; published: {known}")
    return Version(**json.loads(store.read(f"models/{name}/{version}/version.json")))


def read_file(path: str) -> Version:
    """Reads what `Published.write` wrote."""
    return Version(**json.loads(Path(path).read_text(encoding="utf-8")))
