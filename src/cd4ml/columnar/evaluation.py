"""Evaluates batches of columns as an `EvalConfig` asks, with TFMA's own numbers and files."""

import contextlib
import gc
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.evaluators import metrics_plots_and_validations_evaluator as evaluator
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.post_export_metrics import metric_keys
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import config_util

from cd4ml.columnar import writing
from cd4ml.columnar.batch import Batch, Columns
from cd4ml.columnar.derived import Plan
from cd4ml.columnar.intervals import measured
from cd4ml.columnar.slices import SliceKey, Slicing
from cd4ml.errors import EvaluationError


@dataclass(frozen=True)
class Evaluation:
    """What came of an evaluation.

    Attributes:
        folder: TFMA's files.
        row_by_row: The combiners of TFMA that had to run row by row, and why.
    """

    folder: Path
    row_by_row: Mapping[str, str]

    def result(self, model: str | None = None) -> tfma.EvalResult:
        """The metrics and plots as TFMA loads them; of one model where there are several."""
        with _no_garbage_collection():
            return tfma.load_eval_result(str(self.folder), model_name=model)


def run(
    config: config_pb2.EvalConfig, examples: Columns | Iterable[Columns], folder: Path, *, seed: int | None = None
) -> Evaluation:
    """Evaluates examples and writes TFMA's files.

    Args:
        config: What to compute; its models name the columns of labels, predictions and example weights.
        examples: The columns, or batches of them; memory is bounded by a batch and by what the slices need.
        folder: Where the files are written.
        seed: Of the draws of confidence intervals; None for other ones each time.

    Raises:
        EvaluationError: The configuration or the examples cannot be evaluated, or only by TFMA on Beam.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # TFMA divides by zero where a slice has one class
        return _run(config, batches=[examples] if isinstance(examples, Mapping) else examples, folder=folder, seed=seed)


def _run(config: config_pb2.EvalConfig, *, batches: Iterable[Columns], folder: Path, seed: int | None) -> Evaluation:
    plan = Plan.of(_checked(config))
    slicing = Slicing(plan.config)
    found = measured(plan, seed)
    rows = 0
    for columns in batches:
        batch = Batch(plan.config, columns)
        rows += batch.rows
        if batch.rows:
            found.add(batch, slicing.groups(batch))
    if not rows:
        raise EvaluationError("there are no rows to evaluate")
    with _no_garbage_collection():
        sliced = [evaluator._add_ci_derived_metrics(one, plan.after_intervals) for one in found.sliced(slicing.keys)]
        sliced = [evaluator._remove_private_metrics(*one) for one in sliced]
        writing.write(
            plan.config,
            [_if_large(plan.config, slicing=slicing, key=key, metrics=metrics) for key, metrics in sliced],
            folder,
        )
    return Evaluation(folder, found.row_by_row)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """TFMA makes an object a bucket and slice, and each collection would look at all of them and at TensorFlow's."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _checked(config: config_pb2.EvalConfig) -> config_pb2.EvalConfig:
    """The configuration with TFMA's defaults."""
    if any(spec.query_key for spec in config.metrics_specs):
        raise EvaluationError("metrics with a query_key are for TFMA on Beam: name a runner")
    if config.cross_slicing_specs and config.options.min_slice_size.value > 1:
        raise EvaluationError("TFMA cannot compare slices where small ones are left out; drop min_slice_size")
    several = True if len(config.model_specs) > 1 else None
    try:
        checked = config_util.update_eval_config_with_defaults(config, has_baseline=several)
        config_util.verify_eval_config(checked)
    except (RuntimeError, ValueError) as error:
        raise EvaluationError(f"TFMA refuses the configuration: {error}") from error
    return checked


def _if_large(
    config: config_pb2.EvalConfig, *, slicing: Slicing, key: SliceKey, metrics: metric_types.MetricsDict
) -> tuple[SliceKey, metric_types.MetricsDict]:
    """The metrics of a slice, or what TFMA's views show where a slice is too small for what the configuration asks."""
    least = config.options.min_slice_size.value
    if not key or least <= 1 or slicing.rows[key] >= least:
        return key, metrics
    why = f"Example count for this slice key is lower than the minimum required value: {least}."
    return key, {metric_keys.ERROR_METRIC: f"{why} No data is aggregated for this slice."}
