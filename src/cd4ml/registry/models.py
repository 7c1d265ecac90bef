"""Published models: `models/<name>/<version>/` in the store, immutable, with the whole history of each.

model/                what training wrote (layout: `cd4ml.contracts.model`)
predictions.parquet   rows with the probabilities that evaluation got for them (layout: `cd4ml.contracts.predictions`)
outputs.parquet       what evaluation got for more rows, without the rows; versions of before have none
summary.json          all numbers of the evaluation (layout: `cd4ml.contracts.evaluation`)
verdict.json          the gate's verdict about this very model (layout: `cd4ml.contracts.verdict`)
statistics/           those of the splits that it was trained and evaluated on (layout: `cd4ml.validation.statistics`)
schema.pbtxt          what the splits were held against, a TFDV text proto
reference.parquet     a sample of the rows that it was trained on (layout: `cd4ml.contracts.reference`)
card.md, card.html    the model card
bom.cdx.json          the bill of materials, CycloneDX (`cd4ml.registry.bom`)
version.json          what this version is (layout: `cd4ml.contracts.release`)
signatures/           over all of these, where whoever published it has a key (layout: `cd4ml.contracts.signature`)
"""

import itertools
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cd4ml.contracts import evaluation as evaluations
from cd4ml.contracts import model, signature
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.evaluation import CANDIDATE, CHAMPION, OUTPUTS, PREDICTIONS, SUMMARY, Summary
from cd4ml.contracts.model import Contract
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.verdict import MODEL_GATE, Verdict
from cd4ml.errors import RegistryError
from cd4ml.registry import clock, records
from cd4ml.registry.numbers import numbers
from cd4ml.storage import AlreadyStoredError, Content, Store, open_store
from cd4ml.storage.folder import FolderStore

log = logging.getLogger(__name__)

TREND_VERSIONS = 10
SILENT = 20.0
"""Seconds after which whoever writes a version, and adds no file to it, is taken for one that was ended."""
REFERENCE = "reference.parquet"


@dataclass(frozen=True)
class Judged:
    """A model and what was found of it, by the paths of what the tasks wrote."""

    model: str
    """What `train_model` wrote."""
    evaluation: str
    """What `evaluate_model` wrote about it."""
    verdict: str
    """What `check_model` wrote about both."""
    dataset: str
    """What `ingest_dataset` wrote."""
    dataset_verdict: str
    """What `check_dataset` wrote."""
    statistics: str
    """What `validate_dataset` wrote of the splits."""
    schema: str
    """What `validate_dataset` held the splits against."""
    reference: str
    """What `validate_dataset` drew of the rows to train on."""


