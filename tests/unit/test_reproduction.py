"""What `cd4ml models reproduce` takes a version to be made of, and why it refuses one."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cd4ml.cli import app, asked
from cd4ml.contracts import model
from cd4ml.contracts.lineage import FILE, Environment, Lineage
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.data import erasure
from cd4ml.data.ingest import ingest
from cd4ml.data.versions import Datasets
from cd4ml.errors import ArgumentsError, RegistryError
from cd4ml.running import reproduction
from cd4ml.storage.folder import FolderStore
from cd4ml.training import code
from cd4ml.version import VERSION

MADE = Lineage(
    seed=3,
    inputs={"train": "sha256:1"},
    environment=Environment(
        cd4ml=VERSION,
        code="sha256:2",
        model_code="sha256:3",
        python="3.11.7",
        packages={"tensorflow": "2.19.0"},
        cpu="one of them",
        cores=2,
        devices=(),
        deterministic=False,
    ),
)
Publish = Callable[..., Version]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    people = {"id": [f"p{number}" for number in range(40)], "took": [number % 2 for number in range(40)]}
    pq.write_table(pa.table(people), tmp_path / "people.parquet")
    made = FolderStore(tmp_path / "store")
    ingest(str(tmp_path / "people.parquet"), store=made.location, name="people", key="id")
    return made


@pytest.fixture
def publish(store: FolderStore, tmp_path: Path) -> Publish:
    """Publishes a version of `uptake`, as a run would have whose arguments these are."""

    def add(
        made: Lineage | None = MADE,
        number: int = 1,
        digest: str = "",
        settings: Mapping[str, object] = MappingProxyType({}),
        **changes: object,
    ) -> Version:
        folder = tmp_path / f"model-{number}"
        (folder / "saved_model").mkdir(parents=True)
        (folder / "saved_model" / "saved_model.pb").write_text(f"graph {number}")
        recorded = {"model": "function", "code": digest} if digest else {"model": "linear", **settings}
        model.write_contract(Contract("took", ("0", "1"), (Input("age", "number"),), recorded), folder)
        if made:
            made.write(folder / FILE)
        known = Datasets(store).find("people").latest.about
        version = Version(
            name="uptake",
            version=number,
            digest=model.digest(folder),
            published_at="2026-11-21T12:00:00+00:00",
            run="run-1",
            revision="",
            dataset=DatasetReference("people", known.version, known.digest),
            image="cd4ml/tools:0.1.0-abc",
            arguments={
                "name": "uptake",
                "source": {"bought": "gone for long"},
                "label": "took",
                "split": {"by": "key", "seed": 5},
                "candidate": {"model": "linear", "epochs": 3},
                "baseline": {"model": "linear"},
                "seed": 3,
                "curated_schema": "schemas/people.pbtxt",
            },
        )
        version = replace(version, **changes)
        store.add_folder(
            version.folder, {"model": folder, "version.json": version.text, "schema.pbtxt": 'feature {name: "age"}'}
        )
        return version

    return add


def refused(store: FolderStore) -> str:
    with pytest.raises(RegistryError, match=r"uptake@1 cannot be reproduced") as told:
        reproduction.origin(store, "uptake", 1)
    return str(told.value)


def test_a_version_is_made_of_its_own_dataset_settings_and_schema_and_of_nothing_outside_the_store(
    store: FolderStore, publish: Publish
) -> None:

    version = publish()

    of = reproduction.origin(store, "uptake", 1)

    given = of.arguments(asked.pipeline("training"), "elsewhere")
    assert given["store"] == "elsewhere"
    assert given["source"] == of.dataset.uri == store.uri("datasets/people")
    assert {name: given[name] for name in ("label", "split", "candidate", "seed")} == {
        name: version.arguments[name] for name in ("label", "split", "candidate", "seed")
    }
    assert given["curated_schema"] == store.uri("models/uptake/1/schema.pbtxt")
    assert "baseline" not in given
    ingested = of.part.given["ingest-dataset"]
    assert (ingested["version"], ingested["digest"], ingested["key"]) == (0, version.dataset.digest, "id")


def test_of_a_version_that_won_a_sweep_the_settings_are_taken_and_nothing_is_tried_again(
    store: FolderStore, publish: Publish
) -> None:
    arguments = {
        "label": "took",
        "candidate": {"model": "linear", "epochs": 3},
        "sweep": {"ranges": {"learning_rate": {"min": 0.001, "max": 0.1}}, "trials": 9},
    }
    publish(settings={"epochs": 3, "learning_rate": 0.0625}, arguments=arguments)

    given = reproduction.origin(store, "uptake", 1).arguments(asked.pipeline("training"), "elsewhere")

    assert "sweep" not in given
    assert given["candidate"] == {"model": "linear", "epochs": 3, "learning_rate": 0.0625}


def test_a_version_whose_rows_were_erased_cannot_be_made_again(store: FolderStore, publish: Publish) -> None:
    publish()
    erasure.erase(Datasets(store).find("people"), column="id", values=["p3", "p4"], reason="asked to")

    said = refused(store)

    assert "2 rows of people@0 were erased at 20" in said
    assert "(asked to)" in said


def test_a_version_whose_dataset_is_gone_cannot_be_made_again(store: FolderStore, publish: Publish) -> None:
    publish(dataset=DatasetReference("folk", 0, "rows:1"))

    assert "its dataset folk@0 is gone" in refused(store)


def test_a_version_whose_dataset_is_another_by_now_cannot_be_made_again(store: FolderStore, publish: Publish) -> None:
    publish(dataset=DatasetReference("people", 0, "rows:1"))

    assert "its dataset people@0 is another: it has the digest rows:" in refused(store)


def test_a_version_that_another_cd4ml_trained_names_the_one_to_use(store: FolderStore, publish: Publish) -> None:
    publish(replace(MADE, environment=replace(MADE.environment, cd4ml="0.0.9")))

    assert f"cd4ml 0.0.9 trained it (image cd4ml/tools:0.1.0-abc), and this is {VERSION}" in refused(store)


def test_a_version_that_began_with_the_weights_of_another_is_given_that_one(
    store: FolderStore, publish: Publish
) -> None:
    before = publish(number=1)
    publish(replace(MADE, started_from=before.digest), number=2)

    given = reproduction.origin(store, "uptake", 2).part.given["ingest-dataset"]

    assert given["champion"] == store.uri("models/uptake/1")
    assert given["champion_digest"] == before.digest


def test_a_version_that_began_with_the_weights_of_one_that_is_gone_cannot_be_made_again(
    store: FolderStore, publish: Publish
) -> None:
    publish(replace(MADE, started_from="sha256:0"))

    assert "it began with the weights of sha256:0, and no version of uptake is that model" in refused(store)


def test_code_of_a_function_that_is_not_what_trained_the_version_is_not_run(
    store: FolderStore, publish: Publish, tmp_path: Path
) -> None:
    (tmp_path / "models.py").write_text("def wide(job): pass\n")
    candidate = {"function": "models:wide", "source": code.beside("models:wide", tmp_path)}
    trained_by = f"sha256:{hashlib.sha256((tmp_path / 'models.py').read_bytes()).hexdigest()}"
    publish(digest="sha256:0", arguments={"candidate": candidate})
    publish(digest=trained_by, number=2, arguments={"candidate": candidate})

    said = refused(store)

    assert f"the code of models:wide in its arguments is {trained_by}, and " in said
    assert "models/uptake/1/model/contract.json says that sha256:0 trained it" in said
    assert reproduction.origin(store, "uptake", 2).version.version == 2


def test_every_reason_is_told_at_once(store: FolderStore, publish: Publish) -> None:
    publish(dataset=DatasetReference("folk", 0, "rows:1"), arguments={"candidate": {"model": "acme_wide"}})

    said = refused(store)

    assert "folk@0 is gone" in said
    assert "its model cannot be trained here: model specification: 'acme_wide' is no model that is installed" in said


def test_a_version_of_before_names_what_it_lacks(store: FolderStore, publish: Publish) -> None:
    publish(None, arguments={})

    said = refused(store)

    assert "published without the arguments of its run and model/lineage.json" in said


def test_arguments_that_the_pipeline_no_longer_takes_are_told_before_anything_runs(
    store: FolderStore, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    publish(arguments={"label": "took", "split": {"by": "moon"}, "candidate": {"model": "linear"}})

    ended = CliRunner().invoke(app, ["models", "reproduce", "uptake", "1", "--store", store.location])

    assert isinstance(ended.exception, ArgumentsError)
    assert "models/uptake/1/version.json" in str(ended.exception)
    assert "moon" in str(ended.exception)
    assert not (tmp_path / "runs").exists()


def test_what_was_learnt_online_is_not_trained_again(store: FolderStore, publish: Publish) -> None:
    publish(replace(MADE, inputs={"window 20260101T000000Z-20260101T010000Z": "sha256:w"}))

    with pytest.raises(RegistryError, match="it has learnt online from 1 window, which no training repeats"):
        reproduction.origin(store, "uptake", 1)
