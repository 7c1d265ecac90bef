"""`cd4ml.training.examples`: which rows come when, and what is heard of a file that cannot be read."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import requested

from cd4ml.contracts.model import Contract, inputs
from cd4ml.errors import TrainingError
from cd4ml.training import examples, network, reweight
from cd4ml.training.examples import Examples
from cd4ml.training.request import Request
from cd4ml.training.statistics import Column, Number, Text
from cd4ml.training.train import train

ROWS = 5_000
WORDS = ["north", "east", "south"]
LEARNT = ["eval_auc", "eval_loss", "train_auc", "train_loss", "best_epoch", "epochs"]
CITIES = [f"c{number}" for number in range(40)]
CONTRACT = Contract(
    "took", ("false", "true"), inputs({"number": "number", "word": "category", "city": "category"}), {"model": "dnn"}
)
STATISTICS: dict[str, Column] = {
    "number": Number(0.0, ROWS, mean=0.0, deviation=float(ROWS), missing=False),
    "word": Text(tuple(WORDS), missing=False),
    "city": Text(tuple(CITIES), missing=True),
}
EPOCH: dict[str, Any] = {"batch": 64, "batches": 4, "seed": 3, "epoch": 2}


def numbered(rows: int = ROWS) -> pa.Table:
    """Rows that their number tells apart, and whose label follows from it."""
    random = np.random.default_rng(0)
    return pa.table(
        {
            "number": np.arange(rows),
            "word": random.choice(WORDS, rows),
            "city": pa.array(random.choice(CITIES, rows), mask=random.random(rows) < 0.1),
            "took": np.arange(rows) % 3 == 0,
        }
    )


def opened(file: Path, **changes: Any) -> Examples:
    return Examples(file, contract=CONTRACT, encoded=network.encoder(CONTRACT, STATISTICS), **changes)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    pq.write_table(numbered(), tmp_path / "train", row_group_size=300)
    return tmp_path / "train"


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stays in memory, a buffer holds a few batches, and no more rows than must are read at a time."""
    monkeypatch.setattr(examples, "CACHE_BYTES", 0)
    monkeypatch.setattr(examples, "READ_BYTES", 0)
    monkeypatch.setattr(examples, "BUFFER_BYTES", 2**15)


def numbers(blocks: Any) -> list[int]:
    """Which rows these are."""
    return [round(float(one) * ROWS) for block in blocks for one in block.inputs[0][:, 0]]


def contents(blocks: Any) -> list[tuple[bytes, ...]]:
    return [(*(one.tobytes() for one in block.inputs), block.labels.tobytes()) for block in blocks]


def test_an_epoch_has_each_row_once_with_its_label_and_its_weight(split, streamed):
    weights = np.arange(ROWS, dtype=np.float32)

    blocks = list(opened(split, weights=weights).blocks(**EPOCH))

    rows = numbers(blocks)
    assert sorted(rows) == list(range(ROWS))
    assert np.concatenate([one.weights for one in blocks]).tolist() == rows
    assert np.concatenate([one.labels for one in blocks]).tolist() == [row % 3 == 0 for row in rows]
    assert {len(one.labels) % 64 for one in blocks[:-1]} == {0}


def test_a_row_group_is_not_read_through_in_order(split, streamed):
    rows = np.array(numbers(opened(split).blocks(**EPOCH)))

    assert np.mean(np.diff(rows) == 1) < 0.02
    assert len(set(rows[:300] // 300)) > 1


def test_the_rows_come_in_the_same_order_from_memory_and_from_the_file(split, monkeypatch):
    monkeypatch.setattr(examples, "BUFFER_BYTES", 2**15)
    kept = opened(split)
    monkeypatch.setattr(examples, "CACHE_BYTES", 0)
    read = opened(split)

    assert (kept.cached, read.cached) == (True, False)
    assert contents(kept.blocks(**EPOCH)) == contents(read.blocks(**EPOCH))
    for one, other in zip(kept.in_order(700), kept.in_order(10**6), strict=False):
        np.testing.assert_array_equal(one[0], other[0][:700])
    assert np.array_equal(*(np.concatenate([one[1] for one in each.in_order(700)]) for each in (kept, read)))


@pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "streamed"])
@pytest.mark.parametrize("start", [1, 7, 40, 78, 79])
def test_an_epoch_goes_on_from_any_batch(split, start, in_memory, monkeypatch):
    monkeypatch.setattr(examples, "BUFFER_BYTES", 2**15)
    if not in_memory:
        monkeypatch.setattr(examples, "CACHE_BYTES", 0)
    found = opened(split)
    whole = list(found.blocks(**EPOCH | {"batches": 1}))

    assert found.batches(64) == len(whole) == 79
    assert numbers(found.blocks(**EPOCH, start=start)) == numbers(whole[start:])


