"""Each kind of source with the real thing: files and folders, the web, databases, Delta tables."""

import gzip
import hashlib
import http.server
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_server import S3Server

from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.data.formats import json_lines
from cd4ml.data.ingest import ingest
from cd4ml.data.sources import parse
from cd4ml.errors import DataError, StorageError

Take = Callable[..., tuple[DatasetVersion, pa.Table]]


@pytest.fixture
def take(tmp_path: Path) -> Take:
    """Takes a source; gives the version and its table, sorted by its key."""

    def ingested(source: Any, key: str = "id", **arguments: Any) -> tuple[DatasetVersion, pa.Table]:
        text = source if isinstance(source, str) else json.dumps(source)
        version = ingest(text, store=str(tmp_path / "store"), name="t", key=key, **arguments)
        return version, deltalake.DeltaTable(version.uri).to_pyarrow_table().sort_by(version.key_column)

    return ingested


def parts(folder: Path, *tables: pa.Table) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"part-{number}.parquet")
    return folder


TWO = (pa.table({"id": [1, 2], "x": ["a", "b"]}), pa.table({"id": [3], "x": ["c"]}))


def test_a_folder_a_glob_and_a_list_are_one_table(take: Take, tmp_path: Path) -> None:
    folder = parts(tmp_path / "parts", *TWO)
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.crc").touch()

    for source in (str(folder), f"{folder}/*.parquet", {"file": [f"{folder}/part-{n}.parquet" for n in (0, 1)]}):
        assert take(source)[1].to_pydict() == {"id": [1, 2, 3], "x": ["a", "b", "c"]}


