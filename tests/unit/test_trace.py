"""`cd4ml trace`: where something comes from and what came of it, both ways."""

import hashlib
import json
import os
import re
import shlex
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from measured import VERSION
from s3_server import S3Server
from test_promotion import promote
from test_registry import Candidate
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts import captured, model
from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.contracts.deployment import Held, Undone
from cd4ml.contracts.record import RunRecord
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.contracts.window import Window
from cd4ml.contracts.window_drift import WindowDrift
from cd4ml.contracts.window_quality import Labelling, VersionQuality, WindowQuality
from cd4ml.data import erasure, located
from cd4ml.data.ingest import ingest
from cd4ml.data.versions import Datasets
from cd4ml.errors import ArgumentsError, DataError
from cd4ml.monitoring import monitored, one_request, taking, window_table, windows
from cd4ml.monitoring.monitored import Judged
from cd4ml.monitoring.taking import Where
from cd4ml.monitoring.windows import Span
from cd4ml.registry import approvals, clock, deployments, models
from cd4ml.storage import open_store
from cd4ml.storage.folder import FolderStore

PAGE = Path(__file__).parents[2] / "docs/lineage.md"
JUNE = {"player": ["p1", "p2"], "spend": [1.5, 2.0]}
JULY = {"player": ["p2", "p3"], "spend": [2.0, 9.0]}
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two versions of `players`, and two of `uptake`, each deployed and asked on a day of its own.

    The requests of the first day are in a window, those of the second in the capture alone.
    """
    folder = tmp_path_factory.mktemp("made")
    store = FolderStore(folder / "store")
    with pytest.MonkeyPatch.context() as patch:
        for number, (rows, at) in enumerate(((JUNE, FIRST), (JULY, FIRST + DAY)), 1):
            for name in ("now", "moment"):
                moment = at - DAY / 2
                given: Any = clock.written(moment) if name == "now" else moment
                patch.setattr(clock, name, lambda given=given: given)
            take(store, rows, folder)
            ship(store, number)
            capture(store, at, arm=f"deployment-{number}", version=number)
    windows.collect(store.location, "uptake", Span(FIRST, FIRST + DAY))
    return folder / "store"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> FolderStore:
    return FolderStore(shutil.copytree(made, tmp_path / "store"))


def take(store: FolderStore, rows: dict[str, Any], folder: Path) -> None:
    pq.write_table(pa.table(rows), folder / "players.parquet")
    ingest(str(folder / "players.parquet"), store=store.location, name="players", key="player", mode="replace")


def ship(store: FolderStore, number: int) -> None:
    """Publishes a version that was trained on the latest players, and deploys it."""
    data = Datasets(store).find("players").latest.about
    reference = DatasetReference("players", data.version, data.digest)
    with tempfile.TemporaryDirectory() as folder:
        model.write_contract(model.Contract("took", ("false", "true"), (), {}), folder)
        before = "sha256:1" if number == 2 else ""
        version = Version("uptake", number, f"sha256:{number}", clock.now(), f"id-{number}", "", reference)
        version = replace(version, champion=before)
        store.add_folder(version.folder, {"model": Path(folder), "version.json": version.text})
    record = RunRecord("training", f"id-{number}", f"run {number}", "passed", clock.now(), published=number)
    store.add(f"runs/training/id-{number}/summary.json", replace(record, dataset=reference).text)
    approvals.approve(store, version, by="A", reason="it is good")
    begun = deployments.begin(store, version, run=f"id-{number}", target="machine", strategy="replace")
    deployments.add(store, begun, Held("http://127.0.0.1:1", clock.now()))


def capture(store: FolderStore, at: datetime, *, arm: str, version: int) -> None:
    """Two requests, one by each of two players; the first gets feedback an hour later."""
    names = [f"r{version}-{number}" for number in (1, 2)]
    same = {"arm": arm, "version": str(version), "propensity": 1.0, "mirrored": False, "status": 200}
    same |= {"latency_ms": 3.5, "outputs": ["probability"], "predictions": [0.25]}
    rows = [
        same | {"at": at + timedelta(minutes=number), "request_id": name, "features": json.dumps({"player": [player]})}
        for number, (name, player) in enumerate(zip(names, ("p2", "p9"), strict=True))
    ]
    requests = pa.Table.from_pylist(rows, REQUESTS)
    write(store, "requests", requests, at)
    said = {"at": at + timedelta(hours=1), "request_id": names[0], "reward": 1.0, "labels": ["true"]}
    write(store, "feedback", pa.Table.from_pylist([said], FEEDBACK), at)


def write(store: FolderStore, name: str, table: pa.Table, at: datetime) -> None:
    file = Path(store.location, "captures/uptake", name, captured.day(at), "000000-a.parquet")
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)


def ask(store: FolderStore, *words: str) -> str:
    ended = CliRunner().invoke(app, ["trace", *words, "--store", store.location])
    if ended.exception:
        raise ended.exception
    return ended.stdout


def found(store: FolderStore, *words: str) -> dict[str, Any]:
    node: dict[str, Any] = json.loads(ask(store, *words, "--json"))
    return node


def all_of(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for one in (*node.get("made_of", ()), *node.get("led_to", ())):
        yield from all_of(one)


def kinds(nodes: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["kind"], one["name"]) for one in nodes]


def only(node: dict[str, Any], kind: str) -> dict[str, Any]:
    [one] = [one for one in all_of(node) if one["kind"] == kind]
    return one


def test_a_row_leads_to_the_versions_that_hold_it_their_models_deployments_windows_and_requests(
    store: FolderStore,
) -> None:
    row = found(store, "players", "key=p2")

    assert (row["kind"], row["name"], row["said"]) == ("row", "players player=p2", "in 2 versions of players")
    assert kinds(row["led_to"]) == [("dataset", "players@0"), ("dataset", "players@1"), ("request", "r1-1")]
    first, second, request = row["led_to"]
    assert kinds(first["led_to"]) == [("model", "uptake@1")]
    [deployed] = first["led_to"][0]["led_to"]
    assert kinds([deployed, *deployed["led_to"]]) == [
        ("deployment", "uptake 1"),
        ("approval", "A"),
        ("windows", "1 window"),
    ]
    assert deployed["led_to"][1]["said"].startswith("2 requests, 2 rows, 1 with a label; until 2026-01-01T00:01:00")
    assert only(second, "windows")["said"] == "no window of uptake has an answer of it"
    assert request["said"] == "uptake@1 by deployment-1: 0.25, label true"


def test_a_row_is_in_the_versions_that_have_it_and_in_no_other(store: FolderStore) -> None:
    versions = {}
    for key in ("p1", "p2", "p3", "p4"):
        led = found(store, "players", f"player={key}").get("led_to", [])
        versions[key] = [one["name"] for one in led if one["kind"] == "dataset"]

    assert versions == {"p1": ["players@0"], "p2": ["players@0", "players@1"], "p3": ["players@1"], "p4": []}
    assert found(store, "players", "spend=9")["said"] == "in 1 version of players"
    assert found(store, "players", "spend=nine")["said"] == "in no version of players"


@pytest.mark.parametrize(("request_id", "version"), [("r1-1", 1), ("r2-1", 2)])
def test_a_request_leads_back_to_its_version_deployment_approval_run_dataset_and_to_its_label(
    store: FolderStore, request_id: str, version: int
) -> None:
    request = found(store, request_id)

    assert request["kind"] == "request"
    [answer] = request["made_of"]
    assert (answer["name"], answer["at"][:10]) == (f"deployment-{version}", f"2026-01-0{version}")
    assert answer["said"].startswith(f"uptake@{version}: predicted 0.25 (probability)")
    [deployed] = answer["made_of"]
    assert deployed["name"] == f"uptake {version}"
    assert kinds(deployed["made_of"]) == [
        ("approval", "A"),
        ("run", f"id-{version}"),
        ("model", f"uptake@{version}"),
    ]
    assert f"training run {version}, passed" in deployed["made_of"][1]["said"]
    assert only(request, "dataset")["name"] == f"players@{version - 1}"
    assert [(one["kind"], one["name"]) for one in request["led_to"]] == [("label", "true"), ("reward", "1")]
    assert request["led_to"][0]["at"] == f"2026-01-0{version}T01:00:00+00:00"


@pytest.fixture
def learnt(store: FolderStore, tmp_path: Path) -> FolderStore:
    """With a version 3 of a table that has labels, and a version 4 that learnt from windows of the first day too."""
    take(store, {"player": ["p2", "p9#1"], "spend": [2.0, 9.0], "took": ["true", "false"]}, tmp_path)
    ship(store, 3)
    source = {"windows": f"{store.location}/windows/uptake", "columns": {"player": "request"}}
    ingest(json.dumps(source), store=store.location, name="players", key="player", mode="merge")
    ship(store, 4)
    return store


def test_a_request_leads_to_the_row_that_it_became_and_the_version_that_learnt_from_it(learnt: FolderStore) -> None:
    request = found(learnt, "r1-1")

    assert kinds(request["led_to"]) == [("label", "true"), ("reward", "1"), ("row", "players player=r1-1#1")]
    row = request["led_to"][2]
    assert row["said"] == "in 1 version of players"
    assert kinds(row["led_to"]) == [("dataset", "players@3")]
    assert kinds(row["led_to"][0]["led_to"]) == [("model", "uptake@4")]
    assert only(row, "deployment")["name"] == "uptake 4"
    assert "row" not in dict(kinds(found(learnt, "r1-2")["led_to"]))  # it has no label
    assert "row" not in dict(kinds(found(learnt, "r2-1")["led_to"]))  # it is in no window


def test_a_row_that_was_a_request_comes_from_the_answers_to_it_and_its_label(learnt: FolderStore) -> None:
    row = found(learnt, "players", "key=r1-1#1")

    assert kinds(row["led_to"]) == [("dataset", "players@3")]
    [request] = row["made_of"]
    assert (request["kind"], request["name"]) == ("request", "r1-1")
    assert kinds(request["made_of"]) == [("answer", "deployment-1")]
    assert kinds(request["led_to"]) == [("label", "true"), ("reward", "1")]
    assert only(request, "dataset")["name"] == "players@0"
    assert "made_of" not in found(learnt, "players", "key=p9#1")  # came from a file


def test_each_row_of_a_request_leads_to_the_row_that_it_became(learnt: FolderStore, tmp_path: Path) -> None:
    at = FIRST + 2 * DAY
    capture(learnt, at, arm="deployment-2", version=3)
    file = Path(learnt.location, "captures/uptake/requests", captured.day(at), "000000-a.parquet")
    of_three = pq.read_table(file).to_pylist()[1] | {"predictions": [0.1, 0.2, 0.3]}
    players = json.dumps({"player": ["p6", "p7", "p8"]})
    pq.write_table(pa.Table.from_pylist([of_three | {"features": players}], REQUESTS), file)
    take_labels(learnt, tmp_path, request_id=["r3-2", "r3-2"], row=[1, 3], took=["true", "false"])
    windows.collect(learnt.location, "uptake", Span(at, at + DAY))
    source = {"windows": f"{learnt.location}/windows/uptake", "columns": {"player": "request"}}
    ingest(json.dumps(source), store=learnt.location, name="players", key="player", mode="merge")

    rows = [name for kind, name in kinds(found(learnt, "r3-2")["led_to"]) if kind == "row"]

    assert rows == ["players player=r3-2#1", "players player=r3-2#3"]
    third = found(learnt, "players", "key=r3-2#3")
    assert next(one["said"] for one in all_of(third["made_of"][0]) if one["kind"] == "label").startswith("of row 3, ")


def test_a_request_is_traced_where_a_dataset_cannot_be_read(learnt: FolderStore) -> None:
    for file in learnt.path("datasets/players").glob("*.parquet"):
        file.write_bytes(b"")

    row = found(learnt, "r1-1")["led_to"][-1]

    assert (row["kind"], row["name"]) == ("row", "of players")
    assert row["said"].startswith("was not looked for: ")


def test_a_row_whose_request_is_gone_says_so(learnt: FolderStore) -> None:
    for name in ("windows", "captures"):
        shutil.rmtree(learnt.path(name))

    [request] = found(learnt, "players", "key=r1-1#1")["made_of"]

    assert request["name"] == "r1-1"
    assert request["said"] == "of uptake; gone from the store: no window has it, nor the capture"


def test_versions_on_which_no_model_stands_are_told_together(store: FolderStore, tmp_path: Path) -> None:
    for number in range(5):
        rows = {key: [*JULY[key], more] for key, more in {"player": f"q{number}", "spend": 1.0}.items()}
        take(store, rows if number != 3 else {key: some[1:] for key, some in rows.items()}, tmp_path)

    led = found(store, "players", "key=p2")["led_to"]

    assert kinds(led)[:3] == [("dataset", "players@0"), ("dataset", "players@1"), ("dataset", "players@2-4, 6")]
    assert led[2]["said"] == "no published model was trained on it"


def test_a_request_without_a_label_says_what_was_looked_through(store: FolderStore) -> None:
    assert found(store, "r2-2")["led_to"][0]["said"] == (
        "none has come; looked through feedback from 2026-01-02 until 2026-01-08"
    )


def test_a_number_of_many_digits_is_looked_for_in_windows_as_these_have_it(store: FolderStore, tmp_path: Path) -> None:
    take(store, {"player": ["p1"], "spend": [12345678901.0]}, tmp_path)

    texts = located.captured(Datasets(store).find("players"), {"spend": "1.2345678901e10", "player": "p1"})

    assert texts == {"spend": ["1.2345678901e10", "12345678901"], "player": ["p1"]}


def test_labels_in_bulk_count_of_requests_in_windows_and_in_captures_alike(store: FolderStore, tmp_path: Path) -> None:
    pq.write_table(pa.table({"request_id": ["r1-2", "r2-2"], "took": ["true", "false"]}), tmp_path / "late.parquet")
    taking.take("uptake@2", source=str(tmp_path / "late.parquet"), store=store.location)
    pq.write_table(pa.table({"player": ["p9"], "took": ["false"]}), tmp_path / "keyed.parquet")
    taking.take("uptake@2", source=str(tmp_path / "keyed.parquet"), store=store.location, where=Where(key=("player",)))

    of_window = [(one["name"], one["said"]) for one in found(store, "r1-2")["led_to"]]
    assert sorted(name for name, _ in of_window) == ["false", "true"]
    assert any("1 label by player, taken " in said for _, said in of_window)
    assert [one["name"] for one in found(store, "r2-2")["led_to"]] == ["false", "false"]
    assert "does not count (twice)" in found(store, "r2-2")["led_to"][1]["said"]
    assert kinds(found(store, "players", "player=p9")["led_to"])[-1] == ("label", "false")


def labels_of(store: FolderStore, request: str) -> list[tuple[str, str]]:
    """What each is, and what is said of it but for when it was taken."""
    led = [one for one in found(store, request)["led_to"] if one["kind"] == "label"]
    return [(one["name"], re.sub(", taken [^;]*", "", one["said"])) for one in led]


def take_labels(store: FolderStore, folder: Path, **columns: list[Any]) -> None:
    file = folder / "late.parquet"
    pq.write_table(pa.table(columns), file)
    where = Where(row="row" if "row" in columns else "", key=("player",) if "player" in columns else ())
    taking.take("uptake@2", source=str(file), store=store.location, where=where)


def test_labels_that_come_after_the_window_of_their_request_are_each_of_their_row(
    store: FolderStore, tmp_path: Path
) -> None:
    at = FIRST + 2 * DAY
    capture(store, at, arm="deployment-2", version=3)
    file = Path(store.location, "captures/uptake/requests", captured.day(at), "000000-a.parquet")
    of_two = pq.read_table(file).to_pylist()[1] | {
        "predictions": [0.25, 0.75],
        "features": json.dumps({"player": ["p7", "p8"]}),
    }
    pq.write_table(pa.Table.from_pylist([of_two], REQUESTS), file)
    take_labels(store, tmp_path, request_id=["r3-2"], row=[1], took=["true"])
    windows.collect(store.location, "uptake", Span(at, at + DAY))

    take_labels(store, tmp_path, request_id=["r3-2"], row=[2], took=["true"])
    first = ("true", "of row 1, from its window")
    assert labels_of(store, "r3-2") == [first, ("true", "of row 2, from 1 label by request")]
    take_labels(store, tmp_path, player=["p8"], took=["false"])
    take_labels(store, tmp_path, request_id=["r3-2"], row=[3], took=["false"])

    late = [
        first,
        ("true", "of row 2, from 1 label by request; does not count (contradicting)"),
        ("false", "of row 3, from 1 label by request; does not count (other_row)"),
        ("false", "of row 2, from 1 label by player; does not count (contradicting)"),
    ]
    assert sorted(labels_of(store, "r3-2")) == sorted(late)
    assert labels_of(store, "r3-2")[0] == first
    windows.collect(store.location, "uptake", Span(at, at + DAY))
    assert sorted(labels_of(store, "r3-2")) == sorted(late)


def test_a_label_that_contradicts_that_of_the_window_is_told_with_it(store: FolderStore, tmp_path: Path) -> None:
    take_labels(store, tmp_path, request_id=["r1-1"], took=["false"])

    false = ("false", "of row 1, from 1 label by request; does not count (contradicting)")
    assert labels_of(store, "r1-1") == [("true", "of row 1, from its window; does not count (contradicting)"), false]
    shutil.rmtree(store.path("windows"))
    assert labels_of(store, "r1-1") == [("true", "of row 1, from feedback; does not count (contradicting)"), false]


@pytest.mark.parametrize(
    ("column", "forms"),
    [
        ("spend", ["2", "2.0", "2e0"]),
        ("day", ["2026-03-01", "2026-03-01T00:00:00Z", "2026-03-01 02:00+02:00"]),
        ("seen", ["2026-03-01", "2026-03-01T00:00Z", "2026-02-28T22:00:00-02:00"]),
    ],
)
def test_a_row_its_requests_and_its_labels_are_found_by_a_value_in_any_form(
    store: FolderStore, tmp_path: Path, column: str, forms: list[str]
) -> None:
    march = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2)]
    visits = {"player": ["p1", "p2"], "spend": [2.0, 3.0], "day": [one.date() for one in march], "seen": march}
    pq.write_table(pa.table(visits), tmp_path / "visits.parquet")
    ingest(str(tmp_path / "visits.parquet"), store=store.location, name="visits", key="player")
    about = Datasets(store).find("visits").latest.about
    trained = Version("split", 1, "sha256:s", clock.now(), "id-9", "", DatasetReference("visits", 0, about.digest))
    split = {"by": "key", "seed": 1, "eval": 0.4, "test": 0.4}
    store.add_folder(trained.folder, {"version.json": replace(trained, arguments={"split": split}).text})
    at = FIRST + 2 * DAY
    capture(store, at, arm="deployment-2", version=3)
    file = Path(store.location, "captures/uptake/requests", captured.day(at), "000000-a.parquet")
    texts = [forms[0], forms[1] if column != "spend" else "2"]
    rows = [
        one | {"features": json.dumps({column: [text]})}
        for one, text in zip(pq.read_table(file).to_pylist(), texts, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows, REQUESTS), file)
    windows.collect(store.location, "uptake", Span(at, at + DAY))
    pq.write_table(pa.table({column: visits[column][:1], "took": ["true"]}), tmp_path / "keyed.parquet")
    where = Where(key=(column,))
    taking.take("uptake@2", source=str(tmp_path / "keyed.parquet"), store=store.location, where=where)

    rows_found = [found(store, "visits", f"{column}={form}") for form in forms]

    assert [one["said"] for one in rows_found] == ["in 1 version of visits"] * 3
    assert [kinds(one["led_to"]) for one in rows_found] == [
        [("dataset", "visits@0"), ("request", "r3-1"), ("request", "r3-2"), ("label", "true")]
    ] * 3
    assert all(" split" in only(one, "model")["said"] for one in rows_found)
    assert "request" not in {
        kind for kind, _ in kinds(found(store, "visits", f"{column}={visits[column][1]}")["led_to"])
    }


def test_a_label_by_a_moment_is_of_the_row_that_has_it_in_another_form(store: FolderStore, tmp_path: Path) -> None:
    file = tmp_path / "keyed.parquet"
    pq.write_table(pa.table({"player": ["2026-01-01"], "took": ["true"]}), file)
    taking.take("uptake@2", source=str(file), store=store.location, where=Where(key=("player",)))

    led = found(store, "players", "player=2026-01-01T00:00:00Z")["led_to"]

    assert kinds(led)[-1] == ("label", "true")


def test_a_model_and_a_dataset_go_both_ways(store: FolderStore) -> None:
    version = found(store, "uptake@2")
    assert kinds(version["made_of"]) == [("run", "id-2"), ("dataset", "players@1"), ("model", "uptake@1")]
    assert version["made_of"][2]["said"] == "that it was held against"
    assert kinds(version["led_to"]) == [("deployment", "uptake 2")]

    data = found(store, "players@0")
    assert [one["kind"] for one in data["made_of"]] == ["source"]
    assert kinds(data["led_to"]) == [("model", "uptake@1")]


@pytest.mark.parametrize("called", ["id-2", "run 2"])
def test_a_run_is_found_by_its_id_and_its_name(store: FolderStore, called: str) -> None:
    run = found(store, called)

    assert (run["kind"], run["name"]) == ("run", "id-2")
    assert kinds(run["made_of"]) == [("dataset", "players@1")]
    assert kinds(run["led_to"]) == [("model", "uptake@2")]


def test_a_row_is_said_to_be_on_the_side_of_the_split_on_which_a_model_had_it(store: FolderStore) -> None:
    about = Datasets(store).find("players").version("1").about
    trained = Version("split", 1, "sha256:s", clock.now(), "id-9", "", DatasetReference("players", 1, about.digest))
    trained = replace(trained, arguments={"split": {"by": "key", "seed": 1, "eval": 0.4, "test": 0.4}})
    store.add_folder(trained.folder, {"version.json": trained.text})

    for key in ("p2", "p3"):
        place = int(hashlib.md5(f"1:{key}".encode(), usedforsecurity=False).hexdigest()[:8], 16) / 16**8
        side = "test" if place < 0.4 else "eval" if place < 0.8 else "train"
        [said] = [one["said"] for one in all_of(found(store, "players", f"key={key}")) if one["name"] == "split@1"]
        assert said.endswith(f"; the row is in its {side} split")
    assert "its" not in only(found(store, "players", "key=p1"), "model")["said"]


PASSED, FAILED, UNTOLD, ERROR = Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.ERROR
DRIFT = {"drift of spend in version 1": FAILED, "errors in version 1": PASSED, "flood of one caller": FAILED}


@pytest.mark.parametrize(
    ("own", "drift", "said"),
    [
        ([PASSED, PASSED], {}, "1 kept its limits"),
        ([PASSED, Outcome.SKIPPED], DRIFT, "1 kept its limits; drift in 1"),
        ([PASSED, PASSED], {"errors in version 1": FAILED}, "1 kept its limits; too many errors in 1"),
        ([PASSED], {"drift of spend in version 11": FAILED, "errors in version 2": FAILED}, "1 kept its limits"),
        ([UNTOLD, UNTOLD], DRIFT, "1 cannot be told yet; drift in 1"),
        ([PASSED, UNTOLD], {}, "1 kept those limits that can be told"),
        ([PASSED, FAILED, UNTOLD, ERROR], {}, "1 did not keep a limit"),
        ([ERROR, PASSED], {}, "1 could not be held against a limit"),
        ([], {}, "1 held it against no limit"),
    ],
)
def test_windows_that_were_judged_say_how_many_kept_the_limits_of_the_version(
    store: FolderStore, own: list[Outcome], drift: dict[str, Outcome], said: str
) -> None:
    [window] = window_table.every(store, "uptake")
    judge(store, window, own, drift)

    assert only(found(store, "uptake@1"), "windows")["said"].endswith(f"; of 1 judged window {said}")


def judge(store: FolderStore, window: Window, own: list[Outcome], drift: dict[str, Outcome]) -> None:
    """Judges a window that version 1 answered, and version 2 too, which kept no limit."""
    held = {"1": own, "2": [FAILED]}
    by_version = tuple(quality_of(version, outcomes) for version, outcomes in held.items())
    quality = WindowQuality("uptake", window.key, 1, True, "", 0.01, by_version)
    checks = tuple(Check(name, "", None, outcome, name) for name, outcome in drift.items())
    drifted = WindowDrift("uptake", window.key, 1, 0.01, (), checks)
    verdict = Verdict("check_window", {}, (*drifted.checks, *quality.checks))
    monitored.keep(store, Judged(window, verdict, drifted, quality))


def quality_of(version: str, outcomes: list[Outcome]) -> VersionQuality:
    return replace(
        VERSION,
        version=version,
        digest=f"sha256:{version}",
        arms=(f"deployment-{version}",),
        rows=2,
        labelled=1,
        labelling=Labelling(PASSED, 1, ""),
        checks=tuple(Check(f"auc on slice {place}", "", None, one, "") for place, one in enumerate(outcomes)),
    )


def test_the_commands_of_the_page_find_what_they_name(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(store.location).parent)
    [script] = re.findall(r"^<!-- executed [^\n]*-->\n```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    asked = [shlex.split(line, comments=True)[1:] for line in script.splitlines()]

    shown = [CliRunner().invoke(app, words) for words in asked]

    assert [one.exit_code for one in shown] == [0] * 7
    assert [one.stdout.split()[0].strip('{"') for one in shown[:6]] == [
        *("row", "row", "dataset", "model", "run", "request")
    ]


def test_people_read_it_as_a_tree(store: FolderStore) -> None:
    lines = ask(store, "r1-1").splitlines()

    assert lines[0].startswith("request r1-1 2026-01-01 00:00: of uptake; in 20260101T000000Z-20260102T000000Z")
    assert [line.strip("│├└─ ").split()[0] for line in lines[1:]] == [
        *("comes", "answer", "deployment", "approval", "run", "model", "run", "dataset", "source"),
        *("led", "label", "reward"),
    ]


def test_what_is_gone_is_told_where_it_would_stand_and_is_no_error(store: FolderStore) -> None:
    dataset = Datasets(store).find("players")
    erasure.erase(dataset, column="player", values=["p2"], reason="request 17")
    shutil.rmtree(store.path("models/uptake/1"))
    shutil.rmtree(store.path("captures"))

    row = found(store, "players", "key=p2")
    assert row["said"] == "in no version of players"
    [taken] = row["made_of"]
    assert taken["kind"] == "erasure"
    assert taken["said"] == "2 rows of 2 versions: request 17; which rows, nothing tells"
    request = found(store, "r1-1")
    assert only(request, "model")["said"].startswith("gone from the store: store ")
    assert [one["name"] for one in request["led_to"]] == ["true"]
    with pytest.raises(DataError, match="no request 'r2-1' of uptake is in a window, or in what was captured on the"):
        found(store, "r2-1")


def test_a_version_that_was_promoted_says_where_it_came_from(tmp_path: Path) -> None:
    Candidate(tmp_path, "a").publish(tmp_path / "staging")
    promote(tmp_path)

    version = found(FolderStore(tmp_path / "production"), "uptake@1")

    assert only(version, "promotion")["said"].startswith(f"from staging ({tmp_path / 'staging'}) by A")
    assert only(version, "dataset")["said"].startswith("not in this store: ")
    assert only(version, "run")["said"] == "no record of it in this store"


def test_what_a_server_kept_by_itself_is_of_the_deployment_of_its_version_that_was_there_then(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 1 is deployed again on the fourth day, and asked on the third and the fifth."""
    for name in ("now", "moment"):
        given: Any = "2026-01-04T00:00:00+00:00" if name == "now" else FIRST + 3 * DAY
        monkeypatch.setattr(clock, name, lambda given=given: given)
    version = models.read(store, "uptake", 1)
    deployments.begin(store, version, run="id-9", target="cluster", strategy="replace")
    monkeypatch.undo()
    for number in (2, 4):
        capture(store, FIRST + number * DAY, arm="version-1", version=1)
        windows.collect(store.location, "uptake", Span(FIRST + number * DAY, FIRST + (number + 1) * DAY))

    first, again = found(store, "uptake@1")["led_to"]

    assert [only(one, "windows")["at"] for one in (first, again)] == [
        "2026-01-01T00:00:00+00:00",
        "2026-01-05T00:00:00+00:00",
    ]
    assert (first["name"], only(first, "windows")["name"]) == ("uptake 1", "2 windows")
    assert (again["name"], only(again, "windows")["name"]) == ("uptake 3", "1 window")


