import hashlib
import inspect

import beam_runners
import numpy as np
import pandas as pd
import pytest
import tensorflow_model_analysis as tfma
from executor_cases import metric
from executor_reference import compared, differences
from tensorflow_model_analysis.metrics import (
    aggregation,
    binary_confusion_matrices,
    calibration,
    calibration_histogram,
    cross_entropy_metrics,
    example_count,
    mean_regression_error,
    metric_util,
    multi_class_confusion_matrix_metrics,
    squared_pearson_correlation,
    stats,
    tf_metric_wrapper,
    tjur_discrimination,
)
from tensorflow_model_analysis.proto import config_pb2

from cd4ml.columnar import computations, run, run_on_beam
from cd4ml.columnar.batch import NotVectorised
from cd4ml.contracts.binary import BINARY
from cd4ml.errors import EvaluationError
from cd4ml.evaluation import config as ours


def configuration(*metrics: config_pb2.MetricConfig, slices=((), ("group",)), **spec) -> config_pb2.EvalConfig:
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(label_key="label", prediction_key="prediction")],
        slicing_specs=[config_pb2.SlicingSpec(feature_keys=keys) for keys in slices],
        metrics_specs=[config_pb2.MetricsSpec(metrics=metrics, **spec)],
    )


def examples(rows: int = 60, **columns) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    made = {
        "label": random.integers(0, 2, rows).astype(np.float64),
        "prediction": random.integers(1, 100, rows) / 100,
        "group": random.choice(np.array(["a", "ß", "c"], object), rows),
    }
    return {**made, **columns}


ALL = [
    metric(name)
    for name in ("ExampleCount", "AUC", "BinaryCrossEntropy", "MeanSquaredError", "Calibration", "LogCoshError")
] + [metric("ConfusionMatrixAtThresholds", thresholds=[0.5]), metric("CalibrationPlot")]


def test_what_an_evaluation_asks_for_is_what_tfma_gives(tmp_path):
    columns = examples(300)
    predictions = {"candidate": columns["prediction"], "baseline": columns["prediction"] ** 2}
    named = {ours.LABEL: columns["label"], "group": columns["group"]}
    named |= {ours.prediction(role): values for role, values in predictions.items()}
    asked = ours.eval_config(BINARY, roles=[*predictions], slices=[["group"]], thresholds=[0.25, 0.5])
    asked.options.ClearField("compute_confidence_intervals")  # TFMA draws others each time

    found = run(asked, named, tmp_path / "ours")
    tfma.analyze_raw_data(pd.DataFrame(named), asked, output_path=str(tmp_path / "theirs"))

    assert found.row_by_row == {}
    assert compared(tmp_path / "ours", tmp_path / "theirs") == []
    assert {file.name for file in (tmp_path / "ours").iterdir()} == {
        file.name for file in (tmp_path / "theirs").iterdir()
    }


def test_batches_add_up_to_the_whole(tmp_path):
    columns = examples(90)
    asked = configuration(*ALL)

    run(asked, columns, tmp_path / "whole")
    batches = ({name: column[first : first + 7] for name, column in columns.items()} for first in range(0, 90, 7))
    run(asked, batches, tmp_path / "batches")

    assert compared(tmp_path / "batches", tmp_path / "whole", relative=1e-6) == []


def test_on_beam_the_numbers_are_the_same(tmp_path):
    columns = examples(40)
    asked = configuration(*ALL)
    halves = [{name: column[half] for name, column in columns.items()} for half in (slice(0, 20), slice(20, 40))]

    run(asked, columns, tmp_path / "ours")
    run_on_beam(asked, halves, tmp_path / "theirs", options=["--direct_num_workers=1"])

    assert compared(tmp_path / "ours", tmp_path / "theirs", relative=1e-6) == []


@pytest.mark.parametrize(
    ("runner", "message"),
    [*beam_runners.REFUSED, (["DirectRunner"], "(?s)runner: DirectRunner failed: .*its workers must reach")],
)
def test_a_runner_of_beam_that_fails_is_told(tmp_path, runner, message):
    (tmp_path / "file").touch()

    with pytest.raises(EvaluationError, match=message):
        run_on_beam(configuration(*ALL), examples(), tmp_path / "file" / "out", runner=runner[0], options=runner[1:])


