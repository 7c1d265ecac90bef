"""`cd4ml init`, as a user gives it."""

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cd4ml import cli
from cd4ml.cli import asked
from cd4ml.contracts import question
from cd4ml.running import proposal

ROWS = 400


@pytest.fixture
def customers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = range(ROWS)
    table = pa.table(
        {
            "visits": [row % 40 for row in rows],
            "Customer ID": [f"c{row}" for row in rows],
            "contact": [f"p{row}@example.org" for row in rows],
            "Gender": ["f" if row % 3 else "m" for row in rows],
            "plan": ["abc"[row % 3] for row in rows],
            "rare": ["b" if row == 1 else "a" for row in rows],
            "joined": [datetime(2024, 1, 1) + timedelta(days=row) for row in rows],
            "vip": [row % 2 == 0 for row in rows],
            "churned": ["yes" if row % 10 == 0 else "no" for row in rows],
            "vendor": ["cd4ml"] * ROWS,
        }
    )
    pq.write_table(table, tmp_path / "my customers.parquet")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["cd4ml", "init", *words])
    with pytest.raises(SystemExit):
        cli.main()
    output = capsys.readouterr()
    return " ".join((output.out + output.err).split())


def test_the_file_is_a_run_file_with_what_the_table_tells(
    customers: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = said(capsys, monkeypatch, "my customers.parquet")

    arguments = asked.read(customers / "training.yaml").arguments
    assert arguments["name"] == arguments["dataset"] == "my-customers"
    assert (arguments["key"], arguments["label"], arguments["time_column"]) == ("Customer ID", "churned", "joined")
    assert arguments["exclude"] == ["contact", "vendor"]
    assert (arguments["sensitive"], arguments["slices"]) == (["Gender"], ["vip", "plan"])
    assert arguments["thresholds"] == [0.1]
    assert arguments["data_limits"] == {
        "anomalies": 0,
        "personal_data": 1,
        "drift": {"max_effect": 0.1, "false_alarm_rate": 0.01},
    }
    assert told.startswith("read 400 rows, 10 columns")
    assert (arguments["problem"], arguments["positive"]) == ("binary", "yes")
    assert "positive yes 'no' is negative" in told
    assert told.endswith("wrote training.yaml; look through it, then: cd4ml run training.yaml")


@pytest.mark.parametrize(
    ("name", "guessed"),
    [
        *[(name, True) for name in ("Geschlecht", "Alter", "Nationalität", "Staatsangehörigkeit", "Familienstand")],
        *[(name, True) for name in ("sexe", "Âge", "nationalité", "Tranche d'âge", "état civil")],
        *[(name, True) for name in ("sexo", "edad", "género", "grupo_de_edad", "religión")],
        *[(name, False) for name in ("alternate", "stage", "genre", "message", "land")],
    ],
)
def test_groups_of_persons_are_known_by_german_french_and_spanish_names_too(
    customers: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, guessed: bool
) -> None:
    table = pq.read_table(customers / "my customers.parquet").rename_columns({"Gender": name})
    pq.write_table(table, customers / "my customers.parquet")

    said(capsys, monkeypatch, "my customers.parquet")

    assert (name in asked.read(customers / "training.yaml").arguments.get("sensitive", [])) == guessed


def test_each_guess_stands_in_the_file_with_its_reason(
    customers: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said(capsys, monkeypatch, "my customers.parquet", "--output", "churn.yaml")

    text = (customers / "churn.yaml").read_text()
    assert 'key: "Customer ID" # it is there in every row, and no value comes twice' in text
    assert "#   contact: it seems to be personal data" in text
    assert "#   vendor: it has one value only" in text
    assert "10.0% of the rows are positive" in text
    assert "cd4ml run churn.yaml" in text


@pytest.mark.usefixtures("customers")
def test_what_seems_to_be_personal_data_is_proposed_to_be_dropped_or_hashed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said(capsys, monkeypatch, "my customers.parquet", "--key", "contact")

    text = Path("training.yaml").read_text()
    assert "  # columns:\n  #   contact: {hash: PEPPER}\n" in text
    agreed = text.replace("  # columns:\n  #  ", "  columns:\n   ")
    Path("training.yaml").write_text(agreed)
    assert asked.read(Path("training.yaml")).arguments["columns"] == {"contact": {"hash": "PEPPER"}}


def test_what_is_said_is_not_guessed(
    customers: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said(capsys, monkeypatch, "my customers.parquet", "--label", "vip", "--key", "contact")

    arguments = yaml.safe_load((customers / "training.yaml").read_text())["arguments"]
    assert (arguments["label"], arguments["key"]) == ("vip", "contact")


@pytest.mark.parametrize(
    ("values", "positive", "why"),
    [
        (["legit", "fraud", "legit"], "fraud", "it is the rarer one; write 'legit' where that is to be predicted"),
        ([1.0, 0.0, 1.0], "1", "'0' is negative"),
        ([3, 7, 7], "3", "it is the rarer one"),
        ([True, False, False], "true", "'false' is negative"),
    ],
)
def test_of_two_classes_the_positive_one_is_written_down(values: list[Any], positive: str, why: str) -> None:
    table = pa.table({"id": ["a", "b", "c"], "outcome": values})

    found = proposal.propose(table, source="x.csv", name="x", key=None, label=None)

    assert (found.problem.value, found.positive.value) == ("binary", positive)
    assert why in found.positive.why
    written = yaml.safe_load(found.as_yaml("x.yaml"))["arguments"]
    assert written["positive"] == positive
    assert question.ask(table, "outcome", positive=written["positive"]).positive == positive


def test_a_number_is_predicted_where_it_is_asked_for(
    customers: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = said(capsys, monkeypatch, "my customers.parquet", "--label", "visits")

    arguments = asked.read(customers / "training.yaml").arguments
    assert (arguments["label"], arguments["problem"]) == ("visits", "regression")
    assert not {"positive", "thresholds"} & set(arguments)
    assert arguments["model_limits"] == {"r_squared": {"min": 0.1, "baseline": {"min_change": -0.01}}}
    assert "problem regression it has 40 numbers" in told


def test_classes_are_told_apart_where_the_label_has_three_texts_or_more(
    customers: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = said(capsys, monkeypatch, "my customers.parquet", "--label", "plan")

    arguments = asked.read(customers / "training.yaml").arguments
    assert (arguments["label"], arguments["problem"]) == ("plan", "multiclass")
    assert not {"positive", "thresholds"} & set(arguments)
    assert arguments["model_limits"] == {
        "balanced_accuracy": {"min": 0.5},
        "log_loss": {"baseline": {"max_change": 0.01}},
    }
    assert "problem multiclass it has 3 values" in told


def test_a_label_of_several_texts_is_found_by_its_name_where_no_column_has_two_values() -> None:
    table = pa.table({"id": list("abcdef"), "plan": list("uvwuvw"), "outcome": list("xyzxyz")})

    found = proposal.propose(table, source="results.csv", name="results", key=None, label=None)

    assert (found.label.value, found.problem.value) == ("outcome", "multiclass")


@pytest.mark.parametrize(
    ("columns", "label", "why"),
    [
        ({"class": "xyzxyz", "smoker": "nynyny"}, "class", "by its name; others of two values: smoker"),
        ({"kind": "xyzxyz", "smoker": "nynyny", "vip": "nnynny"}, "vip", "it has two values; others of two values: sm"),
        ({"kind": "xyzxyz", "result": "nyny y"}, "result", "it has two values; 1 rows have none"),
    ],
)
def test_a_label_that_is_called_so_comes_before_columns_of_two_values(
    columns: dict[str, str], label: str, why: str
) -> None:
    texts = {name: [one.strip() for one in values] for name, values in columns.items()}

    found = proposal.propose(
        pa.table({"id": list("abcdef"), **texts}), source="results.csv", name="results", key=None, label=None
    )

    assert found.label.value == label
    assert found.label.why.startswith(why)


def test_whole_numbers_that_may_be_classes_are_said_to_be_so() -> None:
    table = pa.table({"id": list("abcdef"), "grade": [1, 2, 3, 1, 2, 3]})

    found = proposal.propose(table, source="grades.csv", name="grades", key=None, label="grade")

    assert found.problem.value == "regression"
    assert found.problem.why == "it has 3 numbers; write `multiclass` where these are the names of classes"


def test_a_file_that_is_there_is_kept(
    customers: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (customers / "training.yaml").write_text("mine")

    assert "training.yaml: is there already" in said(capsys, monkeypatch, "my customers.parquet")
    assert (customers / "training.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["gone.csv"], "gone.csv: no such file"),
        (["my customers.parquet", "--label", "churn"], "--label: my customers.parquet has no column 'churn'; did you"),
        (["my customers.parquet", "--key", "id"], "--key: my customers.parquet has no column 'id'"),
        (["my customers.parquet", "--label", "contact"], "--label: label 'contact': 400 values ('p0@example.org', "),
        (["my customers.parquet", "--label", "vendor"], "--label: label 'vendor': every row is 'cd4ml', so there is"),
        (["my customers.parquet", "--label", "contact", "--key", "contact"], "--label: 'contact' is the key"),
        (["my customers.parquet", "--output", "numbers.parquet/x.yaml"], "cannot be written"),
        (["numbers.parquet"], "numbers.parquet: no column has two values"),
        (["my customers.parquet", "--output", "no/such/folder.yaml"], "cannot be written (No such file or directory)"),
    ],
)
def test_a_table_that_tells_too_little_is_told_and_nothing_is_written(
    customers: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    pq.write_table(pa.table({"id": [1, 2, 3], "age": [31, 44, 50]}), "numbers.parquet")
    before = sorted(customers.iterdir())

    assert told in said(capsys, monkeypatch, *words)
    assert sorted(customers.iterdir()) == before


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=3, max_size=3),
    value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5).filter(str.strip),
)
def test_any_name_and_value_make_a_file_that_can_be_read(tmp_path: Path, names: list[str], value: str) -> None:
    key, label, other = (f"{place}{name}" for place, name in enumerate(names))
    columns: dict[str, Any] = {key: [1, 2, 3], label: [value, f"{value}b", value], other: [value] * 3}
    found = proposal.propose(pa.table(columns), source="a: b #.csv", name="drawn", key=None, label=None)
    file = tmp_path / "drawn.yaml"
    file.write_text(found.as_yaml(str(file)), encoding="utf-8")

    arguments = asked.read(file).arguments
    assert (arguments["key"], arguments["label"], arguments["exclude"]) == (key, label, [other])


@pytest.mark.usefixtures("customers")
def test_without_a_key_all_columns_tell_rows_apart_and_how_the_table_was_read_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("keyless.csv").write_text("age;took\n31,5;true\n31,5;false\n50,5;true\n")

    output = said(capsys, monkeypatch, "keyless.csv")

    assert "read ';' as the delimiter, 2 columns" in output
    assert "no column tells rows apart, so all of them do" in output
    text = Path("training.yaml").read_text()
    assert yaml.safe_load(text)["arguments"]["key"] == "rows"
    assert "  #   ',' as the decimal sign in 'age'\n" in text
    assert (
        "  # To say otherwise, write the source as {file: PATH, read: {missing: [unknown]}, types: {zip: text}}."
        in text
    )


def test_a_table_of_the_web_is_to_be_written_as_one() -> None:
    table = pa.table({"id": ["a", "b", "c"], "took": [True, False, True]})
    read = ["read ',' as the delimiter, 2 columns"]

    found = proposal.propose(table, source="https://shop/uptake.csv", name="uptake", key=None, label=None, read=read)

    assert "write the source as {http: ADDRESS, read: {missing: [unknown]}," in found.as_yaml("training.yaml")


@pytest.mark.usefixtures("customers")
def test_how_a_column_of_personal_data_was_read_stands_in_no_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"{row},0170{row:07},{row},{row % 2}\n" for row in range(100))
    Path("calls.csv").write_text(f"id,phone,days,churned\n{rows}x,+1,unknown,1\n")

    said(capsys, monkeypatch, "calls.csv")

    text = Path("training.yaml").read_text()
    assert "'unknown'" in text
    assert "01700000000" not in text


@pytest.mark.usefixtures("customers")
def test_columns_that_number_the_rows_teach_nothing_and_one_without_a_name_can_be_the_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"{row * 3 + 7},{row},c{row},{row % 7},{row % 2}\n" for row in range(100))
    Path("kept.csv").write_text(f",Unnamed: 0,customer_id,visits,churned\n{rows}")

    said(capsys, monkeypatch, "kept.csv")

    arguments = asked.read(Path("training.yaml")).arguments
    assert (arguments["key"], arguments["exclude"]) == ("customer_id", ["Unnamed: 0"])

    rows = "".join(f"{row * 3 + 7},{row % 7},{row % 2}\n" for row in range(100))
    Path("kept.csv").write_text(f",visits,churned\n{rows}")
    said(capsys, monkeypatch, "kept.csv", "--output", "nameless.yaml")
    arguments = asked.read(Path("nameless.yaml")).arguments
    assert (arguments["key"], arguments["exclude"]) == ("column_1", [])


@pytest.mark.usefixtures("customers")
def test_a_source_may_be_an_object_and_stands_in_the_file_as_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("headless.data").write_text("a;yes\nb;no\nc;yes\n")
    source = '{"file": "headless.data", "read": {"format": "csv", "header": false}}'

    said(capsys, monkeypatch, source)

    arguments = yaml.safe_load(Path("training.yaml").read_text())["arguments"]
    assert arguments["source"] == {"file": "headless.data", "read": {"format": "csv", "header": False}}
    assert asked.read(Path("training.yaml"))
    assert (arguments["key"], arguments["label"]) == ("column_1", "column_2")


@pytest.mark.usefixtures("customers")
def test_a_label_that_some_rows_lack_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("gaps.csv").write_text("id,churned\na,yes\nb,no\nc,\nd,yes\n")

    assert "1 rows have none, which a run refuses: take them out first" in said(capsys, monkeypatch, "gaps.csv")


def test_the_time_column_is_neither_a_birthday_nor_a_day_to_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text(
        "id,date_of_birth,valid_until,seen,churned\n"
        + "".join(f"{row},1980-01-{row % 28 + 1:02},9999-12-31,2025-01-01,{row % 2}\n" for row in range(100))
    )

    said(capsys, monkeypatch, "people.csv")

    assert asked.read(tmp_path / "training.yaml").arguments["time_column"] == "seen"