def test_a_relative_glob_and_the_home_folder_are_understood(
    take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts(tmp_path / "home" / "parts", *TWO)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")

    assert take("parts/*.parquet")[0].rows == take("~/parts")[0].rows == take("~/parts/part-?.parquet")[0].rows == 3


def test_folders_named_as_partitions_are_columns(take: Take, tmp_path: Path) -> None:
    parts(tmp_path / "t" / "year=2025" / "land=de", TWO[0])
    parts(tmp_path / "t" / "year=2026" / "land=fr", TWO[1])

    _, table = take(str(tmp_path / "t"))

    assert table.to_pydict()["year"] == [2025, 2025, 2026]
    assert table.to_pydict()["land"] == ["de", "de", "fr"]


def test_csv_in_folders_that_are_named_otherwise_lacks_what_their_names_do_not_tell(take: Take, tmp_path: Path) -> None:
    for name, row in {
        "year=2025/land=de": "1,a",
        "land=fr/year=2026": "2,b",
        "": "3,c",
        "year=__HIVE_DEFAULT_PARTITION__/land=es": "4,d",
    }.items():
        (tmp_path / "t" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name / "x.csv").write_text(f"id,x\n{row}\n")

    version, table = take(f"{tmp_path}/t")

    assert table.select(["id", "x", "year", "land"]).to_pydict() == {
        "id": [1, 2, 3, 4],
        "x": ["a", "b", "c", "d"],
        "year": [2025, 2026, None, None],
        "land": ["de", "fr", None, "es"],
    }
    assert f"'land' is missing in 1 of 4 files, the first {tmp_path}/t/x.csv" in version.said
    assert f"'year' is missing in 2 of 4 files, the first {tmp_path}/t/x.csv" in version.said


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_column_that_a_folder_is_named_by_too_is_told(take: Take, tmp_path: Path, suffix: str) -> None:
    folder = parts(tmp_path / "t" / "year=2025", pa.table({"id": [1], "year": [1]}))
    (folder / "x.csv").write_text("id,year\n1,1\n")

    with pytest.raises(DataError, match=rf"year=2025/.*.{suffix}: column 'year' is in the files and in the name of"):
        take(f"{tmp_path}/t/*/*.{suffix}")


def test_shards_may_lack_columns_and_have_wider_numbers(take: Take, tmp_path: Path) -> None:
    folder = parts(
        tmp_path / "t", pa.table({"id": [1], "x": [1]}), pa.table({"id": [2], "x": [2.5]}), pa.table({"id": [3]})
    )

    version, table = take(str(folder))

    assert table.to_pydict() == {"id": [1, 2, 3], "x": [1.0, 2.5, None]}
    assert f"'x' is missing in 1 of 3 files, the first {folder}/part-2.parquet" in version.said


def test_a_column_of_two_types_is_told_with_both_files(take: Take, tmp_path: Path) -> None:
    folder = parts(tmp_path / "t", pa.table({"id": [1], "x": [1]}), pa.table({"id": [2], "x": ["a"]}))

    with pytest.raises(DataError, match=r"column 'x' holds int64 in .*part-0.parquet and string in .*part-1.parquet"):
        take(str(folder))
    with pytest.raises(DataError, match=r"part-1.parquet: column 'x' does not fit int64"):
        take({"file": str(folder), "types": {"x": "whole"}})


def test_shards_of_csv_may_order_their_columns_otherwise_and_must_have_the_same(take: Take, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;x\n1;1,5\n")
    (tmp_path / "b.csv").write_text("x;id\nmany;2\n")

    version, table = take(f"{tmp_path}/?.csv")

    assert table.to_pydict() == {"id": [1, 2], "x": ["1,5", "many"]}
    assert (
        f"column 'x' stays text: 'aaaa' (row 1 of {tmp_path}/b.csv) is no number, as those before it are"
        in version.said
    )
    (tmp_path / "b.csv").write_text("id;y\n2;2\n")
    with pytest.raises(DataError, match=r"column 'x' is in .*a.csv and not in .*b.csv; export them alike"):
        take(f"{tmp_path}/?.csv")


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".jsonl.gz"])
def test_json_lines_are_read(take: Take, tmp_path: Path, suffix: str) -> None:
    content = b'{"id": 1, "x": "a", "tags": ["t"]}\n{"id": 2, "y": 2.5}\n'
    file = tmp_path / f"t{suffix}"
    file.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)

    version, table = take(str(file))

    assert table.to_pydict() == {"id": [1, 2], "x": ["a", None], "y": [None, 2.5]}
    assert any(line.startswith("left out 'tags', which holds list") for line in version.said)


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ('{"id": "a"}', "line 3, column 'id': holds text, and a number before; write it in one way in all lines"),
        ('{"id": true}', "line 3, column 'id': holds a truth value, and a number before"),
        ('{"id": 2, "o": 1}', "line 3, column 'o': holds a number, and an object before"),
        ('{"id": 2, "id": 3}', "line 3 is no JSON (a name is there more than once); export it again"),
        ('{"id": 2', "line 3 is no JSON (Expecting ',' delimiter"),
        ("[2]", "line 3 holds no object"),
        ('{"id": 2, "x": 9007199254740993}', "line 3, column 'x': a value has more digits than a number"),
    ],
)
@pytest.mark.parametrize("block", [16 << 20, 32])
def test_a_line_of_json_that_does_not_fit_is_told_with_its_number_and_column(
    take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str, told: str, block: int
) -> None:
    monkeypatch.setattr(json_lines, "BLOCK", block)
    (tmp_path / "t.jsonl").write_text('\ufeff{"id": 1, "x": 1.5, "o": {"a": [1]}}\n\n' + second + "\n")

    with pytest.raises(DataError) as refused:
        take(str(tmp_path / "t.jsonl"))

    assert str(refused.value).startswith(f"{tmp_path}/t.jsonl: {told}")