@dataclass(frozen=True)
class Published:
    """A version as the registry has it."""

    version: Version
    uri: str
    """Where it lies."""
    card: str
    """The model card, Markdown."""
    signed: bool

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of this version in the UI."""
        return {**self.version.metadata, "uri": self.uri, "signed": self.signed}

    def write(self, version_file: str, card_file: str) -> Self:
        """Writes both, for the tasks that follow and for the UI."""
        self.version.write(version_file)
        Path(card_file).parent.mkdir(parents=True, exist_ok=True)
        Path(card_file).write_text(self.card, encoding="utf-8")
        return self


def publish(
    location: str,
    *,
    name: str,
    judged: Judged,
    verdict: Verdict,
    run: str,
    revision: str,
    arguments: Mapping[str, Any] | None = None,
    check: Callable[[Sequence[Version]], None] = lambda _: None,
) -> Published:
    """Adds a model to the registry, signed where there is a key; the one that is there already is returned as it is.

    Args:
        location: The store that holds the registry.
        name: The model's name.
        judged: The model, and what was found of it.
        verdict: What its file says.
        run: The run that publishes.
        revision: The revision of the code.
        arguments: What the version is made by; those of the run of this task if not said.
        check: Refuses, by raising, to publish after the versions that are there; asked anew where another comes first.

    Raises:
        RegistryError: The verdict is another gate's, or about another model or evaluation, or it did not pass.
        SignatureError: The key can sign nothing.
    """
    from cd4ml import images
    from cd4ml.registry import bom, card

    digest = model.digest(judged.model)
    found = evaluations.read(judged.evaluation)
    if verdict.gate != MODEL_GATE:
        raise RegistryError(
            f"{judged.verdict}: a verdict of {verdict.gate}, which says nothing of a model; give that of {MODEL_GATE}"
        )
    if verdict.about.get("model") != digest:
        raise RegistryError(
            f"the verdict is about the model {verdict.about.get('model')}, not about {digest}: "
            "evaluate and check this model first"
        )
    evaluated = {"model": found.models[CANDIDATE].digest, "data": found.test_digest}
    if evaluated != {"model": digest, "data": verdict.about.get("data")}:
        raise RegistryError(
            f"the evaluation is about the model {evaluated['model']} on the test split {evaluated['data']}, the "
            f"verdict about {digest} on {verdict.about.get('data')}: check this evaluation first"
        )
    if not verdict.passed:
        raise RegistryError(f"the model {digest} did not pass its gate: " + "; ".join(verdict.reasons))

    store = open_store(location)
    dataset = DatasetVersion.read(judged.dataset)
    if arguments is None:
        record = records.current(location)
        arguments = record.arguments if record else {}
    number = 0
    while True:
        published = versions(store, name)
        for known in published:
            if known.digest == digest:
                signed = signature.SIGNATURES in store.children(known.folder)
                return Published(known, store.uri(known.folder), store.read(f"{known.folder}/card.md"), signed)
        check(published)
        number = max([number, *(known.version for known in published)]) + 1
        version = Version(
            name=name,
            version=number,
            digest=digest,
            published_at=clock.now(),
            run=run,
            revision=revision,
            dataset=DatasetReference(dataset.name, dataset.version, dataset.digest),
            image=images.TOOLS,
            locks=images.locks(),
            arguments=arguments,
            champion=found.models[CHAMPION].digest if CHAMPION in found.models else "",
        )
        judged_contract = model.read_contract(judged.model)
        card_text = card.text(version, contract=judged_contract, verdict=verdict, summary=found)
        contents: dict[str, Content] = {
            "model": Path(judged.model),
            **{name: Path(judged.evaluation) / name for name in _predicted(judged)},
            SUMMARY: Path(judged.evaluation) / SUMMARY,
            "verdict.json": Path(judged.verdict),
            "statistics": Path(judged.statistics),
            "schema.pbtxt": Path(judged.schema),
            REFERENCE: Path(judged.reference),
            "card.md": card_text,
            "card.html": card.html(card_text, verdict),
            bom.FILE: bom.text(version, contract=judged_contract, verdict=verdict, summary=found, dataset=dataset),
            "version.json": version.text,
        }
        try:
            signed = _add(store, version.folder, contents)
        except AlreadyStoredError:
            _await(store, version)
            continue  # another run took this number, or was ended while it wrote; take the next
        return Published(version, store.uri(version.folder), card_text, signed)


def _await(store: Store, version: Version) -> None:
    """Waits until what another writes in the place of a version is whole, as long as files come."""
    there: set[str] = set()
    until = time.monotonic() + SILENT
    while version.version not in numbers(store, f"models/{version.name}") and time.monotonic() < until:
        now = set(store.below(version.folder))
        if now - there:
            there, until = now, time.monotonic() + SILENT
        time.sleep(SILENT / 20)


def _predicted(judged: Judged) -> list[str]:
    """The files of predictions that an evaluation wrote; one of before wrote no `OUTPUTS`."""
    return [PREDICTIONS, *([OUTPUTS] if (Path(judged.evaluation) / OUTPUTS).exists() else [])]


def _add(store: Store, folder: str, contents: Mapping[str, Content]) -> bool:
    """Stores a version; whether it is signed."""
    key = signature.signing_key()
    if key is None:
        log.warning(
            "%s is published unsigned: no key is set to sign with (%s); where keys are trusted, it is not deployed",
            folder,
            signature.KEY,
        )
        store.add_folder(folder, contents)
        return False
    with tempfile.TemporaryDirectory(prefix="cd4ml-") as temporary:
        staged = FolderStore(temporary)
        staged.add_folder(folder, contents)
        signature.sign(staged.path(folder), key)
        store.add_folder(folder, {file.name: file for file in staged.path(folder).iterdir()})
    return True


@dataclass(frozen=True)
class Found:
    """A published version, and the verdict that it was published with."""

    version: Version
    verdict: Verdict

    def write(self, version_file: str, verdict_file: str) -> Self:
        """Writes both, for the tasks that follow."""
        self.version.write(version_file)
        self.verdict.write(verdict_file)
        return self


def find(location: str, name: str, number: int) -> Found:
    """A published version with its verdict.

    Raises:
        RegistryError: There is no such version.
        DocumentError: It was published without a verdict, or that cannot be read.
    """
    store = open_store(location)
    version = read(store, name, number)
    file = f"{version.folder}/verdict.json"
    return Found(version, Verdict.parse(store.read(file), store.uri(file)))


def versions(store: Store, name: str) -> list[Version]:
    """All published versions of a model, the oldest first."""
    return [read(store, name, number) for number in numbers(store, f"models/{name}")]


def trend(location: str, name: str, candidate_folder: str) -> list[dict[str, Any]]:
    """The primary metric of the last published versions, the oldest first, as it was when each was evaluated.

    Those of another problem than the candidate's are left out. Of a candidate that was published already, only the
    versions before it count, so that a run that repeats another asks the same question.

    Returns:
        By version: `version`, `value`, and `interval`, two numbers or None.
    """
    store, candidate = open_store(location), model.digest(candidate_folder)
    problem = model.read_contract(candidate_folder).problem
    before = list(itertools.takewhile(lambda one: one.digest != candidate, versions(store, name)))
    points = []
    for version in before[-TREND_VERSIONS:]:
        if SUMMARY not in store.children(version.folder):
            continue  # published by a cd4ml that kept none
        file = f"{version.folder}/{SUMMARY}"
        evaluation = Summary.parse(store.read(file), store.uri(file))
        if evaluation.problem != problem:
            continue
        found, primary = evaluation.models[CANDIDATE], evaluation.problem.primary
        value, interval = found.metrics.get(primary), found.intervals.get(primary)
        points.append({"version": version.version, "value": value, "interval": interval})
    return points


def read(store: Store, name: str, version: int) -> Version:
    """One published version.

    Raises:
        RegistryError: There is none of this number, or what is there is another.
    """
    if str(version) not in store.children(f"models/{name}"):
        known = ", ".join(map(str, numbers(store, f"models/{name}"))) or "none"
        raise RegistryError(f"store {store.location}: no version {version} of the model {name}; published: {known}")
    file = f"models/{name}/{version}/version.json"
    found = Version.parse(store.read(file), store.uri(file))
    if (found.name, found.version) != (name, version):
        raise RegistryError(
            f"{store.uri(file)}: is of version {found.version} of the model {found.name}; {Version.remedy}"
        )
    return found


def contract(store: Store, version: Version) -> Contract:
    """What a published version takes and gives.

    Raises:
        StorageError: It has none, or that cannot be read.
    """
    file = f"{version.folder}/model/{model.CONTRACT}"
    return model.parse_contract(store.read(file), store.uri(file))
