"""The model server: `seldon-core-microservice cd4ml.serving.server.ModelServer`.

    MODEL_FOLDER     the model (layout: `cd4ml.model`); by default where the init container puts it
    MODEL_VERSION    its version in the registry; every answer names it, and the digest of the model
    MODEL_HOST       the address to listen on; 127.0.0.1 keeps the server to this machine

A request is `{"data": {"names": [...], "ndarray": [[...], ...]}}`, one list a row, null or "" for a missing
value; columns that the model does not know are ignored. The answer has the one column `probability`.
"""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from seldon_core.flask_utils import SeldonMicroserviceException

from cd4ml.model import SAVED_MODEL, digest, read_contract
from cd4ml.serving.listening import listen_on
from cd4ml.serving.rows import columns, missing_row


class ModelServer:
    """What the Seldon microservice calls."""

    def __init__(self) -> None:
        # Before gunicorn forks: TensorFlow must not be touched here, or every prediction hangs.
        self._folder = Path(os.environ.get("MODEL_FOLDER", "/mnt/models"))
        self._contract = read_contract(self._folder)
        self._tags = {"digest": digest(self._folder), "version": os.environ.get("MODEL_VERSION", "")}
        listen_on(os.environ.get("MODEL_HOST", "0.0.0.0"))  # noqa: S104 (a container's port)

    def load(self) -> None:
        """Loads the model, in each of gunicorn's workers."""
        import tensorflow as tf

        self._tensor = tf.constant
        self._signature = tf.saved_model.load(str(self._folder / SAVED_MODEL)).signatures["serving_default"]
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
