"""What is known of who is asked about, looked up in a table before the model is asked: a transformer.

    PORT=9700 python examples/chain/lookup.py store/models/promotion-uptake/1 \
        examples/promotions/data/players.parquet player_id http://127.0.0.1:9500

Callers send the key, and what they know better than the table. Of a key that is not in the table every value is
missing; the answer's tag `not_found` counts them. Of the table the features of the published version are read alone.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.contracts.model import read_contract
from cd4ml.serving.application import bad
from cd4ml.serving.node import Columns, Model, Predictions, serve


class Lookup:
    """A table by its key, a text or a whole number."""

    def __init__(self, table: pa.Table, key: str) -> None:
        self._rows, self._key = table.drop_columns([key]).combine_chunks(), key
        self._places = {value: place for place, value in enumerate(table[key].to_pylist())}

    async def __call__(self, columns: Columns, model: Model) -> Predictions:
        """Asks the model about the rows, with the columns of the table that they lack."""
        keys = columns.get(self._key)
        if not keys or not all(isinstance(one, str | int) for one in keys):
            raise bad(f"send {self._key!r}, a text or a whole number, with each row")
        places = pa.array([self._places.get(one) for one in keys], pa.int64())
        lacking = [name for name in self._rows.column_names if name not in columns]
        answer = await model({**columns, **self._rows.select(lacking).take(places).to_pydict()})
        return Predictions(answer.names, answer.values, {**answer.tags, "not_found": places.null_count})


if __name__ == "__main__":
    folder, file, key, url = sys.argv[1:]
    features = [one.name for one in read_contract(Path(folder, "model")).inputs]
    serve(Lookup(pq.read_table(Path(file), columns=[key, *features]), key), [url])