def test_what_does_not_fit_within_an_object_of_json_is_told_with_its_place(take: Take, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": 1, "o": {"a": [1]}}\n{"id": 2, "o": {"a": [2, "x"]}}\n')

    with pytest.raises(DataError, match=r"line 2, column 'o.a\[\]': holds text, and a number before"):
        take(str(tmp_path / "t.jsonl"))


@pytest.mark.parametrize(
    ("early", "late", "values"),
    [
        ("1", "2.5", [1.0, 2.5]),
        ("null", '"a"', [None, "a"]),
        ('"2026-03-01"', '"soon"', ["2026-03-01", "soon"]),
        ('"soon"', '"2026-03-01"', ["soon", "2026-03-01"]),
    ],
)
@pytest.mark.parametrize("where", ["later in the file", "in another file"])
def test_a_later_line_of_json_widens_its_column_as_if_it_had_come_first(
    take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: str, late: str, values: list[Any], where: str
) -> None:
    monkeypatch.setattr(json_lines, "BLOCK", 32)
    first, last = (f'{{"id": {number}, "x": {value}, "more": "a text"}}' for number, value in ((1, early), (2, late)))
    if where == "in another file":
        (tmp_path / "b.jsonl").write_text(last)
    (tmp_path / "a.jsonl").write_text(first if where == "in another file" else f"{first}\n{last}")

    assert take(f"{tmp_path}/?.jsonl")[1]["x"].to_pylist() == values


@pytest.mark.parametrize(
    ("texts", "type_", "first"),
    [
        (["2026-03-01", "2026-03-01T10:00:00.123456"], pa.timestamp("us"), datetime(2026, 3, 1)),
        (["2026-03-01T10:00:00+02:00", None], pa.timestamp("us", "UTC"), datetime(2026, 3, 1, 8, tzinfo=UTC)),
        (["2026-03-01T10:00:00Z", "2026-03-01T10:00:00"], pa.string(), "2026-03-01T10:00:00Z"),
        (["9999-12-31", "0001-01-01"], pa.timestamp("us"), datetime(9999, 12, 31)),
    ],
)
@pytest.mark.parametrize("block", [16 << 20, 16])
def test_moments_of_json_keep_their_zone_and_their_fractions(
    take: Take,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    texts: list[str | None],
    type_: pa.DataType,
    first: object,
    block: int,
) -> None:
    monkeypatch.setattr(json_lines, "BLOCK", block)
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps({"id": place, "at": text}) + "\n" for place, text in enumerate(texts))
    )

    version, table = take(str(tmp_path / "t.jsonl"))

    assert (table.schema.field("at").type, table["at"][0].as_py()) == (type_, first)
    assert any("column 'at' stays text" in line and "time zone" in line for line in version.said) == (
        type_ == pa.string()
    )


def test_a_column_that_comes_later_in_json_lines_is_missing_before(
    take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "BLOCK", 8)
    (tmp_path / "t.jsonl").write_text('{"id": 1}\n{"id": 2, "y": "b"}\n')

    assert take(str(tmp_path / "t.jsonl"))[1]["y"].to_pylist() == [None, "b"]


def test_json_of_another_type_in_another_file_is_told_and_can_be_read_as_text(take: Take, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "on": "2026-03-01"}\n')
    (tmp_path / "b.jsonl").write_text('{"id": "b", "on": "2026-03-02"}\n')

    with pytest.raises(DataError, match=r"column 'id' holds int64 in .*a.jsonl and string in .*b.jsonl; export them"):
        take(f"{tmp_path}/?.jsonl")
    _, table = take({"file": f"{tmp_path}/?.jsonl", "types": {"id": "text", "on": "text"}})
    assert table.to_pydict() == {"id": ["1", "b"], "on": ["2026-03-01", "2026-03-02"]}


