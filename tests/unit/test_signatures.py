"""Signatures: what is published is what is served, whoever may write to the store."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_registry import Candidate

from cd4ml import cli, load_model
from cd4ml.contracts import signature
from cd4ml.contracts.release import Version
from cd4ml.deployment import release
from cd4ml.errors import SignatureError
from cd4ml.registry import models, signing
from cd4ml.storage import Store, fetch, open_store
from cd4ml.storage.folder import FolderStore

PAGE = Path(__file__).parents[2] / "docs/signing.md"


def a_key(folder: Path) -> Path:
    """A private key, made as the page says, and its public key in the folder `trusted` beside it."""
    folder.mkdir(parents=True)
    [script] = re.findall(r"^<!-- executed [^\n]*-->\n```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    subprocess.run(["bash", "-euc", script], cwd=folder, check=True, capture_output=True)
    return folder / "key.pem"


def trusted(key: Path) -> str:
    return str(key.parent / "trusted")


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return a_key(tmp_path / "ours")


@pytest.fixture
def published(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """A store with a signed version, on a machine that trusts the key."""
    monkeypatch.setenv("CD4ML_SIGNING_KEY", str(key))
    monkeypatch.setenv("CD4ML_TRUSTED_KEYS", trusted(key))
    assert Candidate(tmp_path, "a").published(tmp_path / "store").signed
    return FolderStore(tmp_path / "store")


def check(store: Store, number: int = 1) -> None:
    signing.check(store, models.read(store, "uptake", number))


def brought(store: Store, folder: Path, number: int = 1) -> int:
    """What the init container of a model server does."""
    return fetch.main(store.uri(f"models/uptake/{number}"), folder)


def change_a_bit(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def test_a_version_signed_by_a_trusted_key_is_deployed_and_served(published: FolderStore, tmp_path: Path) -> None:
    check(published)

    assert brought(published, tmp_path / "served") == 0
    assert (tmp_path / "served/model/saved_model/weights").read_text() == "a"
    signature.check(tmp_path / "served", "served", version="uptake/1")


def test_the_signature_is_one_that_the_public_tool_verifies(published: FolderStore, key: Path) -> None:
    version = published.path("models/uptake/1")
    [file] = (version / "signatures").iterdir()
    public = Path(trusted(key)) / "models-2026.pem"
    tool = [sys.executable, "-m", "model_signing", "verify", "key", str(version)]
    options = ["--signature", str(file), "--public_key", str(public), "--ignore-paths", str(version / "signatures")]
    told = subprocess.run([*tool, *options], capture_output=True, text=True, check=False)

    assert told.returncode == 0, told.stderr
    assert "Verification succeeded" in told.stdout


@pytest.mark.parametrize(
    "file",
    ["model/saved_model/weights", "model/contract.json", "verdict.json", "version.json", "summary.json", "card.md"],
)
def test_a_flipped_bit_anywhere_in_a_version_refuses_to_deploy_and_to_start(
    published: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    version = models.read(published, "uptake", 1)
    change_a_bit(published.path(f"models/uptake/1/{file}"))

    with pytest.raises(SignatureError, match=f"models/uptake/1: is not what was signed .*{file}.*put back"):
        signing.check(published, version)
    assert brought(published, tmp_path / "served") == 1
    assert file in capsys.readouterr().err
    assert not (tmp_path / "served").exists()


def remove(folder: Path) -> None:
    (folder / "verdict.json").unlink()


def add(folder: Path) -> None:
    (folder / ".gitignore").write_text("x")


def link(folder: Path) -> None:
    (folder / "model/link").symlink_to("/etc/hostname")


def cut_short(folder: Path) -> None:
    [file] = (folder / "signatures").iterdir()
    file.write_text(file.read_text()[:100])


def empty(folder: Path) -> None:
    [file] = (folder / "signatures").iterdir()
    file.write_text("{}")


def without_signature_within(folder: Path) -> None:
    [file] = (folder / "signatures").iterdir()
    bundle = json.loads(file.read_text())
    bundle["dsseEnvelope"]["signatures"] = []
    file.write_text(json.dumps(bundle))


@pytest.mark.parametrize("change", [remove, add, link, cut_short, empty, without_signature_within])
def test_whatever_is_taken_away_added_or_forged_is_refused_in_one_told_error(
    published: FolderStore, change: Callable[[Path], None]
) -> None:
    change(published.path("models/uptake/1"))

    with pytest.raises(SignatureError, match="models/uptake/1: is not what was signed"):
        check(published)


def test_a_version_that_is_unsigned_or_signed_by_another_is_refused(
    published: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = a_key(tmp_path / "others")
    monkeypatch.delenv("CD4ML_SIGNING_KEY")
    Candidate(tmp_path, "b").publish(published.root)
    monkeypatch.setenv("CD4ML_SIGNING_KEY", str(others))
    Candidate(tmp_path, "c").publish(published.root)

    with pytest.raises(SignatureError, match=r"models/uptake/2: is not signed, and the keys that are trusted here are"):
        check(published, 2)
    with pytest.raises(SignatureError, match=r"models/uptake/3: is signed by [0-9a-f]{16}, and the keys"):
        check(published, 3)
    assert [brought(published, tmp_path / "served", number) for number in (2, 3)] == [1, 1]


def test_the_signature_of_another_under_the_name_of_a_trusted_key_is_refused(
    published: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = published.path("models/uptake/1/signatures")
    [ours] = folder.iterdir()
    monkeypatch.setenv("CD4ML_SIGNING_KEY", str(a_key(tmp_path / "others")))
    change_a_bit(published.path("models/uptake/1/card.md"))
    signing.sign(published, "uptake", 1)
    [others] = set(folder.iterdir()) - {ours}
    others.replace(ours)

    with pytest.raises(SignatureError, match="is not what was signed .*its signature is none: the key has not made it"):
        check(published)


def test_a_changed_version_is_not_loaded_to_predict_here(published: FolderStore) -> None:
    change_a_bit(published.path("models/uptake/1/card.md"))

    with pytest.raises(SignatureError, match="models/uptake/1: is not what was signed"):
        load_model(published.location, "uptake@1")


def test_an_older_version_in_the_place_of_another_is_refused(published: FolderStore, tmp_path: Path) -> None:
    second = Candidate(tmp_path, "b").publish(published.root)
    place = published.path("models/uptake/2")
    shutil.rmtree(place)
    shutil.copytree(published.path("models/uptake/1"), place)

    with pytest.raises(SignatureError, match="models/uptake/2: version 1 of uptake was signed, and lies in the place"):
        signing.check(published, second)
    assert brought(published, tmp_path / "served", 2) == 1


def test_another_model_than_the_signed_one_is_not_deployed(published: FolderStore, tmp_path: Path) -> None:
    version = models.read(published, "uptake", 1)
    edited = Version(**{**vars(version), "digest": "sha256:other"})

    with pytest.raises(SignatureError, match=r"models/uptake/1: holds the model sha256:\w+, and sha256:other was"):
        signing.check(published, edited)


def test_deploying_looks_at_the_signature_before_anything_is_changed(published: FolderStore, tmp_path: Path) -> None:
    version, verdict = (str(published.path(f"models/uptake/1/{name}.json")) for name in ("version", "verdict"))
    change_a_bit(published.path("models/uptake/1/card.md"))

    with pytest.raises(SignatureError, match="is not what was signed"):
        release.deploy(
            published.location,
            published_file=version,
            verdict_file=verdict,
            target="machine",
            port=1,
            run="run",
            folder=str(tmp_path / "result"),
        )
    assert published.children("deployments/uptake") == []


def test_a_bucket_is_signed_and_verified_like_a_folder(
    s3: object, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CD4ML_SIGNING_KEY", str(key))
    monkeypatch.setenv("CD4ML_TRUSTED_KEYS", f"{trusted(key)}/models-2026.pem")
    Candidate(tmp_path, "a").publish("s3://cd4ml/team")
    store = open_store("s3://cd4ml/team")

    check(store)
    assert brought(store, tmp_path / "served") == 0
    assert (tmp_path / "served/model/saved_model/weights").read_text() == "a"


def test_without_a_key_a_version_is_published_and_said_to_be_unsigned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    published = Candidate(tmp_path, "a").published(tmp_path / "store")

    assert published.metadata["signed"] is False
    assert "models/uptake/1 is published unsigned: no key is set to sign with (CD4ML_SIGNING_KEY)" in caplog.text
    check(FolderStore(tmp_path / "store"))


def test_a_version_of_before_is_signed_by_a_command_and_a_second_key_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    version = Candidate(tmp_path, "a").publish(store)
    keys = [a_key(tmp_path / name) for name in ("old", "new")]
    for one in (*keys, keys[0]):
        monkeypatch.setenv("CD4ML_SIGNING_KEY", str(one))
        command("models", "sign", "uptake", "1", "--store", str(store))
        monkeypatch.setenv("CD4ML_TRUSTED_KEYS", trusted(one))
        check(FolderStore(store))

    assert f"uptake version 1 is signed: {version.digest}, published by run run-1" in capsys.readouterr().out
    assert len(FolderStore(store).children("models/uptake/1/signatures")) == 2
    assert Candidate(tmp_path / "again", "a").published(store).signed


def test_a_changed_model_is_not_signed(published: FolderStore) -> None:
    change_a_bit(published.path("models/uptake/1/model/saved_model/weights"))

    with pytest.raises(SignatureError, match=r"holds the model sha256:\w+, and sha256:\w+ was published; put that"):
        signing.sign(published, "uptake", 1)


def test_what_is_no_key_is_told_with_its_file_and_nothing_is_published(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, rsa, other_curve, text = (tmp_path / f"{name}.pem" for name in ("locked", "rsa", "other", "text"))
    openssl("pkey", "-in", str(key), "-aes256", "-passout", "pass:x", "-out", str(locked))
    openssl("genpkey", "-algorithm", "RSA", "-out", str(rsa))
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1", "-out", str(other_curve))
    text.write_text("very-secret")
    no_key, unread = "no private key that can sign.*openssl genpkey", r"cannot be read \(.*\); name the file"
    files = [(file, no_key) for file in (locked, rsa, other_curve, text)]
    for number, (file, said) in enumerate([*files, (tmp_path / "none.pem", unread), (key.parent, unread)]):
        monkeypatch.setenv("CD4ML_SIGNING_KEY", str(file))
        with pytest.raises(SignatureError, match=f"{file}: {said}") as told:
            Candidate(tmp_path, str(number)).publish(tmp_path / "store")
        assert "very-secret" not in str(told.value)
    assert not (tmp_path / "store/models").exists()


def test_what_is_no_trusted_key_is_told_with_its_file(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nothing").mkdir()
    for place, told in (
        (key, f"{key}: no public key of an elliptic curve in PEM"),
        (tmp_path / "none", r"none cannot be read \(No such file or directory\)"),
        (tmp_path / "nothing", "nothing holds no key"),
        (key.parent, "key.pem: no public key"),
    ):
        monkeypatch.setenv("CD4ML_TRUSTED_KEYS", str(place))
        with pytest.raises(SignatureError, match=told):
            signature.trusted_keys()


def command(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cd4ml", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code == 0
