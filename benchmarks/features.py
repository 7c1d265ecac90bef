"""The columns that benchmarks of training and prediction make: as many kinds as the example has."""

from typing import Any

import numpy as np
import pyarrow as pa

from cd4ml.contracts.model import Kind

TEXTS = {
    "region": ["north", "south", "east", "west"],
    "platform": ["ios", "android", "web"],
    "acquisition": [f"campaign {number}" for number in range(50)],
}
NUMBERS = ["age", "sessions", "friends", "purchases", "spend", "days"]
FLAGS = ["subscribed", "newsletter"]
KINDS: dict[str, Kind] = {
    **dict.fromkeys(TEXTS, "category"),
    **dict.fromkeys(NUMBERS, "number"),
    **dict.fromkeys(FLAGS, "boolean"),
}


def columns(random: np.random.Generator, rows: int, number: type[np.floating] = np.float64) -> dict[str, Any]:
    """3 texts, 6 numbers and 2 truth values, of which some are missing.

    Args:
        random: Draws them.
        rows: How many of each.
        number: The type of the numbers.
    """
    found: dict[str, Any] = {}
    for name, values in TEXTS.items():
        codes = pa.array(random.integers(0, len(values), rows).astype(np.int32), mask=random.random(rows) < 0.02)
        found[name] = pa.DictionaryArray.from_arrays(codes, values).cast(pa.string())
    for name in NUMBERS:
        found[name] = pa.array(random.gamma(2, 30, rows).astype(number), mask=random.random(rows) < 0.02)
    for name in FLAGS:
        found[name] = random.random(rows) < 0.3
    return found
