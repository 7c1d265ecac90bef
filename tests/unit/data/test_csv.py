"""CSV as people have it: how it is written is found by looking, said, and can be said."""

import bz2
import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.data.formats import delimited
from cd4ml.data.ingest import ingest, look
from cd4ml.data.sources import parse
from cd4ml.errors import DataError

Ingest = Callable[..., tuple[DatasetVersion, pa.Table]]


@pytest.fixture
def ingested(tmp_path: Path) -> Ingest:
    """Takes the content of a file; gives the version and its table."""

    def take(
        content: str | bytes, name: str = "t.csv", key: str = "id", **said: Any
    ) -> tuple[DatasetVersion, pa.Table]:
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        source = json.dumps({"file": str(file), **said})
        version = ingest(source, store=str(tmp_path / "store"), name="t", key=key)
        return version, deltalake.DeltaTable(version.uri).to_pyarrow_table()

    return take


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some hundred KiB have a beginning and more."""
    for name in ("SAMPLE", "BLOCK"):
        monkeypatch.setattr(delimited, name, 1 << 16)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_and_said(ingested: Ingest, delimiter: str) -> None:
    lines = ["id,price,text", "a,1.5,x", "b,2.5,y"]

    version, table = ingested("\n".join(lines).replace(",", delimiter))

    assert table.to_pydict() == {"id": ["a", "b"], "price": [1.5, 2.5], "text": ["x", "y"]}
    shown = "a tab" if delimiter == "\t" else repr(delimiter)
    assert version.said[0] == f"read {shown} as the delimiter, 3 columns"


def test_semicolons_with_decimal_commas_and_thousands_are_numbers(ingested: Ingest) -> None:
    version, table = ingested("id;price;rate;text\na;1.234,50;0,5;x, y\nb;12,5;0,25;z\n")

    assert table.to_pydict() == {"id": ["a", "b"], "price": [1234.5, 12.5], "rate": [0.5, 0.25], "text": ["x, y", "z"]}
    assert version.said == (
        "read ';' as the delimiter, 4 columns",
        "',' as the decimal sign in 'price', 'rate'",
        "'.' between thousands in 'price'",
    )


def test_whole_numbers_with_points_are_thousands_where_the_file_has_decimal_commas(ingested: Ingest) -> None:
    _, table = ingested("id;people;rate\na;1.234;0,5\nb;12.345;1,5\n")

    assert table["people"].to_pylist() == [1234, 12345]


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("cp1252", "cp1252")],
)
def test_the_encoding_is_found(ingested: Ingest, encoding: str, said: str) -> None:
    version, table = ingested("id,größe\nä,1\n€,2\n".encode(encoding))

    assert table.to_pydict() == {"id": ["ä", "€"], "größe": [1, 2]}
    assert (f", {said} as the encoding" in version.said[0]) == bool(said)


def test_an_encoding_can_be_said(ingested: Ingest) -> None:
    _, table = ingested("id\nЖ\n".encode("cp1251"), read={"encoding": "cp1251"})

    assert table["id"].to_pylist() == ["Ж"]


@pytest.mark.usefixtures("_small_blocks")
def test_bytes_of_another_encoding_after_the_beginning_are_told(ingested: Ingest) -> None:
    filler = b"".join(b"%d,x\n" % number for number in range(20_000))

    with pytest.raises(DataError, match="holds bytes that are not utf-8; .*read: {encoding: cp1252}"):
        ingested(b"id,text\n" + filler + b"a,\xe4\n")


@pytest.mark.parametrize("quoted", ["a\nb", 'say "hi"', "a,b", "x" * 900_000 + "\n" + "y"])
def test_quoted_cells_hold_delimiters_quotes_and_lines(ingested: Ingest, quoted: str) -> None:
    doubled = quoted.replace('"', '""')

    _, table = ingested(f'id,text\n1,"{doubled}"\n2,"plain"\n' + "".join(f'{n},"c\nd"\n' for n in range(3, 200_000)))

    assert table.sort_by("id")["text"].to_pylist()[:3] == [quoted, "plain", "c\nd"]
    assert table.num_rows == 199_999


def test_backslashes_before_quotes_are_found(ingested: Ingest) -> None:
    version, table = ingested('id,text\n1,"say \\"hi\\" now"\n2,"a, b"\n')

    assert table["text"].to_pylist() == ['say "hi" now', "a, b"]
    assert "\\ before quotes" in version.said[0]


def test_titles_and_comments_are_left_out(ingested: Ingest) -> None:
    version, table = ingested("Players of March\n\nid,age\na,1\nb,2\n")
    commented, same = ingested("# made on Monday\n# by hand\nid,age\na,1\n# so far\nb,2\n")

    assert table.to_pydict() == same.to_pydict() == {"id": ["a", "b"], "age": [1, 2]}
    assert "1 line before the header as a title" in version.said[0]
    assert "'#' as the beginning of comments" in commented.said[0]


def test_a_row_that_begins_as_comments_do_is_a_row_unless_a_person_says_otherwise(ingested: Ingest) -> None:
    content = "# made on Monday\n# by hand\nid,age\na,1\n#7,2\n# so far\n# and on\nb,3\n"

    version, table = ingested(content)
    asked, less = ingested(content, read={"comment": "#"})

    assert table.to_pydict() == {"id": ["a", "#7", "b"], "age": [1, 2, 3]}
    assert version.said[-1] == "left out 2 lines among the rows as comments"
    assert less.to_pydict() == {"id": ["a", "b"], "age": [1, 3]}
    assert asked.said[-1].startswith("left out 3 lines among the rows as comments")


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "\ufeffsep=;"])
def test_the_delimiter_is_what_a_first_line_for_excel_says(ingested: Ingest, first: str) -> None:
    version, table = ingested(f"{first}\nid;a,b;c,d\nx;1,5;2,5\ny;3,5;4,5\n")

    assert table.to_pydict() == {"id": ["x", "y"], "a,b": [1.5, 3.5], "c,d": [2.5, 4.5]}
    assert version.said[0] == "read ';' as the delimiter, 3 columns"
    with pytest.raises(DataError, match="row 2 has 2 cells, and the header 3"):
        ingested(f"{first}\nid;a;b\nx;1;2\ny;3\n")


@pytest.mark.parametrize(
    ("content", "is_said"),
    [
        ("39, State-gov, 7.5\n50, Private, 8\n38, State-gov, 9\n", True),
        ("1,2.5,2026-01-01\n2,3.5,2026-01-02\n", True),
        ("a,b\na,b\nc,d\n", True),
        ("1,2.5,a\n2,3.5,b\n", True),
        ("country,2019,2020\nFrance,1,2\nSpain,3,4\n", False),
        ("id,State-gov\n1,State-gov\n2,Private\n", False),
        ("a,b\nc,d\n", False),
    ],
)
def test_a_header_that_is_a_row_like_the_others_is_said(content: str, is_said: bool, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(content)

    _, said = look(parse(str(tmp_path / "t.csv")))

    assert (
        any("holds what the rows do; where the file has none, write `read: {header: false}`" in one for one in said)
        == is_said
    )


def test_a_header_that_begins_with_a_hash_is_one(ingested: Ingest) -> None:
    _, table = ingested("#id,age\na,1\nb,2\n", key="#id")

    assert table.column_names == ["#id", "age"]


@pytest.mark.parametrize("index", [("0", "1"), ("1", "2")])
def test_a_column_without_a_name_that_numbers_the_rows_is_left_out(ingested: Ingest, index: tuple[str, str]) -> None:
    version, table = ingested(f",id,age\n{index[0]},a,5\n{index[1]},b,6\n")

    assert table.to_pydict() == {"id": ["a", "b"], "age": [5, 6]}
    assert "left out a column without a name, which numbers the rows or is empty" in version.said


def test_a_column_without_a_name_that_holds_something_is_called_by_its_place(ingested: Ingest) -> None:
    version, table = ingested(",id,x,,\n7,a,b,y,z\n9,c,d,,w\n")

    assert table.column_names == ["column_1", "id", "x", "column_4", "column_5"]
    assert "called a column without a name 'column_4'" in version.said


def test_delimiters_at_the_ends_of_lines_are_no_column(ingested: Ingest) -> None:
    assert ingested("id,age,\na,5,\nb,6,\n")[1].to_pydict() == {"id": ["a", "b"], "age": [5, 6]}


def test_spaces_after_delimiters_are_no_part_of_cells(ingested: Ingest) -> None:
    _, table = ingested("id, age, work\na, 31, at home\nb, 32, away\n")

    assert table.to_pydict() == {"id": ["a", "b"], "age": [31, 32], "work": ["at home", "away"]}


def test_spaces_around_numbers_and_dates_do_not_count_and_texts_keep_theirs(ingested: Ingest) -> None:
    version, table = ingested("id,n,price,on,code\na, 1 ,\t2.5,2026-03-01 , 007\nb,2, NA ,2026-03-02,ab \n")

    assert table.drop(["on"]).to_pydict() == {
        "id": ["a", "b"],
        "n": [1, 2],
        "price": [2.5, None],
        "code": [" 007", "ab "],
    }
    assert table["on"].to_pylist() == [datetime(2026, 3, 1), datetime(2026, 3, 2)]
    assert "spaces around values left out in 'n', 'price', 'on'" in version.said


@pytest.mark.parametrize("missing", ["NA", "?", "-", "N/A", "NaN", "null", r"\N", "", ".", "NaT", "#DIV/0!"])
def test_in_a_column_of_numbers_what_stands_for_nothing_is_missing(ingested: Ingest, missing: str) -> None:
    version, table = ingested(f"id,age\na,31\nb,{missing}\nc,44\n")

    assert table["age"].to_pylist() == [31, None, 44]
    assert (f"{missing!r} is missing in 'age'" in version.said) == (missing not in ("", "NaN", "null"))


def test_in_a_column_of_texts_na_is_a_value_and_said_unless_it_is_said_to_be_missing(ingested: Ingest) -> None:
    content = "id,country\na,NA\nb,DE\nc,\n"

    version, table = ingested(content)
    assert table["country"].to_pylist() == ["NA", "DE", None]
    assert "'NA' is a text like others (`read: {missing: […]}` says otherwise) in 'country'" in version.said

    _, table = ingested(content, read={"missing": ["NA"]})
    assert table["country"].to_pylist() == [None, "DE", None]


@pytest.mark.parametrize(
    ("cells", "values", "said"),
    [
        (["$12.50", "$3"], [12.5, 3.0], "'$' beside numbers left out"),
        (["5 €", "7 €"], [5, 7], "'€' beside numbers left out"),
        (["12 %", "5%"], [12, 5], "'%' beside numbers left out (12 % is 12)"),
        (['"1,234"', '"12,345"'], [1234, 12345], "',' between thousands"),
        (['"1,234.5"', "2.5"], [1234.5, 2.5], "',' between thousands"),
        (["1 234", "12 345"], [1234, 12345], "' ' between thousands"),
        (["1e3", "-2.5E-1"], [1000.0, -0.25], ""),
        (["inf", "1.5"], [float("inf"), 1.5], ""),
        (["TRUE", "false"], [True, False], ""),
        (["-1", "0"], [-1, 0], ""),
    ],
)
def test_cells_that_are_numbers_are_numbers(ingested: Ingest, cells: list[str], values: list[Any], said: str) -> None:
    version, table = ingested(f"id,x\na,{cells[0]}\nb,{cells[1]}\n")

    assert table["x"].to_pylist() == values
    assert not said or f"{said} in 'x'" in version.said


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (["01234", "98765"], "'#####' (1 of the first 2 values, from row 1 on) have leading zeros, as codes have"),
        (["12345678901234567890", "12345678901234567891"], "its numbers have more digits than a number holds"),
        (["$5", "€6"], "its numbers, as '$#' and '€#' (row 2), are written in several ways"),
        (["12%", "13"], "its numbers, as '##%' and '##' (row 2), are written in several ways"),
        (
            ["+4917012345", "+4917067890"],
            "'+##########' (2 of the first 2 values, from row 1 on) have a plus, as phone",
        ),
        (["12.5 kg", "3 kg"], "its cells, as '##.# aa', are numbers and 'kg'; export the numbers alone"),
        (["CHF 12.50", "CHF 3"], "are numbers and 'CHF'"),
        (["₹12", "₹30"], "are numbers and '₹'"),
        (["1\u202f234.5", "12\u00a0345.5"], "its numbers, as"),
    ],
)
def test_numbers_that_would_lose_something_stay_text_and_it_is_said(
    ingested: Ingest, cells: list[str], why: str
) -> None:
    version, table = ingested(f"id,x\na,{cells[0]}\nb,{cells[1]}\n")

    assert table["x"].to_pylist() == cells
    assert any(line.startswith("column 'x' stays text: ") and why in line for line in version.said)


def test_a_column_of_numbers_that_stays_text_is_told_with_the_first_that_are_none(ingested: Ingest) -> None:
    version, table = ingested("id,age\na,31\nb,unknown\nc,44\nd,old\ne,52\n")

    assert table.schema.field("age").type == pa.string()
    told = "column 'age' stays text: 'aaaaaaa', 'aaa' (2 of the first 5 values, from row 2 on) are no numbers"
    assert any(line.startswith(told) for line in version.said)


@pytest.mark.parametrize(
    "texts", ["x 7 y", "C85 E46 B42", "3rd 1st 2nd", "12A 13B 14A", "10:30 11:00 12:00", "10-20 20-30 1-2"]
)
def test_texts_are_no_finding(ingested: Ingest, texts: str) -> None:
    first, second, third = texts.split()

    assert len(ingested(f"id,text\na,{first}\nb,{second}\nc,{third}\n")[0].said) == 1


def test_a_type_can_be_said(ingested: Ingest) -> None:
    _, table = ingested("id,zip,n,when\na,1234,1,01.02.2026\n", types={"zip": "text", "n": "number", "when": "date"})

    assert table.to_pylist() == [{"id": "a", "zip": "1234", "n": 1.0, "when": datetime(2026, 2, 1)}]
    with pytest.raises(DataError, match="row 2, column 'zip': 'a' is no whole; .*say another type under `types`"):
        ingested("id,zip\na,1\nb,x\n", types={"zip": "whole"})
    with pytest.raises(DataError, match="types: no column 'zipp' is there; did you mean 'zip'"):
        ingested("id,zip\na,1\n", types={"zipp": "text"})


@pytest.mark.parametrize(
    ("cells", "moments"),
    [
        (["2026-03-01", "0001-01-01"], [datetime(2026, 3, 1), datetime(1, 1, 1)]),
        (["2026-03-01 10:30", "2026-03-01T10:30:05"], [datetime(2026, 3, 1, 10, 30), datetime(2026, 3, 1, 10, 30, 5)]),
        (
            ["2026-03-01 10:30:00.1234567", "9999-12-31"],
            [datetime(2026, 3, 1, 10, 30, 0, 123456), datetime(9999, 12, 31)],
        ),
        (["13/02/2026", "01/02/2026"], [datetime(2026, 2, 13), datetime(2026, 2, 1)]),
        (["02/13/2026", "01/02/2026"], [datetime(2026, 2, 13), datetime(2026, 1, 2)]),
        (["1.2.2026", "31.12.2026"], [datetime(2026, 2, 1), datetime(2026, 12, 31)]),
        (["13/02/2026 10:30", "01/02/2026 11:00"], [datetime(2026, 2, 13, 10, 30), datetime(2026, 2, 1, 11)]),
        (["2026/02/13", "2026/01/02"], [datetime(2026, 2, 13), datetime(2026, 1, 2)]),
        (["31.12.9999", "01.01.0001"], [datetime(9999, 12, 31), datetime(1, 1, 1)]),
        (["12/31/9999", "01/01/0001"], [datetime(9999, 12, 31), datetime(1, 1, 1)]),
        (["0000-00-00", "2026-03-01"], [None, datetime(2026, 3, 1)]),
        (["02/13/2026 03:04 PM", "02/01/2026 12:00 am"], [datetime(2026, 2, 13, 15, 4), datetime(2026, 2, 1)]),
        (
            ["2026-02-13 3:04:05 PM", "2026-02-01 11:00:00 AM"],
            [datetime(2026, 2, 13, 15, 4, 5), datetime(2026, 2, 1, 11)],
        ),
        (["13 February 2026", "1 May 2026"], [datetime(2026, 2, 13), datetime(2026, 5, 1)]),
        (['"February 13, 2026"', '"May 1, 2026"'], [datetime(2026, 2, 13), datetime(2026, 5, 1)]),
        (["Feb 13 2026", "May 1 2026"], [datetime(2026, 2, 13), datetime(2026, 5, 1)]),
        (["01-Mar-2026", "15-Apr-2026"], [datetime(2026, 3, 1), datetime(2026, 4, 15)]),
        (
            ["2026-03-01T10:00:00Z", "2026-03-01 10:00+02:00"],
            [datetime(2026, 3, 1, 10, tzinfo=UTC), datetime(2026, 3, 1, 8, tzinfo=UTC)],
        ),
    ],
)
def test_dates_are_moments(ingested: Ingest, cells: list[str], moments: list[datetime]) -> None:
    assert ingested(f"id,when\na,{cells[0]}\nb,{cells[1]}\n")[1]["when"].to_pylist() == moments


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (["01/02/2026", "03/04/2026"], "may have the day or the month first; write `read: {dates: day first}`"),
        (
            ["2026-03-01T10:00:00Z", "2026-03-01 10:00"],
            "'####-##-## ##:##' (1 of the first 2 values, from row 2 on) have no time zone",
        ),
        (
            ["30/02/2026", "13/02/2026"],
            "as '##/##/####' and '##/##/####' (row 1), are written in several ways, or some are none",
        ),
        (["13/02/26", "14/02/26"], "as '##/##/##', are in no form that is known; say it, as `read: {dates:"),
    ],
)
def test_dates_that_could_be_others_stay_text_and_it_is_said(ingested: Ingest, cells: list[str], why: str) -> None:
    version, table = ingested(f"id,when\na,{cells[0]}\nb,{cells[1]}\n")

    assert table["when"].to_pylist() == cells
    assert any(line.startswith("column 'when' stays text: ") and why in line for line in version.said)


def test_the_order_of_day_and_month_is_said_or_told_by_another_column(ingested: Ingest) -> None:
    _, table = ingested("id,when\na,01/02/2026\n", read={"dates": "month first"})
    assert table["when"].to_pylist() == [datetime(2026, 1, 2)]

    _, table = ingested("id,when,born\na,01/02/2026,31/12/1990\n")
    assert table["when"].to_pylist() == [datetime(2026, 2, 1)]

    _, table = ingested("id,when\na,26|02|01\n", read={"dates": "%y|%m|%d", "delimiter": ","})
    assert table["when"].to_pylist() == [datetime(2026, 2, 1)]


def test_a_time_of_day_is_a_text(ingested: Ingest) -> None:
    assert ingested("id,at\na,10:30\nb,11:00\n")[1]["at"].to_pylist() == ["10:30", "11:00"]


@pytest.mark.parametrize(
    ("late", "values", "told"),
    [
        ("2.5", [1.0, 2.5], None),
        ("x", ["1", "x"], "column 'n' stays text: 'a' (row 20001 of {file}) is no number, as those before it are"),
        ("007", ["1", "007"], "column 'n' stays text: '###' (row 20001 of {file}) is no number"),
        ("NA", [1, None], None),
        ('"1,234"', [1, 1234], None),
    ],
)
@pytest.mark.usefixtures("_small_blocks")
def test_a_later_row_widens_its_column_as_if_it_had_come_first(
    ingested: Ingest, tmp_path: Path, late: str, values: list[Any], told: str | None
) -> None:
    rows = "".join(f"k{number},1\n" for number in range(20_000))

    version, table = ingested(f"id,n\n{rows}last,{late}\n")

    found = dict(zip(table["id"].to_pylist(), table["n"].to_pylist(), strict=True))
    assert [found["k0"], found["last"]] == values
    expected = told.format(file=tmp_path / "t.csv") if told else None
    assert not expected or any(line.startswith(expected) for line in version.said)


@pytest.mark.usefixtures("_small_blocks")
def test_a_column_that_is_empty_at_first_becomes_what_comes_later(ingested: Ingest) -> None:
    rows = "".join(f"k{number},,NA\n" for number in range(20_000))

    _, table = ingested(f"id,n,m\n{rows}last,2026-03-01,7\n")

    assert (table["n"].to_pylist().count(None), table["m"].to_pylist().count(None)) == (20_000, 20_000)
    assert (str(table.schema.field("n").type), str(table.schema.field("m").type)) == ("timestamp[us]", "int64")


@pytest.mark.parametrize(("name", "pack"), [("t.csv.gz", gzip.compress), ("t.csv.bz2", bz2.compress)])
def test_packed_files_are_unpacked(ingested: Ingest, name: str, pack: Callable[[bytes], bytes]) -> None:
    assert ingested(pack(b"id,age\na,1\n"), name)[1].to_pydict() == {"id": ["a"], "age": [1]}


def test_zstandard_is_unpacked_and_a_cut_file_is_told(ingested: Ingest) -> None:
    packed = pa.compress(b"id,age\n" + b"".join(b"%d,1\n" % n for n in range(10_000)), codec="zstd", asbytes=True)

    assert ingested(packed, "t.csv.zst")[1].num_rows == 10_000
    with pytest.raises(DataError, match=r"t.csv.gz: cannot be read .*damaged or cut short"):
        ingested(gzip.compress(b"id,age\n" + b"a,1\n" * 100_000)[:-200], "t.csv.gz", key="rows")


def test_a_file_that_becomes_suspiciously_large_is_refused(ingested: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cd4ml.data.formats.stream.FREE", 1 << 20)
    bomb = gzip.compress(b"id,age\n" + b"a,1\n" * 500_000)

    with pytest.raises(DataError, match="becomes more than 200 times as large when it is unpacked"):
        ingested(bomb, "t.csv.gz", key="rows")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,age\na,1\nb,2,3\n", "row 2 has 3 cells, and the header 2; mend it"),
        ("id,age\na,1\nb\n", "row 2 has 1 cells, and the header 2; mend it"),
        ("id,age\na,1,x\nb,2,y\n", "the header has 2 names, and every row has 3 cells"),
        ("id,age,age\na,1,2\n", "column 'age' is there more than once"),
        ("id,age\n", "has no rows"),
        ("<!DOCTYPE html>\n<html>\n<body>Sign in, please</body>\n</html>\n", "is a web page and no table"),
        (gzip.compress(b"id,age\na,1\n"), "is packed by gzip; give it a name that ends in .gz"),
        (bz2.compress(b"id,age\na,1\n"), "is packed by bzip2"),
        (b"PK\x03\x04\x00", "is a ZIP archive or a workbook of Excel; unpack it, or export it as CSV"),
        (b"PAR1\x15\x00", "is of Parquet; give it a name that ends in .parquet"),
        ("\n\n", "holds no table"),
        (b"id,age\na,\x001\n", "line 2 has a NUL"),
        (b"id,b\n\xff\xfe\x00\x01", "has a NUL"),
        ("id,text\na," + "x" * (1 << 20) + "y\n", "row 1: column 'text' holds a text of more than 1 MiB"),
        ('id,text\na,"never closed\n' + "x,y\n" * 300_000, "row 1: column 'text' holds a text of more than 1 MiB"),
    ],
)
def test_a_file_that_is_no_table_is_told_with_its_row(ingested: Ingest, content: str | bytes, told: str) -> None:
    with pytest.raises(DataError, match="t.csv: ") as refused:
        ingested(content)

    assert told in str(refused.value)


def test_a_row_that_does_not_end_is_told(ingested: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK", 1 << 18)
    monkeypatch.setattr(delimited, "LARGE_BLOCK", 1 << 19)

    with pytest.raises(DataError, match="has a row of more than 0 MiB; a quote may never be closed"):
        ingested('id,text\na,"never closed\n' + "x,y\n" * 300_000)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_quote_that_is_never_closed_takes_no_rows_with_it(ingested: Ingest, encoding: str, end: str) -> None:
    content = f'id,text\na,x\nb,"y\nc,z\nd,w{end}'

    with pytest.raises(DataError, match="row 2, column 'text': its quote is never closed"):
        ingested(content.encode(encoding))

    _, table = ingested(f'id,text\na,x\nb,"y\nc,z\nd,w"{end}'.encode(encoding))
    assert table["text"].to_pylist() == ["x", "y\nc,z\nd,w"]


def test_a_row_of_many_mebibytes_is_read(ingested: Ingest) -> None:
    wide = ",".join(f'"{"x" * 900_000}"' for _ in range(8))

    _, table = ingested("id," + ",".join(f"c{n}" for n in range(8)) + f"\na,{wide}\n")

    assert table["c7"].to_pylist() == ["x" * 900_000]


def test_ten_thousand_columns_are_read(ingested: Ingest) -> None:
    names = ",".join(f"c{n}" for n in range(10_000))

    _, table = ingested(f"id,{names}\na,{'1,' * 9_999}1\nb,{'2,' * 9_999}2\n")

    assert (table.num_columns, table["c9999"].to_pylist()) == (10_001, [1, 2])


def test_a_file_without_a_header_is_read_with_names_that_are_given_or_made(ingested: Ingest) -> None:
    assert ingested("a,1\nb,2\n", key="k", read={"header": ["k", "n"]})[1].to_pydict() == {"k": ["a", "b"], "n": [1, 2]}
    assert ingested("a,1\n", key="column_1", read={"header": False})[1].to_pydict() == {
        "column_1": ["a"],
        "column_2": [1],
    }
    with pytest.raises(DataError, match="has 2 columns, and `header` names 3"):
        ingested("a,1\n", key="k", read={"header": ["k", "n", "m"]})


@pytest.mark.parametrize(
    ("read", "told"),
    [
        ({"delimiter": ",,"}, "read.delimiter: ',,' is no single character"),
        ({"encoding": "utf-9"}, "read.encoding: 'utf-9' is no encoding"),
        ({"dates": "first"}, "read.dates: 'first': write `day first`"),
        ({"decimal": ",", "thousands": ","}, "read: thousands: ',' is the decimal sign already"),
        ({"delimeter": ","}, "read.delimeter: unknown; did you mean 'delimiter'?"),
        ({"skip": -1}, "read.skip: "),
    ],
)
def test_a_mistake_in_how_to_read_is_told(ingested: Ingest, read: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError) as refused:
        ingested("id,age\na,1\n", read=read)

    assert told in str(refused.value)
