"""What a retraining would have gained: found where there is more to learn, and not where there is not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.contracts import model
from cd4ml.contracts.model import Contract
from cd4ml.contracts.problems import PROBLEMS
from cd4ml.monitoring import backtest

ROWS = 4000
INPUTS = model.inputs({"region": "category", "age": "number", "adult": "boolean", "since": "date"})
BINARY = Contract("took", ("false", "true"), INPUTS, {})
THREE = Contract("where", ("east", "north", "west"), INPUTS, {}, PROBLEMS["multiclass"])
NUMBER = Contract("rent", (), INPUTS, {}, PROBLEMS["regression"])


def windows(contract: Contract, *, seed: int, moved: bool) -> pa.Table:
    """Labelled rows, of which the age tells the label; what was served does not see it where the world has moved."""
    random = np.random.default_rng(seed)
    age, outputs = random.normal(40, 10, ROWS), max(1, len(contract.shape) and len(contract.classes))
    told = (age - 40) / 10
    if not contract.classes:
        labels, served = [str(one) for one in told + random.normal(0, 0.1, ROWS)], told[:, np.newaxis]
    elif len(contract.classes) == 2:
        served = (1 / (1 + np.exp(-2 * told)))[:, np.newaxis]
        labels = np.where(random.random(ROWS) < served[:, 0], "true", "false").tolist()
    else:
        odds = np.exp(np.stack([-told, np.zeros(ROWS), told], axis=1))
        served = odds / odds.sum(axis=1, keepdims=True)
        labels = [contract.classes[random.choice(3, p=one)] for one in served]
    if moved:
        served = random.permuted(served, axis=0) if outputs == 1 else random.permutation(served)
    texts = {
        "region": random.choice(["south", "north"], ROWS).tolist(),
        "age": [str(one) if place % 10 else None for place, one in enumerate(age)],
        "adult": ["true"] * ROWS,
        "since": ["2025-01-01"] * ROWS,
    }
    at = pa.array([datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=place) for place in range(ROWS)])
    return pa.table(
        {
            "at": at,
            "request_id": [str(place) for place in range(ROWS)],
            "unit": pa.nulls(ROWS, pa.string()),
            "labelled_at": at,
            "outputs": pa.array([list(contract.names)] * ROWS, pa.list_(pa.string())),
            "predictions": pa.array(served.tolist(), pa.list_(pa.float64())),
            "label": pa.array(labels, pa.string()),
            "features": pa.StructArray.from_arrays([pa.array(one, pa.string()) for one in texts.values()], [*texts]),
        }
    )


def with_column(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)


@pytest.mark.parametrize("contract", [BINARY, THREE, NUMBER], ids=lambda one: one.problem.name)
def test_what_a_model_has_not_learnt_is_gained(contract: Contract) -> None:
    found = backtest.backtest(windows(contract, seed=1, moved=True), contract)

    assert found
    assert (found.learnt, found.rows) == (3000, 1000)
    assert found.interval[0] > 0


@pytest.mark.parametrize("contract", [BINARY, THREE, NUMBER], ids=lambda one: one.problem.name)
def test_a_model_that_knows_all_there_is_to_know_gains_nothing(contract: Contract) -> None:
    found = backtest.backtest(windows(contract, seed=1, moved=False), contract)

    assert found
    assert found.value < 0


def test_the_gain_is_that_of_the_losses_of_the_rows() -> None:
    rows = windows(BINARY, seed=1, moved=True)

    found = backtest.backtest(rows, BINARY)

    served = np.array([one[0] for one in rows["predictions"].to_pylist()])[3000:]
    right = np.where(np.array(rows["label"].to_pylist())[3000:] == "true", served, 1 - served)
    assert found
    assert found.served == pytest.approx(-np.log(right).mean())


def test_rows_of_one_caller_that_are_alike_count_as_one() -> None:
    rows = windows(BINARY, seed=1, moved=True).take(np.repeat(np.arange(400), 10))
    rows = with_column(rows, "request_id", pa.array([str(place) for place in range(ROWS)]))
    known = with_column(rows, "unit", pa.array([str(place // 10) for place in range(ROWS)]))

    alike, alone = backtest.backtest(known, BINARY), backtest.backtest(rows, BINARY)

    assert alike
    assert alone
    assert alike.value == alone.value
    wide, narrow = (one.interval[1] - one.interval[0] for one in (alike, alone))
    assert wide == pytest.approx(narrow * np.sqrt(10), rel=0.01)
    assert backtest.backtest(with_column(rows, "unit", pa.array(["one"] * ROWS)), BINARY) is None


def test_too_few_rows_or_one_class_alone_tell_nothing() -> None:
    rows = windows(BINARY, seed=1, moved=False)
    alone = with_column(rows, "label", pa.array(["true"] * ROWS))

    assert backtest.backtest(rows.slice(0, 999), BINARY) is None
    assert backtest.backtest(alone, BINARY) is None


def test_labels_that_came_after_the_later_rows_began_are_not_learnt() -> None:
    rows = windows(BINARY, seed=1, moved=True)
    began = rows["at"][3000].as_py()
    late = [began + timedelta(seconds=place < 2000) for place in range(ROWS)]

    found = backtest.backtest(with_column(rows, "labelled_at", pa.array(late)), BINARY)
    none = backtest.backtest(with_column(rows, "labelled_at", pa.array([began + timedelta(1)] * ROWS)), BINARY)

    assert found
    assert (found.learnt, found.rows, none) == (1000, 1000, None)


@pytest.mark.parametrize("contract", [BINARY, THREE, NUMBER], ids=lambda one: one.problem.name)
def test_rows_whose_answer_or_label_is_none_are_passed_over(contract: Contract) -> None:
    rows = windows(contract, seed=1, moved=True)
    answers, labels = rows["predictions"].to_pylist(), rows["label"].to_pylist()
    answers[:4], labels[4:6] = [[0.25] * 5, [float("nan")] * len(answers[0]), [], None], ["nowhere", None]

    strange = with_column(rows, "predictions", pa.array(answers, pa.list_(pa.float64())))
    found = backtest.backtest(with_column(strange, "label", pa.array(labels, pa.string())), contract)

    assert found
    assert found.learnt + found.rows == ROWS - 6
    assert found.interval[0] > 0


def test_rows_without_any_feature_are_left_out() -> None:
    rows = windows(BINARY, seed=1, moved=True)
    features = rows["features"].combine_chunks()
    bare = pa.array(np.arange(ROWS) % 2 == 0)
    masked = pa.StructArray.from_arrays(features.flatten(), fields=list(features.type), mask=bare)

    found = backtest.backtest(with_column(rows, "features", masked), BINARY)

    assert found
    assert (found.learnt, found.rows) == (1500, 500)
    assert backtest.backtest(rows.drop(["features"]), BINARY) is None


def test_what_is_printed_is_the_gain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(windows(BINARY, seed=1, moved=False).slice(0, 10), tmp_path / "rows.parquet")
    model.write_contract(BINARY, tmp_path)

    assert backtest.main(str(tmp_path / "rows.parquet"), str(tmp_path)) == 0
    assert capsys.readouterr().out == "null\n"
