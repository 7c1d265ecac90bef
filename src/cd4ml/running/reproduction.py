"""Makes a published version again on this machine: the tasks of its run that made it, from what the store keeps.

The store is read, and nothing is written there: the tasks are given another, which begins empty. So no result and no
checkpoint of before is taken up, and nothing is published.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cd4ml import images, revision
from cd4ml.contracts import lineage, model
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.erasure import Erasure
from cd4ml.contracts.evaluation import PREDICTIONS
from cd4ml.contracts.learning import Learning
from cd4ml.contracts.lineage import Lineage
from cd4ml.contracts.release import Version
from cd4ml.contracts.reproduction import Differences, Reproduction
from cd4ml.data import curated, erasure, table
from cd4ml.errors import DataError, RegistryError, TrainingError
from cd4ml.names import counted
from cd4ml.registry import models
from cd4ml.registry.numbers import documents
from cd4ml.reports import comparison
from cd4ml.running import begin
from cd4ml.running.asking import ask
from cd4ml.running.walk import Part
from cd4ml.storage import Store, local_copy
from cd4ml.training import search, trainers
from cd4ml.training.trainers import Function
from cd4ml.version import VERSION

PIPELINE = "training"
TRAINS = "train-model-2"
TASKS = ("split-dataset", "validate-dataset", TRAINS)
"""Of that pipeline: what makes the candidate of a version of a dataset."""
ENVIRONMENTS = ("tools", "validate", "train")
"""Those in which they run."""


@dataclass(frozen=True)
class Origin:
    """All that a published version can be made of again."""

    store: Store
    version: Version
    lineage: Lineage
    dataset: DatasetVersion
    start: Version | None
    """Whose weights it began with; None where it began anew."""

    def arguments(self, pipeline: Any, store: str) -> dict[str, Any]:
        """What the pipeline is given: of the arguments of then those that the tasks take.

        Args:
            pipeline: What `dsl.pipeline` made.
            store: What the tasks take for the store.
        """
        tasks = pipeline.pipeline_spec.root.dag.tasks
        taken = {one.component_input_parameter for task in TASKS for one in tasks[task].inputs.parameters.values()}
        given = {name: value for name, value in self.version.arguments.items() if name in taken}
        if given.get("curated_schema"):
            given["curated_schema"] = self._schema
        if sweep := given.pop("sweep", None):
            given["candidate"] = search.varied(given["candidate"], self._won(sweep["ranges"]))
        return given | {
            "name": self.version.name,
            "source": self.dataset.uri,
            "dataset": self.dataset.name,
            "key": self.dataset.key_column,
            "store": store,
        }

    @property
    def part(self) -> Part:
        """The tasks, and what was before them: the dataset, of which nothing is read anew."""
        has_schema = bool(self.version.arguments.get("curated_schema"))
        ingested = {
            "uri": self.dataset.uri,
            "version": self.dataset.version,
            "rows": self.dataset.rows,
            "digest": self.dataset.digest,
            "key": self.dataset.key_column,
            "schema_digest": curated.digest(self._schema) if has_schema else "",
            "reference": "",
            "reference_digest": "",
            "champion": self.store.uri(self.start.folder) if self.start else "",
            "champion_digest": self.start.digest if self.start else "",
        }
        begun: dict[str, Any] = begin.follows(self.version.arguments)
        before = {"check-arguments": begun, "ingest-dataset": ingested, "check-dataset": {}}
        return Part("", frozenset(TASKS), before)

    def _won(self, names: Iterable[str]) -> dict[str, Any]:
        """The settings that won the sweep, which the model's contract has."""
        file = f"{self.version.folder}/model/{model.CONTRACT}"
        trained = model.parse_contract(self.store.read(file), self.store.uri(file)).model
        return {name: search.found(trained, name) for name in names}

    @property
    def _schema(self) -> str:
        """The schema that people kept, as it was then."""
        return self.store.uri(f"{self.version.folder}/schema.pbtxt")


def origin(store: Store, name: str, number: int) -> Origin:
    """What a published version is made of.

    Raises:
        RegistryError: There is no such version, or it cannot be made again, with every reason.
        StorageError: The store cannot be read.
    """
    version = models.read(store, name, number)
    missing = list(_missing(store, version))
    if missing:
        raise RegistryError(
            f"{name}@{number} cannot be reproduced: it was published without {' and '.join(missing)}; train and "
            "publish it anew, and what it takes is kept"
        )
    file = f"{version.folder}/model/{lineage.FILE}"
    made = Lineage.parse(store.read(file), store.uri(file))
    found, lost = _dataset(store, version)
    start = next((one for one in models.versions(store, name) if one.digest == made.started_from), None)
    reasons = [*_of_another_cd4ml(version, made), *lost, *_without_trainer(store, version)]
    if windows := Learning.windows_of(made):
        reasons.append(
            f"it has learnt online from {counted(len(windows), 'window')}, which no training repeats; `cd4ml monitor "
            f"learn {name}@N` learns the same from the version that it began with"
        )
    if made.started_from and not start:
        reasons.append(f"it began with the weights of {made.started_from}, and no version of {name} is that model")
    if reasons or not found:
        raise RegistryError(f"{name}@{number} cannot be reproduced:\n  " + "\n  ".join(reasons))
    return Origin(store, version, made, found, start)


