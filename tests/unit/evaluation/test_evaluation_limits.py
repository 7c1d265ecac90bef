import pytest

from cd4ml.errors import EvaluationError
from cd4ml.evaluation import limits


@pytest.mark.parametrize("nothing", [{}, {"fairness": {}}])
def test_limits_that_limit_nothing_are_refused_with_one_to_write(nothing):
    with pytest.raises(EvaluationError) as error:
        limits.parse(nothing)

    assert str(error.value) == (
        "model limits: not as it should be\n  - there is no limit, so every model would pass; "
        "write at least one, such as auc: {baseline: {min_change: 0.0}}"
    )
    assert limits.parse({"auc": {"baseline": {"min_change": 0.0}}})


def test_numbers_of_yaml_and_of_kfp_are_the_same():
    assert limits.parse({"auc": {"min": 0}}) == limits.parse({"auc": {"min": 0.0}})


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"acu": {"min": 0.7}}, "acu: unknown; did you mean 'auc'?"),
        ({"accuracy": {"min": 0.7}}, "accuracy: is measured at a threshold: write accuracy@0.5"),
        ({"accuracy@5": {"min": 0.7}}, "accuracy@5: '5' is no threshold between 0 and 1"),
        ({"auc": {"mim": 0.7}}, "auc.mim: unknown; did you mean 'min'?"),
        ({"auc": {"baseline": {"min_chnge": 0}}}, "auc.baseline.min_chnge: unknown; did you mean 'min_change'?"),
        ({"auc": {"min": "high"}}, "not 'high'"),
        ({"auc": {"min": float("nan")}}, "auc.min: Input should be a finite number"),
        ({"auc": {"min": 0.9, "max": 0.8}}, "auc: min 0.9 is above max 0.8, so nothing can keep both"),
        ({"auc": {"slices": ["overall"]}}, "auc: names no limit; give min or max or baseline or champion"),
        ({"auc": {"min": 0.5, "slices": []}}, "auc.slices: "),
        (
            {"auc": {"min": 0.5, "slices": ["region"]}},
            "'region' is no slice; write overall, or a column with its value",
        ),
        ({"auc": 0.7}, "auc: "),
        ({"fairness": {"region": {"true_positve_rate": {"max_gap": 0.1}}}}, "should be 'true_positive_rate'"),
        ({"fairness": {"region": {"selection_rate": {"max_gp": 0.1}}}}, "max_gp: unknown; did you mean 'max_gap'?"),
        ({"fairness": {"region": {"selection_rate": {"max_gap": 1.5}}}}, "less than or equal to 1"),
        ({"fairness": {"region": {"selection_rate": {}}}}, "names no limit; give max_gap or min_ratio"),
        ({"fairness": {"region": 0.1}}, "fairness.region: "),
        ({"auc": {"min": 0.5}, "fairness": {"region": {}}}, "fairness.region: names no limit; give true_positive_rate"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(given, mistake):
    with pytest.raises(EvaluationError) as error:
        limits.parse(given)

    assert mistake in str(error.value)


def test_every_mistake_is_reported_at_once():
    with pytest.raises(EvaluationError) as error:
        limits.parse({"auc": {"mim": 0.7}, "auc_pr": {"min": "high"}, "fairness": {"gender": 3}})

    assert str(error.value).count("\n  - ") == 3
