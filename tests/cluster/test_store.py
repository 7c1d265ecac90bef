"""The store in a bucket: what holds in a folder holds there, and what goes wrong on the way is said."""

import asyncio
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from minio import MinioAdmin
from minio.credentials import StaticProvider

from cd4ml.cluster import store_setup
from cd4ml.contracts import captured
from cd4ml.contracts.predicted import Predicted
from cd4ml.contracts.traffic import Arm, Traffic
from cd4ml.data import erasure, ingest, table
from cd4ml.data.versions import Datasets
from cd4ml.errors import StorageError, TrainingError
from cd4ml.prediction import results
from cd4ml.registry import notes, records, trainings
from cd4ml.serving.capture import Answered, Capture
from cd4ml.serving.traffic_file import TrafficFile
from cd4ml.storage import AlreadyStoredError, Pointer, PointerMovedError, arrow, fetch, local_copy, open_store, probe
from cd4ml.training import passing, tracking
from cd4ml.training.checkpoints import Checkpoints, State

PAGES = ("index", "datasets/rows")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "deep" / "weights").write_bytes(b"\x00\x01" * 40_000)
    return tmp_path / "model"


def test_a_text_reads_back_and_is_never_replaced(bucket) -> None:
    store = open_store(bucket.uri)
    store.add("deployments/uptake/1.json", "first")

    with pytest.raises(AlreadyStoredError, match="deployments/uptake/1.json is already there"):
        store.add("deployments/uptake/1.json", "second")
    assert store.read("deployments/uptake/1.json") == "first"
    assert store.children("deployments/uptake") == ["1.json"]
    assert store.children("deployments") == ["uptake"]


def test_a_folder_comes_back_as_it_was_stored(bucket, model) -> None:
    store = open_store(f"{bucket.uri}/team")
    store.add_folder("models/uptake/1", {"model": model, "card.md": "# card"})

    assert store.children("models/uptake") == ["1"]
    assert store.read("models/uptake/1/card.md") == "# card"
    with local_copy(store.uri("models/uptake/1/model")) as copy:
        assert (copy / "deep" / "weights").read_bytes() == (model / "deep" / "weights").read_bytes()
        assert [path.name for path in copy.iterdir()] == ["deep"]
    assert not copy.exists()


def test_a_name_that_begins_with_another_is_another(bucket) -> None:
    store = open_store(bucket.uri)
    store.add_folder("models/uptake/1", {"card.md": "one"})
    store.add_folder("models/uptake/10", {"card.md": "ten", "more.md": "more"})

    with local_copy(store.uri("models/uptake/1")) as copy:
        assert {path.name for path in copy.iterdir()} & {"more.md"} == set()
    assert store.children("models/uptake") == ["1", "10"]


def test_a_writer_that_was_ended_leaves_nothing_to_see_and_its_name_taken(bucket, model, monkeypatch) -> None:
    store = open_store(bucket.uri)

    def ended(*arguments: object) -> None:
        raise SystemExit(143)

    monkeypatch.setattr("minio.Minio.fput_object", ended)
    with pytest.raises(SystemExit):
        store.add_folder("models/uptake/1", {"model": model, "card.md": "# card"})

    assert store.children("models/uptake") == []
    with pytest.raises(AlreadyStoredError):
        store.add_folder("models/uptake/1", {"card.md": "# card"})


def test_what_is_missing_is_found_before_anything_is_written(bucket, tmp_path) -> None:
    store = open_store(bucket.uri)

    with pytest.raises(StorageError, match="no such file or folder: .*not there"):
        store.add_folder("models/uptake/1", {"card.md": "# card", "model": tmp_path / "not there"})
    assert list(bucket.client.list_objects(bucket.bucket, recursive=True)) == []


