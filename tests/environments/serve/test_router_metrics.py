"""What servers and routers tell Prometheus is what the alerts and the dashboard ask for."""

import asyncio
import json
import re
from pathlib import Path

import numpy as np
import pytest

from cd4ml.contracts.model import Contract
from cd4ml.contracts.traffic import Arm
from cd4ml.serving.application import Request
from cd4ml.serving.capture import MOST_BYTES, Capture, Told
from cd4ml.serving.metrics import Metrics
from cd4ml.serving.router_metrics import RouterMetrics
from cd4ml.serving.rows import Inputs

MONITORING = Path(__file__).parents[3] / "manifests/components/monitoring"
RULES = (MONITORING / "rules.yaml").read_text()
PANELS = json.loads((MONITORING / "cd4ml.json").read_text())["panels"]
EXPRESSIONS = "\n".join(target["expr"] for panel in PANELS for target in panel["targets"])
ADDED = {"namespace", "pod", "job"}
"""Labels that Prometheus itself gives what it reads."""


@pytest.fixture
def capture(tmp_path: Path) -> Capture:
    """Of which one row was written, one waits, and one feedback had no room."""
    found, told = Capture(str(tmp_path), 5, days=90), Told(0, "a", 1.0, None)
    found.feedback.add(told)
    asyncio.run(found.feedback.write())
    found.feedback.add(told)
    found.feedback.add(told, MOST_BYTES + 1)
    return found


@pytest.fixture
def told(capture: Capture) -> str:
    """What a server and a router tell, of which each thing has happened once."""
    router = RouterMetrics()
    router.observe("seldon", 500)
    router.answered(Arm("new", "http://new", 1.0, "2"), 500, 0.1)
    router.dropped(Arm("new", "http://new", 1.0, "2"))
    router.fed_back()
    router.keeps(capture)
    server = Metrics("uptake", "2", Contract("took", ("false", "true"), (), {}))
    server.capturing(capture)()
    server.answered("seldon", 500)
    server.took(0.1)
    nothing = [np.zeros((1, 0), kind) for kind in (np.float32, object, np.int64)]
    inputs = Inputs(*nothing, missing={"age": 1}, unknown={"region": 1}, outside={"age": 1})
    server.predicted([inputs], np.array([[0.5]], np.float32)[:, 0])
    expose = server.protocol().routes["/metrics"]["GET"]
    return router.text.decode() + asyncio.run(expose(Request(b"", {}, b""))).content.decode()


def asked(text: str) -> set[str]:
    return set(re.findall(r"\bcd4ml_\w+", text)) - {"cd4ml_"}


@pytest.mark.parametrize(("text", "count"), [(RULES, 7), (EXPRESSIONS, 14)], ids=["rules", "dashboard"])
def test_every_metric_that_is_asked_for_is_told_by_a_server_or_a_router(told: str, text: str, count: int) -> None:
    names = set(re.findall(r"^(cd4ml_\w+)", told, re.MULTILINE))

    assert len(asked(text)) >= count
    assert asked(text) <= names
    lost = re.search(r'__name__=~"([^"]*)"', RULES)
    assert lost
    assert {name for name in names if re.fullmatch(lost[1], name)} == {
        "cd4ml_capture_lost",
        "cd4ml_router_capture_lost",
    }


def test_every_label_that_is_asked_for_is_one_of_its_metric(told: str) -> None:
    for text in (RULES, EXPRESSIONS):
        for name, given in re.findall(r"\b(cd4ml_\w+){([^}]*)}", text):
            wanted = set(re.findall(r"(\w+)=", given)) - ADDED
            labels = re.search(rf"^{name}{{?([^}}]*)", told, re.MULTILINE)
            assert labels, name
            assert wanted <= set(re.findall(r"(\w+)=", labels[1])), name


def test_every_figure_of_what_is_kept_is_on_the_dashboard(told: str) -> None:
    figures = {
        name for name in re.findall(r"^(cd4ml_\w+)", told, re.MULTILINE) if "capture" in name or "feedback" in name
    }
    shown = asked(EXPRESSIONS)

    assert {name for name in figures if not name.endswith("_created")} == {
        name for name in shown if "capture" in name or "feedback" in name
    }
    for name, value in (("capture_written", 1), ("capture_waiting", 1), ("capture_lost", 1), ("feedback_refused", 1)):
        assert re.search(rf"^cd4ml_router_{name} {value}\.0$", told, re.MULTILINE)
        assert re.search(rf"^cd4ml_{name}{{.*}} {value}\.0$", told, re.MULTILINE)