def test_an_epoch_that_is_gone_through_again_is_the_same_and_another_is_not(split, streamed):
    first, again = (numbers(opened(split).blocks(**EPOCH)) for _ in range(2))

    assert first == again
    for change in ({"epoch": 3}, {"seed": 4}):
        assert numbers(opened(split).blocks(**EPOCH | change)) != first


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_workers_have_equally_many_rows_and_none_twice(split, streamed, workers):
    parts = [numbers(opened(split).blocks(**EPOCH, worker=worker, workers=workers)) for worker in range(workers)]

    assert {len(part) for part in parts} == {ROWS // workers}
    assert set(Counter(row for part in parts for row in part).values()) == {1}


def test_an_empty_row_group_and_one_of_another_encoding_make_no_difference(tmp_path, streamed):
    table = numbered()
    with pq.ParquetWriter(tmp_path / "train", table.schema, dictionary_pagesize_limit=64) as writer:
        for part in (table[:0], table[:2000], table[:0], table[2000:2001], table[2001:], table[:0]):
            writer.write_table(part)

    assert sorted(numbers(opened(tmp_path / "train").blocks(**EPOCH))) == list(range(ROWS))


def test_a_file_of_categories_is_read_as_one_of_texts(tmp_path, split, streamed):
    table = numbered()
    coded = table.set_column(1, "word", table["word"].dictionary_encode())
    pq.write_table(coded, tmp_path / "coded", row_group_size=300)

    assert contents(opened(tmp_path / "coded").blocks(**EPOCH)) == contents(opened(split).blocks(**EPOCH))


@pytest.mark.parametrize("most", [256, 2 * ROWS])
def test_the_first_rows_of_a_file_are_those_of_the_whole(split, most):
    whole, _ = examples.whole(split, CONTRACT)

    for one, expected in zip(examples.first(split, CONTRACT, most), whole, strict=True):
        assert len(one) == min(most, ROWS)
        np.testing.assert_array_equal(one, expected[:most])


def test_a_file_that_breaks_in_the_middle_of_an_epoch_is_told(split, streamed):
    blocks = opened(split).blocks(**EPOCH)
    next(blocks)
    with split.open("r+b") as file:
        file.truncate(200)

    with pytest.raises(TrainingError, match=r"train: row group \d+ cannot be read .*; run split_dataset again"):
        list(blocks)
    with pytest.raises(TrainingError, match="train: cannot be read as Parquet"):
        list(opened(split).blocks(**EPOCH))


@pytest.mark.parametrize("column", ["word", "took"])
def test_a_column_of_the_label_or_of_groups_that_is_broken_is_told(split, column):
    chunk = pq.read_metadata(split).row_group(3).column(numbered().column_names.index(column))
    with split.open("r+b") as file:
        file.seek(chunk.dictionary_page_offset or chunk.data_page_offset)
        file.write(b"\xff" * 20)

    told = rf"(?s)train: .*the columns? .*{column}.* cannot be read \(.*; run split_dataset again$"
    request = Request(train=str(split), eval="", statistics="", schema="", label=column, spec={}, seed=0)
    with pytest.raises(TrainingError, match=told):
        examples.asked(request) if column == "took" else reweight.weigh(split, CONTRACT, [column])


@pytest.mark.parametrize("size", [300, 400])
def test_a_file_that_is_replaced_between_two_epochs_is_told(split, streamed, size):
    found = opened(split)
    pq.write_table(numbered(), split, row_group_size=size)

    with pytest.raises(TrainingError, match="train: is another file than when training began; begin again"):
        list(found.blocks(**EPOCH))


def test_what_stops_in_the_middle_of_an_epoch_leaves_no_thread(split, streamed):
    import threading

    before = threading.active_count()
    blocks = opened(split).blocks(**EPOCH)
    next(blocks)
    blocks.close()

    assert threading.active_count() == before


def test_a_training_that_is_streamed_makes_the_same_model(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "BUFFER_BYTES", 2**15)
    spec = {"model": "dnn", "epochs": 2, "batch_size": 128, "reweight": ["region"]}

    kept = train(requested(inputs, spec=spec), folder=tmp_path / "kept")
    monkeypatch.setattr(examples, "CACHE_BYTES", 0)
    monkeypatch.setattr(examples, "READ_BYTES", 0)
    read = train(requested(inputs, spec=spec), folder=tmp_path / "read")

    assert kept.best.loss == read.best.loss
    assert [kept.metrics[name] for name in LEARNT] == [read.metrics[name] for name in LEARNT]


def test_more_columns_than_rows_are_trained_on(prepare, tmp_path, streamed):
    random = np.random.default_rng(0)
    columns = {f"n{number}": random.normal(size=200) for number in range(450)}
    texts = {f"t{number}": random.choice(WORDS, 200) for number in range(50)}
    table = pa.table(columns | texts | {"took": columns["n0"] > 0})

    found = train(
        requested(prepare(table, table, exclude=()), spec={"model": "dnn", "epochs": 1}), folder=tmp_path / "model"
    )

    assert found.features == 500


def test_a_column_that_is_of_another_type_in_eval_is_told_before_training(inputs, tmp_path, streamed, capsys):
    table = pq.read_table(inputs.eval_split)
    words = table.set_column(table.column_names.index("age"), "age", pa.array(["old"] * table.num_rows))
    pq.write_table(words, tmp_path / "eval")

    with pytest.raises(TrainingError, match="eval: column 'age' is string, but the model takes a number there"):
        train(requested(inputs.but(eval_split=tmp_path / "eval"), spec={"model": "linear"}), folder=tmp_path / "model")

    assert "epoch" not in capsys.readouterr().out