def test_of_many_that_take_one_name_at_once_one_stores_its_own_content(bucket) -> None:
    store = open_store(bucket.uri)
    stored: list[str] = []

    def add(content: str) -> None:
        try:
            store.add_folder("models/uptake/1", {"card.md": content})
        except AlreadyStoredError:
            return
        stored.append(content)

    threads = [threading.Thread(target=add, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(stored) == 1
    assert store.read("models/uptake/1/card.md") == stored[0]


def test_bytes_and_files_read_back_as_they_were(bucket, tmp_path) -> None:
    store = open_store(f"{bucket.uri}/team")
    content = bytes(range(256)) * 50_000
    (tmp_path / "file").write_bytes(content)
    store.add("runs/bytes", content)
    store.add("runs/file", tmp_path / "file")
    store.add_folder("runs/1", {"bytes": content})

    with store.open("runs/file") as stream:
        assert (stream.read(3), stream.read()) == (content[:3], content[3:])
    assert store.read_bytes("runs/bytes") == store.read_bytes("runs/1/bytes") == content
    with pytest.raises(AlreadyStoredError, match="runs/file is already there"):
        store.add("runs/file", tmp_path / "file")


def test_all_that_lies_below_a_name_is_told_with_its_times(bucket) -> None:
    store = open_store(f"{bucket.uri}/team")
    store.add("runs/training/a/begun.json", "{}")
    store.add_folder("models/uptake/1", {"card.md": "# card"})

    [(name, written)] = store.below("runs").items()
    assert name == "runs/training/a/begun.json"
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=1)
    assert list(store.below("models")) == ["models/uptake/1/card.md"]


def test_a_folder_that_an_older_writer_marked_is_there(bucket) -> None:
    store = open_store(bucket.uri)
    for version in ("1", "2"):
        store.add_folder(f"models/uptake/{version}", {"card.md": "# card"})
        bucket.client.remove_object(bucket.bucket, f"models/uptake/.complete-{version}")
    bucket.client.remove_object(bucket.bucket, "models/uptake/2/.complete")

    assert store.children("models/uptake") == ["1"]
    assert store.children("models") == ["uptake"]


def test_each_move_of_eight_writers_is_won_by_one(bucket) -> None:
    won: list[Pointer] = []

    def move(writer: int) -> None:
        store = open_store(bucket.uri)
        for _ in range(5):
            try:
                won.append(store.move("aliases/champion", str(writer), store.pointer("aliases/champion")))
            except PointerMovedError:
                continue

    writers = [threading.Thread(target=move, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert sorted(one.version for one in won) == list(range(1, len(won) + 1))
    assert open_store(bucket.uri).pointer("aliases/champion") == max(won, key=lambda one: one.version)


def test_minio_keeps_what_versions_rest_on(bucket) -> None:
    assert probe.check(open_store(bucket.uri)) == "of 8 writers at once one won, 5 times"


def test_a_dataset_in_a_bucket_has_versions(bucket, tmp_path) -> None:
    rows = pa.table({"id": [1, 2, 3], "country": ["de", "fr", None]})
    pq.write_table(rows, tmp_path / "rows.parquet")
    bucket.client.fput_object(bucket.bucket, "sources/rows.parquet", str(tmp_path / "rows.parquet"))
    source = f"{bucket.uri}/sources/rows.parquet"

    first = ingest.ingest(source, store=bucket.uri, name="rows", key="id")
    again = ingest.ingest(source, store=bucket.uri, name="rows", key="id")
    pq.write_table(rows.slice(0, 2), tmp_path / "rows.parquet")
    second = ingest.ingest(str(tmp_path / "rows.parquet"), store=bucket.uri, name="rows", key="id")

    assert (first.version, again.version, second.version) == (0, 0, 1)
    assert first.uri == f"{bucket.uri}/datasets/rows"
    data, known = table.at_version(first.uri, 0)
    assert known.digest == first.digest
    assert pa.table(data.to_pyarrow_table()).num_rows == 3


def test_predictions_in_a_bucket_have_versions_of_what_they_were_made_of(bucket) -> None:
    store = open_store(bucket.uri)
    folder = results.folder("uptake", "players")
    schema = pa.schema([("row", pa.int64()), ("probability", pa.float32())])
    about = Predicted(
        uri=store.uri(folder),
        version=0,
        rows=1,
        model="uptake",
        model_version=1,
        digest="sha256:abc",
        source="{}",
        state="",
        fingerprint="",
        key=(),
        classes=("no", "yes"),
        threshold=None,
        predicted=1,
        mean=0.5,
    )
    files = []
    for number in (1, 2, 3):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table([[number], [0.5]], schema=schema), sink)
        content = bytes(sink.getvalue())
        store.add(f"{folder}/{number}.parquet", content)
        files.append(results.File(f"{number}.parquet", len(content), 1))

    first = results.commit(replace(about, fingerprint="1, 2"), files[:2], schema)
    again = results.commit(replace(about, fingerprint="1, 2"), files[:2], schema)
    second = results.commit(replace(about, fingerprint="1, 3"), [files[0], files[2]], schema)

    assert (again, second.version) == (first, 1)
    assert results.latest(about.uri) == second
    versions = [table.opened(about.uri, number).to_pyarrow_table()["row"].to_pylist() for number in (0, 1)]
    assert [sorted(one) for one in versions] == [[1, 2], [1, 3]]


def test_rows_are_taken_out_of_all_versions_in_a_bucket_while_others_come(bucket, tmp_path) -> None:
    def take(*ids: str) -> None:
        pq.write_table(pa.table({"id": ids}), tmp_path / f"{ids[0]}.parquet")
        ingest.ingest(str(tmp_path / f"{ids[0]}.parquet"), store=bucket.uri, name="rows", key="id", mode="append")

    take("anna", "bert", "cleo")
    adding = [threading.Thread(target=take, args=[name]) for name in ("dora", "emil")]
    for one in adding:
        one.start()
    erasure.erase(Datasets(open_store(bucket.uri)).find("rows"), column="id", values=["bert"], reason="asked for")
    for one in adding:
        one.join()

    dataset = Datasets(open_store(bucket.uri)).find("rows")
    ids = [table.rows_of_version(table.opened(dataset.uri, one.number)).read_all()["id"] for one in dataset.commits]
    assert sorted(ids[-1].to_pylist()) == ["anna", "cleo", "dora", "emil"]
    assert all(len(one) == len(one.unique()) for one in ids)
    assert not any("bert" in one.to_pylist() for one in ids)


def test_the_catalogue_in_a_bucket_is_of_pages_that_are_replaced(bucket, tmp_path) -> None:
    for rows in (2, 3):
        pq.write_table(pa.table({"id": range(rows)}), tmp_path / "rows.parquet")
        ingest.ingest(str(tmp_path / "rows.parquet"), store=bucket.uri, name="rows", key="id", mode="replace")
    pages = {name: bucket.client.stat_object(bucket.bucket, f"catalogue/{name}.html") for name in PAGES}

    assert {page.content_type for page in pages.values()} == {"text/html"}
    assert '<a href="datasets/rows.html">rows</a>' in open_store(bucket.uri).read("catalogue/index.html")
    assert "Version 1 since" in open_store(bucket.uri).read("catalogue/datasets/rows.html")


def test_a_server_s_init_container_brings_a_model_into_its_volume(bucket, model, tmp_path) -> None:
    open_store(bucket.uri).add_folder("models/uptake/1", {"model": model})

    assert fetch.main(f"{bucket.uri}/models/uptake/1", tmp_path / "volume") == 0
    assert (tmp_path / "volume/model/deep/weights").read_bytes() == (model / "deep/weights").read_bytes()


def test_a_model_that_is_not_there_ends_the_init_container(bucket, tmp_path, capsys) -> None:
    assert fetch.main(f"{bucket.uri}/models/uptake/1", tmp_path / "volume") == 1
    assert "nothing is stored there" in capsys.readouterr().err


def test_a_source_that_is_not_there_is_named(bucket) -> None:
    with pytest.raises(StorageError, match="sources/none.csv: nothing is stored there; check the name"):
        ingest.ingest(f"{bucket.uri}/sources/none.csv", store=bucket.uri, name="rows", key="id")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_ACCESS_KEY_ID", "nobody", "AWS_ACCESS_KEY_ID is not known there"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "AWS_SECRET_ACCESS_KEY is not the one of AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "", "AWS_SECRET_ACCESS_KEY not set"),
    ],
)
def test_a_store_that_cannot_be_asked_says_why(bucket, monkeypatch, variable, value, said) -> None:
    monkeypatch.setenv(variable, value)
    store = open_store(bucket.uri)

    for ask in (
        lambda: store.children("models"),
        lambda: store.read("models/1"),
        lambda: store.add("models/1", "text"),
        lambda: store.add_folder("models/1", {"card.md": "text"}),
    ):
        with pytest.raises(StorageError) as told:
            ask()
        assert said in str(told.value)
        assert bucket.environment["AWS_SECRET_ACCESS_KEY"] not in str(told.value)


