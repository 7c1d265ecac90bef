"""What a model may learn from online, whether that still holds, and by which limits what was learnt is published."""

import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import evaluated
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts import evaluation as summary
from cd4ml.contracts import model
from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.contracts.learning import ABOUT, LEARNT, MODEL, MOMENTS, ROWS, Checkpoint, Learning, Lesson, TaughtBy
from cd4ml.contracts.lineage import FILE, Environment, Lineage
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.regression import REGRESSION
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.verdict import Verdict
from cd4ml.data.ingest import ingest
from cd4ml.errors import DataError, GateError, RegistryError
from cd4ml.evaluation import limits
from cd4ml.monitoring import learnt, lesson, steadiness, window_table, windows
from cd4ml.monitoring.steadiness import Lost
from cd4ml.monitoring.windows import Span
from cd4ml.registry import models
from cd4ml.running import asking
from cd4ml.storage import open_store
from cd4ml.storage.folder import FolderStore

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
INPUTS = (Input("age", "number"), Input("region", "category"), Input("asked on", "date", "encoded_2"))
HERE = Environment("1", "sha256:", "sha256:", "3.11", {}, "cpu", 2, (), False)
ROWS_AN_HOUR = 300


def publish(
    store: Path, number: int, *, started_from: str = "", learnt_from: tuple[str, ...] = (), **arguments: Any
) -> str:
    """Publishes a version of `uptake`; its digest."""
    folder = store.parent / f"made-{number}"
    (folder / "saved_model").mkdir(parents=True)
    (folder / "saved_model" / "saved_model.pb").write_text(f"version {number}")
    model.write_contract(Contract("took", ("false", "true"), INPUTS, {"model": "linear"}), folder)
    inputs = {"train": "sha256:t"} | {f"window {key}": "sha256:w" for key in learnt_from}
    Lineage(0, inputs, HERE, started_from).write(folder / FILE)
    of_before = dict.fromkeys(("schema.pbtxt", models.REFERENCE), "of before") | {"statistics": folder}
    data = DatasetReference("players", 0, "sha256:d")
    version = Version("uptake", number, model.digest(folder), "2025-12-31T00:00:00+00:00", "run", "", data)
    version = replace(version, arguments=arguments)
    FolderStore(store).add_folder(version.folder, {"model": folder, "version.json": version.text, **of_before})
    return version.digest


def capture(folder: Path, hours: int, *, delay: timedelta, drift: Any = lambda _: 0.3, **changes: Any) -> None:
    """Writes what a router captured, and labels that come some time later; each hour has a label rate of its own."""
    random, rows = np.random.default_rng(0), hours * ROWS_AN_HOUR
    hour = np.arange(rows) // ROWS_AN_HOUR
    at = int(BEGIN.timestamp() * 1e6) + (np.arange(rows) * 3600e6 / ROWS_AN_HOUR).astype(np.int64)
    took = random.random(rows) < np.array([drift(one) for one in range(hours)])[hour]
    given = [{"age": [40.0], "region": ["south"], "asked on": ["2026-01-01"], "shop": ["a"]} for _ in range(rows)]
    for row, one in changes.get("features", {}).items():
        given[row] = one
    ids = [f"r{row}" for row in range(rows)]
    requests = {
        "at": pa.array(at, pa.timestamp("us", "UTC")),
        "request_id": ids,
        "arm": ["one"] * rows,
        "version": ["1"] * rows,
        "propensity": [1.0] * rows,
        "mirrored": [False] * rows,
        "unit": pa.nulls(rows, pa.string()),
        "status": pa.array([200] * rows, pa.int16()),
        "latency_ms": [1.0] * rows,
        "lookup_ms": pa.nulls(rows, pa.float64()),
        "features": [one if one is None else json.dumps(one) for one in given],
        "outputs": [["probability"]] * rows,
        "predictions": [[0.3]] * rows,
    }
    labels = ["7" if row in changes.get("strange", ()) else json.dumps(bool(one)) for row, one in enumerate(took)]
    feedback = {
        "at": pa.array(at + int(delay.total_seconds() * 1e6), pa.timestamp("us", "UTC")),
        "request_id": ids,
        "reward": pa.nulls(rows, pa.float64()),
        "labels": [[one] for one in labels],
    }
    for name, table, schema in (("requests", requests, REQUESTS), ("feedback", feedback, FEEDBACK)):
        (folder / name / "2026-01-01").mkdir(parents=True)
        made = pa.table(table).select(schema.names).cast(schema)
        pq.write_table(made, folder / name / "2026-01-01" / "00.parquet")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    publish(tmp_path / "store", 1)
    return tmp_path / "store"


