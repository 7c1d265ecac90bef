import apache_beam as beam
import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from executor_cases import metric
from executor_reference import compared, numbers
from tensorflow_model_analysis.proto import config_pb2

from cd4ml.columnar import computations, run
from cd4ml.columnar.batch import NotVectorised
from cd4ml.columnar.on_beam import record_batch

SEED = 5
METHODS = {
    "bootstrap": config_pb2.ConfidenceIntervalOptions.POISSON_BOOTSTRAP,
    "jackknife": config_pb2.ConfidenceIntervalOptions.JACKKNIFE,
}
METRICS = [
    metric("ExampleCount"),
    metric("AUC", num_thresholds=11),
    metric("Precision", thresholds=[0.25, 0.5]),
    metric("ConfusionMatrixAtThresholds", thresholds=[0.5]),
    metric("Calibration"),
    metric("CalibrationPlot", num_buckets=2),
]


@pytest.mark.parametrize("method", METHODS)
def test_the_same_draws_give_tfmas_intervals(tmp_path, method):
    """Of all rows TFMA draws once a row, in their order; with several slices in an order that it does not fix."""
    asked = configuration(method, slices=[[]])
    columns = examples(60)

    run(asked, columns, tmp_path / "ours", seed=SEED)
    with beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | beam.Create([record_batch(columns)])
            | tfma.ExtractEvaluateAndWriteResults(
                eval_config=asked, output_path=str(tmp_path / "theirs"), random_seed_for_testing=SEED
            )
        )

    assert any("confidenceInterval" in path for path in numbers(tmp_path / "ours"))
    assert compared(tmp_path / "ours", tmp_path / "theirs") == []


@pytest.mark.parametrize("method", METHODS)
def test_samples_of_slices_are_what_tfmas_combiners_give_for_them(tmp_path, monkeypatch, method):
    others = [metric("BinaryCrossEntropy"), metric("MeanSquaredError"), metric("LogCoshError")]
    asked = configuration(method, [[], ["group"]], *others)
    asked.model_specs[0].example_weight_key = "weight"
    columns = examples(50)
    run(asked, columns, tmp_path / "ours", seed=SEED)

    def nothing_in_columns(_):
        raise NotVectorised("the test wants TFMA's own combiner")

    monkeypatch.setattr(computations, "_in_columns", nothing_in_columns)
    run(asked, columns, tmp_path / "theirs", seed=SEED)

    assert compared(tmp_path / "ours", tmp_path / "theirs", relative=1e-6, absolute=1e-7) == []


def test_a_slice_of_one_row_says_why_it_has_no_jackknife_interval(tmp_path):
    columns = examples(50, group=np.array(["one"] + ["many"] * 49, object))

    run(configuration("jackknife", [["group"]]), columns, tmp_path, seed=SEED)

    assert any("__ERROR__" in path for path in numbers(tmp_path))


def test_batches_draw_as_the_whole_does(tmp_path):
    columns = examples(40)
    halves = [{name: column[half] for name, column in columns.items()} for half in (slice(0, 20), slice(20, 40))]

    run(configuration("bootstrap", [[]]), columns, tmp_path / "whole", seed=SEED)
    run(configuration("bootstrap", [[]]), halves, tmp_path / "halves", seed=SEED)

    assert compared(tmp_path / "halves", tmp_path / "whole") == []


def configuration(method: str, slices: list[list[str]], *more: config_pb2.MetricConfig) -> config_pb2.EvalConfig:
    options = config_pb2.Options(compute_confidence_intervals={"value": True})
    options.confidence_intervals.method = METHODS[method]
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(label_key="label", prediction_key="prediction")],
        slicing_specs=[config_pb2.SlicingSpec(feature_keys=keys) for keys in slices],
        metrics_specs=[config_pb2.MetricsSpec(metrics=[*METRICS, *more])],
        options=options,
    )


def examples(rows: int, **columns: np.ndarray) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    made = {
        "label": random.integers(0, 2, rows).astype(np.float64),
        "prediction": random.integers(1, 20, rows) / 20,
        "weight": random.integers(1, 5, rows) / 2,
        "group": random.choice(np.array(["a", "b"], object), rows),
    }
    return {**made, **columns}