def test_a_store_that_is_down_is_named(bucket, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    with pytest.raises(StorageError, match="no S3 answers at http://127.0.0.1:9 .*is AWS_ENDPOINT_URL right") as told:
        open_store(bucket.uri).add("models/1", "text")
    assert "Signature" not in str(told.value)


def test_a_bucket_that_is_not_there_is_named(bucket) -> None:
    with pytest.raises(StorageError, match="store s3://no-such-bucket: cannot write .* there is no such bucket"):
        open_store("s3://no-such-bucket").add("models/1", "text")
    with pytest.raises(StorageError, match="no-such-bucket.* there is no such bucket"):
        open_store("s3://no-such-bucket").children("models")


@pytest.fixture
def as_role(bucket, monkeypatch) -> Iterator[Callable[[str], None]]:
    """Has the store of the bucket asked as the user of a role, with the policy that `minio-setup` gives it."""
    keys = StaticProvider(bucket.environment["AWS_ACCESS_KEY_ID"], bucket.environment["AWS_SECRET_ACCESS_KEY"])
    secure = bucket.environment["AWS_ENDPOINT_URL"].startswith("https")
    admin = MinioAdmin(endpoint=os.environ["MINIO_ENDPOINT"], secure=secure, credentials=keys)
    users = {}
    for role in store_setup.ROLES:
        name, key = f"{role.user}-{bucket.bucket}", uuid.uuid4().hex
        statements = json.loads(json.dumps(role.statements).replace("arn:aws:s3:::cd4ml", bucket_arn(bucket.bucket)))
        admin.policy_add(name, policy={"Version": "2012-10-17", "Statement": statements})
        admin.user_add(name, key)
        admin.policy_set(name, user=name)
        users[role.user] = (name, key)

    def become(role: str) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", users[role][0])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", users[role][1])

    yield become
    for name, _ in users.values():
        admin.user_remove(name)
        admin.policy_remove(name)


