"""A store that the first version of cd4ml wrote still works, and what is broken in a store is one told error."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cd4ml.contracts.deployment import Stopped
from cd4ml.contracts.model import Contract, write_contract
from cd4ml.contracts.release import Deployment
from cd4ml.contracts.verdict import Verdict
from cd4ml.deployment import release
from cd4ml.errors import DeploymentError, DocumentError
from cd4ml.registry import deployments, models
from cd4ml.storage import Store
from cd4ml.storage.folder import FolderStore

V1 = Path(__file__).parent / "v1"
NAME = "promotion-uptake"


def that_count(store: Store) -> list[Deployment]:
    """The deployments that count, the oldest first."""
    return [one.deployment for one in deployments.every(store, NAME) if one.deployment]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """One model, published and deployed."""
    root = tmp_path / "store"
    version, deployed = root / "models" / NAME / "1", root / "deployments" / NAME
    (version / "model").mkdir(parents=True)
    deployed.mkdir(parents=True)
    for name in ("version.json", "verdict.json", "summary.json"):
        shutil.copy(V1 / name, version)
    shutil.copy(V1 / "deployment.json", deployed / "1.json")
    return FolderStore(root)


@pytest.fixture
def candidate(tmp_path: Path) -> str:
    folder = tmp_path / "candidate"
    (folder / "saved_model").mkdir(parents=True)
    (folder / "saved_model" / "weights").write_text("other")
    write_contract(Contract("took", ("false", "true"), (), {}), folder)
    return str(folder)


def test_its_versions_are_listed_its_champion_is_found_and_the_trend_has_it(store: FolderStore, candidate: str) -> None:
    (version,) = models.versions(store, NAME)

    assert (version.version, version.dataset.name, version.dataset.version) == (1, "players", 0)
    assert [one.version for one in that_count(store)] == [1]
    champion = str(store.path(f"models/{NAME}/1/model")), version.digest
    assert deployments.champion(store.location, NAME, candidate) == champion
    (point,) = models.trend(store.location, NAME, candidate)
    assert (point["version"], round(point["value"], 4)) == (1, 0.8468)


def test_its_deployment_takes_events_and_the_next_one_its_number(store: FolderStore, candidate: str) -> None:
    (of_before,) = deployments.newest_first(store, NAME)
    assert of_before.state == "held"
    assert of_before.deployment == Deployment.read(V1 / "deployment.json")

    begun = deployments.begin(store, models.read(store, NAME, 1), run="run", target="machine", strategy="replace")
    deployments.add(store, of_before.begun, Stopped("2026-11-26T00:00:00+00:00"))

    assert begun.number == 2
    assert [(one.begun.number, one.state) for one in deployments.newest_first(store, NAME)] == [
        (2, "begun"),
        (1, "stopped"),
    ]
    assert deployments.champion(store.location, NAME, candidate) == ("", "")


@pytest.mark.parametrize("name", ["²", "0", "01", "1.json", "-1", "9" * 5000])
def test_what_has_no_number_for_a_name_is_no_version_and_no_deployment(
    store: FolderStore, candidate: str, name: str
) -> None:
    (store.root / "models" / NAME / name[:200]).mkdir()
    (store.root / "deployments" / NAME / f"{name[:200]}.txt").touch()
    (store.root / "deployments" / NAME / "².json").touch()

    assert [one.version for one in models.versions(store, NAME)] == [1]
    assert [one.number for one in that_count(store)] == [1]


def test_the_verdict_of_another_gate_deploys_nothing(store: FolderStore, tmp_path: Path) -> None:
    published = str(store.path(f"models/{NAME}/1/version.json"))
    verdict = replace(Verdict.read(V1 / "verdict.json"), gate="check_dataset").write(tmp_path / "verdict")

    assert verdict.passed
    with pytest.raises(DeploymentError, match="no passed verdict of check_model: the one given is check_dataset's"):
        release.deploy(
            store.location,
            published_file=published,
            verdict_file=str(tmp_path / "verdict"),
            target="machine",
            port=9500,
            run="run",
            folder="folder",
        )


@pytest.mark.parametrize("text", ["", '{"name": "uptake"', "[]", '{"kind": "cd4ml/Version", "schema_version": 3}'])
def test_an_entry_that_cannot_be_read_is_told_by_name_wherever_it_is_read(
    store: FolderStore, candidate: str, tmp_path: Path, text: str
) -> None:
    file = store.path(f"models/{NAME}/1/version.json")
    file.write_text(text)

    for read in (
        lambda: models.versions(store, NAME),
        lambda: models.trend(store.location, NAME, candidate),
        lambda: deployments.champion(store.location, NAME, candidate),
        lambda: release.deploy(
            store.location,
            published_file=str(file),
            verdict_file=str(V1 / "verdict.json"),
            target="machine",
            port=9500,
            run="run",
            folder="folder",
        ),
        lambda: release.verify_latest(store.location, NAME),
    ):
        with pytest.raises(DocumentError, match=f"^{file}: .*(not a|of schema version)"):
            read()