@pytest.mark.parametrize("suffix", [".arrow", ".feather", ".arrows"])
def test_arrow_files_and_streams_are_read(take: Take, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"t{suffix}"
    new = pa.ipc.new_stream if suffix == ".arrows" else pa.ipc.new_file
    with new(str(file), TWO[0].schema) as writer:
        writer.write_table(TWO[0])

    read = {"read": {"format": "arrow"}} if suffix == ".arrows" else {}

    assert take({"file": str(file), **read})[1].to_pydict() == TWO[0].to_pydict()


def test_what_is_no_data_is_told_with_its_file(take: Take, tmp_path: Path) -> None:
    folder = parts(tmp_path / "t", *TWO)
    (folder / "notes.md").write_text("x")
    cases = {
        str(folder): "notes.md: of no known format",
        f"{tmp_path}/**/*.parquet": "** is no part of a glob; name the folder above it",
        "s3://sources/**/*.parquet": "** is no part of a glob",
        f"{tmp_path}/no*.csv": "no file matches it",
        str(tmp_path / "nowhere.csv"): "no such file",
        f"{folder}/part-0.parquet.zip": "no such file",
    }
    (tmp_path / "empty").mkdir()
    cases[str(tmp_path / "empty")] = "holds no file"
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    cases[str(loop)] = "Symlink loop"
    for source, told in cases.items():
        with pytest.raises((DataError, StorageError)) as refused:
            take(source)
        assert told in str(refused.value)


def test_folders_that_a_folder_links_to_are_a_part_of_it(take: Take, tmp_path: Path) -> None:
    folder = parts(tmp_path / "t", TWO[0])
    parts(tmp_path / "elsewhere" / "more", TWO[1])
    (folder / "year=2026").symlink_to(tmp_path / "elsewhere")

    _, table = take(str(folder))

    assert table.to_pydict() == {"id": [1, 2, 3], "x": ["a", "b", "c"], "year": [None, None, 2026]}


def test_what_two_ways_lead_to_is_there_once_and_a_loop_ends(take: Take, tmp_path: Path) -> None:
    folder = parts(tmp_path / "t" / "year=2026", *TWO).parent
    (folder / "latest").symlink_to("year=2026")
    (folder / "year=2026" / "again").symlink_to(folder)
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to(tmp_path)

    version, table = take(str(folder))

    assert table["year"].to_pylist() == [2026, 2026, 2026]
    assert not version.said


def test_a_damaged_row_group_is_named(take: Take, tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    numbers = pa.table({"id": list(range(1000))})
    pq.write_table(numbers, file, row_group_size=500, compression="none", use_dictionary=False)
    start = pq.read_metadata(file).row_group(1).column(0).data_page_offset
    with file.open("r+b") as content:
        content.seek(start)
        content.write(b"\xff" * 64)

    with pytest.raises(DataError, match=r"t.parquet: row group 1 cannot be read"):
        take(str(file))


# ------------------------------------------------------------------------------------------------------------------


def test_a_bucket_is_read_by_name_folder_and_glob(take: Take, s3: S3Server) -> None:
    s3.objects["sources/t/1.csv"] = b"id,x\n1,a\n"
    s3.objects["sources/t/2.csv"] = b"id,x\n2,b\n"
    s3.objects["sources/t/_SUCCESS"] = b""

    for name in ("t", "t/", "t/*.csv", "t/[12].csv"):
        assert take(f"s3://cd4ml/sources/{name}")[1].to_pydict() == {"id": [1, 2], "x": ["a", "b"]}
    assert take("s3://cd4ml/sources/t/2.csv")[0].rows == 1
    with pytest.raises(StorageError, match="t/3.csv: nothing is stored there; check the name"):
        take("s3://cd4ml/sources/t/3.csv")


def test_a_glob_of_a_bucket_is_that_of_a_folder(take: Take, tmp_path: Path, s3: S3Server) -> None:
    names = ("_raw/g/a.csv", "_raw/g/.h.csv", "_raw/g/_tmp.csv", "_raw/g/sub/z.csv")
    for number, name in enumerate(names):
        s3.objects[name] = b"id\n%d\n" % number
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(s3.objects[name])

    for place in ("s3://cd4ml", tmp_path):
        assert take(f"{place}/_raw/g/*.csv")[1].to_pydict() == {"id": [0]}


def test_a_delta_table_in_a_bucket_is_no_folder_of_files(take: Take, s3: S3Server) -> None:
    s3.objects["lake/t/_delta_log/00000000000000000000.json"] = b"{}"
    s3.objects["lake/t/part-0.parquet"] = b""

    with pytest.raises(DataError, match="lake/t: is a Delta table; write it as {delta: s3://cd4ml/lake/t}"):
        take("s3://cd4ml/lake/t")


# ------------------------------------------------------------------------------------------------------------------


@dataclass
class Web:
    """A web server of one file."""

    content: bytes = b"id,x\n1,a\n2,b\n"
    etag: str = '"1"'
    asked: list[str] = field(default_factory=list)
    authorization: str | None = None
    cut: bool = False
    status: int = 200
    encoding: str = ""
    url: str = ""


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(b"")

        def do_GET(self) -> None:
            self.answer(served.content[: len(served.content) // 2] if served.cut else served.content)

        def answer(self, body: bytes) -> None:
            served.asked.append(self.command)
            served.authorization = self.headers["Authorization"]
            self.send_response(served.status)
            self.send_header("ETag", served.etag)
            if served.encoding:
                self.send_header("Content-Encoding", served.encoding)
            self.send_header("Content-Length", str(len(served.content)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_port}/t.csv?page=1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield served
        server.shutdown()


def test_a_file_of_the_web_is_fetched_once_as_long_as_it_is_the_same(take: Take, web: Web) -> None:
    first, table = take(web.url)
    assert table.to_pydict() == {"id": [1, 2], "x": ["a", "b"]}

    assert take(web.url)[0] == first
    assert web.asked == ["HEAD", "GET", "HEAD"]

    web.etag, web.content = '"2"', b"id,x\n2,b\n3,c\n"
    assert take(web.url)[0].version == 1


def test_a_file_that_the_web_sends_packed_is_unpacked(take: Take, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.content, web.encoding = gzip.compress(web.content), "gzip"

    assert take(web.url)[1].num_rows == 2
    assert take(web.url.replace("t.csv", "t.csv.gz"))[1].num_rows == 2

    monkeypatch.setattr("cd4ml.data.formats.stream.FREE", 1 << 16)
    web.content, web.etag = gzip.compress(b"id,x\n" + b"1,a\n" * 500_000), "bomb"
    with pytest.raises(DataError, match="t.csv: becomes more than 200 times as large when it is unpacked"):
        take(web.url)


def test_a_digest_must_match(take: Take, web: Web) -> None:
    digest = f"sha256:{hashlib.sha256(web.content).hexdigest()}"

    version, _ = take({"http": web.url, "digest": digest})
    assert version.state == digest

    web.content += b"3,c\n"
    with pytest.raises(DataError, match="its digest is sha256:.*, and sha256:.* was asked for"):
        take({"http": web.url, "digest": digest, "types": {"x": "text"}})


def test_a_token_comes_from_the_environment(take: Take, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="WEB_TOKEN is not set, which the source logs in with"):
        take({"http": web.url, "token": "WEB_TOKEN"})
    monkeypatch.setenv("WEB_TOKEN", "secret")

    version, _ = take({"http": web.url, "token": "WEB_TOKEN"})

    assert web.authorization == "Bearer secret"
    web.status = 403
    with pytest.raises(DataError, match="the server answers 403 Forbidden; check the token in WEB_TOKEN"):
        take({"http": web.url, "token": "WEB_TOKEN", "types": {"x": "text"}})
    assert "secret" not in version.text


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"cut": True}, "cannot be fetched"),
        ({"status": 404}, "the server answers 404 Not Found; check the address"),
        ({"status": 401}, "the server answers 401 Unauthorized; name the variable of a token as `token`"),
        ({"status": 503}, "the server answers 503 Service Unavailable; try again later"),
    ],
)
def test_an_answer_that_is_none_is_told_without_the_query(
    take: Take, web: Web, broken: dict[str, Any], told: str
) -> None:
    for name, value in broken.items():
        setattr(web, name, value)

    with pytest.raises(DataError) as refused:
        take(web.url)

    assert told in str(refused.value)
    assert "page" not in str(refused.value)


def test_a_server_that_is_not_there_is_told(take: Take) -> None:
    with pytest.raises(DataError, match="http://127.0.0.1:1/t.csv: cannot be fetched"):
        take("http://127.0.0.1:1/t.csv")


# ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "https://user:secret@host/t.csv",
        {"sql": {"url": "postgresql://user:secret@host/db", "table": "t"}},
        {"http": "https://host/t.csv", "token": "my secret token"},
    ],
)
def test_a_secret_in_a_run_file_is_refused_with_the_remedy(source: Any) -> None:
    with pytest.raises(DataError, match="holds a password|a secret never stands in a run file"):
        parse(source if isinstance(source, str) else json.dumps(source))


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sqlite3.Connection:
    connection = sqlite3.connect(tmp_path / "shop #1 100%?.db")
    connection.execute("CREATE TABLE orders (id INTEGER, price REAL, text TEXT)")
    connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", [(n, n / 2, f"ü{n}") for n in range(5000)])
    connection.commit()
    monkeypatch.setenv("SHOP", f"sqlite:///{tmp_path}/shop%20%231%20100%25%3F.db")
    return connection


