"""How right the answers of two arms were, by the labels that came to be true."""

import json
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pyarrow.compute as pc

from cd4ml.deployment.evidence.compared import Compared, text_of
from cd4ml.errors import DeploymentError
from cd4ml.names import shown

Some = TypeVar("Some", bound=Compared)


def labelled(compared: Some) -> Some:
    """The requests that were answered and have labels, in the order in which these came."""
    return with_predictions(compared.told("labels"))


def with_predictions(compared: Some) -> Some:
    """The requests with a prediction."""
    return compared.of(~np.isnan(compared.predictions))


def positive(compared: Compared, classes: Sequence[str] | None) -> np.ndarray:
    """Whether the label of a row is the positive one (bool [rows], as `predicted` has them).

    Args:
        compared: Requests that were answered and have labels.
        classes: Of the model's contract; the last is the positive one. None: they are not known.

    Raises:
        DeploymentError: A label is of no class, or a request has more or fewer labels than rows.
    """
    if classes is None:
        raise DeploymentError("which label is the positive one is not known; name the model")
    labels = compared.table["labels"].combine_chunks()
    counts = pc.list_value_length(labels)
    others = pc.not_equal(counts, pc.list_value_length(compared.table["predictions"].combine_chunks()))
    if pc.any(others).as_py():
        place = pc.index(others, True).as_py()
        raise DeploymentError(
            f"the request {compared.table['request_id'][place]} has {counts[place]} labels, and predictions for "
            "another number of rows; send one label a row"
        )
    encoded = pc.list_flatten(labels).dictionary_encode()
    known = [text_of(json.loads(text)) for text in encoded.dictionary.to_pylist()]
    strange = [text for text in known if text not in classes]
    if strange:
        raise DeploymentError(
            f"a label is {shown(strange[0])}, and those of the model are {' and '.join(map(repr, classes))}; send these"
        )
    is_positive: np.ndarray = np.array([text == classes[-1] for text in known], bool)[encoded.indices.to_numpy()]
    return is_positive
