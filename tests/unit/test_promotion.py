"""Promotion: a version goes as it is into the store of another environment, once that takes it."""

import json
import os
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from s3_server import S3Server, s3_server
from test_registry import Candidate
from test_signatures import a_key, trusted
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts import model
from cd4ml.contracts.promotion import Promotion
from cd4ml.contracts.release import Version
from cd4ml.errors import (
    ArgumentsError,
    Cd4mlError,
    EvaluationError,
    GateError,
    RegistryError,
    SignatureError,
    StorageError,
)
from cd4ml.registry import models, promotions
from cd4ml.storage import Store, open_store
from cd4ml.storage.bucket import S3Store
from cd4ml.storage.credentials import of as credentials_of
from cd4ml.storage.folder import FolderStore

PAGE = Path(__file__).parents[2] / "docs/promotion.md"


@pytest.fixture
def staging(tmp_path: Path) -> FolderStore:
    """A store with version 1 of `uptake`."""
    Candidate(tmp_path, "a").publish(tmp_path / "staging")
    return FolderStore(tmp_path / "staging")


@pytest.fixture
def production(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "production")


def write(folder: Path, **production: Any) -> Path:
    """The file of both environments."""
    there = {"store": str(folder / "production"), "from": "staging"} | production
    file = folder / "environments.yaml"
    file.write_text(
        yaml.safe_dump({"environments": {"staging": {"store": str(folder / "staging")}, "production": there}})
    )
    return file


def promote(folder: Path, *words: str, file: Path | None = None, version: int = 1) -> str:
    asked = ["promote", "uptake", str(version), "--to", "production", "--environments", str(file or write(folder))]
    ended = CliRunner().invoke(app, [*asked, "--by", "A", *words])
    if ended.exception:
        raise ended.exception
    return ended.output


def files(store: Store, folder: str) -> dict[str, bytes]:
    return {name: store.read_bytes(name) for name in store.below(folder)}


def test_a_version_is_there_as_it_was_with_its_number_and_a_record_of_where_it_came_from(
    staging: FolderStore, production: FolderStore, tmp_path: Path
) -> None:
    shown = promote(tmp_path)

    assert files(production, "models") == files(staging, "models")
    found = promotions.find(production, "uptake", 1)
    assert found is not None
    version = models.read(staging, "uptake", 1)
    assert (found.name, found.version, found.digest, found.by) == ("uptake", 1, version.digest, "A")
    assert (found.origin, found.origin_store, found.environment) == ("staging", staging.location, "production")
    assert (found.approved_by, found.signed_by, found.verdict) == ((), (), None)
    assert "promoted uptake version 1 is in production: from staging" in shown
    assert "signed   by nobody" in shown


def test_where_it_came_from_is_told_of_the_version_and_on_its_time_line(
    staging: FolderStore, production: FolderStore, tmp_path: Path
) -> None:
    promote(tmp_path)

    shown = CliRunner().invoke(app, ["models", "show", "uptake@1", "--store", production.location]).output
    line = CliRunner().invoke(app, ["models", "history", "uptake", "--json", "--store", production.location]).output
    said = f"from staging ({staging.location}) by A"
    assert f"copied   {said}, at " in shown
    assert ("copied", said) in [(one["what"], one["said"]) for one in json.loads(line)]


def test_promoting_twice_is_a_no_op_that_says_so(staging: FolderStore, production: FolderStore, tmp_path: Path) -> None:
    promote(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in Path(production.location).rglob("*")}
    found = promotions.find(production, "uptake", 1)

    again = promote(tmp_path, file=write(tmp_path, limits={"auc": {"min": 0.999}}, approvers=["B"]))

    assert found is not None
    assert f"there uptake version 1 is in production: {found.headline}, since {found.at}; nothing was copied" in again
    assert {file: file.stat().st_mtime_ns for file in Path(production.location).rglob("*")} == before
    assert staging.children("promotions") == []