def _missing(store: Store, version: Version) -> Iterator[str]:
    """What a version of before lacks."""
    if not version.arguments:
        yield "the arguments of its run"
    if lineage.FILE not in store.children(f"{version.folder}/model"):
        yield f"model/{lineage.FILE}, which says where it was trained and on what"


def _of_another_cd4ml(version: Version, made: Lineage) -> Iterator[str]:
    if made.environment.cd4ml != VERSION:
        built = f" (image {version.image})" if version.image else ""
        yield f"cd4ml {made.environment.cd4ml} trained it{built}, and this is {VERSION}; use that one"


def _dataset(store: Store, version: Version) -> tuple[DatasetVersion | None, list[str]]:
    """The version of the dataset as it was, and why it is not."""
    wanted = version.dataset
    which = f"{wanted.name}@{wanted.version}"
    erased = [
        f"{rows:,} rows of {which} were erased at {one.at} ({one.reason}): what it was trained on is gone for good"
        for one in (Erasure.parse(*found) for found in documents(store, f"{erasure.ERASURES}/{wanted.name}"))
        if (rows := one.rows.get(str(wanted.version)))
    ]
    uri = table.location(store.location, wanted.name)
    try:
        _, found = table.at_version(uri, wanted.version)
    except DataError as error:
        return None, [*erased, f"its dataset {which} is gone: {error}"]
    if found.digest != wanted.digest:
        erased.append(f"its dataset {which} is another: it has the digest {found.digest}, and had {wanted.digest}")
    return replace(found, uri=uri), erased


def _without_trainer(store: Store, version: Version) -> Iterator[str]:
    try:
        trainer = trainers.parse(version.arguments["candidate"])
    except TrainingError as error:
        yield f"its model cannot be trained here: {error}"
        return
    if isinstance(trainer, Function) and trainer.source:
        file = store.uri(f"{version.folder}/model/{model.CONTRACT}")
        published = model.parse_contract(store.read(f"{version.folder}/model/{model.CONTRACT}"), file)
        kept, trained_by = trainer.recorded["code"], published.model.get("code")
        if kept != trained_by:
            yield (
                f"the code of {trainer.function} in its arguments is {kept}, and {file} says that {trained_by} trained "
                "it: one of them was changed since, so nothing of it is run"
            )


def compare(of: Origin, rebuilt: Path) -> Reproduction:
    """Holds what was made again against what was published.

    Args:
        of: What it was made of.
        rebuilt: The folder of the rebuilt model.

    Raises:
        DataError: What lies in the store is no model.
        StorageError: The same; or the store cannot be read.
    """
    version, store = of.version, of.store
    with (
        local_copy(store.uri(f"{version.folder}/model")) as published,
        local_copy(store.uri(f"{version.folder}/{PREDICTIONS}")) as known,
    ):
        stored, made = model.digest(published), model.digest(rebuilt)
        differences = None if stored == made else _differences(published, rebuilt, known)
        now = Lineage.read(rebuilt / lineage.FILE)
        then_and_now = [
            _facts(published, of.lineage) | _code(version.locks, version.revision),
            _facts(rebuilt, now) | _code(images.locks(), revision.of_working_folder()),
        ]
    return Reproduction(
        name=version.name,
        version=version.version,
        published=version.digest,
        stored=stored,
        rebuilt=made,
        differences=differences,
        settings={row.name: (row.values[0], row.values[1]) for row in comparison.rows(then_and_now) if row.differs},
    )


def _differences(published: Path, rebuilt: Path, known: Path) -> Differences:
    module = "cd4ml.training.differences"
    found = ask("train", module, str(published), str(rebuilt), str(known))
    return Differences.parse(json.dumps(found), module)


def _facts(folder: Path, made: Lineage) -> dict[str, str]:
    """What a model is, what it was trained from, and where."""
    contract = model.read_contract(folder)
    return comparison.flat(
        {
            "problem": contract.problem.name,
            "label": contract.label,
            "classes": contract.classes,
            "model": contract.model,
            "input": {one.name: asdict(one) for one in contract.inputs},
            "seed": made.seed,
            "started from": made.started_from,
            "digest of": made.inputs,
            "environment": asdict(made.environment),
        }
    )


def _code(locks: Mapping[str, str], working_folder: str) -> dict[str, str]:
    found = {f"lock of {name}": locks.get(name, "") for name in ENVIRONMENTS}
    return found | {"revision of the working folder": working_folder}
