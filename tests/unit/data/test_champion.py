"""The champion whose weights a candidate begins with, and the rows that it must not have seen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.contracts import model
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.deployment import Held
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.data import champion
from cd4ml.data.ingest import ingest
from cd4ml.data.split import Drawn
from cd4ml.errors import DataError, RegistryError
from cd4ml.registry import deployments
from cd4ml.storage.folder import FolderStore

ROWS = 400
TIMES = {"by": "time", "column": "at"}
Deploy = Callable[..., Version]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def came(store: FolderStore, rows: int = ROWS, name: str = "people", key: str = "id") -> DatasetVersion:
    """A version of a dataset with the first so many people."""
    numbers = list(range(rows))
    file = Path(store.location).parent / f"{name}.parquet"
    table = pa.table(
        {"id": [f"p{one}" for one in numbers], "number": numbers, "at": pa.array(numbers, pa.timestamp("s"))}
    )
    pq.write_table(table, file)
    return ingest(str(file), store=store.location, name=name, key=key, time_column="at")


@pytest.fixture
def deploy(store: FolderStore, tmp_path: Path) -> Deploy:
    """Has a version of `uptake` in production that was trained on one of a dataset."""

    def into_production(data: DatasetVersion, **arguments: Any) -> Version:
        folder = tmp_path / "model"
        (folder / "saved_model").mkdir(parents=True)
        (folder / "saved_model" / "saved_model.pb").write_text("graph")
        model.write_contract(Contract("took", ("0", "1"), (Input("number", "number"),), {"model": "linear"}), folder)
        version = Version(
            name="uptake",
            version=1,
            digest=model.digest(folder),
            published_at="2026-11-21T12:00:00+00:00",
            run="run-1",
            revision="",
            dataset=DatasetReference(data.name, data.version, data.digest),
            arguments=arguments,
        )
        store.add_folder(version.folder, {"model": folder, "version.json": version.text})
        begun = deployments.begin(store, version, run="run-1", target="machine", strategy="replace")
        deployments.add(store, begun, Held(endpoint="http://127.0.0.1:1", at=begun.at))
        return version

    return into_production


def hand_on(store: FolderStore, data: DatasetVersion, split: dict[str, Any]) -> Path:
    target = Path(store.location).parent / "start"
    uri, digest = champion.find(store.location, "uptake", wanted=True)
    drawn = Drawn(data.uri, data.version, data.key_column, split)
    champion.hand_on(uri, digest, tested=drawn, target=target)
    return target


def refused(store: FolderStore, data: DatasetVersion, split: dict[str, Any]) -> str:
    with pytest.raises(DataError, match=r"^warm_start: the champion, uptake@1,") as told:
        hand_on(store, data, split)
    assert not (Path(store.location).parent / "start").exists()
    return str(told.value)


def test_a_first_model_begins_anew(store: FolderStore) -> None:
    assert hand_on(store, came(store), {}).read_bytes() == b""


def test_a_candidate_that_is_not_to_start_warm_begins_anew(store: FolderStore, deploy: Deploy) -> None:
    deploy(came(store), split={})

    assert champion.find(store.location, "uptake", wanted=False) == ("", "")


def test_rows_that_came_since_leave_a_split_by_key_as_it_was(store: FolderStore, deploy: Deploy) -> None:
    version = deploy(came(store), split={"by": "key", "eval": 0.2})
    later = came(store, 2 * ROWS)

    handed_on = hand_on(store, later, {"eval": 0.2})

    assert later.version == 1
    assert model.digest(handed_on) == version.digest


def test_a_split_with_another_seed_tests_on_rows_that_the_champion_was_trained_on(
    store: FolderStore, deploy: Deploy
) -> None:
    deploy(came(store), split={"by": "key", "seed": 0})
    later = came(store, 2 * ROWS)

    said = refused(store, later, {"by": "key", "seed": 1})

    seen = int(said.split("trained on ")[1].split(" rows")[0])
    assert 15 < seen < 60  # a tenth of 400 rows are in its test, nine tenths of which the champion has seen
    assert "split by {'by': 'key', 'seed': 0} as then, or leave warm_start out" in said


def test_a_test_split_by_time_that_moved_on_is_clean(store: FolderStore, deploy: Deploy) -> None:
    deploy(came(store), split=TIMES)

    assert hand_on(store, came(store, 2 * ROWS), TIMES).is_dir()


def test_a_test_split_by_time_that_became_longer_is_not(store: FolderStore, deploy: Deploy) -> None:
    data = came(store)
    deploy(data, split=TIMES)

    assert "trained on 40 rows that are in the test split now" in refused(store, data, {**TIMES, "test": 0.2})


def test_rows_of_another_dataset_or_with_another_key_cannot_be_told_apart(store: FolderStore, deploy: Deploy) -> None:
    deploy(came(store), split={})

    assert "trained on the dataset people, whose rows folk may have" in refused(store, came(store, name="folk"), {})
    by_number = came(store, key="number")
    assert "with the key 'id', and these have 'number'" in refused(store, by_number, {})


def test_a_champion_of_before_that_kept_no_arguments_is_refused(store: FolderStore, deploy: Deploy) -> None:
    data = came(store)
    deploy(data)

    assert "published without the arguments of its run" in refused(store, data, {})


def test_a_champion_that_was_changed_is_refused(store: FolderStore, deploy: Deploy) -> None:
    data = came(store)
    deploy(data, split={})
    (Path(store.location) / "models/uptake/1/model/saved_model/saved_model.pb").write_text("another")

    with pytest.raises(RegistryError, match="is not the model sha256:"):
        hand_on(store, data, {})
