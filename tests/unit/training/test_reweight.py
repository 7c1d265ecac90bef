"""`cd4ml.training.reweight`: what each row counts, and which columns cannot make groups."""

import datetime
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cd4ml.contracts.model import Contract, Input
from cd4ml.errors import TrainingError
from cd4ml.training.reweight import Weights, weigh

CONTRACT = Contract("took", ("false", "true"), (Input("age", "number"),), {})


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "train"


def weights(split: Path, columns: list[str], **table: object) -> Weights:
    pq.write_table(pa.table(table), split, row_group_size=2)
    return weigh(split, CONTRACT, columns)


def of_cells(cells: dict[str, tuple[int, int]]) -> dict[str, list[object]]:
    """A table with so many negative and positive rows by region."""
    return {
        "region": [name for name, (negative, positive) in cells.items() for _ in range(negative + positive)],
        "took": [i >= negative for negative, positive in cells.values() for i in range(negative + positive)],
    }


def test_a_row_weighs_what_is_expected_of_its_group_and_label_by_what_is_there(split):
    found = weights(split, ["region"], **of_cells({"north": (3, 3), "south": (3, 1)}))

    # 10 rows, 6 negative: of 6 in the north 3.6 are expected to be, of 4 in the south 2.4.
    expected = [3.6 / 3] * 3 + [2.4 / 3] * 3 + [2.4 / 3] * 3 + [1.6 / 1]
    np.testing.assert_allclose(found.rows, expected, rtol=1e-6)
    assert found.rows.dtype == np.float32
    assert str(found) == "by region: 2 groups, weights from 0.8 to 1.6"


values = st.one_of(st.none(), st.sampled_from(["a", "b", "ü", ""]))


@given(rows=st.lists(st.tuples(values, st.one_of(st.none(), st.booleans()), st.booleans()), max_size=40))
def test_all_groups_of_both_classes_have_one_label_rate_and_the_rows_weigh_what_they_did(split, rows):
    region, subscribed, took = ([row[i] for row in (*EVEN, *rows)] for i in range(3))
    groups = list(zip(region, subscribed, strict=True))

    found = weights(
        split, ["region", "subscribed"], region=region, subscribed=pa.array(subscribed, pa.bool_()), took=took
    )

    assert (found.rows > 0).all()
    assert found.rows.sum() == pytest.approx(len(took), rel=1e-5)
    assert found.groups == len(set(groups))
    label = np.array(took)
    evened = np.zeros(len(took), bool)
    rates, shares = [], []
    for group in set(groups):
        mine = np.array([one == group for one in groups])
        if len(set(label[mine])) == 1:
            np.testing.assert_array_equal(found.rows[mine], 1)
            continue
        evened |= mine
        rates.append(found.rows[mine & label].sum() / found.rows[mine].sum())
        shares.append(found.rows[mine].sum() / mine.sum())
    np.testing.assert_allclose(rates, label[evened].mean(), rtol=1e-5)
    np.testing.assert_allclose(shares, 1, rtol=1e-5)
    assert len(found.lacking) == found.groups - len(rates)


EVEN = [("a", True, True), ("a", True, False), ("b", None, True), ("b", None, False), ("b", None, False)]
"""Two groups of both classes, so that there is something to even out."""


def test_groups_of_one_rate_already_weigh_one(split):
    found = weights(split, ["region"], **of_cells({"north": (4, 2), "south": (8, 4), "east": (2, 1)}))

    np.testing.assert_allclose(found.rows, 1, rtol=1e-6)


def test_rows_without_a_value_are_a_group_of_their_own(split):
    found = weights(
        split,
        ["age"],
        age=[1.0, 1.0, 1.0, None, math.nan, None],
        took=[True, False, False, True, True, False],
    )

    np.testing.assert_allclose(found.rows, [1.5, 0.75, 0.75, 0.75, 0.75, 1.5])