def test_another_model_under_the_same_number_is_refused_and_stays(
    staging: FolderStore, production: FolderStore, tmp_path: Path
) -> None:
    theirs = Candidate(tmp_path / "theirs", "b").publish(production.location)

    with pytest.raises(RegistryError, match=f"production has another uptake as version 1 .{theirs.digest}, published"):
        promote(tmp_path)
    assert models.read(production, "uptake", 1) == theirs


def test_the_same_model_that_was_published_there_by_a_run_is_not_taken_for_the_copy(
    staging: FolderStore, production: FolderStore, tmp_path: Path
) -> None:
    Candidate(tmp_path / "theirs", "a").publish(production.location)
    production.path("models/uptake/1/card.md").write_text("another card")

    with pytest.raises(RegistryError, match=r"is not the version of staging, for they differ in \d+ files .*card.md"):
        promote(tmp_path)
    assert promotions.find(production, "uptake", 1) is None


def test_a_limit_of_the_environment_that_is_not_kept_is_told_and_nothing_is_copied(
    staging: FolderStore, production: FolderStore, tmp_path: Path
) -> None:
    file = write(tmp_path, limits={"auc": {"min": 0.9}})

    with pytest.raises(GateError) as refused:
        promote(tmp_path, file=file)

    said = str(refused.value)
    assert said.startswith("production does not take uptake version 1: check_model: 1 of 1 limits not kept\n  - auc on")
    assert said.endswith("below the limit 0.9")
    assert not Path(production.location).exists()


def test_a_limit_that_is_kept_stands_in_the_record(
    staging: FolderStore, production: FolderStore, tmp_path: Path
) -> None:
    shown = promote(tmp_path, file=write(tmp_path, limits={"auc": {"min": 0.1}}))

    found = promotions.find(production, "uptake", 1)
    assert found is not None
    assert found.verdict is not None
    assert [(one.name, one.limit) for one in found.verdict.checks] == [("auc on overall", "at least 0.1")]
    assert "1 of 1 limits kept" in shown
    assert "passed   auc on overall" in shown


