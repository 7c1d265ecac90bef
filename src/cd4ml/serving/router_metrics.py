"""What the router counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from cd4ml.contracts.traffic import Arm
from cd4ml.serving.capture import FIGURES, Capture

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ARM = ["arm", "version"]


class RouterMetrics:
    """By arm: requests, errors and seconds; and what was dropped."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "cd4ml_router_requests",
            "Answers by arm and status of HTTP, those of mirrors too",
            [*_ARM, "status"],
            registry=self._registry,
        )
        self._answers = Counter(
            "cd4ml_router_answers",
            "What callers got by status of HTTP, what no arm has seen too",
            ["status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "cd4ml_router_seconds", "How long an arm took", _ARM, registry=self._registry, buckets=_BUCKETS
        )
        self._dropped = Counter(
            "cd4ml_router_mirror_dropped", "Copies for which a mirror had no room", _ARM, registry=self._registry
        )
        self._feedback = Counter("cd4ml_router_feedback", "Feedback that was taken", registry=self._registry)
        self._kept = {
            name: Gauge(f"cd4ml_router_{name}", says.removesuffix("."), registry=self._registry)
            for name, says in FIGURES.items()
        }
        self.traffic_refused = Gauge(
            "cd4ml_router_traffic_refused",
            "1 while the traffic file cannot be read, and what it said before is followed",
            registry=self._registry,
        )

    def observe(self, protocol: str, status: int) -> None:  # noqa: ARG002
        """Counts what a caller got."""
        self._answers.labels(status).inc()

    def answered(self, arm: Arm, status: int, seconds: float) -> None:
        """Counts an answer."""
        self._requests.labels(arm.name, arm.version, status).inc()
        self._seconds.labels(arm.name, arm.version).observe(seconds)

    def dropped(self, arm: Arm) -> None:
        """Counts a copy that its mirror did not get."""
        self._dropped.labels(arm.name, arm.version).inc()

    def fed_back(self) -> None:
        """Counts a feedback."""
        self._feedback.inc()

    def keeps(self, capture: Capture | None) -> None:
        """Tells how what is kept stands; None where nothing is."""
        for name, gauge in self._kept.items():
            gauge.set(capture.figures[name] if capture else 0)

    @property
    def text(self) -> bytes:
        """What Prometheus reads."""
        text: bytes = generate_latest(self._registry)
        return text