@pytest.mark.usefixtures("sqlite")
def test_a_table_and_a_query_of_sqlite_are_read(take: Take) -> None:
    version, table = take({"sql": {"url": "SHOP", "table": "orders"}})
    assert (version.rows, table.slice(4999).to_pylist()) == (5000, [{"id": 4999, "price": 2499.5, "text": "ü4999"}])

    version, _ = take({"sql": {"url": "SHOP", "query": "SELECT id FROM orders WHERE id < 4000"}})
    assert version.rows == 4000
    assert "SELECT id FROM orders WHERE id < 4000" in version.source


def test_the_columns_of_a_database_hold_what_is_said(take: Take, sqlite: sqlite3.Connection) -> None:
    sqlite.execute("CREATE TABLE visits AS SELECT 1 AS id, '2026-03-01 10:30:00' AS at, 7 AS code")
    sqlite.commit()
    visits = {"url": "SHOP", "table": "visits"}

    _, table = take({"sql": visits, "types": {"at": "date", "code": "text"}})

    assert table.to_pylist() == [{"id": 1, "at": datetime(2026, 3, 1, 10, 30), "code": "7"}]
    with pytest.raises(DataError, match="SHOP: visits: types: no column 'on' is there; there are id, at, code"):
        take({"sql": visits, "types": {"on": "date"}})
    sqlite.execute("INSERT INTO visits VALUES (2, 'soon', 8)")
    sqlite.commit()
    with pytest.raises(DataError, match=r"SHOP: visits: column 'at' does not fit timestamp\[us\]; clean"):
        take({"sql": visits, "types": {"at": "date"}})