@pytest.mark.parametrize(
    ("accumulator", "merge"),
    [
        (
            mean_regression_error._MeanRegressionErrorAccumulator(1.0, 4.0),
            mean_regression_error._MeanSquaredErrorCombiner.merge_accumulators,
        ),
        (
            cross_entropy_metrics._CrossEntropyAccumulator(4.0, 1.0),
            cross_entropy_metrics._BinaryCrossEntropyCombiner.merge_accumulators,
        ),
    ],
)
def test_tfma_counts_the_first_of_merged_accumulators_twice(accumulator, merge):
    """So its mean errors and cross entropies are wrong on several workers and in jackknife samples; ours are not."""
    merged = merge(None, (accumulator, type(accumulator)()))

    assert sum(vars(merged).values()) == 10


@pytest.mark.parametrize("settings", [{}, {"from_logits": True}, {"label_smoothing": 0.25}])
def test_categorical_cross_entropies_are_those_of_tfmas_combiner(tmp_path, monkeypatch, settings):
    """Its pipeline gives none: the combiner divides in place, and Arrow's arrays cannot be written to."""
    shares = np.array([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0], [0.125, 0.125, 0.75]])
    columns = examples(9, label=np.eye(3)[[0, 1, 2] * 3], prediction=shares[[0, 0, 1, 1, 1, 2, 2, 2, 0]])
    asked = configuration(metric("CategoricalCrossEntropy", **settings))

    assert run(asked, columns, tmp_path / "ours").row_by_row == {}
    monkeypatch.setattr(computations, "_in_columns", _nothing_in_columns)
    assert run(asked, columns, tmp_path / "theirs").row_by_row != {}

    assert compared(tmp_path / "ours", tmp_path / "theirs") == []


def _nothing_in_columns(_):
    raise NotVectorised("the test wants TFMA's own combiner")


def test_slices_too_small_are_shown_as_tfma_shows_them():
    asked = configuration(metric("ExampleCount"), metric("AUC"))
    asked.options.min_slice_size.value = 15

    columns = examples(40, group=np.array(["few"] * 10 + ["many"] * 30, object))

    assert differences(asked, columns) == []


def test_a_column_of_numbers_with_gaps_makes_slices_of_the_numbers():
    columns = examples(6, group=np.array([1.5, np.nan, 1.5, 2.0, np.nan, 2.0]))

    assert set(_sliced(columns)) == {(), (("group", 1.5),), (("group", 2.0),)}


def _sliced(columns) -> list:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        return [
            key for key, _ in run(configuration(metric("ExampleCount")), columns, Path(folder)).result().slicing_metrics
        ]