def bucket_arn(bucket: str) -> str:
    return f"arn:aws:s3:::{bucket}"


def test_who_trains_can_neither_publish_nor_deploy(bucket, as_role, model) -> None:
    store = open_store(bucket.uri)
    writers = {
        "models/uptake/1/card.md": "publisher",
        "models/uptake/1/signatures/key.json": "publisher",
        "aliases/uptake/champion/1": "publisher",
        "checkpoints/key/0": "trainer",
        "progress/training/run/train-model-key.json": "trainer",
        "deployments/uptake/1/1.json": "deployer",
        "datasets/players/part": "pipelines",
        "judgements/uptake/split/1": "pipelines",
        "tags/players/good/1": "pipelines",
    }
    for name, writer in writers.items():
        for role in ("pipelines", "trainer", "publisher", "deployer", "models", "monitoring"):
            as_role(role)
            if role == writer:
                store.add(name, "text")
            else:
                with pytest.raises(StorageError, match="may not do this"):
                    store.add(f"{name}-{role}", "text")

    as_role("publisher")
    store.add_folder("models/uptake/2", {"model": model, "card.md": "# card"})
    with pytest.raises(StorageError, match="may not do this"):
        store.read("datasets/players/part")
    as_role("deployer")
    assert (store.children("models/uptake"), store.read("models/uptake/2/card.md")) == (["1", "2"], "# card")
    for role in ("pipelines", "publisher", "deployer"):
        as_role(role)
        store.add(f"runs/training/{role}/begun.json", "{}")


