"""The store in a bucket, where a stand-in for S3 tells what was asked, or fails (MinIO: `tests/cluster`)."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from s3_server import S3Server

from cd4ml.errors import StorageError
from cd4ml.storage import AlreadyStoredError, arrow, check_uri, fetch, local_copy, open_store


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


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits before a request is sent again."""
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_store_that_is_overloaded_for_a_moment_is_asked_again(s3: S3Server, unhurried: None, status: int) -> None:
    store = open_store("s3://cd4ml")
    s3.overloaded = status

    for ask in (
        lambda: store.add("models/uptake/pointer/1", "mine"),
        lambda: store.add_folder("models/uptake/1", {"card.md": "# card"}),
        lambda: store.read("models/uptake/1/card.md"),
        lambda: store.children("models/uptake"),
    ):
        s3.unavailable = 4
        ask()
        assert s3.unavailable == 0

    s3.unavailable = 1000
    with pytest.raises(StorageError, match="cannot read models/uptake/1/card.md: .*is it up"):
        store.read("models/uptake/1/card.md")


def test_where_no_store_answers_the_reason_is_told_and_no_signed_address(
    s3: S3Server, unhurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store = open_store("s3://cd4ml")

    for ask in (lambda: store.add("models/a", "x"), lambda: store.read("models/a"), lambda: store.children("models")):
        with pytest.raises(StorageError, match=r"no S3 answers at http://127.0.0.1:9 \(.*Connection refused\)") as told:
            ask()
        assert "X-Amz" not in str(told.value)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY not set"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, r"AWS_SECRET_ACCESS_KEY not set: .* at http://127.0.0.1"),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_ENDPOINT_URL": ""},
            "AWS_ACCESS_KEY_ID not set: .* at https://s3.amazonaws.com",
        ),
    ],
)
def test_a_store_is_not_asked_without_credentials(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(StorageError, match=f"^{told}"):
        open_store("s3://cd4ml").children("models")
    assert s3.connections == 0


def test_a_refusal_is_told_with_its_remedy(s3: S3Server) -> None:
    s3.refused = "models/"

    with pytest.raises(StorageError, match="cannot write models/a: the user of AWS_ACCESS_KEY_ID may not do this"):
        open_store("s3://cd4ml").add("models/a", "x")
    with pytest.raises(StorageError, match="cannot list models: there is no such bucket; make it"):
        open_store("s3://another").children("models")
    with pytest.raises(StorageError, match="cannot read models/a: no such object"):
        open_store("s3://cd4ml").read("models/a")


@pytest.mark.parametrize(
    "location",
    [
        "s3://",
        "s3://a",
        "s3://B_/x",
        "s4://cd4ml",
        "s3://cd4ml/x?y=1",
        "s3://cd4ml/x#y",
        "s3://[",
        "s3://cd4ml/" + "x" * 256,
    ],
)
def test_what_is_no_bucket_is_told(location: str) -> None:
    with pytest.raises(StorageError, match="not a store; name a folder, or s3://bucket/prefix|more than 255 bytes"):
        open_store(location)
    if location.startswith("s3://"):
        with pytest.raises(StorageError):
            check_uri(location)


def test_a_prefix_may_end_with_a_slash_and_have_as_long_a_name_as_files(s3: S3Server) -> None:
    name = "x" * 255
    open_store(f"s3://cd4ml/{name}/").add("models/a", "x")

    assert list(s3.objects) == [f"{name}/models/a"]
    assert check_uri(f"s3://cd4ml/{name}") == f"s3://cd4ml/{name}"


def test_a_folder_is_stored_once_and_whole(s3: S3Server, tmp_path: Path) -> None:
    store = open_store("s3://cd4ml")
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "deep" / "weights").write_bytes(b"\x00\x01")
    (tmp_path / "rows").write_bytes(b"rows")
    store.add_folder(
        "models/uptake/1", {"model": tmp_path / "model", "rows": tmp_path / "rows", "card.md": "# card", "raw": b"\xff"}
    )

    with pytest.raises(AlreadyStoredError, match="models/uptake/1 is already there"):
        store.add_folder("models/uptake/1", {"card.md": "# another"})
    with pytest.raises(StorageError, match="cannot write models/uptake/2: no such file or folder: .*absent"):
        store.add_folder("models/uptake/2", {"card.md": "# card", "model": tmp_path / "absent"})
    with pytest.raises(StorageError, match="cannot write models/b: no such file: .*absent"):
        store.add("models/b", tmp_path / "absent")

    assert fetch.main("s3://cd4ml/models/uptake/1", tmp_path / "fetched") == 0
    found = {str(file.relative_to(tmp_path / "fetched")): file.read_bytes() for file in files(tmp_path / "fetched")}
    marks = {".writer", ".complete"}
    assert {name: content for name, content in found.items() if name not in marks} == {
        "model/deep/weights": b"\x00\x01",
        "rows": b"rows",
        "card.md": b"# card",
        "raw": b"\xff",
    }
    assert {key for key in s3.objects if key.startswith("models/uptake/2")} == set()


def files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def test_one_object_is_fetched_by_its_own_name_and_not_one_whose_name_begins_so(s3: S3Server, tmp_path: Path) -> None:
    s3.objects |= {"models/rows": b"rows", "models/rows-2": b"others"}

    with local_copy("s3://cd4ml/models/rows/") as file:
        assert (file.name, file.read_bytes()) == ("rows", b"rows")


def test_what_cannot_be_fetched_is_told(s3: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s3.objects |= {"models/a": b"a", "models/a/b": b"b", "models/c/../../d": b"d"}

    for name, told in (
        ("models/none", "models/none: nothing is stored there; check the name"),
        ("models/a", "models/a: cannot be read: "),
        ("models/c", "an object of this name would lie outside its folder"),
    ):
        assert fetch.main(f"s3://cd4ml/{name}", tmp_path / "fetched") == 1
        assert told in capsys.readouterr().err
    assert files(tmp_path) == []


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


def test_what_asks_as_arrow_does_has_the_token_of_a_session_too(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-an-hour")

    arrow.folder("s3://cd4ml/traffic/uptake").get_file_info("1.json")

    assert s3.token == "of-an-hour"
