"""`cd4ml.training.class_weights`: what rows count by their class."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml.contracts.model import Contract
from cd4ml.contracts.regression import REGRESSION
from cd4ml.errors import TrainingError
from cd4ml.training import class_weights, reweight, trainers
from cd4ml.training.class_weights import OfClasses

CONTRACT = Contract("took", ("no", "yes"), (), {})
BALANCED = trainers.parse({"model": "linear", "class_weights": "balanced"})


def weigh(folder: Path, labels: list[str], asked: object, **others: object) -> OfClasses:
    pq.write_table(pa.table({"took": labels}), folder / "train")
    spec = trainers.parse({"model": "linear", "class_weights": asked, **others})
    return class_weights.weigh(folder / "train", CONTRACT, spec)


def test_balanced_classes_count_the_same_in_all(tmp_path):
    found = weigh(tmp_path, ["no"] * 6 + ["yes"] * 2, "balanced")

    np.testing.assert_allclose(found.rows, [2 / 3] * 6 + [2] * 2, rtol=1e-6)
    assert str(found).startswith("'no' 0.667, 'yes' 2; so its probabilities are of classes as frequent as weighted")


def test_a_class_that_is_not_named_has_a_weight_of_1_and_only_what_one_has_of_the_other_counts(tmp_path):
    found = weigh(tmp_path, ["no", "yes", "no", "no"], {"yes": 5})

    np.testing.assert_allclose(found.rows, [0.5, 2.5, 0.5, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(found.rows, weigh(tmp_path, ["no", "yes", "no", "no"], {"yes": 10, "no": 2}).rows)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.floats(1e-3, 1e3))
def test_all_weights_together_are_the_number_of_rows(tmp_path_factory, negative, positive, weight):
    found = weigh(tmp_path_factory.mktemp("split"), ["no"] * negative + ["yes"] * positive, {"yes": weight})

    assert found.rows.sum() == pytest.approx(negative + positive, rel=1e-5)
    assert found.rows[-1] / found.rows[0] == pytest.approx(weight, rel=1e-5)


def test_groups_that_were_evened_out_stay_so_when_classes_are_weighted(tmp_path):
    table = pa.table({"took": ["yes", "yes", "no", "yes", "no", "no", "no", "no"], "region": list("aaabbbbb")})
    pq.write_table(table, tmp_path / "train")
    groups = reweight.weigh(tmp_path / "train", CONTRACT, ["region"])
    classes = class_weights.weigh(tmp_path / "train", CONTRACT, BALANCED)

    rows = class_weights.together(groups, classes)

    took, south = np.array([one == "yes" for one in table["took"].to_pylist()]), np.arange(8) >= 3
    rates = [rows[took & group].sum() / rows[group].sum() for group in (south, ~south)]
    np.testing.assert_allclose(rates, [0.5, 0.5], rtol=1e-5)
    assert rows.sum() == pytest.approx(8, rel=1e-5)
    assert rows.dtype == np.float32
    assert class_weights.together(groups, None) is groups.rows
    assert class_weights.together(None, classes) is classes.rows
    assert class_weights.together(None, None) is None


def test_weights_that_a_calibration_takes_back_need_no_warning_and_a_temperature_cannot(tmp_path):
    assert str(weigh(tmp_path, ["no", "yes"], {"yes": 3}, calibration="isotonic")) == "'no' 0.5, 'yes' 1.5"
    with pytest.raises(TrainingError, match="feign; of two classes write `isotonic`, of three and more leave cal"):
        weigh(tmp_path, ["no", "yes"], {"yes": 3}, calibration="temperature")


def test_a_class_that_is_none_is_told_and_so_is_a_number(tmp_path):
    with pytest.raises(
        TrainingError, match="class_weights: 'yess' is no class of the label 'took'; did you mean 'yes'"
    ):
        weigh(tmp_path, ["no", "yes"], {"yess": 3})
    with pytest.raises(TrainingError, match="class_weights: the label 'rent' is a number and has no classes; leave it"):
        class_weights.weigh(tmp_path / "train", Contract("rent", (), (), {}, REGRESSION), BALANCED)


def test_classes_may_be_written_as_yaml_has_them():
    assert trainers.parse({"model": "dnn", "class_weights": {True: 3}}).class_weights == {"true": 3.0}
    assert trainers.parse({"model": "dnn", "class_weights": {1: 3.0}}).class_weights == {"1": 3.0}
    assert trainers.parse({"model": "dnn"}).recorded.get("class_weights") is None
    assert trainers.parse({"model": "dnn", "class_weights": "balanced"}).recorded["class_weights"] == "balanced"
