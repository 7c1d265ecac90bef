"""The same evaluation by TFMA itself on Beam: on the workers of a runner, and for what columns cannot do."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.api import types
from tensorflow_model_analysis.proto import config_pb2

from cd4ml.beam_runner import pipeline
from cd4ml.columnar.batch import Columns
from cd4ml.columnar.evaluation import Evaluation
from cd4ml.errors import EvaluationError


def run_on_beam(
    config: config_pb2.EvalConfig,
    examples: Columns | Iterable[Columns],
    folder: Path | str,
    *,
    runner: str = "DirectRunner",
    options: Sequence[str] = (),
) -> Evaluation:
    """Evaluates examples as `cd4ml.columnar.run` does, by TFMA's own pipeline; the files are the same.

    Args:
        config: What to compute.
        examples: The columns, or batches of them.
        folder: Where the files are written; the runner's workers have to reach it.
        runner: The name of a runner of Beam, such as FlinkRunner, SparkRunner or DataflowRunner.
        options: The options of the pipeline, as on Beam's command line: `--flink_master=...`.

    Raises:
        EvaluationError: Beam knows no such runner or does not take its options, no job server answers, or the runner
            failed.
    """
    batches = [examples] if isinstance(examples, Mapping) else examples
    told = pipeline(runner, options, reached=str(folder), told=EvaluationError)
    with warnings.catch_warnings(), told as evaluated:
        warnings.simplefilter("ignore", RuntimeWarning)  # TFMA divides by zero where a slice has one class
        _ = (
            evaluated
            | "Examples" >> beam.Create([record_batch(columns) for columns in batches])
            | "Evaluate"
            >> tfma.ExtractEvaluateAndWriteResults(
                eval_config=config, eval_shared_model=_models(config), output_path=str(folder)
            )
        )
    return Evaluation(Path(folder), {})


def record_batch(columns: Columns) -> pa.RecordBatch:
    """Columns as TFMA reads them: a list of values a row, and none where the value is missing."""
    arrays = [pa.array(_lists(np.asarray(column))) for column in columns.values()]
    return pa.RecordBatch.from_arrays(arrays, list(columns))


def _lists(column: np.ndarray) -> pa.Array:
    if column.dtype.kind in "OUS":
        return pa.array([None if value is None else [value] for value in column.tolist()])
    values = pa.array(column.ravel(), from_pandas=False)
    size = column.shape[1] if column.ndim == 2 else 1
    return pa.ListArray.from_arrays(pa.array(np.arange(len(column) + 1) * size, pa.int32()), values)


def _models(config: config_pb2.EvalConfig) -> list[types.EvalSharedModel] | None:
    """Models that have predicted already: TFMA asks for them where there are several."""
    if len(config.model_specs) < 2:
        return None
    return [
        types.EvalSharedModel(
            model_name=spec.name, model_type=constants.MATERIALIZED_PREDICTION, is_baseline=spec.is_baseline
        )
        for spec in config.model_specs
    ]
