"""A published model's predictions for a whole table: right, counted, whole, and made once."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from evaluated_samples import GRADES, make_grade_model, make_grades, make_prices, make_table
from published import publish, read

from cd4ml.contracts.chosen import ChosenThreshold
from cd4ml.contracts.deployment import Held
from cd4ml.contracts.model import read_contract, write_contract
from cd4ml.data.ingest import ingest
from cd4ml.errors import Cd4mlError, DataError, RegistryError
from cd4ml.prediction import batch
from cd4ml.prediction.batch import predict
from cd4ml.registry import deployments
from cd4ml.storage.folder import FolderStore

ROWS = 400
IMPORT = "from cd4ml.prediction import batch"
SMALL = f"{IMPORT}; batch.at_once = lambda _: 10"
"""Has shards of 40 rows."""


@pytest.fixture
def store(models, tmp_path) -> FolderStore:
    made = FolderStore(tmp_path / "store")
    publish(made, models["candidate"])
    return made


@pytest.fixture
def players(tmp_path) -> pa.Table:
    table = make_table(ROWS, player=[f"p{number}" for number in range(ROWS)])
    pq.write_table(table, tmp_path / "players.parquet")
    return table


@pytest.fixture
def small(monkeypatch) -> None:
    monkeypatch.setattr(batch, "at_once", lambda _: 10)


def expected(table: pa.Table) -> np.ndarray:
    """What the model of these tests says, in numpy."""
    passed_over = np.array(table["region"].to_pylist()) == "south"
    return 1 / (1 + np.exp(2.0 * passed_over - 2.0 * table["income"].to_numpy()))


def test_each_row_of_a_dataset_is_predicted_and_says_by_which_model(store, players, tmp_path):
    ingest(str(tmp_path / "players.parquet"), store=store.location, name="players", key="player")

    found = predict("uptake@1", source='{"dataset": "players@0"}', store=store.location)

    table = read(found.uri).to_pydict()
    assert table["player"] == players["player"].to_pylist()
    np.testing.assert_allclose(table["probability"], expected(players), atol=1e-6)
    assert table["predicted"] == ["true" if one > 0.35 else "false" for one in table["probability"]]
    assert {*zip(table["model"], table["version"], table["digest"], strict=True)} == {("uptake", 1, found.digest)}
    assert {f"{one:%Z}" for one in table["predicted_at"]} == {"UTC"}
    assert found.uri == store.uri("predictions/uptake/players")
    assert (found.rows, found.predicted, found.missing, found.unknown) == (ROWS, ROWS, {}, {})
    assert found.mean == pytest.approx(expected(players).mean(), abs=1e-6)


def test_a_row_is_of_the_class_that_the_threshold_says_which_training_chose(store, players, models, tmp_path):
    shutil.copytree(models["candidate"], tmp_path / "chosen")
    chosen = ChosenThreshold(0.2, rows=10, cost=0.2, false_positive=1, false_negative=4)
    contract = replace(read_contract(tmp_path / "chosen"), threshold=chosen)
    write_contract(contract, tmp_path / "chosen")
    publish(store, tmp_path / "chosen", number=2)

    found = predict("uptake@2", source=str(tmp_path / "players.parquet"), store=store.location)

    table = read(found.uri).to_pydict()
    assert found.threshold == 0.2
    assert table["predicted"] == ["true" if one > 0.2 else "false" for one in table["probability"]]


def test_a_number_is_predicted_in_its_own_column_without_a_class(price_models, tmp_path):
    made, table = FolderStore(tmp_path / "store"), make_prices()
    publish(made, price_models["candidate"], name="prices")
    pq.write_table(table, tmp_path / "houses.parquet")

    found = predict("prices@1", source=str(tmp_path / "houses.parquet"), store=made.location)

    favoured = np.array(table["region"].to_pylist()) == "south"
    prices = 100 + 10 * table["income"].to_numpy() + 9 * favoured
    written = read(found.uri)
    assert written.column_names == ["row", "prediction", "model", "version", "digest", "predicted_at"]
    np.testing.assert_allclose(written["prediction"].to_numpy(), prices, rtol=1e-6)
    assert found.range == pytest.approx((prices.min(), prices.max()), rel=1e-6)
    assert found.metrics["mean_prediction"] == pytest.approx(prices.mean(), rel=1e-6)
    assert (found.classes, found.threshold) == ((), None)
    assert found.lines == [f"prediction: {prices.mean():.4g} on average, from {prices.min():.4g} to {prices.max():.4g}"]


def test_of_several_classes_the_most_probable_is_predicted_and_all_probabilities_are_there(tmp_path):
    made, table = FolderStore(tmp_path / "store"), make_grades()
    publish(made, make_grade_model(tmp_path / "model", passed_over="south"), name="grades")
    pq.write_table(table, tmp_path / "people.parquet")

    found = predict("grades@1", source=str(tmp_path / "people.parquet"), store=made.location)

    income = 2 * table["income"].to_numpy().astype(np.float64)
    less = 2.0 * (np.array(table["region"].to_pylist()) == "south")
    shares = np.exp(np.stack([0 * income, income, 2 * income - 1 - less], axis=1))
    shares /= shares.sum(axis=1, keepdims=True)
    written = read(found.uri)
    own = ["row", "probability", "predicted", "probabilities"]
    assert written.column_names == [*own, "model", "version", "digest", "predicted_at"]
    np.testing.assert_allclose(written["probabilities"].to_pylist(), shares, atol=1e-6)
    assert written["predicted"].to_pylist() == [GRADES[place] for place in shares.argmax(axis=1)]
    np.testing.assert_allclose(written["probability"].to_numpy(), shares.max(axis=1), atol=1e-6)
    [in_order] = [one.metadata for one in deltalake.DeltaTable(found.uri).schema().fields if one.name == own[-1]]
    assert json.loads(in_order["classes"]) == list(found.classes) == list(GRADES)
    assert found.metrics["mean_probability"] == pytest.approx(shares.max(axis=1).mean(), abs=1e-6)
    assert found.lines[0].startswith(f"probability: {shares.max(axis=1).mean():.4g} on average, from 0.")
    assert found.threshold is None


def test_a_key_is_not_called_as_the_column_of_probabilities(tmp_path):
    made = FolderStore(tmp_path / "store")
    publish(made, make_grade_model(tmp_path / "model"), name="grades")
    pq.write_table(make_grades(probabilities=np.arange(ROWS)), tmp_path / "people.parquet")

    with pytest.raises(DataError, match="key column 'probabilities' is called as a column of the predictions"):
        predict("grades@1", source=str(tmp_path / "people.parquet"), store=made.location, key=["probabilities"])


def test_a_file_is_predicted_with_the_columns_that_are_asked_for_or_the_numbers_of_its_rows(store, players, tmp_path):
    file = str(tmp_path / "players.parquet")

    keyed = predict("uptake@1", source=file, store=store.location, key=["player", "level", "player"], output="keyed")
    numbered = predict("uptake@1", source=file, store=store.location)

    assert read(keyed.uri).select(["player", "level"]).to_pydict() == players.select(["player", "level"]).to_pydict()
    assert read(numbered.uri)["row"].to_pylist() == list(range(1, ROWS + 1))
    assert numbered.uri.endswith("/uptake/players")


def test_what_the_model_does_not_know_is_counted(store, tmp_path):
    table = make_table(6, income=[1.0, None, float("nan"), 0.5, 0.1, 0.2])
    region = ["north", None, "", "moon", "mars", "moon"]
    pq.write_table(table.set_column(1, "region", pa.array(region)), tmp_path / "new.parquet")

    found = predict("uptake@1", source=str(tmp_path / "new.parquet"), store=store.location)

    assert found.missing == {"income": 2, "region": 2}
    assert found.lines[-1] == "region: unknown to the model in 3 of 6 rows, from row 4 on"


def test_no_value_of_a_row_is_told_in_the_log_or_the_record(store, tmp_path, small, capfd):
    table = make_table(60, region=["north"] * 50 + ["Erika"] * 10, code=[f"0{number}" for number in range(60)])
    pacsv.write_csv(table, tmp_path / "new.csv")

    found = predict("uptake@1", source=str(tmp_path / "new.csv"), store=store.location, output="new")

    assert found.lines[-1] == "region: unknown to the model in 10 of 60 rows, from row 51 on"
    assert found.said[-1].startswith("column 'code' stays text")
    log = "".join(file.read_text() for file in Path(found.uri).glob("_delta_log/*.json")) + "".join(capfd.readouterr())
    assert "Erika" not in log
    assert "'07'" not in log

    with (tmp_path / "new.csv").open("a") as file:
        file.write("Erika,and,a,row,of,more,cells,than,others\n")
    with pytest.raises(DataError, match=r"new\.csv: row 61 has 9 cells") as told:
        predict("uptake@1", source=str(tmp_path / "new.csv"), store=store.location, output="new")
    assert "Erika" not in str(told.value)


def test_nothing_is_done_again_where_nothing_changed(store, players, tmp_path):
    file = str(tmp_path / "players.parquet")
    first = predict("uptake@1", source=file, store=store.location)

    Path(file).touch()
    again = predict("uptake@1", source=file, store=store.location)

    assert again == first
    assert len(deltalake.DeltaTable(first.uri).history()) == 1


def test_only_new_rows_are_predicted_and_each_version_stays(store, players, tmp_path, small):
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(players.slice(0, 80), folder / "a.parquet")
    first = predict("uptake@1", source=str(folder), store=store.location)
    pq.write_table(players.slice(80, 50), folder / "b.parquet")

    second = predict("uptake@1", source=str(folder), store=store.location)

    assert (second.version, second.rows, second.predicted) == (1, 130, 50)
    assert sorted(read(second.uri)["row"].to_pylist()) == list(range(1, 131))
    before = deltalake.DeltaTable(first.uri, version=0)
    assert before.count() == 80


def test_another_model_predicts_all_rows_anew(store, models, players, tmp_path, small):
    publish(store, models["baseline"], 2)
    file = str(tmp_path / "players.parquet")
    predict("uptake@1", source=file, store=store.location)

    second = predict("uptake@2", source=file, store=store.location)

    assert second.predicted == ROWS
    assert set(read(second.uri)["version"].to_pylist()) == {2}


def test_a_key_that_is_added_makes_a_version_with_other_columns(store, players, tmp_path, small):
    file = str(tmp_path / "players.parquet")
    predict("uptake@1", source=file, store=store.location)

    second = predict("uptake@1", source=file, store=store.location, key=["player"])

    assert read(second.uri).column_names[:2] == ["player", "probability"]
    assert len(read(second.uri)) == ROWS


def test_the_champion_is_the_version_of_the_last_deployment_that_counts(store, models, players, tmp_path):
    file = str(tmp_path / "players.parquet")
    with pytest.raises(RegistryError, match="has no champion, for no .* counts; name a version, as uptake@1"):
        predict("uptake", source=file, store=store.location)

    version = publish(store, models["baseline"], 2)
    begun = deployments.begin(store, version, run="run-1", target="machine", strategy="replace")
    deployments.add(store, begun, Held(endpoint="http://127.0.0.1:1", at=begun.at))

    assert predict("uptake", source=file, store=store.location).model_version == 2


KILLED = """
import os, signal, sys
from cd4ml.storage.folder import FolderStore
add, added = FolderStore.add, []
def killing(self, name, content):
    add(self, name, content)
    added.append(name)
    if len(added) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
