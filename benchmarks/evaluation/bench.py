"""How long the numbers of an evaluation take, against `tfma.analyze_raw_data` on the same rows and configuration.

    .venvs/evaluate/bin/python benchmarks/evaluation/bench.py

Labels and predictions are given on both sides, and what is imported is imported: neither is measured with the rest.
Both sides write TFMA's files and read them again. The growth of ours is measured first, then TFMA runs on 50,000 rows,
whose numbers are compared with ours, and on all 200,000. `BENCH_PEER_ROWS` asks it of fewer.
"""

import logging
import math
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
STARTED = time.perf_counter()

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import tensorflow_model_analysis as tfma  # noqa: E402
from closing import close  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from tensorflow_model_analysis.proto import config_pb2  # noqa: E402

from cd4ml.columnar import run  # noqa: E402

IMPORTS_SECONDS = time.perf_counter() - STARTED
ROWS, FEW_ROWS, MANY_ROWS = 200_000, 50_000, 2_000_000
BATCH = 250_000
PEER_ROWS = int(os.environ.get("BENCH_PEER_ROWS", ROWS))
METRICS = [
    ("ExampleCount", ""),
    ("AUC", ""),
    ("AUCPrecisionRecall", ""),
    ("BinaryCrossEntropy", ""),
    ("Calibration", ""),
    ("Precision", ""),
    ("Recall", ""),
    ("ConfusionMatrixAtThresholds", '"thresholds": [0.25, 0.5]'),
]
PLOTS = [("ConfusionMatrixPlot", '"num_thresholds": 1001'), ("CalibrationPlot", '"num_buckets": 10')]
TIGHT = 1e-9

Columns = dict[str, np.ndarray]


def main() -> None:
    """Measures, prints tables, and as the last line JSON."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    console = Console()
    ours(examples(1_000), configuration())  # what Keras and Beam load at their first use
    many_seconds = ours(batches(MANY_ROWS), configuration())[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = min(ours(examples(ROWS), configuration())[0] for _ in range(3))
    growth(console)
    few_seconds, few = theirs(examples(FEW_ROWS), configuration())
    differing = differences(ours(examples(FEW_ROWS), configuration())[1], few)
    peer_seconds = theirs(examples(PEER_ROWS), configuration())[0] if PEER_ROWS != FEW_ROWS else few_seconds

    table = Table("rows", "ours", "tfma.analyze_raw_data", "times as fast")
    expected = few_seconds / FEW_ROWS * MANY_ROWS
    table.add_row(f"{PEER_ROWS:,}", f"{seconds:.2f} s", f"{peer_seconds:.1f} s", f"{peer_seconds / seconds:.0f}")
    table.add_row(
        f"{MANY_ROWS:,}",
        f"{many_seconds:.2f} s",
        f"{expected:.0f} s (by {FEW_ROWS:,})",
        f"{expected / many_seconds:.0f}",
    )
    console.print(table)
    console.print(f"numbers that differ by more than {TIGHT}: {differing}; imports: {IMPORTS_SECONDS:.1f} s")
    close(
        "evaluation",
        ratio=round(peer_seconds / seconds, 1),
        seconds=round(seconds, 2),
        peer_seconds=round(peer_seconds, 2),
        peak_mib=round(peak),
        rows=PEER_ROWS,
    )
    if differing:
        raise SystemExit(1)


def growth(console: Console) -> None:
    """Prints what ours takes by rows, slices and metrics, all else as in the comparison."""
    some = examples(ROWS)
    measured = {
        "rows": {f"{rows:,}": ours(batches(rows), configuration()) for rows in (2_000, 20_000, ROWS, MANY_ROWS)},
        "slices": {
            str(1 + values * (values + 2)): ours(examples(ROWS, values), configuration()) for values in (1, 4, 9, 19)
        },
        "metrics and plots": {str(count): ours(some, configuration(count)) for count in (1, 2, 4, 8, 10)},
    }
    measured["intervals"] = {
        name: ours(some, configuration(method=method))
        for name, method in (
            ("none", None),
            ("Poisson bootstrap", config_pb2.ConfidenceIntervalOptions.POISSON_BOOTSTRAP),
            ("jackknife", config_pb2.ConfidenceIntervalOptions.JACKKNIFE),
        )
    }
    for by, points in measured.items():
        table = Table(by, *points)
        table.add_row("seconds", *(f"{seconds:.2f}" for seconds, _ in points.values()))
        console.print(table)


def configuration(count: int = len(METRICS) + len(PLOTS), method: Any = None) -> Any:
    """The metrics and plots, the first so many of them; all rows, two columns, and each pair of their values."""
    options = config_pb2.Options()
    if method is not None:
        options.compute_confidence_intervals.value = True
        options.confidence_intervals.method = method
    asked = [config_pb2.MetricConfig(class_name=name, config=settings) for name, settings in (METRICS + PLOTS)[:count]]
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(label_key="label", prediction_key="prediction")],
        slicing_specs=[config_pb2.SlicingSpec(feature_keys=keys) for keys in ([], ["a"], ["b"], ["a", "b"])],
        metrics_specs=[config_pb2.MetricsSpec(metrics=asked)],
        options=options,
    )


def examples(rows: int, values: int = 4, seed: int = 0) -> Columns:
    """Columns with 1 + 2 * values + values * values slices."""
    random = np.random.default_rng(seed)
    label = (random.random(rows) < 0.3).astype(np.float64)
    names = np.array([f"value {number}" for number in range(values)], object)
    return {
        "label": label,
        "prediction": 1 / (1 + np.exp(-random.normal(2 * label - 1, 1.5))),
        "a": names[random.integers(0, values, rows)],
        "b": names[random.integers(0, values, rows)],
    }


def batches(rows: int) -> Iterator[Columns]:
    """The columns in batches, each made when it is asked for."""
    for first in range(0, rows, BATCH):
        yield examples(min(BATCH, rows - first), seed=first)


def ours(columns: Columns | Iterator[Columns], config: Any) -> tuple[float, Any]:
    """Seconds, less those in which the batches are made, and the result."""
    making = 0.0

    def timed(made: Iterator[Columns]) -> Iterator[Columns]:
        nonlocal making
        while True:
            started = time.perf_counter()
            batch = next(made, None)
            making += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    given = columns if isinstance(columns, dict) else timed(columns)
    seconds, result = _timed(lambda folder: run(config, given, Path(folder)).result())
    return seconds - making, result


def theirs(columns: Columns, config: Any) -> tuple[float, Any]:
    """Seconds and the result."""
    frame = pd.DataFrame(columns)
    return _timed(lambda folder: tfma.analyze_raw_data(frame, config, output_path=folder))


def _timed(work: Callable[[str], Any]) -> tuple[float, Any]:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = work(folder)
        return time.perf_counter() - started, result


def differences(one: Any, other: Any) -> int:
    """How many numbers of the metrics and plots are not the same."""
    first, second = dict(_numbers(one)), dict(_numbers(other))
    differing = set(first) ^ set(second)
    differing |= {
        path
        for path in set(first) & set(second)
        if first[path] != second[path] and not math.isclose(first[path], second[path], rel_tol=TIGHT)
    }
    return len(differing)


def _numbers(result: Any) -> Iterator[tuple[Any, float]]:
    stack: list[tuple[tuple[Any, ...], Any]] = [(("metrics", key), value) for key, value in result.slicing_metrics]
    stack += [(("plots", key), value) for key, value in result.plots]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack += [((*path, name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            stack += [((*path, place), inner) for place, inner in enumerate(value)]
        elif isinstance(value, int | float):
            yield path, float(value)


if __name__ == "__main__":
    main()
