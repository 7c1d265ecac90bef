"""`cd4ml models`: what is published."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from s3_server import S3Server
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts.deployment import Held
from cd4ml.contracts.model import Contract, Input, digest, write_contract
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.errors import RegistryError, SignatureError
from cd4ml.registry import deployments
from cd4ml.storage import Store, open_store
from cd4ml.storage.folder import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    made = FolderStore(tmp_path / "store")
    for number in (1, 2):
        folder = tmp_path / f"model-{number}"
        (folder / "saved_model").mkdir(parents=True)
        (folder / "saved_model" / "saved_model.pb").write_text(str(number))
        inputs = (Input("age", "number"), Input("[red]region", "category"))
        write_contract(Contract("took", ("no", "yes"), inputs, {"model": "linear"}), folder)
        version = Version(
            name="uptake",
            version=number,
            digest=digest(folder),
            published_at=f"2026-11-2{number}T12:00:00+00:00",
            run=f"run-{number}",
            revision="",
            dataset=DatasetReference("players", 3, "rows:1"),
        )
        made.add_folder(version.folder, {"model": folder, "version.json": version.text})
        if number == 1:
            begun = deployments.begin(made, version, run="run-1", target="machine", strategy="replace")
            deployments.add(made, begun, Held(endpoint="http://127.0.0.1:1", at=begun.at))
    return made


def ask(store: Store, *words: str) -> str:
    ended = CliRunner().invoke(app, ["models", *words, "--store", store.location])
    if ended.exception:
        raise ended.exception
    return ended.output


def test_the_versions_are_listed_the_newest_first(store: FolderStore) -> None:
    _, newest, oldest = ask(store, "list").splitlines()

    assert newest.split() == ["uptake@2", "2026-11-22", "12:00", "players@3", "run-2"]
    assert oldest.split() == ["uptake@1", "2026-11-21", "12:00", "players@3", "run-1", "champion"]


def test_the_champion_is_shown_where_no_version_is_named(store: FolderStore) -> None:
    shown = ask(store, "show", "uptake")

    assert "uptake@1, published 2026-11-21T12:00:00+00:00 by run-1" in shown
    assert "the probability that took is yes" in shown
    assert [line.split() for line in shown.splitlines()[-2:]] == [["age", "number"], ["[red]region", "category"]]


def test_a_version_is_shown_without_a_look_at_its_weights(store: FolderStore, s3: S3Server) -> None:
    bucket = open_store("s3://cd4ml")
    for number in (1, 2):
        bucket.add_folder(
            f"models/uptake/{number}", {one.name: one for one in store.path(f"models/uptake/{number}").iterdir()}
        )
    s3.read = 0

    assert "the probability that took is yes" in ask(bucket, "show", "uptake@1")
    assert s3.read == 2  # version.json, contract.json


def test_what_is_exported_is_installed_by_its_path_and_not_by_the_name_of_another_package(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    _, use = ask(store, "export", "uptake@1", "exported").splitlines()

    assert use.split()[:4] == ["use", "pip", "install", f"{tmp_path}/exported;"]


def test_what_no_trusted_key_has_signed_is_not_exported(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "ours.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    monkeypatch.setenv("CD4ML_TRUSTED_KEYS", str(tmp_path / "ours.pem"))

    with pytest.raises(SignatureError, match="models/uptake/1: is not signed, and the keys that are trusted here are"):
        ask(store, "export", "uptake@1", str(tmp_path / "exported"))
    assert not (tmp_path / "exported").exists()


def test_what_is_not_published_is_told(store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no version 7 of the model uptake; published: 1, 2"):
        ask(store, "show", "uptake@7")
    with pytest.raises(RegistryError, match="has no champion, for no deployment of it counts; and no version of it is"):
        ask(store, "export", "others", str(tmp_path / "others"))
    with pytest.raises(RegistryError, match="no model is published; the pipeline `training` publishes them"):
        ask(FolderStore(tmp_path / "empty"), "list")
