"""Metrics of other packages: TFMA measures them with ours, and the gate holds limits on them."""

from itertools import product

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_evaluate import predictions_of

from cd4ml.contracts import problems
from cd4ml.evaluation import gate

OWN_CLASS = """
from tensorflow_model_analysis.metrics import MeanPrediction

class MeanScore(MeanPrediction):
    def __init__(self, name="mean_score"):
        super().__init__(name=name)
"""
ROW = 'from cd4ml import Metric\nROW = Metric("mean_score", "acme_tfma.MeanScore")\n'


@pytest.fixture(autouse=True)
def _table_read_again():
    """A process reads the table of metrics once, and here packages come and go."""
    _forget()
    yield
    _forget()


def _forget():
    for problem, name in product(problems.PROBLEMS.values(), ("metrics", "_by_name")):
        vars(problem).pop(name, None)


def test_the_metric_of_the_documentation_is_measured_and_held(run, models, documented):
    limits = documented("A new metric")["model_limits"]

    found, folder = run(thresholds=[0.5], sensitive=[])

    table = pq.read_table(folder / "test")
    negative = predictions_of(models, "candidate", table) <= 0.5
    right = ~table.column("took").to_numpy()[negative]
    overall = found.summary.of("candidate")["overall"]
    name = "negative_predictive_value@0.5"
    assert overall.metrics[name] == pytest.approx(right.mean())
    assert overall.counted(found.summary.problem, name) == negative.sum()
    low, high = overall.intervals[name]
    assert low < right.mean() < high
    assert [one.metric for one in found.summary.changes if one.slice == "overall" and one.metric == name] == [name]
    assert "negative predictive value at 0.5" in (folder / "report.html").read_text()
    [check] = gate.check(folder / "evaluation", limits).checks
    assert (check.name, check.value) == (f"{name} on overall", overall.metrics[name])


def test_a_class_of_a_package_that_extends_tfma_is_measured(run, models, installed):
    installed("acme_tfma", OWN_CLASS, "")
    installed("acme_metrics", ROW, "[cd4ml.metrics]\nmean_score = acme_metrics:ROW\n")

    found, folder = run(thresholds=[0.5], sensitive=[])

    expected = np.mean(predictions_of(models, "candidate", pq.read_table(folder / "test")))
    assert found.summary.of("candidate")["overall"].metrics["mean_score"] == pytest.approx(expected)