def test_an_arm_of_a_deployment_that_is_not_in_the_store_is_told(store: FolderStore) -> None:
    capture(store, FIRST + DAY, arm="deployment-7", version=2)

    [answer] = found(store, "r2-1")["made_of"]

    assert kinds(answer["made_of"]) == [("deployment", "not known"), ("model", "uptake@2")]
    assert answer["made_of"][0]["said"] == "none of version 2 that the store has is deployment-7"


def test_a_store_in_a_bucket_is_traced_like_a_folder(tmp_path: Path, s3: S3Server) -> None:
    Candidate(tmp_path, "a").publish("s3://cd4ml")

    ended = CliRunner().invoke(app, ["trace", "uptake@1", "--json", "--store", "s3://cd4ml"])

    version = json.loads(ended.stdout)
    assert version["said"].startswith("auc 0.800 [0.780, 0.820], 1 of 1 limits kept; sha256:")
    assert only(version, "dataset")["said"].startswith("not in this store: store s3://cd4ml: no dataset 'players'")


def test_a_deployment_that_did_not_hold_says_why(store: FolderStore) -> None:
    version = deployments.read(store, "uptake", 2).begun
    begun = deployments.begin(store, version, run="id-3", target="machine", strategy="canary")  # type: ignore[arg-type]
    deployments.add(store, begun, Undone("it predicts otherwise", clock.now()))

    said = [one["said"] for one in found(store, "uptake@2")["led_to"]]

    assert said[-1].endswith("for run id-3; undone: it predicts otherwise")


