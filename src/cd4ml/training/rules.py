"""Rules as a model: a table of conditions, of which the first that holds says the probability."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cd4ml.contracts.model import Contract, Input, Kind
from cd4ml.errors import TrainingError
from cd4ml.names import counted, nearest, shown
from cd4ml.training.examples import Examples
from cd4ml.training.fit import Epoch
from cd4ml.training.job import Fitted, TrainingJob
from cd4ml.training.trainers import Condition, Rule, Rules

MEASURED_ROWS = 65_536
"""Rows that are measured at a time."""
TYPES: dict[Kind, tuple[type, ...]] = {"category": (str,), "number": (float,), "boolean": (bool,)}
WORDS: dict[Kind, str] = {"category": "texts, quoted where need be", "number": "numbers", "boolean": "true or false"}


def train(spec: Rules, job: TrainingJob) -> Fitted:
    """Makes a model of the rules, and tells how many rows of the train split come to each.

    Raises:
        TrainingError: The question is none of two classes, a condition does not fit the inputs, or a split cannot be
            read.
    """
    if job.contract.problem.name != "binary":
        raise TrainingError(
            f"model 'rules': says a probability, and the label {job.contract.label!r} asks for "
            f"{job.contract.problem.task}; train another model"
        )
    _check(spec.rules, job.contract)
    start = time.monotonic()
    raw = [keras.Input((), dtype=one.dtype) for one in job.contract.inputs]
    place = Place(spec.rules, job.contract.inputs)(raw)
    probabilities = np.array(spec.probabilities, np.float32)
    splits = [_Split.read(split, keras.Model(raw, place), job.contract) for split in (job.train, job.eval)]

    unused = _told(spec, splits[0], job.contract)
    (loss, eval_loss), (score, eval_score) = (
        [split.loss(probabilities) for split in splits],
        [job.contract.problem.score(split.labels, probabilities[split.places]) for split in splits],
    )
    epoch = Epoch(
        epoch=1,
        seconds=round(time.monotonic() - start, 3),
        loss=loss,
        metric=job.contract.problem.primary,
        score=score,
        eval_loss=eval_loss,
        eval_score=eval_score,
    )
    print(epoch, flush=True)  # noqa: T201 (the task's log)
    return Fitted(keras.Model(raw, keras.ops.take(probabilities, place)), [epoch], unused)


class Place(keras.layers.Layer):  # type: ignore[misc]
    """The first rule that holds: from raw features, one tensor [batch] an input, to its place from 0, int32 [batch].

    Where none holds, it is the number of rules.
    """

    def __init__(self, rules: Sequence[Rule], inputs: Sequence[Input]) -> None:
        super().__init__()
        self._rules = [[(_place(name, inputs), one) for name, one in rule.when.items()] for rule in rules]

    def call(self, raw: list[tf.Tensor]) -> tf.Tensor:
        """Asks all rules at once."""
        holding = [tf.reduce_all([_holds(one, raw[place]) for place, one in rule], axis=0) for rule in self._rules]
        none = len(self._rules)
        return tf.reduce_min(tf.where(tf.stack(holding, axis=-1), np.arange(none, dtype=np.int32), none), axis=-1)


def _place(name: str, inputs: Sequence[Input]) -> int:
    return [one.name for one in inputs].index(name)


def _holds(condition: Condition, value: tf.Tensor) -> tf.Tensor:
    """Whether a condition holds, bool [batch]; a missing number is not a number, a missing text is empty."""
    if condition.missing is not None:
        missing = value == "" if value.dtype == tf.string else tf.math.is_nan(value)
        return missing == condition.missing
    if condition.values:
        return tf.reduce_any(value[:, None] == tf.constant(condition.values, value.dtype), axis=-1)
    least = -np.inf if condition.min is None else condition.min
    most = np.inf if condition.max is None else condition.max
    return (value >= np.float32(least)) & (value <= np.float32(most))


@dataclass(frozen=True)
class _Split:
    """What the rules make of a split."""

    labels: np.ndarray
    """float32 [rows]."""
    places: np.ndarray
    """Of the rule that each row comes to, int32 [rows]."""

    @classmethod
    def read(cls, split: Path, model: keras.Model, contract: Contract) -> "_Split":
        rows = Examples(split, contract=contract, encoded=model)
        return cls(rows.labels, np.concatenate([places for (places,) in rows.in_order(MEASURED_ROWS)]))

    def loss(self, probabilities: np.ndarray) -> float:
        """The mean logarithmic loss; infinite where a rule is sure of what is not so."""
        said = probabilities.astype(np.float64)[self.places]
        with np.errstate(divide="ignore"):
            return float(-np.log(np.where(self.labels == 1, said, 1 - said)).mean())


def _check(rules: Sequence[Rule], contract: Contract) -> None:
    """Makes sure that the conditions are about inputs, and that what they name can be there."""
    inputs = {one.name: one for one in contract.inputs}
    mistakes = [
        f"rules.{number}.when.{name}: {mistake}"
        for number, rule in enumerate(rules)
        for name, condition in rule.when.items()
        for mistake in _mistakes(name, condition, inputs)
    ]
    if mistakes:
        raise TrainingError("model 'rules': not as the features are" + "".join(f"\n  - {one}" for one in mistakes))


def _mistakes(name: str, condition: Condition, inputs: dict[str, Input]) -> Iterator[str]:
    if name not in inputs:
        yield f"is no feature; {nearest(name, inputs)}"
        return
    kind = inputs[name].kind
    if kind != "number" and (condition.min is not None or condition.max is not None):
        yield f"the column is a {kind}, which has no min and max; write {WORDS[kind]}"
    for value in condition.values or ():
        if type(value) not in TYPES[kind]:
            yield f"the column is a {kind}; write {WORDS[kind]}, not {shown(value)}"


def _told(spec: Rules, train: _Split, contract: Contract) -> str:
    """Tells what comes to each rule; gives the sentence of those that no row comes to, empty where there are none."""
    names = [*(f"rule {number}" for number in range(1, len(spec.rules) + 1)), "no rule"]
    rows = np.bincount(train.places, minlength=len(names))
    positive = np.bincount(train.places, weights=train.labels, minlength=len(names))
    for name, probability, count, events in zip(names, spec.probabilities, rows, positive, strict=True):
        share = f", {events / count:.1%} of them {contract.classes[-1]!r}" if count else ""
        print(f"{name}: {counted(int(count), 'row')} of train{share}; said: {probability:.1%}", flush=True)  # noqa: T201
    unused = [
        f"{name}{_unseen(rule, contract)}"
        for name, rule, count in zip(names, spec.rules, rows, strict=False)
        if not count
    ]
    return f"with no row of train for {'; '.join(unused)}" if unused else ""


def _unseen(rule: Rule, contract: Contract) -> str:
    """The values that a rule names and training did not see."""
    known = {one.name: one.vocabulary for one in contract.inputs if one.vocabulary is not None}
    unseen = [
        f"{shown(value)} is not among the values of {name!r} there"
        for name, condition in rule.when.items()
        if name in known
        for value in condition.values or ()
        if value not in known[name]
    ]
    return f" ({', '.join(unseen)})" if unseen else ""