def test_what_has_no_leaf_runs_through_tfmas_own_combiner(tmp_path):
    columns = examples(8, label=np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]], prediction=np.full((8, 3), 1 / 3))

    found = run(configuration(metric("MultiLabelConfusionMatrixPlot")), columns, tmp_path)

    assert found.row_by_row == {"_MultiLabelConfusionMatrixPlotCombiner": "no leaf is known for it"}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"prediction": np.array([0.5, np.nan])}, "a prediction is not a number"),
        ({"label": np.array([0.0, 2.0])}, "a label is 2.0"),
        ({"label": np.array([0.0, np.nan])}, "a label is nan"),
        ({"group": np.array([["a", "b"], ["a", "b"]], object)}, "holds several values a row"),
        ({"label": np.array([0.0])}, "the columns of a batch have different lengths"),
        ({"label": np.array([]), "prediction": np.array([]), "group": np.array([])}, "there are no rows to evaluate"),
        ({"label": np.array([0, None], object)}, "TFMA cannot compute this of row"),
    ],
)
def test_bad_rows_are_refused_in_a_sentence(tmp_path, columns, words):
    with pytest.raises(EvaluationError, match=words):
        run(configuration(metric("AUC")), examples(2, **columns), tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slicing_specs": [config_pb2.SlicingSpec(feature_keys=["gruop"])]}, "there is no column 'gruop' to slice by"),
        ({"slicing_specs": [config_pb2.SlicingSpec(slice_keys_sql="SELECT 1")]}, "slice_keys_sql is for TFMA on Beam"),
        ({"metrics_specs": [config_pb2.MetricsSpec(metrics=[metric("AUK")])]}, "TFMA cannot make the metrics.*AUK"),
        ({"metrics_specs": [config_pb2.MetricsSpec(query_key="group")]}, "query_key are for TFMA on Beam"),
        (
            {
                "metrics_specs": [
                    config_pb2.MetricsSpec(
                        metrics=[
                            config_pb2.MetricConfig(
                                class_name="AUC",
                                threshold=config_pb2.MetricThreshold(
                                    change_threshold=config_pb2.GenericChangeThreshold(absolute={"value": 0.1})
                                ),
                            )
                        ]
                    )
                ]
            },
            "the baseline is missing",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused_in_a_sentence(tmp_path, changes, words):
    asked = configuration(metric("AUC"))
    for field, values in changes.items():
        asked.ClearField(field)
        getattr(asked, field).extend(values)

    with pytest.raises(EvaluationError, match=words):
        run(asked, examples(4), tmp_path)


REPLACED = {
    aggregation._ClassWeightsFromLabelsCombiner.add_input: "b8e7e2f53a36",
    binary_confusion_matrices._BinaryConfusionMatrixCombiner.add_input: "0241266c660e",
    binary_confusion_matrices.bcm_computations.BinaryConfusionMatrices.add_input: "efe38c97f2c7",
    calibration._WeightedLabelsPredictionsExamplesCombiner.add_input: "c9fce82fef85",
    calibration_histogram._CalibrationHistogramCombiner.add_input: "753b7b2ac479",
    calibration_histogram._CalibrationHistogramCombiner._bucket_index: "af938c7ca035",
    cross_entropy_metrics._CrossEntropyCombiner.add_input: "21525c4c14d4",
    cross_entropy_metrics._BinaryCrossEntropyCombiner._cross_entropy: "f1b1e70553b7",
    cross_entropy_metrics._CategoricalCrossEntropyCombiner._cross_entropy: "c22e5fbe5991",
    example_count._ExampleCountCombiner.add_input: "8bab08206b22",
    mean_regression_error._MeanRegressionErrorCombiner.add_input: "4c16223ede0b",
    mean_regression_error._MeanAbsoluteErrorCombiner._regression_error: "16d9e3adda7b",
    mean_regression_error._MeanAbsolutePercentageErrorCombiner._regression_error: "f4b4d3935900",
    mean_regression_error._MeanSquaredErrorCombiner._regression_error: "64c8a3d48c77",
    mean_regression_error._MeanSquaredLogarithmicErrorCombiner._regression_error: "9f00d724efc5",
    metric_util.to_label_prediction_example_weight: "0e08ed6218fe",
    metric_util._yield_fractional_labels: "7d6c6c0df9a7",
    metric_util.prepare_labels_and_predictions: "a33a802902d7",
    metric_util.select_class_id: "63f590cc79dc",
    multi_class_confusion_matrix_metrics._MultiClassConfusionMatrixCombiner.add_input: "170d09f55361",
    squared_pearson_correlation._SquaredPearsonCorrelationCombiner.add_input: "f792288e19f0",
    stats._MeanCombiner.add_input: "d2596388a41f",
    tf_metric_wrapper._CompilableMetricsCombiner.add_input: "ca622878a813",
    tf_metric_wrapper._CompilableMetricsCombiner._process_batch: "57c5aca8f705",
    tjur_discrimination._TjurDiscriminationCombiner.add_input: "154d3a65484f",
}


@pytest.mark.parametrize("function", REPLACED, ids=lambda function: function.__qualname__)
def test_what_is_computed_in_columns_is_what_tfma_does_row_by_row(function):
    """Another version of TFMA may count otherwise: compare its code with the leaf, then change what is here."""
    assert hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:12] == REPLACED[function]


def test_the_computation_that_is_taken_from_histograms_is_tfmas():
    """`cd4ml.columnar.histogram` looks into its closure."""
    source = inspect.getsource(binary_confusion_matrices.binary_confusion_matrices)
    made = inspect.getsource(binary_confusion_matrices._histogram_to_binary_confusion_matrices)
    binned = inspect.getsource(calibration_histogram.rebin)

    assert hashlib.sha256((source + made + binned).encode()).hexdigest()[:12] == "4df65e6d2fe1"
