"""The store in a bucket, where a stand-in for S3 tells what was asked, or fails (MinIO: `tests/cluster`)."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from s3_server import S3Server, s3_server

from cd4ml.errors import StorageError
from cd4ml.storage import AlreadyStoredError, open_store


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3_server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield server


def test_listing_one_level_reads_nothing_below_it(s3: S3Server) -> None:
    store = open_store("s3://cd4ml/team")
    for version in ("1", "2", "3"):
        store.add_folder(f"models/uptake/{version}", {f"part-{number}": "x" for number in range(50)})
    s3.listed = 0

    assert store.children("models/uptake") == ["1", "2", "3"]
    assert s3.listed == 6  # each folder, and its mark


def test_all_that_lies_below_a_name_is_told_at_once_with_its_times(s3: S3Server) -> None:
    store = open_store("s3://cd4ml/team")
    store.add("runs/training/a/begun.json", "{}")
    store.add("runs/training/b/tasks/one.json", "{}")
    store.add_folder("models/uptake/1", {"model": "m"})

    assert store.below("runs") == dict.fromkeys(
        ("runs/training/a/begun.json", "runs/training/b/tasks/one.json"), datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert list(store.below("models")) == ["models/uptake/1/model"]
    assert store.below("deployments") == {}


def test_one_connection_serves_many_requests(s3: S3Server) -> None:
    store = open_store("s3://cd4ml/team")
    for number in range(10):
        store.add(f"runs/training/{number}/summary.json", "{}")
    for number in range(10):
        assert store.read(f"runs/training/{number}/summary.json") == "{}"
    assert len(store.children("runs/training/3")) == 1

    assert s3.connections == 1


def test_a_folder_that_an_older_writer_marked_is_there(s3: S3Server) -> None:
    s3.objects |= {f"models/uptake/1/{name}": b"" for name in (".writer", "card.md", ".complete")}
    s3.objects |= {f"models/uptake/2/{name}": b"" for name in (".writer", "card.md")}

    assert open_store("s3://cd4ml").children("models/uptake") == ["1"]


def test_names_that_nobody_writes_whole_are_there_as_in_a_folder(s3: S3Server) -> None:
    store = open_store("s3://cd4ml")
    store.add("runs/training/a/summary.json", "{}")
    store.add_folder("models/uptake/1", {"card.md": "# card"})

    assert store.children("runs/training") == ["a"]
    assert store.children("models") == ["uptake"]


@pytest.mark.parametrize("kind", ["text", "file"])
def test_a_writer_whose_answer_was_lost_has_written(s3: S3Server, tmp_path: Path, kind: str) -> None:
    store = open_store("s3://cd4ml")
    (tmp_path / "file").write_bytes(b"mine" * 30_000)
    content = "mine" if kind == "text" else tmp_path / "file"
    s3.answers_lost = 1

    store.add("models/claim", content)

    assert store.read_bytes("models/claim") == (b"mine" if kind == "text" else b"mine" * 30_000)


@pytest.mark.parametrize("conflicts", [0, 1])
def test_two_writers_of_the_same_text_are_not_both_the_first(s3: S3Server, conflicts: int) -> None:
    store = open_store("s3://cd4ml")
    store.add("models/claim", "same")
    s3.conflicts = conflicts

    with pytest.raises(AlreadyStoredError):
        store.add("models/claim", "same")


def test_a_store_that_is_overloaded_for_a_moment_is_asked_again(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)
    store = open_store("s3://cd4ml")

    for ask in (
        lambda: store.add("models/uptake/pointer/1", "mine"),
        lambda: store.add_folder("models/uptake/1", {"card.md": "# card"}),
        lambda: store.read("models/uptake/1/card.md"),
        lambda: store.children("models/uptake"),
    ):
        s3.unavailable = 4
        ask()

    s3.unavailable = 1000
    with pytest.raises(StorageError, match="cannot read models/uptake/1/card.md: .*is it up"):
        store.read("models/uptake/1/card.md")


def test_a_folder_is_there_when_all_of_it_is(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store, seen = open_store("s3://cd4ml/team"), []
    put = s3.put

    def looking(key: str, body: bytes, condition: str | None) -> tuple[int, str]:
        seen.append((key.rpartition("/")[2], store.children("models/uptake")))
        return put(key, body, condition)

    monkeypatch.setattr(s3, "put", looking)
    store.add_folder("models/uptake/1", {"card.md": "# card", "version.json": "{}"})

    assert [name for name, _ in seen] == [".writer", "card.md", "version.json", ".complete", ".complete-1"]
    assert [there for _, there in seen] == [[], [], [], [], ["1"]]
    assert store.children("models/uptake") == ["1"]


def test_a_write_that_met_another_is_tried_again(s3: S3Server) -> None:
    s3.conflicts = 1

    open_store("s3://cd4ml").add("models/claim", "mine")

    assert s3.objects["models/claim"] == b"mine"


def test_an_object_whose_name_the_store_does_not_give_is_not_listed(s3: S3Server) -> None:
    store = open_store("s3://cd4ml/team")
    store.add("runs/training/1/begun.json", "{}")
    s3.objects |= {f"team/runs/{name}/begun.json": b"{}" for name in ("copy of 1", "²", "x" * 200)}

    assert store.children("runs") == ["training"]


def test_without_any_setting_the_error_names_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    for name in settings:
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(StorageError) as told:
        open_store("s3://cd4ml").children("models")

    assert [name for name in settings if name not in str(told.value)] == []
