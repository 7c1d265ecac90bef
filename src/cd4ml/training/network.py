"""The networks: preprocessing as Keras layers, and the models on top of it.

Preprocessing, the encoder, holds no weight that is trained, so training runs it once. What it never saw there, a new
text or the first missing value of a column, becomes zeros or the mean: it moves no prediction at random.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from cd4ml import settings
from cd4ml.contracts.model import Contract
from cd4ml.errors import TrainingError
from cd4ml.names import counted, nearest
from cd4ml.training import date_parts, objective, warm_start
from cd4ml.training.examples import Examples
from cd4ml.training.fit import fit
from cd4ml.training.job import Fitted, TrainingJob
from cd4ml.training.objective import Objective
from cd4ml.training.statistics import Column, Number, Text
from cd4ml.training.trainers import Network, Trainer
from cd4ml.training.words import BUCKETS, Bag, Words

RARE = 0.1
"""Scale of the vectors of what is hashed: Adam moves a vector of few rows by more than these can tell."""
ONE_HOT_VALUES = 32
"""A text with more values is embedded: its one-hot columns would outweigh the rest of the data in memory."""

OUTLIER = 10.0
"""Beyond this many deviations from the mean all numbers are the same, so that no input makes an infinite output."""


def train(spec: Network, job: TrainingJob) -> Fitted:
    """Trains a network on what the encoder makes of the rows.

    Raises:
        TrainingError: A split cannot be read, or training runs away.
    """
    if spec.deterministic:
        tf.config.experimental.enable_op_determinism()
    encoded = encoder(job.contract, job.statistics)
    _tell_hashed(job.contract, job.statistics)
    made = partial(head, job.contract, statistics=job.statistics, encoded=encoded, spec=spec)
    with job.devices.training_in(spec.precision):
        trained = made()
    exact = trained if job.devices.are_plain(spec.precision) else made()
    rows = Examples(job.train, contract=job.contract, encoded=encoded, weights=job.weights)
    learnt = objective.of(job.contract, rows.labels)
    if job.start:
        whole = served(job.contract, encoded=encoded, trained=exact, learnt=learnt)
        warm_start.begin(whole, job.start, job.workspace)
        trained.set_weights(exact.get_weights())
    course = fit(
        trained,
        exact=exact,
        devices=job.devices,
        train=rows,
        evaluation=Examples(job.eval, contract=job.contract, encoded=encoded),
        spec=spec,
        seed=job.seed,
        objective=learnt,
        checkpoints=job.checkpoints,
        tracker=job.tracker,
        watch=job.watch,
    )
    return Fitted(served(job.contract, encoded=encoded, trained=exact, learnt=learnt), course.epochs, course.ended)


def _tell_hashed(contract: Contract, statistics: Mapping[str, Column]) -> None:
    known = vocabularies(contract, statistics)
    for name, buckets in _buckets(contract, statistics).items():
        if buckets:
            said = f"column {name!r}: {counted(len(known[name]), 'value')} by name, all others in {buckets:,} buckets"
            print(f"{said} by their hash", flush=True)  # noqa: T201 (the task's log)


def by(logit: "Callable[[Features], keras.KerasTensor]", hyperparameters: Mapping[str, Any]) -> Network:
    """A network of layers that are given.

    Args:
        logit: As `Network.logit`.
        hyperparameters: As the fields of a `Network`.

    Raises:
        TrainingError: With every mistake in these.
    """
    known = [name for name in Network.model_fields if name not in Trainer.model_fields]
    unknown = [name for name in hyperparameters if name not in known]
    if unknown:
        raise TrainingError(f"job.network: {unknown[0]}: unknown; {nearest(unknown[0], known)}")

    class Given(Network):
        model: Literal["function"] = "function"

        def logit(self, features: Features) -> keras.KerasTensor:
            return logit(features)

    return settings.parse(Given, content=hyperparameters, name="job.network", error=TrainingError)


def encoder(contract: Contract, statistics: Mapping[str, Column]) -> keras.Model:
    """Preprocessing, with its constants from the statistics of the train split.

    Args:
        contract: The inputs.
        statistics: Has every input.

    Returns:
        A model from raw features, one tensor [batch] an input in their order, to a list: float32 [batch, width], and
        for each text of more than `ONE_HOT_VALUES` values its index, int64 [batch]; last, for each that is known by
        its words, those of its words, int32 [batch, words].
    """
    inputs = _raw(contract)
    raw = {one.name: tensor for one, tensor in zip(contract.inputs, inputs, strict=True)}
    texts = vocabularies(contract, statistics)
    scaled = [(raw[one.name], _scale(statistics[one.name])) for one in contract.inputs if one.dtype == "float32"]
    scaled += [(age.days, age.scale) for age in date_parts.ages(contract, statistics, raw)]
    dense = _numbers(*zip(*scaled, strict=True)) if scaled else []
    dense += [_on_circle(one) for one in date_parts.places(contract, statistics, raw)]
    embedded, buckets = _embedded_sizes(contract, statistics), _buckets(contract, statistics)
    indices = []
    for name, values in texts.items():
        index = lookup(values)(raw[name])
        if buckets[name]:
            bucket = layers.Hashing(buckets[name] + 1, mask_value="")(raw[name])  # 0 where it is missing
            index = ops.where((index > 0) | (bucket < 1), index, len(values) + bucket)
        if name in embedded:
            indices.append(index)
        else:
            dense.append(ops.one_hot(index - 1, len(values)))
    indices += [Words()(raw[one.name]) for one in contract.inputs if one.kind == "text"]
    if not dense:
        first = indices[0] if len(indices[0].shape) == 1 else indices[0][:, 0]
        dense = [ops.zeros_like(ops.cast(first, "float32"))[:, None]]
    return keras.Model(inputs, [ops.concatenate(dense, axis=-1), *indices])


@dataclass(frozen=True)
class Indices:
    """A text by what the encoder knows of it: its value, or its words."""

    tensor: keras.KerasTensor
    """int64 [batch], or of words int32 [batch, words], 0 after the last; 0 is what the encoder never saw, too."""
    size: int
    """One above the greatest."""
    scale: float = 1.0
    """What their vectors are multiplied with: the less it is, the slower each row moves them."""

    def vectors(self, width: int) -> keras.KerasTensor:
        """What is learnt of them, float32 [batch, width], of words one vector for all; zero where all are 0."""
        if len(self.tensor.shape) > 1:
            return Bag(self.size, width)(self.tensor) * self.scale
        seen = ops.cast(self.tensor > 0, "float32")[:, None]
        return layers.Embedding(self.size, width)(self.tensor) * (seen * self.scale)


@dataclass(frozen=True)
class Features:
    """What the encoder makes of the rows, for a network to begin with."""

    dense: keras.KerasTensor
    """float32 [batch, width]: numbers, booleans, and texts of few values."""
    texts: Sequence[Indices]
    """Texts of many values, and those that are known by their words."""
    outputs: int = 1
    """How many numbers the network is to give for a row: one, or one for each of three or more classes."""

    def vector(self) -> keras.KerasTensor:
        """All in one, float32 [batch, width]."""
        return ops.concatenate([self.dense, *self.embedded(lambda size: 2 * math.ceil(size**0.25))], axis=-1)

    def embedded(self, width: Callable[[int], int]) -> list[keras.KerasTensor]:
        """Their vectors, float32 [batch, width], zero for what the encoder never saw."""
        return [one.vectors(width(one.size)) for one in self.texts]


def head(contract: Contract, *, statistics: Mapping[str, Column], encoded: keras.Model, spec: Network) -> keras.Model:
    """What is trained: from the encoder's output to that of the objective, float32 [batch, 1] or [batch, classes].

    Raises:
        TrainingError: The layers of a team's own give another shape.
    """
    inputs = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in encoded.outputs]
    sizes, buckets = _embedded_sizes(contract, statistics), _buckets(contract, statistics)
    texts = [
        Indices(tensor, size, 1.0 if buckets.get(name) == 0 else RARE)
        for tensor, (name, size) in zip(inputs[1:], sizes.items(), strict=True)
    ]
    wanted = math.prod(contract.shape)
    trained = keras.Model(inputs, spec.logit(Features(inputs[0], texts, wanted)))
    if trained.output_shape != (None, wanted):
        raise TrainingError(
            f"the network of {spec.model!r} gives the shape {trained.output_shape}; have it give (None, {wanted}), as "
            "its last layer `Dense(features.outputs)` does"
        )
    return trained


def served(contract: Contract, *, encoded: keras.Model, trained: keras.Model, learnt: Objective) -> keras.Model:
    """The whole: from raw features to what the problem asks for, float32 [batch, *shape]."""
    raw = _raw(contract)
    answers = learnt.answer(trained(encoded(raw)))
    return keras.Model(raw, answers if contract.shape else ops.squeeze(answers, axis=-1))


def _raw(contract: Contract) -> list[keras.KerasTensor]:
    return [keras.Input((), dtype=one.dtype) for one in contract.inputs]


def vocabularies(contract: Contract, statistics: Mapping[str, Column]) -> dict[str, list[str]]:
    """The vocabulary of each category, missing among it where the train split has it."""
    columns = {one.name: statistics[one.name] for one in contract.inputs if one.kind == "category"}
    return {
        name: [*([""] if column.missing else []), *column.values]
        for name, column in columns.items()
        if isinstance(column, Text)
    }


def lookup(values: Sequence[str]) -> layers.StringLookup:
    """From a text to its place in the vocabulary, from 1; 0 where it is not there."""
    other = max(values, key=len, default="") + "?"  # Keras' own token for it, "[UNK]", may be a value
    return layers.StringLookup(vocabulary=values, mask_token=None, oov_token=other)


def _embedded_sizes(contract: Contract, statistics: Mapping[str, Column]) -> dict[str, int]:
    """How many indices each text has that is embedded, from 0 for what training never saw to the last bucket."""
    buckets = _buckets(contract, statistics)
    sizes = {name: 1 + len(values) + buckets[name] for name, values in vocabularies(contract, statistics).items()}
    embedded = {name: size for name, size in sizes.items() if size > 1 + ONE_HOT_VALUES}
    return embedded | {one.name: 1 + BUCKETS for one in contract.inputs if one.kind == "text"}


def _buckets(contract: Contract, statistics: Mapping[str, Column]) -> dict[str, int]:
    """Into how many buckets the values of each category are hashed that are in no vocabulary."""
    columns = {one.name: statistics[one.name] for one in contract.inputs if one.kind == "category"}
    return {name: column.buckets for name, column in columns.items() if isinstance(column, Text)}


def _scale(column: Column) -> Number:
    """A boolean that the statistics count as text is scaled as one that they count as a number of 0 and 1."""
    if isinstance(column, Number):
        return column
    return Number(minimum=0.0, maximum=1.0, mean=0.5, deviation=0.5, missing=column.missing)


def _on_circle(place: date_parts.Place) -> keras.KerasTensor:
    """A place in a cycle, float32 [batch, 2], so that its end is beside its beginning; zeros where it is missing."""
    angle = place.value * np.float32(2 * math.pi / place.length)
    point = ops.stack([ops.sin(angle), ops.cos(angle)], axis=-1)
    return point * ops.cast(place.known, "float32")[:, None]


def _numbers(raw: Sequence[keras.KerasTensor], scales: Sequence[Number]) -> list[keras.KerasTensor]:
    """The standard scores; then what some columns need beside: logarithms, bends at quantiles, marks where missing."""
    means = np.array([scale.mean for scale in scales], np.float32)
    variances = np.array([scale.deviation**2 or 1.0 for scale in scales], np.float32)
    values = ops.stack(raw, axis=-1)
    known = ops.isfinite(values)
    values = ops.where(known, values, means)
    scores = layers.Normalization(mean=means, variance=variances)(values)
    columns = [ops.clip(scores, -OUTLIER, OUTLIER)]

    # Amounts and durations: a mean of their logarithms says more than a mean that the largest few make.
    tailed = [i for i, scale in enumerate(scales) if scale.minimum >= 0 and scale.deviation > scale.mean]
    if tailed:
        amounts = ops.maximum(ops.take(values, tailed, axis=-1), 0.0)
        columns.append(ops.minimum(ops.log1p(amounts / means[tailed]), OUTLIER))

    # What is learnt of a number bends at its quantiles: how much of the way from each to the next it has behind it.
    edges = {i: found for i, scale in enumerate(scales) if len(found := _edges(scale)) > 2}
    if edges:
        starts = np.concatenate([one[:-1] for one in edges.values()])
        lengths = np.concatenate([np.diff(one) for one in edges.values()])
        columns_of = [i for i, one in edges.items() for _ in one[1:]]
        columns.append(ops.clip((ops.take(values, columns_of, axis=-1) - starts) / lengths, 0.0, 1.0))

    missing = [i for i, scale in enumerate(scales) if scale.missing]
    if missing:
        columns.append(1.0 - ops.cast(ops.take(known, missing, axis=-1), "float32"))
    return columns


def _edges(scale: Number) -> np.ndarray:
    """The least value and the quantiles, as far as float32 tells them apart."""
    edges = np.unique(np.array([scale.minimum, *scale.quantiles], np.float32))
    return edges[np.diff(edges, append=np.inf) >= np.finfo(np.float32).tiny]
