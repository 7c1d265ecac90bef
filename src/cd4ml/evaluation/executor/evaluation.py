"""Evaluates batches of columns as an `EvalConfig` asks, with TFMA's own numbers and files."""

import contextlib
import gc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.evaluators import metrics_plots_and_validations_evaluator as evaluator
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import config_util, model_util

from cd4ml.errors import EvaluationError
from cd4ml.evaluation.executor import writing
from cd4ml.evaluation.executor.batch import Batch, Columns
from cd4ml.evaluation.executor.computations import Computations
from cd4ml.evaluation.executor.derived import Plan, Sliced
from cd4ml.evaluation.executor.slices import Slicing


@dataclass(frozen=True)
class Evaluation:
    """What came of an evaluation.

    Attributes:
        result: TFMA's own, read from its files.
        row_by_row: The combiners of TFMA that had to run row by row, and why.
    """

    result: tfma.EvalResult
    row_by_row: Mapping[str, str]


def run(
    config: config_pb2.EvalConfig, examples: Columns | Iterable[Columns], folder: Path, seed: int | None = None
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
    plan = Plan.of(_checked(config))
    computations = Computations(plan.leaves)
    slicing = Slicing(plan.config)
    counts = np.zeros(0)
    for columns in [examples] if isinstance(examples, Mapping) else examples:
        batch = Batch(plan.config, columns)
        computations.add(batch, slicing.groups(batch))
    del counts, seed
    with _no_garbage_collection():
        sliced: Sliced = plan.complete([(key, computations.of([number])) for number, key in enumerate(slicing.keys)])
        sliced = [evaluator._add_ci_derived_metrics(one, list(plan.after_intervals)) for one in sliced]
        sliced = [evaluator._remove_private_metrics(*one) for one in sliced]
        writing.write(plan.config, sliced, folder)
        return Evaluation(tfma.load_eval_result(str(folder)), computations.row_by_row)


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
    baseline = model_util.get_baseline_model_spec(config)
    try:
        checked = config_util.update_eval_config_with_defaults(config, has_baseline=True if baseline else None)
        config_util.verify_eval_config(checked)
    except (RuntimeError, ValueError) as error:
        raise EvaluationError(f"TFMA refuses the configuration: {error}") from error
    return checked
