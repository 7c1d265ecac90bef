"""A model of ours as Seldon's own microservice serves it: what the model server is held and measured against."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

TRUTH = {"True": 1.0, "False": 0.0, "None": np.nan, "": np.nan}
"""What becomes of booleans and missing values in rows that have texts, for such rows reach a wrapper as texts."""


class Wrapper:
    """Written as Seldon's documentation has one."""

    def load(self) -> None:
        """Loads the model, in the process that predicts."""
        folder = Path(os.environ["MODEL_FOLDER"])
        contract = json.loads((folder / "contract.json").read_text())
        self.inputs = {one["name"]: (one.get("encoded") or one["name"], one["dtype"]) for one in contract["inputs"]}
        self.loaded = tf.saved_model.load(str(folder / "saved_model"))
        self.signature = self.loaded.signatures["serving_default"]

    def predict(self, rows: np.ndarray, names: Sequence[str], meta: Any = None) -> np.ndarray:  # noqa: ARG002
        """Predicts."""
        columns = dict(zip(names, rows.T, strict=True))
        tensors = {tensor: tf.constant(_values(columns[name], dtype)) for name, (tensor, dtype) in self.inputs.items()}
        probabilities: np.ndarray = self.signature(**tensors)["probability"].numpy()
        return probabilities[:, None]

    def class_names(self) -> list[str]:
        """The columns of an answer."""
        return ["probability"]

    def tags(self) -> dict[str, str]:
        """What an answer says of the model."""
        return {"digest": os.environ.get("MODEL_DIGEST", ""), "version": os.environ.get("MODEL_VERSION", "")}

    def health_status(self) -> np.ndarray:
        """Predicts a row whose values are all missing."""
        return self.predict(np.array([[None] * len(self.inputs)]), list(self.inputs))[:, 0]


def _values(column: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "string":
        return np.array(["" if value in (None, "None") else str(value) for value in column], object)
    return np.array([TRUTH.get(str(value), value) for value in column], np.float32)