def test_what_may_be_several_things_is_asked_for(store: FolderStore, tmp_path: Path) -> None:
    take_as(store, "uptake", tmp_path)

    with pytest.raises(ArgumentsError, match="uptake: is a dataset and a model here; say which with --kind"):
        ask(store, "uptake")
    assert found(store, "uptake", "--kind", "dataset")["name"] == "uptake@0"
    assert found(store, "uptake", "--kind", "model")["name"] == "uptake@2"  # the champion
    assert found(store, "r1-1", "--kind", "request")["kind"] == "request"


def take_as(store: FolderStore, name: str, folder: Path) -> None:
    pq.write_table(pa.table(JUNE), folder / "any.parquet")
    ingest(str(folder / "any.parquet"), store=store.location, name=name, key="player")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["players", "p2"], "players p2: name the row by its key: DATASET key=VALUE"),
        (["players", "key=p1", "key=p2"], "players key=p1 key=p2: column 'player' is named twice"),
        (["players", "key=p1", "player=p1"], "column 'player' is named twice; a row has one value of it"),
        (["players", "plyer=p2"], "no version has a column 'plyer'; did you mean 'player'?"),
        (["uptake@7"], "no version 7 of the model uptake; published: 1, 2"),
        (["players@7"], "no version '7'"),
        (["uptake@1", "x", "--kind", "model"], "a model is one word; only a row takes several"),
        (["nothing"], "no request 'nothing' of uptake is in a window, or in what was captured on the last 7 days"),
    ],
)
def test_what_is_not_there_is_told(store: FolderStore, words: list[str], said: str) -> None:
    with pytest.raises((ArgumentsError, DataError, Exception), match=said.replace("?", r"\?")):
        ask(store, *words)


