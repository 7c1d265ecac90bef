"""The executor's numbers are TFMA's: at least 500 drawn configurations, ten or more in each case."""

import numpy as np
import pytest
from executor_cases import binary, metric, regression, several_classes, two_models, two_outputs
from executor_reference import differences
from hypothesis import HealthCheck, Phase, given, settings
from tensorflow_model_analysis.proto import config_pb2

from cd4ml.evaluation.executor import binary as leaves

# Generated alone: to make a failing case smaller TFMA would have to run hundreds of times.
each = settings(
    deadline=None,
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


def test_a_difference_is_seen(monkeypatch):
    """What the tests above would say if a prediction at a threshold counted as above it."""
    monkeypatch.setattr(leaves, "_below", lambda thresholds, values: thresholds.searchsorted(values, side="right"))
    config = config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(label_key="label", prediction_key="prediction")],
        metrics_specs=[config_pb2.MetricsSpec(metrics=[metric("ConfusionMatrixAtThresholds", thresholds=[0.5])])],
    )
    columns = {"label": np.array([0.0, 1.0]), "prediction": np.array([0.5, 0.75])}

    assert any("falsePositives" in one for one in differences(config, columns))


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level("ERROR")