def test_a_database_is_asked_again_each_time(take: Take, sqlite: sqlite3.Connection) -> None:
    take({"sql": {"url": "SHOP", "table": "orders"}})
    sqlite.execute("INSERT INTO orders VALUES (5000, 1, 'x')")
    sqlite.commit()

    version, _ = take({"sql": {"url": "SHOP", "table": "orders"}})

    assert (version.version, version.rows) == (1, 5001)


def test_a_column_of_mixed_values_in_sqlite_is_told(take: Take, sqlite: sqlite3.Connection) -> None:
    sqlite.execute("INSERT INTO orders VALUES (5000, 'none', 'x')")
    sqlite.commit()

    with pytest.raises(DataError, match="SHOP: orders: the database cannot be read .*Type mismatch in column 1"):
        take({"sql": {"url": "SHOP", "table": "orders"}})


def test_text_that_is_no_utf_8_is_told_with_its_row_whatever_the_source(
    take: Take, tmp_path: Path, sqlite: sqlite3.Connection
) -> None:
    (tmp_path / "t.jsonl").write_bytes('{"id": 1, "text": "a"}\n{"id": 2, "text": "ü"}\n'.encode("latin-1"))
    wrong = pa.array([None, "ü".encode("latin-1")]).view(pa.string())
    pq.write_table(pa.table({"id": [1, 2], "text": wrong}), tmp_path / "t.parquet")
    sqlite.execute("CREATE TABLE notes AS SELECT 1 AS id, 'a' AS text UNION ALL SELECT 2, CAST(x'fc' AS TEXT)")
    sqlite.commit()

    for source in (f"{tmp_path}/t.jsonl", f"{tmp_path}/t.parquet", {"sql": {"url": "SHOP", "table": "notes"}}):
        with pytest.raises(DataError, match="row 2: column 'text' holds a text that is not UTF-8; mend it, or leave"):
            take(source)