def ids(moment: datetime) -> dict[str, str]:
    """A request's id of each kind that tells when it was made, as RFC 9562 lays them out."""
    milliseconds = int(moment.timestamp() * 1000)
    seventh = (milliseconds << 80) | (7 << 76) | (0x123 << 64) | (2 << 62) | 0x1234
    ticks = int((moment - datetime(1582, 10, 15, tzinfo=UTC)).total_seconds()) * 10_000_000
    first = ((ticks & 0xFFFFFFFF) << 96) | (((ticks >> 32) & 0xFFFF) << 80) | (((ticks >> 48) | (1 << 12)) << 64)
    return {"7": str(uuid.UUID(int=seventh)), "1": str(uuid.UUID(int=first | (2 << 62) | 0x1234))}


@pytest.mark.parametrize("kind", ["1", "7"])
def test_an_id_that_tells_when_it_was_made_says_the_day(kind: str) -> None:
    at = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

    assert one_request.told_by(ids(at)[kind]) == at
    assert one_request.told_by("r1-1") is None
    assert one_request.told_by(uuid.uuid4().hex) is None


@pytest.mark.parametrize("year", ["ffff-ffff", "e677-d21f"])  # 10889, 9999
def test_an_id_of_a_time_that_never_comes_tells_no_day(year: str) -> None:
    assert one_request.told_by(f"{year[:4]}{year[5:]}-dbff-7fff-bfff-ffffffffffff") is None


