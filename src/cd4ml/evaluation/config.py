"""What TFMA is asked for: the metrics, the plots and the slices of an evaluation as an `EvalConfig`."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tensorflow_model_analysis.proto import config_pb2

from cd4ml.contracts.evaluation import CANDIDATE, at
from cd4ml.contracts.problem import Problem

LABEL = "__label"
OF_ONE_THRESHOLD = ("BinaryAccuracy",)
"""TFMA's classes that take a `threshold`; all others take `thresholds`."""


def prediction(role: str) -> str:
    """The column that holds the predictions of a model."""
    return f"__prediction_{role}"


def apart(name: str, slices: Sequence[Sequence[str]]) -> str:
    """What TFMA knows a column of ours by: its name, or one that no column which makes slices has."""
    taken = {column for columns in slices for column in columns}
    while name in taken:
        name = f"_{name}"
    return name


def eval_config(
    problem: Problem, *, roles: Sequence[str], slices: Sequence[Sequence[str]], thresholds: Sequence[float]
) -> config_pb2.EvalConfig:
    """The configuration for all models together. Intervals are found elsewhere (`cd4ml.evaluation.confidence`).

    TFMA compares each model with the one it calls the baseline. Here that is the candidate, so that it is compared with
    every other model at once: TFMA's difference is the other model's metric less the candidate's.

    Args:
        problem: Says what is measured.
        roles: The models, the candidate among them.
        slices: The columns of each kind of slice; all rows together are always one.
        thresholds: Where rates are wanted.
    """
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                name=role,
                label_key=apart(LABEL, slices),
                prediction_key=apart(prediction(role), slices),
                is_baseline=role == CANDIDATE,
            )
            for role in roles
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=columns) for columns in slices),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    *(_metric(one.tfma, name=one.name, **one.settings) for one in problem.on_all if one.tfma),
                    *_at_thresholds(problem, thresholds),
                    *(_metric(kind, **settings) for kind, settings in problem.plots.items()),
                ]
            )
        ],
    )


def _at_thresholds(problem: Problem, thresholds: Sequence[float]) -> Iterator[config_pb2.MetricConfig]:
    for threshold in thresholds:
        for one in problem.at_thresholds:
            where: dict[str, Any] = (
                {"threshold": threshold} if one.tfma in OF_ONE_THRESHOLD else {"thresholds": [threshold]}
            )
            yield _metric(one.tfma, name=at(one.name, threshold), **where, **one.settings)


def _metric(kind: str, **settings: Any) -> config_pb2.MetricConfig:
    module, _, name = kind.rpartition(".")
    return config_pb2.MetricConfig(class_name=name, module=module, config=json.dumps(settings)[1:-1])