def test_a_group_of_one_class_keeps_its_weight_and_is_named(split):
    found = weights(split, ["region"], **of_cells({"north": (3, 3), "south": (3, 1), "mars": (0, 2), "moon": (7, 0)}))

    alone = weights(split, ["region"], **of_cells({"north": (3, 3), "south": (3, 1)}))
    np.testing.assert_array_equal(found.rows, [*alone.rows, *[1] * 9])
    assert str(found).endswith("; without a class, and so of weight 1: region=mars, region=moon")


def test_a_group_is_named_as_evaluation_names_its_slice(split):
    region, gender = ["north", "north", "south", "south", None], ["f", "f", "m", "m", "m"]

    found = weights(split, ["gender", "region"], region=region, gender=gender, took=[True, False, True, False, True])

    assert found.lacking == ("gender=m,region=(missing)",)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 1, 1, 2, 2, 2], pa.int8()),
        pa.array([1.5, 1.5, 1.5, 2, 2, 2], pa.float32()),
        pa.array([True, True, True, False, False, False]),
        pa.array(["a", "a", "a", None, None, None]).dictionary_encode(),
        pa.array(["a", "a", "a", None, None, None], pa.large_string()),
    ],
    ids=lambda column: str(column.type),
)
def test_a_column_of_any_kind_makes_groups(split, column):
    found = weights(split, ["group"], group=column, took=[True, True, False, True, False, False])

    np.testing.assert_allclose(found.rows, [0.75, 0.75, 1.5, 1.5, 0.75, 0.75])


def test_every_column_that_cannot_make_groups_is_reported_at_once(split):
    with pytest.raises(TrainingError) as caught:
        weights(
            split,
            ["regoin", "took", "at"],
            region=["a", "b"],
            took=[True, False],
            at=[datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)] * 2,
        )

    assert str(caught.value).splitlines() == [
        "reweight: column 'regoin' is not in the train split; did you mean 'region'?",
        "  'took' is the label; name columns whose groups are to have the same share of it",
        "  column 'at' is timestamp[us, tz=UTC]; name texts, numbers or booleans",
    ]


@pytest.mark.parametrize("type_", [pa.int64(), pa.float64(), pa.string()], ids=str)
def test_a_column_of_very_many_values_is_refused(split, type_):
    took = [False, True] * 101
    hundred = pa.array([i // 2 for i in range(200)]).cast(type_)
    more = pa.array([i // 2 for i in range(202)]).cast(type_)

    assert weights(split, ["age"], age=hundred, took=took[:200]).groups == 100
    with pytest.raises(TrainingError, match="reweight: age makes 101 groups, more than 100; name columns with fewer"):
        weights(split, ["age"], age=more, took=took)


def test_columns_that_cross_to_very_many_groups_are_refused(split):
    number = np.arange(242)

    with pytest.raises(TrainingError, match="reweight: region × age makes 121 groups, more than 100"):
        weights(
            split,
            ["region", "age"],
            region=pa.array(number // 2 % 11),
            age=pa.array(number // 22),
            took=pa.array(number % 2 == 0),
        )


@pytest.mark.parametrize(
    ("cells", "count"),
    [({"north": (3, 3)}, 1), ({"north": (3, 0), "south": (0, 3)}, 0), ({"north": (3, 3), "south": (3, 0)}, 1)],
)
def test_groups_that_leave_nothing_to_even_out_are_refused(split, cells, count):
    with pytest.raises(
        TrainingError, match=f"reweight: region has {count} groups of both classes where two are needed"
    ):
        weights(split, ["region"], **of_cells(cells))


def test_a_row_without_a_label_is_refused_with_its_file(split):
    with pytest.raises(TrainingError, match="train: label 'took': 1 of 3 rows have none"):
        weights(split, ["region"], region=["a", "b", "a"], took=[True, False, None])


def test_a_file_that_is_no_split_is_named(tmp_path):
    with pytest.raises(TrainingError, match="nowhere: cannot be read as Parquet"):
        weigh(tmp_path / "nowhere", CONTRACT, ["region"])
