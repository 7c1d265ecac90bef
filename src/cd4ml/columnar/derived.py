"""What follows from the leaves of each slice, as TFMA has it: derived metrics, comparisons of slices and of models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tensorflow_model_analysis.evaluators import metrics_plots_and_validations_evaluator as evaluator
from tensorflow_model_analysis.metrics import metric_specs, metric_types
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.slicer import slicer_lib
from tensorflow_model_analysis.utils import model_util

from cd4ml.columnar.histogram import in_columns
from cd4ml.errors import EvaluationError

Sliced = list[tuple[Any, metric_types.MetricsDict]]
"""Metrics by key of a slice, or of a pair of slices that are compared."""


@dataclass(frozen=True)
class Plan:
    """What TFMA makes of a configuration."""

    config: config_pb2.EvalConfig
    leaves: Sequence[metric_types.MetricComputation]
    derived: Sequence[metric_types.DerivedMetricComputation]
    cross_slice: Sequence[metric_types.CrossSliceMetricComputation]
    after_intervals: Sequence[metric_types.CIDerivedMetricComputation]

    @classmethod
    def of(cls, config: config_pb2.EvalConfig) -> "Plan":
        """Has TFMA turn the configuration into computations, each once."""
        try:
            made = metric_specs.to_computations(list(config.metrics_specs), eval_config=config)
        except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
            raise EvaluationError(f"TFMA cannot make the metrics of the configuration: {error}") from error
        found = evaluator._filter_and_separate_computations(made)
        return cls(
            config,
            found.non_derived_computations,
            [in_columns(one) for one in found.derived_computations],
            found.cross_slice_computations,
            found.ci_derived_computations,
        )

    def complete(self, sliced: Sliced) -> Sliced:
        """Adds derived metrics, then pairs of slices, then differences from the baseline."""
        sliced = [(key, self._with_derived(metrics)) for key, metrics in sliced]
        pairs = [pair for spec in self.config.cross_slicing_specs for pair in self._compared(spec, sliced)]
        sliced += pairs
        baseline = model_util.get_baseline_model_spec(self.config)
        if baseline is None:
            return sliced
        return [(key, {**metrics, **_differences(metrics, baseline.name)}) for key, metrics in sliced]

    def _with_derived(self, metrics: metric_types.MetricsDict) -> metric_types.MetricsDict:
        metrics = dict(metrics)
        for computation in self.derived:
            try:
                metrics.update(computation.result(metrics))
            except ValueError as error:
                raise EvaluationError(f"TFMA cannot compute a metric: {error}") from error
        return metrics

    def _compared(self, spec: config_pb2.CrossSlicingSpec, sliced: Sliced) -> Iterator[tuple[Any, Any]]:
        baselines = [one for one in sliced if _applies(spec.baseline_spec, one[0])]
        for baseline_key, baseline in baselines:
            for key, metrics in sliced:
                if not _is_compared(spec, key):
                    continue
                compared = {
                    name: baseline[name] - value
                    for name, value in metrics.items()
                    if name in baseline and type(name) is metric_types.MetricKey and not _is_private(name)
                }
                for computation in self.cross_slice:
                    compared.update(computation.cross_slice_comparison(baseline, metrics))
                yield (baseline_key, key), compared


def _is_compared(spec: config_pb2.CrossSlicingSpec, key: Any) -> bool:
    """Whether a slice is compared with the baseline slices: one of those that are named, or any other."""
    if spec.slicing_specs:
        return any(_applies(other, key) for other in spec.slicing_specs)
    return not _applies(spec.baseline_spec, key)


def _is_private(key: Any) -> bool:
    return bool(evaluator._is_private_metrics(key))


def _applies(spec: config_pb2.SlicingSpec, key: Any) -> bool:
    return bool(slicer_lib.SingleSliceSpec(spec=spec).is_slice_applicable(key))


def _differences(metrics: metric_types.MetricsDict, baseline: str) -> metric_types.MetricsDict:
    return {
        key.make_diff_key(): value - metrics[key.make_baseline_key(baseline)]
        for key, value in metrics.items()
        if not _is_private(key)
        and not key.is_diff
        and key.model_name != baseline
        and key.make_baseline_key(baseline) in metrics
        and evaluator._is_metric_diffable(value)
    }
