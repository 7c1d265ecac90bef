"""Rows that are worth a person's label: a few of each reason, never more than asked for, and taken back with a name."""

import json
import shlex
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import captures
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts import model
from cd4ml.contracts.chosen import ChosenThreshold
from cd4ml.contracts.deployment import Held
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.problems import PROBLEMS
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.errors import DataError
from cd4ml.monitoring import labelling, labels_ahead, spreadsheet, taking, window_table, windows
from cd4ml.registry import clock, deployments, labels_taken
from cd4ml.storage import open_store
from cd4ml.storage.folder import FolderStore

HOUR = timedelta(hours=1)
REQUESTS = 400
INPUTS = (
    Input("region", "category", vocabulary=("north", "south")),
    Input("age", "number", range=(0.0, 100.0)),
    Input("plan", "category", vocabulary=("a", "b", "rare")),
)
STRANGE, OLD, RARE, SURE = 3, 5, 7, 0.99
"""Requests with a region that training did not know, with an age beyond all that it saw, and of a small group."""


@pytest.fixture
def store(tmp_path: Path) -> str:
    """With a window of `uptake`, of which every second row has a label; the challenger got a copy of each request."""
    location = str(tmp_path / "store")
    with tempfile.TemporaryDirectory() as folder:
        model.write_contract(Contract("took", ("false", "true"), INPUTS, {}), folder)
        data = DatasetReference("players", 0, "sha256:d")
        arguments = {"sensitive": ["plan"], "slices": ["region"]}
        version = Version("uptake", 1, "sha256:1", "2026-01-01T00:00:00Z", "run", "", data, arguments=arguments)
        FolderStore(location).add_folder(version.folder, {"model": Path(folder), "version.json": version.text})
    begun = deployments.begin(open_store(location), version, run="run", target="machine", strategy="direct")
    deployments.add(open_store(location), begun, Held("http://localhost", clock.now()))
    asked, copies = captures.mirrored(REQUESTS)
    features = [json.dumps(features_of(place)) for place in range(REQUESTS)]
    given_, copied = np.full((REQUESTS, 1), SURE), np.full((REQUESTS, 1), SURE)
    given_[11], copied[13] = 0.5, 0.01
    folder = tmp_path / "capture/requests/2026-01-01"
    folder.mkdir(parents=True)
    tables = [
        captures.with_column(captures.with_column(table, "features", features), "predictions", values.tolist())
        for table, values in ((asked, given_), (copies, copied))
    ]
    pq.write_table(pa.concat_tables(tables), folder / "0.parquet")
    labels = pa.table({"request_id": [f"0-{place}" for place in range(0, REQUESTS, 2)], "took": [True] * 200})
    pq.write_table(labels, tmp_path / "labels.parquet")
    taking.take("uptake", source=str(tmp_path / "labels.parquet"), store=location)
    (span,) = captures.spans(captures.BEGIN, captures.BEGIN + HOUR, HOUR)
    windows.collect(location, "uptake", span, capture=str(tmp_path / "capture"))
    return location


def features_of(place: int) -> dict[str, list[Any]]:
    return {
        "region": ["atlantis" if place == STRANGE else "north"],
        "age": [200.0 if place == OLD else 30.0],
        "plan": ["rare" if place == RARE else "a"],
    }


def next_rows(store: str, most: int) -> pa.Table:
    return labelling.worth_it(open_store(store), "uptake", most)


def test_the_best_row_of_each_reason_comes_first(store: str) -> None:
    found = next_rows(store, 7)

    by_row = dict(zip(found["request_id"].to_pylist(), found["why"].to_pylist(), strict=True))
    assert by_row["0-11"] == "uncertain"
    assert by_row["0-13"] == "disagreeing"
    assert by_row["0-7"] == "small group"
    assert (by_row["0-3"], by_row["0-5"]) == ("new", "new")
    assert "chance" in by_row.values()


