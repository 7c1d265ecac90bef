"""The threshold that training chooses on eval: held against every other, and what a person hears of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Inputs, players, predictions_of, requested

from cd4ml.contracts import model
from cd4ml.contracts.chosen import ChosenThreshold
from cd4ml.errors import TrainingError
from cd4ml.training.train import train

TREES = {"model": "trees", "trees": 20, "leaves": 8}
COSTS = {"false_positive": 1.0, "false_negative": 5.0}


def chosen(inputs: Inputs, folder: Path, **threshold: Any) -> ChosenThreshold:
    train(requested(inputs, spec={**TREES, "threshold": {"costs": COSTS, **threshold}}), folder=folder)
    found = model.read_contract(folder).threshold
    assert found is not None
    return found


def evaluated(inputs: Inputs, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of eval: whether rows are positive, their probabilities, and their regions."""
    table = pq.read_table(inputs.eval_split)
    found = predictions_of(folder, table)
    return table["took"].to_numpy(), found.astype(float), np.array(table["region"].fill_null("?").to_pylist())


def cost(took: np.ndarray, probabilities: np.ndarray, cut: float) -> float:
    selected = probabilities > cut
    return float((1.0 * (selected & ~took) + 5.0 * (~selected & took)).mean())


def gap(took: np.ndarray, probabilities: np.ndarray, regions: np.ndarray, cut: float) -> float:
    rates = [(probabilities[took & (regions == one)] > cut).mean() for one in np.unique(regions)]
    return float(max(rates) - min(rates))


def test_no_other_threshold_costs_less_on_eval(inputs, tmp_path, capsys):
    found = chosen(inputs, tmp_path / "model")
    took, probabilities, _ = evaluated(inputs, tmp_path / "model")

    others = np.unique(probabilities)[:-1]
    assert found.cost == pytest.approx(cost(took, probabilities, found.value))
    assert found.cost <= min(cost(took, probabilities, one) for one in others) + 1e-9
    assert 0.05 < found.value < 0.35  # 1 / (1 + 5), if its probabilities were those of the rows
    assert str(found).startswith(f"{found.value:g}, at which a row of the 1,000 of eval costs {found.cost:.4g} in the")
    assert f"\nthreshold {found}\n" in capsys.readouterr().out


def test_groups_are_held_together_at_the_least_cost_that_allows_it(inputs, tmp_path):
    free = chosen(inputs, tmp_path / "free")
    took, probabilities, regions = evaluated(inputs, tmp_path / "free")
    most = round(gap(took, probabilities, regions, free.value) / 2, 3)

    found = chosen(inputs, tmp_path / "held", fairness_gap={"columns": ["region"], "most": most})

    allowed = [one for one in np.unique(probabilities)[:-1] if gap(took, probabilities, regions, one) <= most]
    assert found.kept
    assert found.gaps == {"region": pytest.approx(gap(took, probabilities, regions, found.value))}
    assert found.gaps["region"] <= most
    assert found.cost <= min(cost(took, probabilities, one) for one in allowed) + 1e-9
    assert found.free == pytest.approx((free.value, free.cost))
    assert (
        f"the true positive rate of groups is {found.gaps['region']:.3f} by region apart, at most {most:g} wanted"
        in (str(found))
    )


def test_where_no_threshold_keeps_the_gap_the_nearest_is_taken_and_told(prepare, tmp_path):
    table = pa.table(
        {"x": np.repeat([0.0, 1.0], 400), "region": ["a"] * 400 + ["b"] * 400, "took": [False, True] * 400}
    )
    inputs = prepare(table, table, exclude=("region",))
    rules = {"model": "rules", "rules": [{"when": {"x": {"min": 1}}, "probability": 0.9}], "default": 0.2}
    held = {"costs": {}, "fairness_gap": {"columns": ["region"], "most": 0.1}}

    train(requested(inputs, spec={**rules, "threshold": held}), folder=tmp_path / "model")

    found = model.read_contract(tmp_path / "model").threshold
    assert (found.value, found.gaps, found.kept) == (pytest.approx(0.55), {"region": 1.0}, False)
    assert "no threshold has the true positive rate of groups at most 0.1 apart, and this one is nearest" in str(found)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["regoin"], "threshold.fairness_gap: column 'regoin' is not in the eval split; did you mean 'region'"),
        (["key"], "threshold.fairness_gap: key makes 1,000 groups, more than 100"),
        (["took"], "threshold.fairness_gap: 'took' is the label"),
    ],
)
def test_columns_that_make_no_groups_are_told_before_training(inputs, tmp_path, capsys, columns, message):
    with pytest.raises(TrainingError, match=message):
        chosen(inputs, tmp_path / "model", fairness_gap={"columns": columns, "most": 0.1})
    assert "epoch" not in capsys.readouterr().out


def test_a_model_that_tells_no_rows_apart_and_a_number_have_no_threshold(inputs, prepare, tmp_path):
    never = {"model": "rules", "rules": [{"when": {"age": {"min": 500}}, "probability": 0.9}], "default": 0.2}
    with pytest.raises(TrainingError, match="threshold: the model gives all rows of eval the same probability"):
        train(requested(inputs, spec={**never, "threshold": {"costs": COSTS}}), folder=tmp_path / "model")
    numbers = prepare(players(400, seed=1), players(200, seed=2), label="spend_90d", exclude=("key", "took"))
    with pytest.raises(TrainingError, match="threshold: is of the probability .* 'spend_90d' asks for regression"):
        chosen(numbers, tmp_path / "number")
