"""Makes a small model in a folder, with the rows that a deployment verifies: run in the serve environment.

python model.py FOLDER SHIFT
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf

from cd4ml.contracts import predictions
from cd4ml.contracts.model import Contract, Input, write_contract

CONTRACT = Contract(
    label="took",
    classes=("false", "true"),
    inputs=(Input("age", "number"), Input("region", "category", vocabulary=("north", "south"))),
    model={"model": "linear"},
)
ROWS = pa.table({"age": [18.0, 40.0, 65.0], "region": ["north", "south", "north"]})


def main(folder: Path, shift: float) -> None:
    """Writes `model/` and `predictions.parquet`."""
    module = tf.Module()
    module.shift = tf.Variable(shift)
    signature = {one.name: tf.TensorSpec([None], one.dtype, name=one.name) for one in CONTRACT.inputs}

    @tf.function(input_signature=[signature])  # type: ignore[untyped-decorator]
    def predict(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        south = tf.cast(raw["region"] == "south", tf.float32)
        age = tf.where(tf.math.is_nan(raw["age"]), 0.0, raw["age"])
        return {"probability": tf.sigmoid(age / 100 + south + module.shift)}

    tf.saved_model.save(module, str(folder / "model" / "saved_model"), signatures=predict)
    write_contract(CONTRACT, folder / "model")
    ages, south = ROWS["age"].to_numpy(), np.array([region == "south" for region in ROWS["region"].to_pylist()])
    given = 1 / (1 + np.exp(-(ages / 100 + south + shift)))
    predictions.write(ROWS, "probability", given, file=folder / "predictions.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