def test_hashes_and_blanks_are_nothing_new_and_other_versions_are_not_asked_about() -> None:
    contract = Contract("where", ("east", "north", "west"), INPUTS, {}, PROBLEMS["multiclass"])
    outputs = [list(contract.classes), [*contract.classes, "south"], list(contract.classes)]
    texts = pa.array(["", "south", None]), pa.array(["200", "30", "much"]), pa.array(["a" * 64, "", "b" * 64])
    table = pa.table(
        {
            "outputs": outputs,
            "predictions": [[0.2, 0.3, 0.5], [0.25] * 4, [0.1, 0.1, 0.8]],
            "features": pa.StructArray.from_arrays(texts, ["region", "age", "plan"]),
        }
    )

    assert len(labelling._with_outputs(table, contract)) == 2
    assert labelling._new(table, contract).tolist() == [1, 0, 0]


def test_rows_without_any_feature_are_for_a_person_where_there_are_no_others(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, known = window_table.rows, {"0-11", "0-5"}

    def some_known(*given: Any, **named: Any) -> pa.Table:
        found = read(*given, **named)
        features = found["features"].combine_chunks()
        bare = pc.invert(pc.is_in(found["request_id"], pa.array([*known], pa.string()))).combine_chunks()
        masked = pa.StructArray.from_arrays(features.flatten(), fields=list(features.type), mask=bare)
        return found.set_column(found.column_names.index("features"), "features", masked)

    monkeypatch.setattr(window_table, "rows", some_known)

    assert set(next_rows(store, 10)["request_id"].to_pylist()) == known
    known.clear()
    assert len(next_rows(store, 10)) == 10


def test_a_person_sees_the_features_what_was_predicted_and_an_empty_label(store: str) -> None:
    first = next_rows(store, 1)

    assert first.column_names == [
        *("request_id", "row", "at", "version", "age", "plan", "region", "predicted probability", "why", "took"),
    ]
    assert first.drop_columns(["at"]).to_pylist() == [
        {
            "request_id": "0-11",
            "row": 1,
            "version": "1",
            "age": "30",
            "plan": "a",
            "region": "north",
            "predicted probability": 0.5,
            "why": "uncertain",
            "took": None,
        }
    ]


@settings(max_examples=20, deadline=None)
@given(
    scores=st.lists(st.lists(st.floats(0, 1), min_size=8, max_size=8), min_size=1, max_size=4), most=st.integers(0, 12)
)
def test_never_more_rows_than_asked_for_and_each_once(scores: list[list[float]], most: int) -> None:
    found = labelling._in_turns({str(place): np.array(one) for place, one in enumerate(scores)}, most)

    places = [place for place, _ in found]
    worth = {place for place in range(8) if any(one[place] for one in scores)}
    assert len(places) == len(set(places)) == min(most, len(worth))
    assert all(scores[int(why)][place] > 0 for place, why in found)


def test_rows_with_a_label_are_never_asked_for_again(store: str) -> None:
    assert {int(one.partition("-")[2]) % 2 for one in next_rows(store, REQUESTS)["request_id"].to_pylist()} == {1}
    assert len(next_rows(store, REQUESTS)) == REQUESTS // 2


def test_rows_are_not_asked_for_again_after_a_person_labelled_them_and_the_command_is_said_that_joins_them(
    store: str, tmp_path: Path
) -> None:
    first, capture = next_rows(store, 50), str(tmp_path / "capture")
    filled = first.set_column(first.num_columns - 1, "took", pa.array(["true"] * 50))
    pq.write_table(filled, tmp_path / "filled.parquet")

    given_ = ask("take", "uptake", str(tmp_path / "filled.parquet"), "--row", "row", "--by", "Ann", "--store", store)
    second = next_rows(store, 200)

    assert len(second) == 150
    assert not {*first["request_id"].to_pylist()} & {*second["request_id"].to_pylist()}
    [said] = [line for line in given_.output.splitlines() if "cd4ml monitor collect" in line]
    assert "1 window with such rows" in said
    words = said.partition("cd4ml ")[2].split()
    joined = CliRunner().invoke(app, [*words, "--capture", capture, "--store", store])
    assert (joined.exit_code, window_table.every(open_store(store), "uptake")[0].labelled) == (0, 250)
    assert next_rows(store, 200)["request_id"].to_pylist() == second["request_id"].to_pylist()


@pytest.mark.parametrize(("known", "asked_again"), [("2026-01-01T00:00:00Z", True), ("2026-01-01T00:59:00Z", False)])
def test_rows_with_a_label_by_key_are_asked_for_where_it_was_known_before_them(
    store: str, tmp_path: Path, known: str, asked_again: bool
) -> None:
    (tmp_path / "outcomes.csv").write_text(f"region,took,known\natlantis,true,{known}\n")

    done = ask(
        "take", "uptake", str(tmp_path / "outcomes.csv"), "--key", "region", "--known", "known", "--store", store
    )

    assert done.exit_code == 0, done.exception
    assert (f"0-{STRANGE}" in next_rows(store, REQUESTS)["request_id"].to_pylist()) == asked_again


def test_a_label_without_the_number_of_a_row_is_of_the_only_one_of_its_request(store: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"request_id": ["one", "two"], "took": [True, True]}), tmp_path / "labels.parquet")
    taking.take("uptake", source=str(tmp_path / "labels.parquet"), store=store)
    rows = pa.table({"request_id": ["one", "two", "two"], "row": pa.array([1, 1, 2], pa.int32())})

    assert labels_ahead.are_taken(open_store(store), "uptake", rows).tolist() == [True, False, False]


