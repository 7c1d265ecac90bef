"""What Prometheus reads of a model server; every figure has the model and its version as labels."""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric

from cd4ml.contracts.model import Contract
from cd4ml.serving.application import Answer, Protocol, Request
from cd4ml.serving.capture import FIGURES, Capture
from cd4ml.serving.json_body import failure
from cd4ml.serving.rows import Inputs

PATHS = ("/metrics", "/prometheus")
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)


class Metrics:
    """The figures of one server.

    Args:
        model: Its name.
        version: Its version in the registry.
        contract: What it takes and gives.
    """

    def __init__(self, model: str, version: str, contract: Contract) -> None:
        self._labels = {"model": model, "version": version}
        self._registry = CollectorRegistry()
        names = tuple(self._labels)

        def counter(name: str, says: str, *more: str) -> Counter:
            return Counter(f"cd4ml_{name}", says, (*names, *more), registry=self._registry)

        def histogram(name: str, says: str, buckets: Sequence[float]) -> Histogram:
            one = Histogram(f"cd4ml_{name}", says, names, buckets=buckets, registry=self._registry)
            return one.labels(**self._labels)

        self._answered: dict[tuple[str, int], Counter] = {}
        self._requests = counter("requests", "Requests by protocol and HTTP status.", "protocol", "status")
        self._predictions = counter("predictions", "Rows that were predicted.").labels(**self._labels)
        self._missing = counter("missing_values", "Rows that lacked a feature's value.", "feature")
        self._unknown = counter("unknown_values", "Rows whose text training did not know.", "feature")
        self._outside = counter("outside_values", "Rows whose number is beyond all that training saw.", "feature")
        self._seconds = histogram("predict_seconds", "From a whole request to its predictions.", SECONDS)
        self._batch = histogram("batch_rows", "Rows of one call of the model.", ROWS)
        of_classes = bool(contract.shape)
        self._given = _Distribution(
            "cd4ml_predicted_probability" if of_classes else f"cd4ml_{contract.output}", contract.buckets, self._labels
        )
        self._registry.register(self._given)
        self._classes: list[Counter] = []
        if of_classes:
            classes = counter("predicted_classes", "Rows by the class that was predicted.", "class")
            self._classes = [classes.labels(**self._labels, **{"class": name}) for name in contract.classes]

    def capturing(self, kept: Capture) -> Callable[[], None]:
        """Counts what is kept of requests from now on.

        Args:
            kept: Takes it.

        Returns:
            Counts a feedback.
        """
        for name, says in FIGURES.items():
            gauge = Gauge(f"cd4ml_{name}", says, tuple(self._labels), registry=self._registry)
            gauge.labels(**self._labels).set_function(partial(_figure, kept, name))
        told = Counter("cd4ml_feedback", "Feedback that was taken.", tuple(self._labels), registry=self._registry)
        count: Callable[[], None] = told.labels(**self._labels).inc
        return count

    def answered(self, protocol: str, status: int) -> None:
        """Counts a request."""
        counter = self._answered.get((protocol, status))
        if counter is None:
            counter = self._requests.labels(**self._labels, protocol=protocol, status=status)
            self._answered[protocol, status] = counter
        counter.inc()

    def took(self, seconds: float) -> None:
        """Counts the time of a request that was predicted."""
        self._seconds.observe(seconds)

    def predicted(self, batch: Sequence[Inputs], predictions: np.ndarray) -> None:
        """Counts a batch."""
        self._predictions.inc(len(predictions))
        self._batch.observe(len(predictions))
        self._given.add(predictions.max(axis=1) if self._classes else predictions)
        if self._classes:
            rows = np.bincount(predictions.argmax(axis=1), minlength=len(self._classes))
            for place in np.flatnonzero(rows):
                self._classes[place].inc(rows[place])
        for inputs in batch:
            counted = (self._missing, inputs.missing), (self._unknown, inputs.unknown), (self._outside, inputs.outside)
            for counter, counts in counted:
                for feature, count in counts.items():
                    counter.labels(**self._labels, feature=feature).inc(count)

    def protocol(self) -> Protocol:
        """The paths that Prometheus asks."""

        async def expose(_: Request) -> Answer:
            return Answer(generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4)

        return Protocol("prometheus", {path: {"GET": expose} for path in PATHS}, failure)


def _figure(kept: Capture, name: str) -> int:
    return kept.figures[name]


class _Distribution:
    """A histogram that takes many values at once.

    Args:
        name: Prometheus's.
        bounds: The upper bounds of its bins, ascending; what is beyond the last is counted too.
        labels: Of every figure.
    """

    def __init__(self, name: str, bounds: Sequence[float], labels: dict[str, str]) -> None:
        self._name, self._labels = name, labels
        self._bounds = np.unique(np.array(bounds, np.float32))  # as the values are, so that one at a bound is below it
        self._counts = np.zeros(len(self._bounds) + 1, np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()

    def add(self, values: np.ndarray) -> None:
        """Counts values, float32 [rows]; a bin has its upper bound in it, as Prometheus has it."""
        counts = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        with self._lock:
            self._counts += counts
            self._sum += float(values.sum(dtype=np.float64))

    def collect(self) -> Iterator[Metric]:
        """What Prometheus reads."""
        family = Metric(self._name, "What was predicted.", "histogram")
        with self._lock:
            below, total = np.cumsum(self._counts), self._sum
        bounds = [*(np.format_float_positional(bound, trim="-") for bound in self._bounds), "+Inf"]
        for bound, count in zip(bounds, below, strict=True):
            family.add_sample(f"{self._name}_bucket", {**self._labels, "le": bound}, count)
        # Also of numbers below 0, for which the client's own family has neither.
        family.add_sample(f"{self._name}_count", self._labels, below[-1])
        family.add_sample(f"{self._name}_sum", self._labels, total)
        yield family
