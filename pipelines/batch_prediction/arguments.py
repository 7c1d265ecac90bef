"""What the pipeline of offline prediction takes."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import WithJsonSchema

from cd4ml.prediction import given
from cd4ml.prediction.given import AnyRows
from cd4ml.registry import named
from cd4ml.running.arguments import Arguments, Means, Store, Text, checked_by, on_this_machine, told, written
from cd4ml.training.trainers import check_columns


class BatchPrediction(Arguments):
    """A run of the pipeline of offline prediction."""

    model: Annotated[Text, checked_by(named.parts)]
    """A published model: `NAME@VERSION`, or `NAME`, the champion."""
    source: Annotated[AnyRows, Means.TEXT_IN_KFP]
    """The rows: a path, an `s3://` URI or a web address; or an object: of a source, or `{dataset: NAME@VERSION}`."""
    store: Store
    """The store that holds the registry and the datasets, and takes the predictions."""
    output: str = ""
    """What the table of predictions is called; as the dataset or the file where empty."""
    key: Annotated[
        list[Any],
        checked_by(check_columns),
        WithJsonSchema({"type": "array", "items": {"type": "string", "minLength": 1}}),
    ] = written([])
    """Columns that stand beside the predictions; where empty a dataset's key, else the number of the row."""
    revision: Annotated[str, Means.REVISION] = ""
    """The revision of the code, for the table's commit."""

    def mistakes_together(self) -> Iterator[str]:
        """That nothing tells what the predictions are to be called."""
        yield from told(lambda: given.output(self.output, self.source.text))

    def mistakes_in_a_cluster(self) -> Iterator[str]:
        """What a cluster cannot use."""
        yield from on_this_machine("source", self.source.place)
        yield from super().mistakes_in_a_cluster()