def test_a_router_follows_its_traffic_in_the_bucket_and_adds_to_its_capture(bucket, as_role) -> None:
    store = open_store(bucket.uri)
    traffic, place = "traffic/uptake/2.json", store.uri("captures/uptake")
    old = (Arm("old", "http://old:8000", 1.0),)
    both = (Arm("old", "http://old:8000", 0.9), Arm("new", "http://new:8000", 0.1))
    as_role("deployer")
    store.replace(traffic, Traffic(old).text)
    as_role("router")
    file, capture = TrafficFile(store.uri(traffic)), Capture(place, 5, days=90)
    with pytest.raises(StorageError, match="may not do this"):
        store.replace(traffic, Traffic(old).text)
    as_role("deployer")
    store.replace(traffic, Traffic(both).text)

    file.look()
    nothing = Answered(*[None] * len(captured.REQUESTS))
    capture.requests.add(nothing._replace(request_id="one", arm="new"))
    asyncio.run(capture.close())

    assert file.traffic.arms == both
    assert captured.requests(arrow.folder(place)).to_table(columns=["request_id", "arm"]).to_pylist() == [
        {"request_id": "one", "arm": "new"}
    ]
    assert captured.feedback(arrow.folder(place)).count_rows() == 0
    as_role("router")
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        captured.requests(arrow.folder(place))


def test_a_training_keeps_its_checkpoints_in_the_bucket_as_a_user_that_can_do_nothing_else(bucket, as_role) -> None:
    arrays = [np.arange(3_000_000, dtype=np.float32), np.array(7, np.int64)]
    as_role("trainer")
    checkpoints = Checkpoints(bucket.uri, "key")
    assert checkpoints.latest(arrays) is None
    for step in (1, 2, 3):
        assert checkpoints.save(State({"step": step}, [one + step for one in arrays]))

    checkpoints.settle()
    found = Checkpoints(bucket.uri, "key").latest(arrays)

    assert found.progress == {"step": 3}
    np.testing.assert_array_equal(found.arrays[0], arrays[0] + 3)
    as_role("pipelines")
    assert not Checkpoints(bucket.uri, "key").save(State({}, arrays))


def test_a_training_passes_on_what_its_workers_read_in_the_bucket(bucket, as_role, tmp_path) -> None:
    (tmp_path / "train").write_bytes(bytes(20_000_000))
    (tmp_path / "schema").write_text("feature {}")
    files = {"train": tmp_path / "train", "schemas/schema": tmp_path / "schema"}
    as_role("trainer")
    place = passing.put(files, store=bucket.uri, task="task")

    passing.fetch(place, tmp_path / "node")
    passing.settle(bucket.uri, "task")

    for name, file in files.items():
        assert (tmp_path / "node" / name).read_bytes() == file.read_bytes()
    left = bucket.client.list_objects(bucket.bucket, "workers/", recursive=True)
    assert {one.size for one in left} == {0}
    assert passing.put(files, store=bucket.uri, task="task") == place
    passing.fetch(place, tmp_path / "again")
    as_role("pipelines")
    with pytest.raises(TrainingError, match="is not passed on by"):
        passing.fetch(place, tmp_path / "node")


def test_a_training_tells_in_the_bucket_how_far_it_is(bucket, as_role, monkeypatch) -> None:
    for name, value in ((records.PIPELINE, "training"), (records.RUN, "run-1"), (notes.TASK, "train-model")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tracking, "EVERY_SECONDS", 0)

    def told() -> tuple[str, int]:
        as_role("pipelines")
        found, _ = trainings.of(open_store(bucket.uri), pipeline="training", run="run-1")
        [one] = found
        return one.state, one.epoch

    as_role("trainer")
    with tracking.Tracker("dnn", store=bucket.uri, key="key") as tracker:
        tracker.note([], best=None, epoch=2)
    assert told() == ("ended", 2)
    as_role("trainer")
    with pytest.raises(KeyboardInterrupt), tracking.Tracker("dnn", store=bucket.uri, key="key"):
        raise KeyboardInterrupt
    assert told() == ("stopped", 1)


def test_a_traffic_file_in_a_bucket_that_goes_away_changes_nothing_and_is_told(bucket) -> None:
    store = open_store(bucket.uri)
    store.replace("traffic/uptake/2.json", Traffic((Arm("old", "http://old:8000", 1.0),)).text)
    file = TrafficFile(store.uri("traffic/uptake/2.json"))
    bucket.client.remove_object(bucket.bucket, "traffic/uptake/2.json")

    file.look()

    assert "traffic/uptake/2.json: cannot be read (No such file or directory)" in file.mistake
    assert [arm.name for arm in file.traffic.arms] == ["old"]
    store.replace("traffic/uptake/2.json", Traffic((Arm("old", "http://old:8000", 1.0),)).text)
    file.look()
    assert file.mistake == ""
