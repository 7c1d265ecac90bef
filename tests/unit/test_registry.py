"""The registry: what is published has passed, is never changed, and remembers where it came from."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluated import a_summary
from s3_server import S3Server

from cd4ml import images
from cd4ml.contracts import evaluation as summary
from cd4ml.contracts import model
from cd4ml.contracts import verdict as gates
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.deployment import Held
from cd4ml.contracts.regression import REGRESSION
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.errors import DocumentError, RegistryError, StorageError
from cd4ml.registry import clock, deployments, history, models
from cd4ml.storage import open_store
from cd4ml.storage.bucket import S3Store
from cd4ml.storage.folder import FolderStore


class Candidate:
    """A trained, evaluated and checked model on disk."""

    def __init__(self, folder: Path, weights: str, passed: bool = True) -> None:
        self.model = folder / weights / "model"
        (self.model / "saved_model").mkdir(parents=True)
        (self.model / "saved_model" / "weights").write_text(weights)
        contract = model.Contract("took", ("false", "true"), (model.Input("age", "number"),), {"model": "dnn"})
        model.write_contract(contract, self.model)
        self.evaluation = folder / weights / "evaluation"
        self.evaluation.mkdir()
        found = a_summary()
        evaluated = {**found.models, "candidate": replace(found.models["candidate"], digest=model.digest(self.model))}
        summary.write(replace(found, models=evaluated), self.evaluation)
        (self.evaluation / "predictions.parquet").write_text("rows")
        self.verdict = folder / weights / "verdict"
        check = gates.Check(
            "auc on overall",
            "at least 0.7",
            0.8,
            gates.Outcome.PASSED if passed else gates.Outcome.FAILED,
            "auc on overall is 0.8",
        )
        self.judge({"model": model.digest(self.model), "data": a_summary().test_digest}, check)

    def judge(self, about: dict[str, str], check: gates.Check) -> None:
        gates.Verdict("check_model", about, (check,)).write(self.verdict)

    def publish(self, store: Path | str) -> Version:
        return self.published(store).version

    def published(self, store: Path | str) -> models.Published:
        dataset = self.model.parent / "dataset"
        DatasetVersion("players", "/x", version=3, rows=200, digest="sha256:d").write(dataset)
        statistics, schema = dataset.with_name("statistics"), dataset.with_name("schema")
        statistics.mkdir(exist_ok=True)
        (statistics / "train.pb").write_text("of train")
        schema.write_text("feature {}")
        reference = dataset.with_name("reference")
        reference.write_text("rows of train")
        files = (self.model, self.evaluation, self.verdict, dataset, dataset, statistics, schema, reference)
        judged = models.Judged(*map(str, files))
        verdict = gates.Verdict.read(self.verdict)
        return models.publish(str(store), name="uptake", judged=judged, verdict=verdict, run="run-1", revision="abc")


def test_a_published_model_has_its_whole_history(tmp_path: Path) -> None:
    version = Candidate(tmp_path, "a").publish(tmp_path / "store")

    store = FolderStore(tmp_path / "store")
    assert models.read(store, "uptake", 1) == version
    assert version.digest == model.digest(store.path("models/uptake/1/model"))
    assert (version.run, version.revision) == ("run-1", "abc")
    assert version.dataset == DatasetReference("players", 3, "sha256:d")
    assert version.image == images.TOOLS
    assert store.read("models/uptake/1/statistics/train.pb") == "of train"
    assert store.read("models/uptake/1/schema.pbtxt") == "feature {}"
    assert store.read("models/uptake/1/reference.parquet") == "rows of train"
    assert store.children("models/uptake/1").count("outputs.parquet") == 0
    card = store.read("models/uptake/1/card.md")
    assert card.startswith("# uptake, version 1\n")
    assert store.read("models/uptake/1/card.html").startswith("<!doctype html>")
    assert str(tmp_path) not in card + store.read("models/uptake/1/version.json")


def test_what_the_model_gave_for_the_rows_of_its_evaluation_is_published_with_it(tmp_path: Path) -> None:
    candidate = Candidate(tmp_path, "a")
    (candidate.evaluation / "outputs.parquet").write_text("of many rows")
    candidate.publish(tmp_path / "store")

    assert FolderStore(tmp_path / "store").read("models/uptake/1/outputs.parquet") == "of many rows"


def test_the_tasks_that_follow_get_the_version_and_its_card(tmp_path: Path) -> None:
    first, again = (Candidate(tmp_path / name, "a") for name in ("first", "again"))
    for candidate in (first, again):
        published = candidate.published(tmp_path / "store")
        published.write(str(tmp_path / "out" / "version.json"), str(tmp_path / "cards" / "card.md"))

        assert Version.read(tmp_path / "out" / "version.json") == published.version
        assert (tmp_path / "cards" / "card.md").read_text() == FolderStore(tmp_path / "store").read(
            "models/uptake/1/card.md"
        )
        assert published.metadata == {
            **published.version.metadata,
            "uri": str(tmp_path / "store/models/uptake/1"),
            "signed": False,
        }


def test_before_an_evaluation_a_candidate_gets_its_number_and_what_it_is_held_against(tmp_path: Path) -> None:
    location, store = str(tmp_path / "store"), FolderStore(tmp_path / "store")
    first, second = Candidate(tmp_path, "a"), Candidate(tmp_path, "b")

    def register(candidate: Candidate) -> tuple[str, str, int, list[int]]:
        champion, digest, judged, trend = history.register(
            location, name="uptake", candidate_folder=str(candidate.model), dataset="players", version=0, split={}
        )
        return champion, digest, judged, [one["version"] for one in trend]

    assert register(first) == ("", "", 1, [])
    published = first.publish(location)
    begun = deployments.begin(store, published, run="run", target="machine", strategy="replace")
    deployments.add(store, begun, Held("http://127.0.0.1:1", clock.now()))

    assert register(second) == (str(store.path("models/uptake/1/model")), published.digest, 2, [1])


def test_the_same_model_keeps_its_version_and_another_gets_the_next(tmp_path: Path) -> None:
    first, second = Candidate(tmp_path, "a"), Candidate(tmp_path, "b")

    numbers = [candidate.publish(tmp_path / "store").version for candidate in (first, second, first)]

    assert numbers == [1, 2, 1]


def test_a_model_without_a_passed_verdict_is_refused(tmp_path: Path) -> None:
    failed = Candidate(tmp_path, "a", passed=False)

    with pytest.raises(RegistryError, match="did not pass its gate: auc on overall is 0.8"):
        failed.publish(tmp_path / "store")
    assert not (tmp_path / "store" / "models").exists()


def test_a_verdict_about_another_model_is_refused(tmp_path: Path) -> None:
    candidate, other = Candidate(tmp_path, "a"), Candidate(tmp_path, "b")
    candidate.verdict = other.verdict

    with pytest.raises(RegistryError, match="evaluate and check this model first"):
        candidate.publish(tmp_path / "store")


def test_a_verdict_cut_short_is_refused(tmp_path: Path) -> None:
    candidate = Candidate(tmp_path, "a")
    candidate.verdict.write_text(candidate.verdict.read_text()[:40])

    with pytest.raises(DocumentError, match="not a cd4ml/Verdict"):
        candidate.publish(tmp_path / "store")


def test_a_verdict_about_another_evaluation_is_refused(tmp_path: Path) -> None:
    candidate = Candidate(tmp_path, "a")
    check = gates.Check("auc on overall", "at least 0.7", 0.8, gates.Outcome.PASSED, "auc on overall is 0.8")
    candidate.judge({"model": model.digest(candidate.model), "data": "sha256:other"}, check)

    with pytest.raises(RegistryError, match="on the test split sha256:t, the verdict about .* on sha256:other"):
        candidate.publish(tmp_path / "store")


def test_a_version_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    Candidate(tmp_path, "a").publish(tmp_path / "store")

    with pytest.raises(RegistryError, match="no version 7 of the model uptake; published: 1"):
        models.read(FolderStore(tmp_path / "store"), "uptake", 7)


def test_the_champion_is_what_was_deployed_last_but_never_the_candidate_itself(tmp_path: Path) -> None:
    location, store = tmp_path / "store", FolderStore(tmp_path / "store")
    first, second = Candidate(tmp_path, "a"), Candidate(tmp_path, "b")

    def champion(candidate: Candidate) -> tuple[str, str]:
        return deployments.champion(str(location), "uptake", str(candidate.model))

    def deploy(candidate: Candidate) -> None:
        begun = deployments.begin(store, candidate.publish(location), run="run", target="machine", strategy="replace")
        deployments.add(store, begun, Held("http://127.0.0.1:1", clock.now()))

    def published(number: int) -> tuple[str, str]:
        folder = store.path(f"models/uptake/{number}/model")
        return str(folder), model.digest(folder)

    assert champion(first) == ("", "")
    deploy(first)
    assert champion(first) == ("", "")
    assert champion(second) == published(1)
    deploy(second)
    assert champion(second) == published(1)
    assert champion(first) == published(2)


def test_the_trend_is_of_the_versions_before_and_the_same_for_a_run_that_repeats_another(tmp_path: Path) -> None:
    location, (first, second, third) = tmp_path / "store", (Candidate(tmp_path, name) for name in "abc")
    first.publish(location)
    second.publish(location)

    def trend(candidate: Candidate) -> list[dict[str, Any]]:
        return models.trend(str(location), "uptake", str(candidate.model))

    found = a_summary().models["candidate"]
    assert [one["version"] for one in trend(third)] == [1, 2]
    assert [one["version"] for one in trend(second)] == [1]
    assert trend(first) == []
    assert trend(third)[0]["value"] == found.metrics["auc"]
    assert tuple(trend(third)[0]["interval"]) == found.intervals["auc"]
    (location / "models/uptake/1/summary.json").unlink()
    assert [one["version"] for one in trend(third)] == [2]


def test_the_trend_leaves_versions_of_another_problem_out(tmp_path: Path) -> None:
    Candidate(tmp_path, "a").publish(tmp_path / "store")
    number = Candidate(tmp_path, "b")
    contract = model.Contract("price", (), (model.Input("age", "number"),), {"model": "dnn"}, REGRESSION)
    model.write_contract(contract, number.model)

    assert models.trend(str(tmp_path / "store"), "uptake", str(number.model)) == []
    assert len(models.trend(str(tmp_path / "store"), "uptake", str(Candidate(tmp_path, "c").model))) == 1


def test_the_trend_is_of_the_last_ten_versions_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(12):
        Candidate(tmp_path, f"v{number}").publish(tmp_path / "store")

    points = models.trend(str(tmp_path / "store"), "uptake", str(Candidate(tmp_path, "new").model))

    assert [one["version"] for one in points] == list(range(3, 13))


def test_the_number_of_a_writer_that_was_killed_is_not_given_again(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "SILENT", 0.02)
    Candidate(tmp_path, "a").publish("s3://cd4ml")
    s3.objects |= {f"models/uptake/{number}/.writer": b"killed" for number in (2, 3)}
    s3.objects["models/uptake/2/card.md"] = b"# half"

    number = Candidate(tmp_path, "b").publish("s3://cd4ml").version

    assert number == 4
    assert [one.version for one in models.versions(open_store("s3://cd4ml"), "uptake")] == [1, 4]


def test_what_another_writes_at_that_moment_counts_as_soon_as_it_is_whole(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same, add = Candidate(tmp_path, "a"), S3Store.add_folder

    def while_another_writes(self: S3Store, name: str, contents: Any, **others: Any) -> None:
        monkeypatch.setattr(S3Store, "add_folder", add)
        add(self, name, contents, **others)
        marks = {key: s3.objects.pop(key) for key in [*s3.objects] if ".complete" in key}
        threading.Timer(0.1, lambda: s3.objects.update(marks)).start()
        add(self, name, contents, **others)

    monkeypatch.setattr(S3Store, "add_folder", while_another_writes)

    assert same.publish("s3://cd4ml").version == 1
    assert [one.version for one in models.versions(open_store("s3://cd4ml"), "uptake")] == [1]


def test_a_name_that_leaves_the_registry_is_refused(tmp_path: Path) -> None:
    candidate = Candidate(tmp_path, "a")

    with pytest.raises(StorageError, match="cannot be a name"):
        models.read(FolderStore(tmp_path / "store"), "../x", 1)
    with pytest.raises(StorageError, match="cannot be a name"):
        deployments.champion(str(tmp_path / "store"), "../x", str(candidate.model))


def test_a_version_that_lies_in_the_place_of_another_is_told_with_its_file(tmp_path: Path) -> None:
    Candidate(tmp_path, "a").publish(tmp_path / "store")
    shutil.copytree(tmp_path / "store/models/uptake/1", tmp_path / "store/models/uptake/2")

    with pytest.raises(RegistryError, match="uptake/2/version.json: is of version 1 of the model uptake; put back"):
        models.read(FolderStore(tmp_path / "store"), "uptake", 2)
