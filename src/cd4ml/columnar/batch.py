"""A batch of examples as TFMA sees it: labels, predictions and example weights by model and output."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import model_util

from cd4ml.errors import EvaluationError

Columns = Mapping[str, np.ndarray]
"""By name, one array a column: [rows] or [rows, values]; text is of dtype object or str, and None where missing."""


class NotVectorised(Exception):  # noqa: N818
    """These rows, for this computation, are left to TFMA's own combiner; the message says why."""


class Batch:
    """Columns of one length, with what the configuration makes of them."""

    def __init__(self, config: config_pb2.EvalConfig, columns: Columns) -> None:
        self.config = config
        self.columns = {name: np.asarray(column) for name, column in columns.items()}
        lengths = {len(column) for column in self.columns.values()}
        if len(lengths) != 1:
            raise EvaluationError(f"the columns of a batch have different lengths: {sorted(lengths)}")
        self.rows: int = lengths.pop()
        self.cache: dict[Any, Any] = {}

    @cached_property
    def extracts(self) -> dict[str, Any]:
        """TFMA's batched extracts: features, labels, predictions and example weights, nested by model and output."""
        extracts: dict[str, Any] = {constants.FEATURES_KEY: self.columns}
        specs = list(self.config.model_specs)
        find = model_util.get_feature_values_for_model_spec_field
        extracts[constants.LABELS_KEY] = find(specs, "label_key", "label_keys", extracts, True)
        weights = find(specs, "example_weight_key", "example_weight_keys", extracts)
        predictions = find(specs, "prediction_key", "prediction_keys", extracts)
        if weights is not None:
            extracts[constants.EXAMPLE_WEIGHTS_KEY] = weights
        if predictions is not None:
            extracts[constants.PREDICTIONS_KEY] = predictions
        return extracts

    def labels(self, model: str, output: str) -> np.ndarray:
        """The labels of a model's output, [rows, values]."""
        return _matrix("label", _within(self.extracts.get(constants.LABELS_KEY), model, output))

    def predictions(self, model: str, output: str) -> np.ndarray:
        """The predictions of a model's output, [rows, values]."""
        return _matrix("prediction", _within(self.extracts.get(constants.PREDICTIONS_KEY), model, output))

    def weights(self, model: str, output: str) -> np.ndarray | None:
        """The example weights of a model's output, [rows]; None where there are none."""
        found = _within(self.extracts.get(constants.EXAMPLE_WEIGHTS_KEY), model, output)
        if found is None:
            return None
        weights = _matrix("example weight", found)
        if weights.shape[1] != 1:
            raise NotVectorised("an example has several weights")
        return weights[:, 0]


def _within(values: Any, *names: str) -> Any:
    """Follows those of the names that are keys here: labels and weights may be the same for all models or outputs."""
    for name in names:
        if name and isinstance(values, Mapping) and name in values:
            values = values[name]
    return values


def _matrix(kind: str, values: Any) -> np.ndarray:
    if values is None or isinstance(values, Mapping):
        raise NotVectorised(f"no {kind} was found")
    if values.dtype.kind not in "fiub":
        raise NotVectorised(f"a {kind} is missing, or is not a number")
    if values.ndim > 2:
        raise NotVectorised(f"a {kind} has {values.ndim - 1} dimensions")
    matrix: np.ndarray = values if values.ndim == 2 else values[:, np.newaxis]
    return matrix
