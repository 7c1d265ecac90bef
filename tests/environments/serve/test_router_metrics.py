"""What a router tells Prometheus is what the alerts ask for."""

import re
from pathlib import Path

from cd4ml.contracts.traffic import Arm
from cd4ml.serving.router_metrics import RouterMetrics

RULES = Path(__file__).parents[3] / "manifests/components/monitoring/rules.yaml"


def test_a_router_tells_every_metric_that_the_alerts_ask_for_by_its_labels() -> None:
    metrics = RouterMetrics()
    metrics.observe("seldon", 500)
    metrics.answered(Arm("new", "http://new", 1.0, "2"), 500, 0.1)
    told = metrics.text.decode()

    asked = re.findall(r"(cd4ml_router_\w+)(?:{(\w+))?", RULES.read_text())
    assert len({name for name, _ in asked}) == 3
    for name, label in asked:
        assert re.search(rf"^{name}{{?.*{label}", told, re.MULTILINE), name