FolderStore.add = killing
"""
PREDICT = "import sys; batch.predict('uptake@1', source=sys.argv[1], store=sys.argv[2], key=['player'])"


def start(code: str, *words: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_run_that_was_killed_shows_nothing_and_goes_on_where_it_was(store, players, tmp_path, small):
    file = str(tmp_path / "players.parquet")
    killed = start(f"{KILLED}\n{SMALL}\n{PREDICT}", file, store.location)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not store.path("predictions/uptake/players/_delta_log").exists()

    found = predict("uptake@1", source=file, store=store.location, key=["player"])

    assert (found.rows, found.predicted) == (ROWS, ROWS - 3 * 40)
    table = read(found.uri).sort_by("player")
    np.testing.assert_allclose(table["probability"], expected(players.sort_by("player")), atol=1e-6)


def test_of_two_runs_at_once_both_pass_and_each_row_is_there_once(store, players, tmp_path):
    both = [start(f"{SMALL}\n{PREDICT}", str(tmp_path / "players.parquet"), store.location) for _ in range(2)]

    for one in both:
        output, _ = one.communicate()
        assert one.returncode == 0, output.decode()
    uri = store.uri("predictions/uptake/players")
    assert sorted(read(uri)["player"].to_pylist()) == sorted(players["player"].to_pylist())
    assert len(deltalake.DeltaTable(uri).history()) == 1


def test_a_row_that_cannot_be_read_is_told_with_its_file_and_nothing_is_shown(store, tmp_path):
    file = tmp_path / "players.csv"
    file.write_text("income,region\n" + "1.5,north\n" * 100 + "1.5,north,more\n")

    with pytest.raises(DataError, match=r"players\.csv: row 101 has 3 cells"):
        predict("uptake@1", source=str(file), store=store.location)

    assert not store.path("predictions").exists()


def test_a_cell_counts_the_same_wherever_it_stands(store, tmp_path):
    file = tmp_path / "players.csv"
    rows = 700_000  # more than what is looked at first
    file.write_text("income,region\n" + "1,north\n" * rows + "0.5,north\n")

    found = predict("uptake@1", source=str(file), store=store.location)

    assert found.rows == rows + 1
    assert found.mean == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "uptake@9"}, "no version 9 of the model uptake; published: 1"),
        ({"model": "uptake@one"}, "'one' is no version; write NAME@NUMBER, or NAME: the champion"),
        ({"key": ["playr"]}, "column 'playr', a column of the key, is not there; did you mean 'player'"),
        ({"key": ["model"]}, "key column 'model' is called as a column of the predictions; rename it"),
        ({"source": '{"dataset": "playrs"}'}, "no dataset 'playrs'; did you mean 'players'"),
        ({"source": '{"dataset": "players@9"}'}, "no version '9'"),
        ({"source": '{"dataset": "a/b"}'}, "cannot be a name"),
        ({"source": '{"dataset":' * 100_000}, "is no object in JSON"),
        ({"output": "a/b"}, "cannot be a name"),
    ],
)
def test_what_cannot_be_meant_is_told(store, players, tmp_path, changes, said):
    pq.write_table(players.append_column("model", players["player"]), tmp_path / "players.parquet")
    ingest(str(tmp_path / "players.parquet"), store=store.location, name="players", key="player")
    asked = {"model": "uptake@1", "source": str(tmp_path / "players.parquet"), **changes}

    with pytest.raises(Cd4mlError) as told:
        predict(asked.pop("model"), store=store.location, **asked)

    assert said in str(told.value)
    assert not store.path("predictions").exists()


def test_columns_that_lack_or_do_not_fit_are_told(store, players, tmp_path):
    file = tmp_path / "players.parquet"
    pq.write_table(players.drop_columns(["income", "region"]), file)
    with pytest.raises(DataError, match=r"(?s)'income', a feature of the model, is not there.*'region', a feature"):
        predict("uptake@1", source=str(file), store=store.location)

    pq.write_table(players.set_column(0, "income", players["player"]), file)
    with pytest.raises(DataError, match=r"players\.parquet: column 'income' is string, but the model takes a number"):
        predict("uptake@1", source=str(file), store=store.location)


def test_a_model_that_was_changed_since_it_was_published_predicts_nothing(store, players, tmp_path):
    contract = store.path("models/uptake/1/model/contract.json")
    content = json.loads(contract.read_text())
    contract.write_text(json.dumps({**content, "classes": ["true", "false"]}))

    with pytest.raises(RegistryError, match="not sha256:.*, which was published; publish it again"):
        predict("uptake@1", source=str(tmp_path / "players.parquet"), store=store.location)


def test_a_table_without_rows_is_told(store, players, tmp_path):
    pq.write_table(players.slice(0, 0), tmp_path / "players.parquet")

    with pytest.raises(DataError, match="has no rows"):
        predict("uptake@1", source=str(tmp_path / "players.parquet"), store=store.location)


def test_memory_does_not_grow_with_the_rows(store, tmp_path):
    code = f"{IMPORT}\n{PREDICT}\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)"
    peaks = []
    for rows in (300_000, 3_000_000):
        file = tmp_path / f"rows{rows}.parquet"
        table = make_table(100_000, player=[f"p{number}" for number in range(100_000)])
        pq.write_table(pa.concat_tables([table] * (rows // 100_000)), file)
        made = start(code, str(file), store.location)
        output, _ = made.communicate()
        assert made.returncode == 0, output.decode()
        peaks.append(int(output.splitlines()[-1]))

    assert peaks[1] < peaks[0] + 250


def test_a_feature_of_a_type_that_no_table_keeps_is_told(store, tmp_path):
    table = make_table(4).drop_columns("income").append_column("income", pa.array([[1.0]] * 4))
    pq.write_table(table, tmp_path / "lists.parquet")

    with pytest.raises(DataError, match="lists.parquet: column 'income', a feature of the model, holds list<"):
        predict("uptake@1", source=str(tmp_path / "lists.parquet"), store=store.location)
