"""Metrics of Keras, updated once a slice and batch."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tensorflow_model_analysis.metrics import metric_types

from cd4ml.columnar.batch import Batch, NotVectorised
from cd4ml.columnar.pairs import Asked, Pairs, _dense, pairs
from cd4ml.columnar.slices import Group


class KerasMetrics:
    """The states of the metrics of a `_CompilableMetricsCombiner` by slice."""

    def __init__(self, computation: metric_types.MetricComputation) -> None:
        self._combiner: Any = computation.combiner
        self._combiner.setup()
        if self._empty()._pad:
            raise NotVectorised("labels or predictions are padded")
        self._states: dict[int, Any] = {}

    def add(self, batch: Batch, groups: Sequence[Group]) -> None:
        """Adds the rows of a batch."""
        for place, output in enumerate(self._combiner._output_names):
            found = self._pairs(batch, output)
            for group in groups:
                for number, rows in _by_slice(group, found.rows):
                    state = self._states.setdefault(number, self._empty())
                    inputs = (found.labels[rows], found.predictions[rows], found.weights[rows])
                    for which, metric in enumerate(self._combiner._metrics[output]):
                        metric.reset_states()
                        metric.update_state(*inputs)
                        state.add_weights(place, which, metric.get_weights())

    def of(self, slices: Sequence[int]) -> metric_types.MetricsDict:
        """The metrics of some slices together."""
        together = self._empty()
        for state in (self._states[one] for one in slices if one in self._states):
            for place, output in enumerate(self._combiner._output_names):
                for which in range(len(self._combiner._metrics[output])):
                    together.add_weights(place, which, state.get_weights(place, which))
        found: metric_types.MetricsDict = self._combiner.extract_output(together)
        return found

    def _empty(self) -> Any:
        return self._combiner.create_accumulator()

    def _pairs(self, batch: Batch, output: str) -> Pairs:
        """Labels and predictions [pairs, values], weights [pairs, 1]."""
        combiner = self._combiner
        aggregation = combiner._aggregation_type
        asked = Asked(
            combiner._model_name or "",
            output,
            None if combiner._sub_key_in_config else combiner._sub_key,
            aggregation,
            tuple(sorted((combiner._class_weights or {}).items())),
            combiner._example_weighted,
            flatten=bool(aggregation and aggregation.micro_average),
        )
        found = pairs(batch, asked)
        labels, predictions = found.labels, found.predictions
        if asked.flatten:
            labels, predictions = labels[:, np.newaxis], predictions[:, np.newaxis]
        if combiner._sub_key_in_config:
            labels = _dense(labels, predictions)
        return Pairs(found.rows, labels, predictions, found.weights[:, np.newaxis])


def _by_slice(group: Group, rows: np.ndarray | None) -> Iterator[tuple[int, np.ndarray]]:
    """The number of each slice that has pairs, and which these are."""
    codes = group.codes if rows is None else group.codes[rows]
    order = np.argsort(codes, kind="stable")
    if group.times is not None:
        times = group.times if rows is None else group.times[rows]
        order = np.repeat(order, times[order].astype(np.int64))
    bounds = np.searchsorted(codes[order], np.arange(len(group.slices) + 1))
    for code, number in enumerate(group.slices.tolist()):
        if bounds[code] < bounds[code + 1]:
            yield number, order[bounds[code] : bounds[code + 1]]