def collected(store: Path, hours: int, *, but_for: int = 0, **captured: Any) -> str:
    """Collects the windows of some hours, but for the last ones."""
    capture(store.parent / "capture", hours, **{"delay": timedelta(minutes=1), **captured})
    for hour in range(hours - but_for):
        span = Span(BEGIN + hour * HOUR, BEGIN + (hour + 1) * HOUR)
        windows.collect(str(store), "uptake", span, capture=str(store.parent / "capture"))
    return str(store)


def gathered(store: Path, **others: Any) -> tuple[Lesson, pa.Table]:
    folder = store.parent / "lesson"
    shutil.rmtree(folder, ignore_errors=True)
    about = lesson.gather(str(store), others.pop("model", "uptake@1"), folder, **others)
    assert Lesson.read(folder / ABOUT) == about
    return about, pq.read_table(folder / ROWS)


def test_the_rows_of_ripe_windows_are_as_the_model_takes_them_in_the_order_of_time(store: Path) -> None:
    collected(store, 3)

    about, rows = gathered(store)

    assert [one.rows for one in about.windows] == [300, 300, 300]
    assert rows.schema.field("age").type == pa.float64()
    assert pa.types.is_timestamp(rows.schema.field("asked on").type)
    assert {"age", "region", "asked on", "shop", "took"} == set(rows.column_names)
    assert set(rows["took"].to_pylist()) == {"false", "true"}
    moments = pq.read_table(store.parent / "lesson" / MOMENTS).to_pydict()
    assert moments["asked"] == sorted(moments["asked"])
    assert {known - asked for asked, known in zip(*moments.values(), strict=True)} == {timedelta(minutes=1)}
    assert model.digest(store.parent / "lesson" / MODEL) == about.digest


def test_values_and_labels_of_another_type_are_passed_over_and_counted(store: Path) -> None:
    features = {
        3: {"age": ["forty"], "region": ["south"], "asked on": ["2026-01-01"]},
        4: {"age": [None], "region": [None], "asked on": [None]},  # missing, which the model takes
        5: {"age": [40.0], "region": ["south"], "asked on": ["someday"]},
        6: {"age": ["NaN"], "region": ["south"], "asked on": ["2026-01-01"]},
        7: {"age": [40.0], "region": ["f" * 64], "asked on": ["2026-01-01"]},
    }
    collected(store, 2, features=features, strange=(9, 10))

    about, rows = gathered(store)

    assert about.passed_over == {
        "no label": 2,
        "age: a value of another type": 2,
        "asked on: a value of another type": 1,
        "region: a hash": 1,
    }
    assert (about.rows, len(rows)) == (594, 594)
    assert rows["age"].null_count == 1


def test_a_window_teaches_once(store: Path) -> None:
    collected(store, 3)
    about, _ = gathered(store)
    publish(store, 2, started_from=about.digest, learnt_from=tuple(one.window for one in about.windows[:2]))

    again, _ = gathered(store, model="uptake@2")

    assert [one.window for one in again.windows] == [about.windows[2].window]
    publish(store, 3, learnt_from=tuple(one.window for one in about.windows))
    with pytest.raises(DataError, match="no window to learn from: 3 with ripe labels were before it"):
        gathered(store, model="uptake@3")


