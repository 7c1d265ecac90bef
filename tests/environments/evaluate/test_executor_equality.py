"""The executor's numbers are TFMA's: 50 drawn cases of ten or more drawn configurations of a metric, 500 and more."""

import numpy as np
import pytest
from executor_cases import binary, metric, regression, several_classes, two_models, two_outputs
from executor_reference import differences
from hypothesis import HealthCheck, Phase, given, settings
from tensorflow_model_analysis.proto import config_pb2

from cd4ml.columnar import binary as binary_leaves
from cd4ml.columnar import histogram


def _at_or_below(thresholds, values):
    return thresholds.searchsorted(values, side="right")


# Generated alone: to make a failing case smaller TFMA would have to run hundreds of times.
each = settings(
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@settings(each, max_examples=14)
@given(binary())
def test_of_two_classes_every_number_is_tfmas(case):
    assert differences(case.config, case.columns) == []


@settings(each, max_examples=12)
@given(several_classes())
def test_of_several_classes_every_number_is_tfmas(case):
    assert differences(case.config, case.columns) == []


@settings(each, max_examples=7)
@given(regression())
def test_of_numbers_every_number_is_tfmas(case):
    assert differences(case.config, case.columns) == []


@settings(each, max_examples=10)
@given(two_models())
def test_against_a_baseline_every_number_and_verdict_is_tfmas(case):
    assert differences(case.config, case.columns) == []


@settings(each, max_examples=7)
@given(two_outputs())
def test_of_two_outputs_every_number_is_tfmas(case):
    assert differences(case.config, case.columns) == []


@pytest.mark.parametrize(
    ("module", "name", "wrong", "asked"),
    [
        (binary_leaves, "_below", _at_or_below, metric("ConfusionMatrixAtThresholds", thresholds=[0.5])),
        (histogram, "_EPSILON", 0.0, metric("AUC", num_thresholds=3)),
    ],
)
def test_a_prediction_at_a_threshold_that_counts_as_above_it_is_seen(monkeypatch, module, name, wrong, asked):
    config = config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(label_key="label", prediction_key="prediction")],
        metrics_specs=[config_pb2.MetricsSpec(metrics=[asked])],
    )
    columns = {"label": np.array([0.0, 1.0]), "prediction": np.array([0.5, 0.75])}
    assert differences(config, columns) == []

    monkeypatch.setattr(module, name, wrong)

    assert differences(config, columns) != []


FLIP_RATES = ["Symmetric", "NegToNeg", "NegToPos", "PosToNeg", "PosToPos"]


@pytest.mark.parametrize("weighted", [False, True])
def test_flip_rates_are_tfmas(weighted):
    rates = [*(f"{one}FlipRate" for one in FLIP_RATES), "BooleanFlipRates"]
    specs = [config_pb2.MetricsSpec(metrics=[metric(name, threshold=0.4) for name in rates])]
    if weighted:
        specs[0].example_weights.weighted = True
    random = np.random.default_rng(0)
    columns = {
        "label": random.integers(0, 2, 40).astype(np.float64),
        "one": random.random(40).round(1),
        "other": random.random(40).round(1),
        "weight": random.integers(1, 4, 40).astype(np.float64),
        "group": random.choice(np.array(["a", "b"], object), 40),
    }
    config = config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                name=name,
                label_key="label",
                prediction_key=name,
                example_weight_key="weight" if weighted else "",
                is_baseline=name == "other",
            )
            for name in ("one", "other")
        ],
        slicing_specs=[config_pb2.SlicingSpec(), config_pb2.SlicingSpec(feature_keys=["group"])],
        metrics_specs=specs,
    )

    assert differences(config, columns) == []


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level("ERROR")