@pytest.mark.parametrize("words", [(), ("--approve", "--reason", "it is good")])
def test_a_limit_of_what_was_not_measured_is_told_with_its_place_and_nobody_approves_for_it(
    staging: FolderStore, production: FolderStore, tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = write(tmp_path, limits={"recall@0.7": {"min": 0.3}}, approvers=["A"])

    with pytest.raises(EvaluationError) as refused:
        promote(tmp_path, *words, file=file)

    said = str(refused.value)
    assert said.startswith(f"{file}: environments.production.limits: cannot be held against uptake version 1 (model ")
    assert "recall@0.7: not measured; " in said
    assert said.endswith("promote a version that was evaluated so, as at more `thresholds`")
    assert not Path(production.location).exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_place_of_trusted_keys_without_any_is_told_with_what_names_it(
    staging: FolderStore, tmp_path: Path, there: bool
) -> None:
    keys = tmp_path / "keys"
    if there:
        keys.mkdir()
    file = write(tmp_path, trusted_keys=str(keys))

    with pytest.raises(SignatureError) as refused:
        promote(tmp_path, file=file)

    said = str(refused.value)
    assert said.startswith(f"{file}: environments.production.trusted_keys: {keys} ")
    assert said.endswith("each in a file, or name no such place" if there else "name a public key, or a folder of keys")


def test_what_did_not_keep_its_own_limits_goes_nowhere(staging: FolderStore, tmp_path: Path) -> None:
    verdict = staging.path("models/uptake/1/verdict.json")
    verdict.write_text(verdict.read_text().replace('"outcome": "passed"', '"outcome": "failed"'))

    with pytest.raises(GateError, match="did not keep the limits of its own gate: auc on overall is 0.8"):
        promote(tmp_path)


def test_a_model_that_was_changed_since_it_was_published_goes_nowhere(staging: FolderStore, tmp_path: Path) -> None:
    staging.path("models/uptake/1/model/saved_model/weights").write_text("changed")

    with pytest.raises(RegistryError, match="holds the model sha256:.* was published; put that back, or promote"):
        promote(tmp_path)


def test_the_environment_asks_for_as_many_approvers_as_it_says_and_for_nobody_else(
    staging: FolderStore, production: FolderStore, tmp_path: Path
) -> None:
    file = write(tmp_path, approvers=["B", "C", " D  d "], approvals=2)

    def approve(by: str) -> str:
        asked = ["promote", "uptake", "1", "--to", "production", "--environments", str(file)]
        ended = CliRunner().invoke(app, [*asked, "--approve", "--reason", "it is good", "--by", by])
        return str(ended.exception) if ended.exception else ended.output

    with pytest.raises(
        GateError, match="production asks for 2 of B, C, D d to approve uptake version 1, sha256:.*; 0 d"
    ):
        promote(tmp_path, file=file)
    assert approve("A").startswith("production asks B, C, D d, and not A")
    assert approve("b").startswith("b lets uptake version 1, sha256:")
    assert approve("B").startswith("B lets uptake version 1, sha256:")
    with pytest.raises(
        GateError, match="1 did. To approve it, C, D d: `cd4ml promote uptake 1 --to production --approv"
    ):
        promote(tmp_path, file=file)
    approve("D   D")
    promote(tmp_path, file=file)

    found = promotions.find(production, "uptake", 1)
    assert found is not None
    assert found.approved_by == ("B", "D d")
    assert staging.children("approvals") == []


def test_where_a_signature_is_asked_for_none_or_another_s_is_refused(
    staging: FolderStore, production: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other = a_key(tmp_path / "ours"), a_key(tmp_path / "theirs")
    file = write(tmp_path, trusted_keys=trusted(key))

    with pytest.raises(SignatureError, match="staging/models/uptake/1: is not signed, and the keys that are trusted"):
        promote(tmp_path, file=file)
    monkeypatch.setenv("CD4ML_SIGNING_KEY", str(other))
    models_sign(staging)
    with pytest.raises(SignatureError, match="staging/models/uptake/1: is signed by"):
        promote(tmp_path, file=file)
    assert not Path(production.location).exists()
    monkeypatch.setenv("CD4ML_SIGNING_KEY", str(key))
    models_sign(staging)
    promote(tmp_path, file=file)

    found = promotions.find(production, "uptake", 1)
    assert found is not None
    assert list(found.signed_by) == [
        one.removesuffix(".json") for one in production.children("models/uptake/1/signatures")
    ]
    assert len(found.signed_by) == 2


def models_sign(store: FolderStore) -> None:
    assert CliRunner().invoke(app, ["models", "sign", "uptake", "1", "--store", store.location]).exit_code == 0


def test_a_copy_that_is_not_what_was_signed_is_told_and_not_recorded(
    staging: FolderStore, production: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_folder = FolderStore.add_folder

    def damaged(store: FolderStore, name: str, *given: Any, **named: Any) -> None:
        add_folder(store, name, *given, **named)
        (store.path(name) / "card.md").write_text("damaged")

    monkeypatch.setattr(FolderStore, "add_folder", damaged)

    with pytest.raises(RegistryError, match=r"for they differ in 1 files \(card.md\)"):
        promote(tmp_path)
    assert promotions.find(production, "uptake", 1) is None


@pytest.mark.parametrize("objects", [1, 5, 12])
def test_a_promotion_that_was_killed_while_it_copied_into_a_bucket_goes_on(
    staging: FolderStore, tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch, objects: int
) -> None:
    file = write(tmp_path, store="s3://cd4ml")
    put, left = S3Store._put, iter(range(objects))

    def killed(store: S3Store, key: str, content: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        put(store, key, content)

    with monkeypatch.context() as patch:
        patch.setattr(S3Store, "_put", killed)
        with pytest.raises(SystemExit, match="130"):
            promote(tmp_path, file=file)
    store = open_store("s3://cd4ml")
    assert (store.children("models/uptake"), promotions.find(store, "uptake", 1)) == ([], None)

    promote(tmp_path, file=file)

    assert store.children("models/uptake") == ["1"]
    assert files(store, "models/uptake/1") == files(staging, "models/uptake/1")
    assert promotions.find(store, "uptake", 1) is not None


def test_what_another_left_half_written_is_told_and_not_gone_on_with(
    staging: FolderStore, tmp_path: Path, s3: S3Server
) -> None:
    s3.objects["models/uptake/1/.writer"] = b"another"

    with pytest.raises(RegistryError, match="another has begun to write there, and has not ended; wait for it, or"):
        promote(tmp_path, file=write(tmp_path, store="s3://cd4ml"))


def test_of_two_at_once_one_promotes_and_both_see_it_there(staging: FolderStore, tmp_path: Path, s3: S3Server) -> None:
    from cd4ml.promotion import environments, promoting

    known = environments.parse(yaml.safe_load(write(tmp_path, store="s3://cd4ml").read_text()), "environments.yaml")
    wanted = promoting.Wanted(known, "uptake", 1, to="production", origin="staging")
    done: list[promoting.Promoted] = []
    both = [threading.Thread(target=lambda by=by: done.append(promoting.promote(wanted, by=by))) for by in ("A", "B")]
    for one in both:
        one.start()
    for one in both:
        one.join()

    assert sorted(one.new for one in done) == [False, True]
    assert len({one.promotion.text for one in done}) == 1
    assert files(open_store("s3://cd4ml"), "models/uptake/1") == files(staging, "models/uptake/1")


def test_each_store_is_asked_with_its_own_keys_and_at_its_own_place(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    Candidate(tmp_path, "a").publish("s3://cd4ml/team")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-staging")
    with s3_server() as other:
        for name, value in {"ENDPOINT_URL": other.url, "ACCESS_KEY_ID": "b", "SECRET_ACCESS_KEY": "secret"}.items():
            monkeypatch.setenv(f"PRODUCTION_AWS_{name}", value)
        file = tmp_path / "environments.yaml"
        there = {"store": "s3://cd4ml/live", "credentials": "PRODUCTION"}
        file.write_text(
            yaml.safe_dump({"environments": {"staging": {"store": "s3://cd4ml/team"}, "production": there}})
        )

        promote(tmp_path, file=file)

        assert other.asked_as == {("b", None)}
    own = {key.removeprefix("team/"): value for key, value in s3.objects.items() if not key.endswith(".writer")}
    copied = {key.removeprefix("live/"): value for key, value in other.objects.items() if "models/" in key}
    assert own == {key: value for key, value in copied.items() if not key.endswith(".writer")}
    assert "live/promotions/uptake/1.json" in other.objects


@pytest.mark.parametrize(
    ("credentials", "asked_as"),
    [("", ("somebody", "of-the-process")), ("PRODUCTION", ("p", None))],
    ids=["the process's keys", "keys of its own"],
)
def test_what_a_target_does_not_name_is_that_of_the_process_and_not_of_where_the_version_comes_from(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch, credentials: str, asked_as: object
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-the-process")
    with s3_server() as other:
        staging = {"ENDPOINT_URL": other.url, "ACCESS_KEY_ID": "s", "SECRET_ACCESS_KEY": "s", "SESSION_TOKEN": "of-s"}
        for name, value in staging.items():
            monkeypatch.setenv(f"STAGING_AWS_{name}", value)
        monkeypatch.setenv("PRODUCTION_AWS_ACCESS_KEY_ID", "p")
        monkeypatch.setenv("PRODUCTION_AWS_SECRET_ACCESS_KEY", "p")
        with credentials_of("STAGING"):
            Candidate(tmp_path, "a").publish("s3://cd4ml/team")
        origin = {"store": "s3://cd4ml/team", "credentials": "STAGING"}
        there = {"store": "s3://cd4ml/live"} | ({"credentials": credentials} if credentials else {})
        file = tmp_path / "environments.yaml"
        file.write_text(yaml.safe_dump({"environments": {"staging": origin, "production": there}}))

        promote(tmp_path, file=file)

        assert other.asked_as == {("s", "of-s")}
        assert not any(key.startswith("live/") for key in other.objects)
    assert s3.asked_as == {asked_as}
    assert "live/promotions/uptake/1.json" in s3.objects
    assert os.environ["AWS_SESSION_TOKEN"] == "of-the-process"


@pytest.mark.parametrize(
    ("production", "error", "said"),
    [
        ({"store": "s3://cd4ml", "credentials": "LIVE"}, StorageError, "LIVE_AWS_ACCESS_KEY_ID and LIVE_AWS_SECRET_"),
        ({"store": "s3://other"}, StorageError, "there is no such bucket; make it, or name another"),
        ({"from": "production"}, ArgumentsError, "a version cannot come from where it goes"),
        ({"from": "stagin"}, ArgumentsError, "no environment 'stagin'; did you mean 'staging'?"),
        ({"stor": "x"}, ArgumentsError, "environments.production.stor: unknown; did you mean 'store'?"),
        ({"limits": {"auk": {"min": 1}}}, ArgumentsError, "auk: unknown; did you mean 'auc'?"),
        ({"approvers": ["B  C", " b c"]}, ArgumentsError, "approvers: names somebody twice"),
        ({"approvers": [" "]}, ArgumentsError, "environments.production.approvers.0: "),
        ({"store": "staging/../staging"}, ArgumentsError, "production: its store is that of staging, "),
        ({"approvers": ["B", "b"]}, ArgumentsError, "approvers: names somebody twice"),
        ({"approvers": ["B"], "approvals": 2}, ArgumentsError, "2 of 1 approvers can never be"),
    ],
)
def test_what_an_environment_cannot_be_is_told(
    staging: FolderStore,
    tmp_path: Path,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    production: dict[str, Any],
    error: type[Cd4mlError],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=re.escape(said)):
        promote(tmp_path, file=write(tmp_path, **production))


def test_without_a_file_of_environments_it_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ArgumentsError, match=r"none.yaml: is not there; write the environments into it, or name anoth"):
        promote(tmp_path, file=tmp_path / "none.yaml")


def test_a_target_that_does_not_answer_is_told_by_its_place(
    staging: FolderStore, tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cd4ml.storage.bucket._RETRIES.total", 0)
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "b", "SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(f"PRODUCTION_AWS_{name}", value)

    with pytest.raises(StorageError, match="no S3 answers at http://127.0.0.1:9"):
        promote(tmp_path, file=write(tmp_path, store="s3://cd4ml", credentials="PRODUCTION"))


def test_a_version_that_there_is_not_is_told_with_those_that_there_are(staging: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no version 7 of the model uptake; published: 1"):
        promote(tmp_path, version=7)


def test_a_record_of_the_first_version_of_its_layout_is_read() -> None:
    found = Promotion.read(Path(__file__).parent / "records/v1/promotion.json")

    assert (found.name, found.version, found.by, found.approved_by) == ("promotion-uptake", 3, "A", ("B",))
    assert found.verdict is not None
    assert found.verdict.passed


def test_the_file_of_the_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cd4ml.promotion import environments

    [text] = re.findall(r"```yaml\n(environments:.*?)```", PAGE.read_text(), re.DOTALL)
    found = environments.parse(yaml.safe_load(text), "environments.yaml")

    assert found.origin("production") == "staging"
    assert found.named("production").limits


def test_a_version_that_was_copied_is_published_again_by_a_run_as_what_it_is(
    staging: FolderStore, production: FolderStore, tmp_path: Path
) -> None:
    promote(tmp_path)

    again = Candidate(tmp_path / "again", "a").published(production.location)
    other = Candidate(tmp_path / "again", "b").published(production.location)

    assert again.version == models.read(staging, "uptake", 1)
    assert isinstance(other.version, Version)
    assert other.version.version == 2
    shutil.rmtree(staging.location)
    assert model.digest(production.path("models/uptake/1/model")) == again.version.digest
