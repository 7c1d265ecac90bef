"""Makes a small model of twenty features in a folder, and the body of a request: run in the serve environment.

python model.py FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from cd4ml.contracts.model import Contract, Input, write_contract

NUMBERS = [f"number_{place}" for place in range(14)]
TEXTS = [f"category_{place}" for place in range(6)]
CONTRACT = Contract(
    label="took",
    classes=("false", "true"),
    inputs=(
        *(Input(name, "number") for name in NUMBERS),
        *(Input(name, "category", vocabulary=("north", "south")) for name in TEXTS),
    ),
    model={"model": "linear"},
)


def main(folder: Path) -> None:
    """Writes `model/` and `body.json`."""
    module = tf.Module()
    module.bias = tf.Variable(0.5)
    signature = {one.name: tf.TensorSpec([None], one.dtype, name=one.name) for one in CONTRACT.inputs}

    @tf.function(input_signature=[signature])  # type: ignore[untyped-decorator]
    def predict(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        numbers = tf.add_n([tf.where(tf.math.is_nan(raw[name]), 0.0, raw[name]) for name in NUMBERS])
        south = tf.add_n([tf.cast(raw[name] == "south", tf.float32) for name in TEXTS])
        return {"probability": tf.sigmoid(numbers / 100 + south + module.bias)}

    tf.saved_model.save(module, str(folder / "model" / "saved_model"), signatures=predict)
    write_contract(CONTRACT, folder / "model")
    row: list[Any] = [round(1.5 * place, 2) for place in range(len(NUMBERS))] + ["south"] * len(TEXTS)
    (folder / "body.json").write_text(json.dumps({"data": {"names": NUMBERS + TEXTS, "ndarray": [row]}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
