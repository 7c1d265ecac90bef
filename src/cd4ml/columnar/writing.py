"""TFMA's files: metrics, plots, attributions, validations and the configuration, as its own writers name them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.evaluators import metrics_plots_and_validations_evaluator as evaluator
from tensorflow_model_analysis.evaluators import metrics_validator
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.writers import eval_config_writer
from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as writer

from cd4ml.columnar.derived import Sliced
from cd4ml.errors import EvaluationError


def write(config: config_pb2.EvalConfig, sliced: Sliced, folder: Path) -> None:
    """Writes what `tfma.load_eval_result` and `tfma.load_validation_result` read."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics, plots, attributions = (
        [evaluator._filter_by_key_type(one, kind) for one in sliced]
        for kind in (metric_types.MetricKey, metric_types.PlotKey, metric_types.AttributionsKey)
    )
    protos: dict[str, Iterable[Any]] = {
        constants.METRICS_KEY: (writer.convert_slice_metrics_to_proto(one, []) for one in metrics),
        constants.PLOTS_KEY: (writer.convert_slice_plots_to_proto(one, []) for one in plots),
        constants.ATTRIBUTIONS_KEY: (writer.convert_slice_attributions_to_proto(one) for one in attributions),
    }
    for name, records in protos.items():
        try:
            _write_records(folder / f"{name}-00000-of-00001.tfrecord", records)
        except TypeError as error:
            raise EvaluationError(f"TFMA cannot write these {name}: {error}") from error
    _write_records(folder / f"{constants.VALIDATIONS_KEY}.tfrecord", [_validation(config, metrics)])
    if eval_config_writer.EVAL_CONFIG_FILE not in config.options.disabled_outputs.values:
        _write_config(config, folder)


def _write_records(file: Path, protos: Iterable[Any]) -> None:
    with tf.io.TFRecordWriter(str(file)) as records:
        for proto in protos:
            records.write(proto.SerializeToString())


def _validation(config: config_pb2.EvalConfig, metrics: Sliced) -> Any:
    """The verdict of TFMA's thresholds over all slices."""
    combined = writer.CombineValidations(config)
    result = combined.create_accumulator()
    for one in metrics:
        try:
            result = combined.add_input(result, metrics_validator.validate_metrics(one, config))
        except TypeError as error:
            raise EvaluationError(f"a limit is on a metric that is not one number: {error}") from error
    return combined.extract_output(result)


def _write_config(config: config_pb2.EvalConfig, folder: Path) -> None:
    locations = {spec.name: "<unknown>" for spec in config.model_specs}
    run = eval_config_writer._serialize_eval_run(config, "<user provided PCollection>", "<unknown>", locations)
    name = f"{eval_config_writer.EVAL_CONFIG_FILE}.{eval_config_writer.EVAL_CONFIG_FILE_FORMAT}"
    (folder / name).write_text(f"{run}\n", encoding="utf-8")