@pytest.mark.usefixtures("sqlite")
@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ({"url": "SHOP", "table": "order"}, "SHOP: order: the database cannot be read .*no such table"),
        ({"url": "SHOP", "query": "DELETE FROM orders"}, "readonly"),
        ({"url": "NO_SHOP", "table": "orders"}, "NO_SHOP is not set"),
        ({"url": "SHOP"}, "write one of `table` and `query`"),
    ],
)
def test_a_query_that_fails_is_told(take: Take, sql: dict[str, str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        take({"sql": sql})


POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a server of this test's own, which no one else reaches."""
    if POSTGRES is None:
        assert os.environ.get("CI") != "true", "PostgreSQL is not installed here"
        pytest.skip("PostgreSQL is not installed here: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="cd4ml-pg-"))
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    if as_user:
        shutil.chown(folder, "postgres", "postgres")

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, capture_output=True, cwd=folder)

    data = str(folder / "data")
    run(f"{POSTGRES}/initdb", "-D", data, "-A", "trust", "-U", "shop", "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses='' -k {folder}"
    run(f"{POSTGRES}/pg_ctl", "-D", data, "-o", options, "-l", f"{folder}/log", "-w", "start")
    yield f"postgresql://shop:secret@/postgres?host={folder}"
    run(f"{POSTGRES}/pg_ctl", "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(folder)


def statement(url: str, sql: str) -> None:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(sql)


def test_a_table_of_postgresql_is_read_with_the_types_that_databases_have(
    take: Take, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE", postgres)
    statement(
        postgres,
        """CREATE TABLE IF NOT EXISTS "Orders" (id numeric(20), price numeric(10, 2), born date, at timestamptz,
        clock time, code uuid, note json, tags int[], won boolean)""",
    )
    statement(postgres, 'TRUNCATE "Orders"')
    statement(
        postgres,
        """INSERT INTO "Orders" VALUES (12345678901234567890, 4.25, '2026-01-02', '2026-01-02 10:00+02', '10:30',
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": 1}', '{1}', true),
        (12345678901234567891, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)""",
    )

    version, table = take({"sql": {"url": "WAREHOUSE", "table": "public.Orders"}})

    row = table.to_pylist()[0]
    assert row["id"] == "12345678901234567890"
    assert (row["price"], row["clock"], row["won"]) == (4.25, "10:30:00.000000", True)
    assert (row["code"], row["note"]) == ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", '{"a": 1}')
    assert (row["at"].isoformat(), row["born"].isoformat()) == ("2026-01-02T08:00:00+00:00", "2026-01-02T00:00:00")
    assert version.said == ("left out 'tags', which holds list<item: int32>",)
    with pytest.raises(DataError, match="has more digits than a number holds; ask for it as text"):
        take({"sql": {"url": "WAREHOUSE", "table": "Orders"}}, key="rows")


def test_an_error_of_a_database_says_no_password(take: Take, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE", postgres)
    for table in ("nowhere", "no.where"):
        with pytest.raises(DataError, match="does not exist") as refused:
            take({"sql": {"url": "WAREHOUSE", "table": table}})
        assert "secret" not in str(refused.value)
    monkeypatch.setenv("WAREHOUSE", "postgresql://shop:secret@127.0.0.1:1/postgres")
    with pytest.raises(DataError, match="Connection refused") as refused:
        take({"sql": {"url": "WAREHOUSE", "table": "t"}})
    assert "secret" not in str(refused.value)


# ------------------------------------------------------------------------------------------------------------------


def test_a_version_of_a_delta_table_is_read(take: Take, tmp_path: Path) -> None:
    place = str(tmp_path / "theirs")
    for table in TWO:
        deltalake.write_deltalake(place, table, mode="append")

    assert take({"delta": place, "version": 0})[0].rows == 2
    latest, _ = take({"delta": place})
    assert (latest.rows, latest.state.split()[:2]) == (3, ["version", "1"])
    with pytest.raises(DataError, match="is a Delta table; write it as {delta: "):
        take(place)
    with pytest.raises(DataError, match="version 7 cannot be read"):
        take({"delta": place, "version": 7})
    with pytest.raises(DataError, match="no Delta table here"):
        take({"delta": str(tmp_path / "nowhere")})
