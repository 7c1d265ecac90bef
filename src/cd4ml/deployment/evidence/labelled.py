"""What labels say that came to be true, and how right the answers of two arms were by them."""

import json
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.deployment.evidence.compared import Compared, text_of
from cd4ml.errors import DeploymentError
from cd4ml.names import shown

Some = TypeVar("Some", bound=Compared)
_NUMBERS = {"true": 1.0, "false": 0.0}
"""What labels count as that are no numbers."""


def numbers(labels: pa.ListArray) -> np.ndarray:
    """The mean of the labels of each feedback (float64 [feedback]); NaN where one is no number, true or false."""
    return _means(labels, _rows(labels, _number))


def labelled(compared: Some, classes: Sequence[str] | None) -> tuple[Some, np.ndarray]:
    """The requests that were answered and have labels that tell, in the order in which these came.

    Args:
        compared: Requests.
        classes: Of the model's contract; the last is the positive one. None: they are not known.

    Returns:
        They, and whether the label of each row is the positive one (bool [rows], as `predicted` has them).

    Raises:
        DeploymentError: The classes are not known, or a row has several predictions.
    """
    if classes is None:
        raise DeploymentError("which label is the positive one is not known; name the model")
    answered = with_predictions(compared.told("labels"))
    known = answered.of(~strange(answered, classes))
    return known, _rows(known.table["labels"].combine_chunks(), _of(classes)) > 0


def with_predictions(compared: Some) -> Some:
    """The requests with a prediction."""
    return compared.of(~np.isnan(compared.predictions))


def strange(compared: Compared, classes: Sequence[str]) -> np.ndarray:
    """Whether labels do not tell how right an answer is (bool [answers]).

    Args:
        compared: Requests that have labels.
        classes: What a label can be.
    """
    labels, predictions = (compared.table[name].combine_chunks() for name in ("labels", "predictions"))
    others = pc.not_equal(pc.list_value_length(labels), pc.list_value_length(predictions))  # null without an answer
    of_no_class = np.isnan(_means(labels, _rows(labels, _of(classes))))
    found = pc.fill_null(others, False).to_numpy(zero_copy_only=False) | of_no_class
    answers = 2 if compared.pairs else 1  # a request, of which all tell or none
    return np.tile(found.reshape(answers, -1).any(axis=0), answers)


def why_strange(compared: Compared, classes: Sequence[str]) -> str:
    """What is strange of labels, such as one of them is.

    Args:
        compared: Requests whose labels are.
        classes: What a label can be.
    """
    labels = compared.table["labels"][0].as_py()
    wrong = [_text(label) or label for label in labels if _text(label) not in classes]
    if wrong:
        return (
            f"a label is {shown(wrong[0])}, and those of the model are {' and '.join(map(repr, classes))}; send these"
        )
    return f"a request has {len(labels)} labels, and predictions for another number of rows; send one label a row"


def _of(classes: Sequence[str]) -> Callable[[str | None], float]:
    values: dict[str | None, float] = {text: float(text == classes[-1]) for text in classes}
    return lambda text: values.get(text, math.nan)


def _number(text: str | None) -> float:
    if text in _NUMBERS:
        return _NUMBERS[text]
    try:
        value = float(text or "")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _rows(labels: pa.ListArray, value: Callable[[str | None], float]) -> np.ndarray:
    """What each label counts as (float64 [labels]); NaN of one that is strange."""
    encoded = pc.list_flatten(labels).dictionary_encode()
    values = np.array([value(_text(text)) for text in encoded.dictionary.to_pylist()], dtype=np.float64)
    rows: np.ndarray = values[encoded.indices.to_numpy()]
    return rows


def _text(label: str | None) -> str | None:
    """A label as classes have it, of its JSON; None where it is none."""
    try:
        return text_of(json.loads(label or ""))
    except ValueError:
        return None


def _means(labels: pa.ListArray, rows: np.ndarray) -> np.ndarray:
    """The mean of the rows of each feedback (float64 [feedback]); NaN where it has none, or a strange one."""
    of = pc.list_parent_indices(labels).to_numpy()
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.bincount(of, rows, minlength=len(labels)) / np.bincount(of, minlength=len(labels))
    return means
