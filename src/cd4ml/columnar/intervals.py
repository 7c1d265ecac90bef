"""Metrics of all rows alone, or with TFMA's confidence intervals from samples of the rows of each slice."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from tensorflow_model_analysis.evaluators import confidence_intervals_util, jackknife, poisson_bootstrap
from tensorflow_model_analysis.evaluators import metrics_plots_and_validations_evaluator as evaluator
from tensorflow_model_analysis.metrics import metric_types

from cd4ml.columnar.batch import Batch
from cd4ml.columnar.computations import Computations
from cd4ml.columnar.derived import Plan, Sliced
from cd4ml.columnar.slices import Group, SliceKey


class Measured(Protocol):
    """What is measured of all batches."""

    row_by_row: Mapping[str, str]

    def add(self, batch: Batch, groups: Sequence[Group]) -> None:
        """Adds the rows of a batch."""

    def sliced(self, keys: Sequence[SliceKey]) -> Sliced:
        """The metrics of the slices, in the order of their numbers, and of what is compared."""


def measured(plan: Plan, seed: int | None) -> Measured:
    """What the configuration asks for: no intervals, or those of one of TFMA's two methods."""
    asked = evaluator._get_confidence_interval_params(plan.config, plan.config.metrics_specs)
    if asked.num_bootstrap_samples:
        return Bootstrap(plan, samples=asked.num_bootstrap_samples, skipped=asked.skip_ci_metric_keys, seed=seed)
    if asked.num_jackknife_samples:
        return Jackknife(plan, samples=asked.num_jackknife_samples, skipped=asked.skip_ci_metric_keys, seed=seed)
    return Plain(plan)


class Plain:
    """Metrics of all rows."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._computations = Computations(plan.leaves)
        self.row_by_row: Mapping[str, str] = self._computations.row_by_row

    def add(self, batch: Batch, groups: Sequence[Group]) -> None:
        """Adds the rows of a batch."""
        self._computations.add(batch, groups)

    def sliced(self, keys: Sequence[SliceKey]) -> Sliced:
        """The metrics of the slices."""
        return self._plan.complete([(key, self._computations.of([number])) for number, key in enumerate(keys)])


class Bootstrap:
    """Metrics with intervals from samples in which each row of a slice counts as often as a Poisson draw says."""

    def __init__(
        self, plan: Plan, *, samples: int, skipped: frozenset[metric_types.MetricKey], seed: int | None
    ) -> None:
        self._plan = plan
        self._all = Plain(plan)
        self._samples = [Plain(plan) for _ in range(samples)]
        seeds = [None if seed is None else seed + number for number in range(samples)]
        self._random = [np.random.RandomState(one) for one in seeds]
        self._combined = poisson_bootstrap._BootstrapSampleCombineFn(samples, skipped)
        self.row_by_row = self._all.row_by_row

    def add(self, batch: Batch, groups: Sequence[Group]) -> None:
        """Adds the rows of a batch."""
        self._all.add(batch, groups)
        for sample, random in zip(self._samples, self._random, strict=True):
            drawn = [random.poisson(1, batch.rows).astype(np.float64) for _ in groups]
            sample.add(batch, [replace(group, times=times) for group, times in zip(groups, drawn, strict=True)])

    def sliced(self, keys: Sequence[SliceKey]) -> Sliced:
        """The metrics of the slices with their intervals."""
        samples = (sample.sliced(keys) for sample in self._samples)
        return _combine(self._combined, plan=self._plan, sliced=self._all.sliced(keys), samples=samples)


class Jackknife:
    """Metrics with intervals from samples that leave out one part each of the rows of a slice."""

    def __init__(
        self, plan: Plan, *, samples: int, skipped: frozenset[metric_types.MetricKey], seed: int | None
    ) -> None:
        self._plan = plan
        self._parts = samples
        self._computations = Computations(plan.leaves)
        self._random = np.random.RandomState(seed)
        self._combined = jackknife._JackknifeSampleCombineFn(samples, skipped)
        self._rows: dict[int, np.ndarray] = {}
        self.row_by_row: Mapping[str, str] = self._computations.row_by_row

    def add(self, batch: Batch, groups: Sequence[Group]) -> None:
        """Adds the rows of a batch: each part of a slice is computed as a slice of its own."""
        self._computations.add(batch, [self._parted(group) for group in groups])

    def sliced(self, keys: Sequence[SliceKey]) -> Sliced:
        """The metrics of the slices with their intervals."""
        samples = (self._without(part, keys) for part in range(self._parts))
        return _combine(self._combined, plan=self._plan, sliced=self._without(None, keys), samples=samples)

    def _parted(self, group: Group) -> Group:
        parts = np.zeros(len(group.codes), np.int64)
        parts[group.present] = self._random.randint(self._parts, size=int(group.present.sum()))
        codes = np.where(group.present, group.codes * self._parts + parts, -1)
        rows = np.bincount(codes[group.present], minlength=len(group.slices) * self._parts)
        for number, of_slice in zip(group.slices.tolist(), rows.reshape(-1, self._parts), strict=True):
            self._rows[number] = self._rows.get(number, 0) + of_slice
        slices = (group.slices[:, np.newaxis] * self._parts + np.arange(self._parts)).ravel()
        return Group(slices, codes)

    def _without(self, left_out: int | None, keys: Sequence[SliceKey]) -> Sliced:
        """The metrics of the slices of which rows are left."""
        sliced = []
        for number, key in enumerate(keys):
            parts = [part for part in range(self._parts) if part != left_out and self._rows[number][part]]
            if parts:
                sliced.append((key, self._computations.of([number * self._parts + part for part in parts])))
        return self._plan.complete(sliced)


def _combine(combined: Any, *, plan: Plan, sliced: Sliced, samples: Iterable[Sliced]) -> Sliced:
    """Has TFMA make intervals of the samples; what is private is left out, unless a metric is made of it later."""
    by_key: dict[Any, Any] = {}
    for number, sample in itertools.chain([(combined._full_sample_id, sliced)], enumerate(samples)):
        for key, metrics in sample:
            kept = metrics if plan.after_intervals else evaluator._remove_private_metrics(key, metrics)[1]
            accumulator = by_key.get(key) or combined.create_accumulator()
            by_key[key] = combined.add_input(accumulator, confidence_intervals_util.SampleMetrics(kept, number))
    return [(key, combined.extract_output(accumulator)) for key, accumulator in by_key.items()]