def test_only_the_days_about_a_request_are_looked_through(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty days are there, of which none can be read but one."""
    at = FIRST + 40 * DAY
    for number in range(2, 62):
        file = Path(store.location, "captures/uptake/requests", captured.day(FIRST + number * DAY), "000000-a.parquet")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    capture(store, at, arm="deployment-2", version=2)
    own = ids(at)["7"]
    table = pq.read_table(Path(store.location, "captures/uptake/requests", captured.day(at), "000000-a.parquet"))
    write(store, "requests", table.set_column(1, "request_id", pa.array([own, "other"])), at)
    looked: list[str] = []
    of_request = one_request.CaptureFiles.of_request

    def noted(files: one_request.CaptureFiles, name: str, request: str, day: str) -> pa.Table:
        looked.append(f"{name} {day}")
        return of_request(files, name, request, day)

    monkeypatch.setattr(one_request.CaptureFiles, "of_request", noted)

    assert found(store, own)["made_of"][0]["at"] == clock.written(at)
    assert {one for one in looked if one.startswith("requests")} == {
        f"requests {captured.day(at + step * DAY)}" for step in (-1, 0, 1)
    }
    looked.clear()
    assert found(store, "other", "--at", at.isoformat())["kind"] == "request"
    assert len(looked) <= 4
    looked.clear()
    with pytest.raises(DataError, match="no request 'other' of uptake"):
        found(store, "other")
    assert len(looked) == one_request.MOST_DAYS


def test_what_takes_long_is_told_beside_what_is_found(store: FolderStore) -> None:
    ended = CliRunner().invoke(app, ["trace", "r2-1", "--json", "--store", store.location])

    assert "uptake: looking through what was captured on 2026-01-02" in ended.stderr
    assert json.loads(ended.stdout)["name"] == "r2-1"


def test_a_request_of_many_files_is_found_without_reading_those_of_other_requests(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a day in windows is found in their table: no file of the capture of requests is opened."""
    requests = Path(store.location, "captures/uptake/requests")
    for file in requests.rglob("*.parquet"):
        os.truncate(file, 0)

    assert only(found(store, "r1-1"), "answer")["name"] == "deployment-1"
    assert len(window_table.of_request(store, "uptake", "r1-1")) == 1
    assert open_store(store.location).children("windows") == ["uptake"]