def test_what_is_collected_while_a_lesson_is_gathered_is_none_of_it(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected(store, 4, but_for=1)
    before, rows = gathered(store)
    delays, capture = windows.delays, str(store.parent / "capture")

    def as_another_collects(*given: Any, **named: Any) -> Any:
        windows.collect(str(store), "uptake", Span(BEGIN + 3 * HOUR, BEGIN + 4 * HOUR), capture=capture)
        return delays(*given, **named)

    monkeypatch.setattr(windows, "delays", as_another_collects)
    about, again = gathered(store)

    assert (about, again) == (before, rows)
    opened = open_store(store)
    assert [one.window for one in about.windows] == [one.key for one in window_table.every(opened, "uptake")[:3]]
    then = window_table.every(opened, "uptake", at=about.table_version)
    assert [one.digest for one in about.windows] == [one.digest for one in then]
    assert [window_table.rows(opened, one, at=about.table_version).num_rows for one in then] == [300, 300, 300]
    assert len(window_table.given(opened, "uptake", ["at"], at=about.table_version)) == 900
    assert len(window_table.every(opened, "uptake")) == 4


def test_a_moment_may_be_named_from_which_on_windows_teach(store: Path) -> None:
    collected(store, 3)

    about, _ = gathered(store, since=BEGIN + 2 * HOUR)

    assert [one.window for one in about.windows] == ["20260101T020000Z-20260101T030000Z"]


def test_a_feature_that_was_not_captured_is_named(store: Path) -> None:
    collected(store, 2, features={row: {"age": [40.0]} for row in range(600)})

    with pytest.raises(DataError, match=r"not captured \(region, asked on\); name them in `captured_features`"):
        gathered(store)


def test_rows_without_any_feature_teach_nothing_and_are_counted(store: Path) -> None:
    none = dict.fromkeys([*range(300), 310, 311], None)  # all of the first window, as a router kept it, and two
    collected(store, 2, features=none)

    about, rows = gathered(store)

    assert about.passed_over == {"no feature was captured": 302}
    assert ([one.rows for one in about.windows], rows["age"].null_count) == ([0, 298], 0)


def test_where_no_row_has_a_feature_nothing_is_learnt(store: Path) -> None:
    collected(store, 3, features=dict.fromkeys(range(300, 900), None))

    with pytest.raises(DataError, match="no row to learn from in 2 windows: of none that has a label were features"):
        gathered(store, since=BEGIN + HOUR)


def test_a_feature_that_was_captured_as_a_hash_teaches_nothing(store: Path) -> None:
    hashed = {"age": [40.0], "region": ["f" * 64], "asked on": ["2026-01-01"]}
    collected(store, 2, features=dict.fromkeys(range(600), hashed))

    with pytest.raises(DataError, match="region was captured as a hash"):
        gathered(store)


def test_what_changes_faster_than_labels_ripen_is_not_learnt(store: Path) -> None:
    collected(store, 10, delay=timedelta(hours=2), drift=lambda hour: 0.1 + 0.8 * (hour // 2 % 2))

    with pytest.raises(DataError, match=r"ripe after .*, and \d of \d windows had another loss .* have labels sooner"):
        gathered(store)


def test_one_change_among_many_windows_is_learnt(store: Path) -> None:
    collected(store, 8, drift=lambda hour: 0.2 if hour < 4 else 0.8)

    about, _ = gathered(store)

    assert "1 of 7 windows had another loss than the window so long before" in about.steadiness


def lost(means: list[float], version: str = "1") -> list[Lost]:
    return [Lost(version, hour * 3600.0, 400, mean, 0.25) for hour, mean in enumerate(means)]


def test_windows_are_held_against_those_one_ripening_before() -> None:
    slowly = [0.5 + 0.01 * hour for hour in range(20)]

    assert "0 of 19 windows" in steadiness.check("uptake", lost(slowly), 3600)
    with pytest.raises(DataError, match="10 of 10 windows had another loss"):
        steadiness.check("uptake", lost([0.5 + 0.03 * hour for hour in range(20)]), 10 * 3600)


def test_no_alarm_is_raised_by_chance() -> None:
    random = np.random.default_rng(1)

    for _ in range(200):
        assert steadiness.check("uptake", lost((0.5 + 0.025 * random.normal(size=12)).tolist()), 3600)


def test_windows_of_another_version_are_compared_with_their_own() -> None:
    both = [*lost([0.5, 0.5, 0.5]), *(replace(one, begin=one.begin + 9e4) for one in lost([0.9, 0.9], "2"))]

    assert "0 of 3 windows" in steadiness.check("uptake", both, 3600)


def test_where_no_windows_lie_far_enough_apart_it_is_not_known() -> None:
    with pytest.raises(DataError, match="is not known: no two windows with ripe labels, 100 rows of them at least"):
        steadiness.check("uptake", lost([0.5, 0.5]), 9e4)


def test_the_limits_of_the_version_hold_as_far_as_they_apply() -> None:
    of_version = {
        "as_good_as": "baseline",
        "auc": {"min": 0.7, "slices": ["overall", "region=*"], "baseline": {"min_change": 0.0}},
        "accuracy@0.5": {"baseline": {"min_change": 0.01}},
        "fairness": {"region": {"selection_rate": {"max_gap": 0.2}}},
        "required_slices": ["region=*"],
    }

    found = learnt.applying(of_version, BINARY)

    assert found == {
        "auc": {"champion": {"min_change": 0.0}, "min": 0.7, "slices": ["overall", "region=*"]},
        "fairness": {"region": {"selection_rate": {"max_gap": 0.2}}},
        "required_slices": ["region=*"],
        "bootstrap": {"auc": {"baseline": {"min_change": 0.0}}},
    }
    limits.parse(found)


def test_a_team_s_own_limit_against_the_champion_stays() -> None:
    own = {"root_mean_squared_error": {"champion": {"max_change": 5.0, "confident": True}}}

    found = learnt.applying(own, REGRESSION)

    assert found["root_mean_squared_error"] == own["root_mean_squared_error"]
    limits.parse(found)


def test_of_two_that_have_learnt_from_the_same_windows_one_is_published(store: Path, tmp_path: Path) -> None:
    digest = models_digest(store)
    publish(store, 2, started_from=digest, learnt_from=("w1", "w2"))
    folder = a_learning(tmp_path / "learning", digest, windows=("w2", "w3"))

    with pytest.raises(RegistryError, match="version 2 has learnt on from version 1 and from the same windows"):
        learnt.publish(str(store), folder)


ALLOWED = {"auc": {"min": 0.99}, "as_good_as": "baseline"}


@pytest.mark.parametrize(
    "model_limits",
    [ALLOWED, limits.parse(ALLOWED).model_dump(mode="json", exclude_none=True)],
    ids=["as a person writes them", "as the record of a run has them"],
)
def test_what_does_not_keep_the_limits_of_the_version_is_not_published(
    tmp_path: Path, model_limits: dict[str, Any]
) -> None:
    store = tmp_path / "store"
    digest = publish(store, 1, model_limits=model_limits)
    folder = a_learning(tmp_path / "learning", digest, windows=("w1",))
    summary.write(evaluated.a_summary(), folder / "evaluation")

    with pytest.raises(GateError, match=r"auc on overall is 0.8 .*, below the limit 0.99"):
        learnt.publish(str(store), folder)

    assert [one.version for one in models.versions(open_store(store), "uptake")] == [1]
    assert not Verdict.read(folder / "verdict.json").passed


LIMITS = {"auc": {"min": 0.5}}


def test_of_two_that_learnt_the_same_windows_and_publish_at_once_one_is_published(
    publishable: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [publishable("one", windows=("w1", "w2")), publishable("other", windows=("w2", "w3"))]
    store, write, together = both[0].parent / "store", FolderStore.add_folder, threading.Barrier(2, timeout=30)

    def at_once(self: FolderStore, name: str, contents: Any, **others: Any) -> None:
        if name == "models/uptake/2":
            together.wait()  # both have seen that there is no version 2
        write(self, name, contents, **others)

    monkeypatch.setattr(FolderStore, "add_folder", at_once)
    with ThreadPoolExecutor(2) as threads:
        tried = [threads.submit(learnt.publish, str(store), one) for one in both]
        refused = [one.exception() for one in tried]

    assert [one.version for one in models.versions(open_store(store), "uptake")] == [1, 2]
    (why,) = (one for one in refused if one)
    assert isinstance(why, RegistryError)
    assert str(why) == (
        "uptake: version 2 has learnt on from version 1 and from the same windows; deploy that one, and learn on from "
        "it"
    )


def test_what_was_learnt_is_published_once_and_back_to_a_checkpoint_beside_it(publishable: Callable[..., Path]) -> None:
    first, back = publishable("first", windows=("w1",)), publishable("back", windows=("w1",), rows=100)
    store = str(first.parent / "store")

    numbers = [learnt.publish(store, one).version.version for one in (first, first, back)]

    assert numbers == [2, 2, 3]


def test_the_command_says_to_which_checkpoint_it_went_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = a_learning(tmp_path, "sha256:1", windows=("w1",), rows=19_968)
    asked: list[dict[str, Any]] = []

    def ask(_environment: str, module: str, *words: str) -> Any:
        if module.endswith("online"):
            asked.append(json.loads(words[2]))
            return Learning.read(folder / "learnt" / LEARNT).content
        return None

    monkeypatch.setattr(lesson, "gather", lambda *_, **__: Lesson.read(folder / "lesson" / ABOUT))
    monkeypatch.setattr(learnt, "prepare", lambda *_: None)
    monkeypatch.setattr(asking, "ask", ask)

    done = CliRunner().invoke(app, ["monitor", "learn", "uptake", "--back-to", "20000", "--no-publish"])

    assert done.exit_code == 0, done.output
    assert "the checkpoint after 19,968 rows, the last one after at most 20,000" in " ".join(done.output.split())
    assert asked[0]["rows"] == 20_000


def models_digest(store: Path) -> str:
    return Version.parse(open_store(store).read("models/uptake/1/version.json"), "").digest


@pytest.fixture
def publishable(tmp_path: Path) -> Callable[..., Path]:
    """Makes what has learnt on from version 1 and keeps its limits."""
    store = tmp_path / "store"
    pq.write_table(pa.table({"player": ["a"], "took": [True]}), tmp_path / "players.parquet")
    ingest(str(tmp_path / "players.parquet"), store=str(store), name="players", key="player")
    digest = publish(store, 1, model_limits=LIMITS)

    def make(name: str, *, windows: tuple[str, ...], rows: int = 400) -> Path:
        folder = tmp_path / name
        made = folder / "learnt" / MODEL
        shutil.copytree(tmp_path / "made-1", made)
        (made / "saved_model" / "saved_model.pb").write_text(name)
        a_learning(folder, digest, windows=windows, rows=rows)
        found = evaluated.a_summary()
        both = {
            one: replace(found.models["candidate"], digest=of)
            for one, of in (("candidate", model.digest(made)), ("champion", digest))
        }
        better = (summary.Change("champion", "overall", "auc", 0.01, (0.0, 0.02)),)
        slices = [replace(one, model=of) for of in both for one in found.slices]
        summary.write(replace(found, models=both, slices=tuple(slices), changes=better), folder / "evaluation")
        (folder / "evaluation" / "predictions.parquet").write_text("rows")
        return folder

    return make


def a_learning(folder: Path, started_from: str, windows: tuple[str, ...], rows: int = 400) -> Path:
    taught = tuple(TaughtBy(one, 1, "sha256:w", 400 // len(windows)) for one in windows)
    Lesson("uptake", 1, started_from, taught, {}, 60.0).write(folder / "lesson" / ABOUT)
    inputs = {f"window {one}": "sha256:w" for one in windows}
    made = folder / "learnt" / MODEL
    Lineage(0, inputs, HERE, started_from).write(made / FILE)
    digest = model.digest(made) if (made / "contract.json").exists() else "sha256:n"
    checkpoint = Checkpoint(rows, 368, 0.5, 0.6)
    Learning("uptake", 1, started_from, digest, "key", 0.2, 32, rows, (checkpoint,), {}).write(
        folder / "learnt" / LEARNT
    )
    return folder
