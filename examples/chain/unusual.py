"""How unusual each row is, beside what the model predicts for it: an outlier detector.

    PORT=9700 python examples/chain/unusual.py store/models/promotion-uptake/1 http://127.0.0.1:9500

The answer's tag `unusual` has a share for each row: so many of the rows that the model was trained on are as unusual as
this one, or more. Of rows like those of training one in a hundred has 0.01 or less, whatever the model and its table.

A row is as unusual as the rarest of its values, each looked at by itself. Half of the sample that is kept with a
published version says how rare values are, and the other half how rare the rarest of a usual row is.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.contracts import reference
from cd4ml.contracts.model import Contract, read_contract
from cd4ml.serving.application import bad
from cd4ml.serving.node import Columns, Model, Predictions, serve

Rarity = Callable[[Sequence[Any]], np.ndarray]
"""Of values: the share of the sample that is at least as far out, or that has the same text; float64 [values]."""


class Unusual:
    """What is usual, by a sample of it."""

    def __init__(self, sample: pa.Table, contract: Contract) -> None:
        left_out = reference.read(sample.schema, "the sample").patterns
        kinds = {one.name: one.kind for one in contract.inputs if one.name in sample.column_names}
        columns = {name: sample[name].to_pylist() for name in kinds if name not in left_out}
        places = np.random.default_rng(0).permutation(sample.num_rows)
        rare, usual = np.array_split(places, 2)
        self._rarities = {
            name: (_of_texts if kinds[name] == "category" else _of_numbers)([values[place] for place in rare])
            for name, values in columns.items()
        }
        self._usual = np.sort(self._rarest({name: [values[at] for at in usual] for name, values in columns.items()}))

    async def __call__(self, columns: Columns, model: Model) -> Predictions:
        """Asks the model, which refuses what is no row of it, and says how unusual the rows are."""
        answer = await model(columns)
        lacking = self._rarities.keys() - columns.keys()
        if lacking:
            raise bad(f"feature {min(lacking)!r} is missing, which the version had that says what is usual")
        return Predictions(answer.names, answer.values, {**answer.tags, "unusual": self.shares(columns).tolist()})

    def shares(self, columns: Columns) -> np.ndarray:
        """Of each row, the share of usual rows that are as unusual or more; float64 [rows], in (0, 1]."""
        as_rare = np.searchsorted(self._usual, self._rarest(columns), side="right")
        return (as_rare + 1) / (len(self._usual) + 1)

    def _rarest(self, columns: Columns) -> np.ndarray:
        return np.min([rarity(columns[name]) for name, rarity in self._rarities.items()], axis=0)


def _of_numbers(sample: Sequence[Any]) -> Rarity:
    values = _numbers(sample)
    known = np.sort(values[~np.isnan(values)])

    def rarity(asked: Sequence[Any]) -> np.ndarray:
        numbers = _numbers(asked)
        below = np.searchsorted(known, numbers, side="right")
        above = len(known) - np.searchsorted(known, numbers, side="left")
        as_far = np.minimum(2 * np.minimum(below, above), len(known))
        return (np.where(np.isnan(numbers), len(values) - len(known), as_far) + 1) / (len(values) + 1)

    return rarity


def _of_texts(sample: Sequence[Any]) -> Rarity:
    counts = Counter(value or "" for value in sample)
    return lambda asked: np.array([counts[value or ""] + 1 for value in asked]) / (len(sample) + 1)


def _numbers(values: Sequence[Any]) -> np.ndarray:
    return np.array([None if value == "" else value for value in values], np.float64)


if __name__ == "__main__":
    folder, url = sys.argv[1:]
    sample, contract = pq.read_table(Path(folder, "reference.parquet")), read_contract(Path(folder, "model"))
    serve(Unusual(sample, contract), [url])
