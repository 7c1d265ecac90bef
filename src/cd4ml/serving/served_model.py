"""The model that is served: rows in, probabilities out, in the form that Seldon's methods ask for."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from seldon_core.flask_utils import SeldonMicroserviceException

from cd4ml.contracts.model import SAVED_MODEL, digest, read_contract
from cd4ml.serving.rows import columns, missing_row


class ServedModel:
    """What the methods of Seldon call.

    Args:
        folder: The model's (layout: `cd4ml.contracts.model`).
        version: Its version in the registry; every answer names it, and the digest of the model.

    Raises:
        StorageError: The folder holds no model.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self._contract = read_contract(folder)
        self._tags = {"digest": digest(folder), "version": version}

        import tensorflow as tf  # takes seconds, so a folder without a model is told before

        self._tensor = tf.constant
        self._signature = tf.saved_model.load(str(folder / SAVED_MODEL)).signatures["serving_default"]
        self._predict(missing_row(self._contract))

    def predict_raw(self, message: Any) -> dict[str, Any]:
        """Answers a request; raw, for Seldon's own parsing turns a row of mixed types into text."""
        started = time.perf_counter()
        probabilities = self._predict(columns(message, self._contract))
        milliseconds = (time.perf_counter() - started) * 1000
        data = {"names": [self._contract.output], "ndarray": probabilities[:, None].tolist()}
        return {"data": data, "meta": {"tags": self._tags, "metrics": _metrics(len(probabilities), milliseconds)}}

    def health_status(self) -> np.ndarray:
        """Predicts a row whose values are all missing: whoever asks knows that the model answers."""
        return self._predict(missing_row(self._contract))

    def init_metadata(self) -> dict[str, Any]:
        """Says which model this is and what it takes."""
        inputs = [
            {"name": one.name, "datatype": "BYTES" if one.dtype == "string" else "FP32", "shape": [-1]}
            for one in self._contract.inputs
        ]
        return {
            "name": self._contract.label,
            "versions": [self._tags["version"]],
            "platform": "cd4ml",
            "inputs": inputs,
            "outputs": [{"name": self._contract.output, "datatype": "FP32", "shape": [-1]}],
            "custom": self._tags,
        }

    def _predict(self, features: dict[str, np.ndarray]) -> np.ndarray:
        """The probabilities, float32 [rows]."""
        outputs = self._signature(**{name: self._tensor(values) for name, values in features.items()})
        probabilities: np.ndarray = outputs[self._contract.output].numpy()
        if not np.isfinite(probabilities).all():
            raise SeldonMicroserviceException("the model gives no finite probability", 500, reason="MODEL_FAILED")
        return probabilities


def _metrics(rows: int, milliseconds: float) -> list[dict[str, Any]]:
    """What Seldon counts for Prometheus; it keeps the timer in seconds."""
    return [
        {"type": "COUNTER", "key": "cd4ml_predictions", "value": rows},
        {"type": "TIMER", "key": "cd4ml_predict_seconds", "value": milliseconds},
    ]
