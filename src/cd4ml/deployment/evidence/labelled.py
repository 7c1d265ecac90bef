"""What labels say that came to be true, and how right the answers of two arms were by them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import class_labels
from cd4ml.deployment.evidence.compared import Compared
from cd4ml.errors import DeploymentError
from cd4ml.names import shown

Some = TypeVar("Some", bound=Compared)
_TRUTHS = {"true": 1.0, "false": 0.0}
"""What labels count as that are no numbers, where nobody knows what the model predicts."""


@dataclass(frozen=True)
class Labels:
    """What the labels of a model can be."""

    classes: Sequence[str]
    """As text, in the order of the contract, so that the positive one of two is last; none of a number."""
    range: tuple[float, float] = (-math.inf, math.inf)
    """The least and the greatest number."""

    def value(self, text: str | None) -> float:
        """What one counts as: its place among the classes, or the number; NaN where it cannot be."""
        if self.classes:
            said = class_labels.of_classes(text, self.classes)
            return float(self.classes.index(said)) if said in self.classes else math.nan
        number = _number(text)
        return number if self.range[0] <= number <= self.range[1] else math.nan

    def __str__(self) -> str:
        if len(self.classes) > 2:
            return f"{class_labels.shown(list(self.classes))}; send these"
        if self.classes:
            return f"{' and '.join(map(repr, self.classes))}; send these"
        low, high = self.range
        return f"numbers from {low:g} to {high:g}; send such, or write the `range` that they have"


def numbers(labels: pa.ListArray) -> np.ndarray:
    """The mean of the labels of each feedback (float64 [feedback]); NaN where one is no number, true or false."""
    return _means(labels, _rows(labels, lambda text: _TRUTHS[text] if text in _TRUTHS else _number(text)))


def labelled(compared: Some, labels: Labels | None) -> tuple[Some, np.ndarray]:
    """The requests that were answered and have labels that tell, in the order in which these came.

    Args:
        compared: Requests.
        labels: What they can be; None where that is not known.

    Returns:
        They, and what the label of each row counts as (float64 [rows], as `given` has them).

    Raises:
        DeploymentError: What they can be is not known, or a row has several predictions.
    """
    if labels is None:
        raise DeploymentError("which label is the positive one is not known; name the model")
    answered = with_predictions(compared.told("labels"))
    known = answered.of(~strange(answered, labels))
    return known, _rows(known.table["labels"].combine_chunks(), labels.value)


def with_predictions(compared: Some) -> Some:
    """The requests with a prediction."""
    return compared.of(pc.fill_null(pc.greater(compared.rows, 0), False).to_numpy(zero_copy_only=False))


def predicted(compared: Compared, labels: Labels | None, threshold: float) -> np.ndarray:
    """The place of the class that each row is predicted to be of (int64 [rows], as `given` has them).

    Args:
        compared: Requests with predictions.
        labels: Of classes, of which there are two where that is not known.
        threshold: The probability above which it is the second of two; of more it is the most probable one.

    Raises:
        DeploymentError: The predictions are not of these classes.
    """
    if labels is None or len(labels.classes) == 2:
        return (compared.predicted()[0] > threshold).astype(np.int64)
    classes, probabilities = compared.probabilities()
    if classes and classes != list(labels.classes):
        given, wanted = (class_labels.shown(list(one)) for one in (classes, labels.classes))
        raise DeploymentError(
            f"answers give the probabilities of {given}, which are not the classes of the model in their order, "
            f"{wanted}; have what answers name them as a model server does"
        )
    places: np.ndarray = probabilities.argmax(axis=1)
    return places


def strange(compared: Compared, labels: Labels) -> np.ndarray:
    """Whether labels do not tell how right an answer is (bool [answers]).

    Args:
        compared: Requests that have labels.
        labels: What they can be.
    """
    came = compared.table["labels"].combine_chunks()
    others = pc.not_equal(pc.list_value_length(came), compared.rows)  # null without an answer
    cannot_be = np.isnan(_means(came, _rows(came, labels.value)))
    found = pc.fill_null(others, False).to_numpy(zero_copy_only=False) | cannot_be
    answers = 2 if compared.pairs else 1  # a request, of which all tell or none
    return np.tile(found.reshape(answers, -1).any(axis=0), answers)


def why_strange(compared: Compared, labels: Labels) -> str:
    """What is strange of labels, such as one of them is.

    Args:
        compared: Requests whose labels are.
        labels: What they can be.
    """
    came = compared.table["labels"][0].as_py()
    wrong = [
        class_labels.of_json(label) or label for label in came if math.isnan(labels.value(class_labels.of_json(label)))
    ]
    if wrong:
        return f"a label is {shown(wrong[0])}, and those of the model are {labels}"
    return f"a request has {len(came)} labels, and predictions for another number of rows; send one label a row"


def _number(text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _rows(labels: pa.ListArray, value: Callable[[str | None], float]) -> np.ndarray:
    """What each label counts as (float64 [labels]); NaN of one that is strange."""
    encoded = pc.list_flatten(labels).dictionary_encode()
    values = np.array([value(class_labels.of_json(text)) for text in encoded.dictionary.to_pylist()], dtype=np.float64)
    rows: np.ndarray = values[encoded.indices.to_numpy()]
    return rows


def _means(labels: pa.ListArray, rows: np.ndarray) -> np.ndarray:
    """The mean of the rows of each feedback (float64 [feedback]); NaN where it has none, or a strange one."""
    of = pc.list_parent_indices(labels).to_numpy()
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.bincount(of, rows, minlength=len(labels)) / np.bincount(of, minlength=len(labels))
    return means
