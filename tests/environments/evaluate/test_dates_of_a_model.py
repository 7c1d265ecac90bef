"""A model that takes dates is evaluated, asked in batches and handed on as a package, always with the same numbers."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from evaluated_samples import ROWS, make_table
from published import publish, read

from cd4ml.contracts import evaluation as summary
from cd4ml.contracts import model, predictions
from cd4ml.contracts.model import Contract, Input, write_contract
from cd4ml.data.ingest import ingest
from cd4ml.errors import DataError
from cd4ml.prediction import batch, package
from cd4ml.prediction.batch import predict
from cd4ml.storage.folder import FolderStore

INPUTS = (Input("signed_up", "date", range=(0, 10**15)), Input("income", "number"))
WITHOUT_CD4ML = """
import sys, datetime
sys.modules.update(cd4ml=None, pyarrow=None, pandas=None)
sys.path.append(sys.argv[1])
from model_uptake import predict
print(*predict({"signed_up": [%s], "income": [0.5] * %d}))
"""


def make_dates(rows: int = ROWS) -> pa.Table:
    """Of all years, some of them missing."""
    random = np.random.default_rng(7)
    moments = random.integers(-(5 * 10**16), 2 * 10**17, rows)
    moments[:2] = [-62_135_596_800_000_000, 253_402_300_799_999_999]
    missing = random.random(rows) < 0.1
    missing[:2] = False
    column = pa.array(moments, pa.timestamp("us", "UTC"), mask=missing)
    return make_table(rows, signed_up=column)


def expected(table: pa.Table) -> np.ndarray:
    """What the model says: centuries from 2000 on, and the income."""
    centuries = [
        (one - datetime(2000, 1, 1, tzinfo=UTC)) / timedelta(days=36525) if one else 0
        for one in table["signed_up"].to_pylist()
    ]
    return 1 / (1 + np.exp(-(np.array(centuries) / 10 + table["income"].to_numpy())))


@pytest.fixture(scope="module")
def dated(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dated") / "model"
    module = tf.Module()
    signature = {one.tensor: tf.TensorSpec([None], one.dtype, name=one.tensor) for one in INPUTS}

    @tf.function(input_signature=[signature])
    def said(raw):
        centuries = tf.cast(raw["signed_up"] - 946_684_800_000_000, tf.float64) / (36525 * 86_400_000_000)
        known = tf.where(raw["signed_up"] == INPUTS[0].missing, 0.0, tf.cast(centuries, tf.float32))
        return {"probability": tf.sigmoid(known / 10 + raw["income"])}

    tf.saved_model.save(module, str(folder / "saved_model"), signatures=said)
    write_contract(Contract("took", ("false", "true"), INPUTS, {"model": "dnn"}), folder)
    return folder


@pytest.fixture
def store(dated, tmp_path) -> FolderStore:
    made = FolderStore(tmp_path / "store")
    publish(made, dated)
    return made


def test_it_is_evaluated_and_the_rows_that_are_kept_can_be_asked_as_json(run, dated):
    table = make_dates()

    found, folder = run(table, candidate=dated)

    known = predictions.read(folder / "evaluation" / summary.PREDICTIONS)
    np.testing.assert_allclose(known.outputs, expected(table)[: len(known.rows)], atol=1e-6)
    assert json.loads(json.dumps(known.rows)) == known.rows
    assert known.rows[0][known.names.index("signed_up")] == "0001-01-01"
    again = pa.table([pa.array(column) for column in zip(*known.rows, strict=True)], known.names)
    raw = model.features(again, model.read_contract(dated))
    np.testing.assert_array_equal(
        raw["signed_up"], model.features(table, model.read_contract(dated))["signed_up"][:100]
    )
    assert 0.5 < found.metrics["auc"] < 1


@pytest.mark.parametrize("form", ["moments", "texts", "dataset"])
def test_a_table_is_predicted_whether_it_has_moments_or_texts(store, tmp_path, form):
    table = make_dates().append_column("player", pa.array([f"p{one}" for one in range(ROWS)]))
    wanted = expected(table)
    if form == "texts":
        texts = [one and one.isoformat() for one in table["signed_up"].to_pylist()]
        table = table.set_column(table.column_names.index("signed_up"), "signed_up", pa.array(texts))
    pq.write_table(table, tmp_path / "players.parquet")
    source = str(tmp_path / "players.parquet")
    if form == "dataset":
        ingest(source, store=store.location, name="players", key="player")
        source = '{"dataset": "players@0"}'

    found = predict("uptake@1", source=source, store=store.location)

    np.testing.assert_allclose(read(found.uri)["probability"].to_numpy(), wanted, atol=1e-6)
    assert found.missing == {"signed_up": make_dates()["signed_up"].null_count}
    assert found.unknown == {}


def test_a_text_that_is_no_date_is_told_with_its_row_and_without_the_value(store, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "at_once", lambda _: 10)
    texts = ["2024-02-29"] * 50 + ["2023-02-29"] + ["2024-02-29"] * 50
    pq.write_table(pa.table({"signed_up": texts, "income": [0.5] * 101}), tmp_path / "players.parquet")

    with pytest.raises(DataError) as told:
        predict("uptake@1", source=str(tmp_path / "players.parquet"), store=store.location)

    assert (
        "players.parquet: of the rows after 40: column 'signed_up' holds a text that is no date or time as ISO 8601, "
        "first in row 11; mend it" in str(told.value)
    )
    assert "2023-02-29" not in str(told.value)


def test_a_package_takes_texts_dates_and_times(store, tmp_path):
    exported = package.export(store.location, "uptake@1", tmp_path / "uptake")
    given = (
        "'2024-02-29', datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29), '2024-02-29T01:00+01:00', None, ''"
    )

    code = WITHOUT_CD4ML % (given, 6)
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "uptake"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    leap_day = datetime(2024, 2, 29, tzinfo=UTC)
    table = pa.table({"signed_up": pa.array([leap_day] * 4 + [None] * 2), "income": pa.array([0.5] * 6, pa.float32())})
    np.testing.assert_allclose([float(one) for one in done.stdout.split()], expected(table), atol=1e-6)
    assert exported.name == "uptake"
    assert "'signed_up': ['2027-02-28T09:30:00Z']" in (tmp_path / "uptake" / "README.md").read_text()


@pytest.mark.parametrize("text", ["9999-12-31T23:59-14:00", "0001-01-01T00:00+14:00"])
def test_a_package_refuses_what_its_offset_takes_beyond_the_calendar(store, tmp_path, text):
    package.export(store.location, "uptake@1", tmp_path / "uptake")

    code = WITHOUT_CD4ML % (repr(text), 1)
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "uptake"], capture_output=True, text=True)

    assert done.returncode == 1
    assert f"ValueError: {text} is beyond the years 1 to 9999 in UTC; mend it" in done.stderr