def test_a_row_is_uncertain_that_is_nearer_to_the_threshold_than_to_0_and_1(store: str) -> None:
    found = next_rows(store, REQUESTS)

    assert found.filter(pc.equal(found["why"], "uncertain"))["request_id"].to_pylist() == ["0-11"]


@settings(max_examples=50)
@given(threshold=st.floats(0, 1), given_=st.floats(0, 1))
def test_of_two_classes_how_uncertain_a_row_is_goes_by_the_threshold(threshold: float, given_: float) -> None:
    contract = Contract("took", ("false", "true"), INPUTS, {}, threshold=ChosenThreshold(threshold, 100, 0.1, 1.0, 1.0))
    [score] = labelling._uncertain(np.array([[given_]]), contract)

    nearer = abs(given_ - threshold) <= min(given_, 1 - given_)
    assert 0 <= score <= 1
    assert (score >= labelling.UNSURE) == nearer or score == pytest.approx(labelling.UNSURE)


def ask(*words: str) -> Any:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["labels", *words])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_a_person_fills_in_comes_back_with_their_name(store: str, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"to-label.{suffix}"
    asked = ask("next", "uptake", str(file), "--rows", "10", "--store", store)
    assert asked.exit_code == 0, asked.output
    table = csv.read_csv(file) if suffix == "csv" else pq.read_table(file)
    told = pa.array([True, False] * 3 + [None] * 4)
    pq.write_table(table.set_column(table.num_columns - 1, "took", told), tmp_path / "filled.parquet")

    done = ask("take", "uptake", str(tmp_path / "filled.parquet"), "--row", "row", "--by", "a reader", "--store", store)

    assert (done.exit_code, "4 rows without a label yet" in done.output) == (0, True), done.output
    assert {one.by for one in labels_taken.every(open_store(store), "uptake")} == {"", "a reader"}
    assert "a reader" in ask("list", "uptake", "--store", store).output
    (span,) = captures.spans(captures.BEGIN, captures.BEGIN + HOUR, HOUR)
    windows.collect(store, "uptake", span, capture=str(tmp_path / "capture"))
    (window,) = window_table.every(open_store(store), "uptake")
    assert window.labelled == 200 + 6


TAKEN = ("request_id", "row", "at", "version", "why", "predicted probability", "took")


@pytest.mark.parametrize("label", ["took", "row", "why"])
def test_a_feature_or_label_that_is_called_as_another_column_comes_back_all_the_same(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    """The features of the rows are called so, and one as the other name of another."""
    names = [*TAKEN, "feature version", "region"]
    given_ = pa.StructArray.from_arrays([pa.array([f"of {name}"] * 2) for name in names], names)
    rows = window_table.rows(open_store(store), window_table.every(open_store(store), "uptake")[0])
    rows = rows.filter(pc.is_in(rows["request_id"], pa.array(["0-1", "0-3"])))
    rows = rows.set_column(rows.column_names.index("features"), "features", given_)
    monkeypatch.setattr(window_table, "rows", lambda *_, mirrored: rows.slice(0, 0) if mirrored else rows)
    own = Contract(label, ("false", "true"), (), {})
    monkeypatch.setattr("cd4ml.registry.models.contract", lambda *_: own)
    file = tmp_path / "to-label.csv"

    asked = ask("next", "uptake", str(file), "--store", store)

    table = csv.read_csv(file)
    assert len(set(table.column_names)) == table.num_columns == 4 + len(names) + 3
    last = label if label == "took" else f"label {label}"
    assert table.column_names[-1] == last
    assert {value[3:]: name for name, [value, _] in table.to_pydict().items() if str(value).startswith("of ")} == {
        **{name: f"feature {name}" for name in TAKEN if name != "took" or label == "took"},
        **({} if label == "took" else {"took": "took"}),
        "version": "feature feature version",
        "feature version": "feature version",
        "region": "region",
    }
    csv.write_csv(table.set_column(table.num_columns - 1, last, pa.array([True, False])), file)
    [told] = [line for line in asked.output.splitlines() if "cd4ml labels take" in line]
    words = shlex.split(told.partition("cd4ml labels ")[2])
    assert ask(*words, "--store", store).exit_code == 0
    (taken,) = (one for one in labels_taken.every(open_store(store), "uptake") if one.by == "NAME")
    assert labels_taken.read(open_store(store), taken).select(["request_id", "row", "label"]).to_pylist() == [
        {"request_id": request, "row": 1, "label": label}
        for request, label in zip(table["request_id"].to_pylist(), ("true", "false"), strict=True)
    ]


@settings(max_examples=50)
@given(st.text(st.sampled_from("=+-@'\t\r1a"), max_size=4))
def test_what_a_caller_sent_is_no_formula_in_a_spreadsheet_and_comes_back_as_it_was(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "to-label.csv"
        labelling.write(pa.table({"request_id": pa.array([text, "b"], pa.string())}), file)
        strings = csv.ConvertOptions(column_types={"request_id": pa.string()}, strings_can_be_null=False)
        shown = csv.read_csv(file, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=strings)
    first = shown["request_id"][0].as_py()

    is_number = text.lstrip("+-").isdecimal() and len(text) - len(text.lstrip("+-")) <= 1
    assert first[:1] not in set("=+-@\t\r") or is_number
    assert spreadsheet.read(shown["request_id"]).to_pylist() == [text, "b"]


def test_a_label_of_a_request_whose_id_is_a_formula_is_taken(store: str, tmp_path: Path) -> None:
    rows = pa.table({"request_id": ["=1+1", "-5", "b"], "took": ["true", "false", "true"]})
    labelling.write(rows, tmp_path / "filled.csv")
    assert "'=1+1" in (tmp_path / "filled.csv").read_text()

    taken = taking.take("uptake", source=str(tmp_path / "filled.csv"), store=store).labels

    assert sorted(labels_taken.read(open_store(store), taken)["request_id"].to_pylist()) == ["-5", "=1+1", "b"]


def test_a_file_that_is_there_is_not_written_over(store: str, tmp_path: Path) -> None:
    file = tmp_path / "to-label.csv"
    file.write_text("labels of an hour\n")

    refused = ask("next", "uptake", str(file), "--store", store)

    assert "is there already, perhaps with labels" in str(refused.exception)
    assert file.read_text() == "labels of an hour\n"
    assert "write a file of .csv or .parquet" in str(
        ask("next", "uptake", str(tmp_path / "to-label.xlsx"), "--store", store).exception
    )


def test_where_there_is_nothing_to_label_it_is_told(store: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no window was collected"):
        labelling.worth_it(open_store(store), "other", 10)
    with pytest.raises(DataError, match=r"no row is of version 1, .*\(nothing was asked"):
        labelling.worth_it(open_store(store), "uptake", 10, since=captures.BEGIN + timedelta(days=31))
    others = pa.table({"request_id": [f"0-{place}" for place in range(1, REQUESTS, 2)], "took": [False] * 200})
    pq.write_table(others, tmp_path / "others.parquet")
    taking.take("uptake", source=str(tmp_path / "others.parquet"), store=store)
    (span,) = captures.spans(captures.BEGIN, captures.BEGIN + HOUR, HOUR)
    windows.collect(store, "uptake", span, capture=str(tmp_path / "capture"))
    with pytest.raises(DataError, match="every row since 2025-12-02 that version 1 answered has a label"):
        labelling.worth_it(open_store(store), "uptake", 10)
