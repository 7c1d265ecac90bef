"""The table of metrics: every fact of a metric is one of its row, so that a metric is added by a row."""

import subprocess
import sys

import pytest

from cd4ml.contracts.problem import BINARY

ONE_ROW_MORE = """
from dataclasses import replace
from cd4ml.contracts import problem

def rejected(rows, found, threshold):
    return rows - round((found[f"selection_rate@{threshold}"] or 0) * rows)

row = problem.Metric(
    "negative_predictive_value", "NPV", at_thresholds=True, interval="share", better="higher", counted=rejected,
    place_among_groups=8,
)
problem.BINARY = replace(problem.BINARY, metrics=(*problem.BINARY.metrics, row))

from dataclasses import replace
from pathlib import Path
from evaluated import a_summary
from cd4ml.contracts import evaluation as summary
from cd4ml.evaluation import gate, limits

name = "negative_predictive_value@0.5"
found = a_summary()
assert found.of("candidate")["region=south"].counted(name) == round(79 * 0.8)
assert {one.metric for one in found.fairness} >= {"negative_predictive_value"}
summary.write(found, ".")
asked = {name: {"min": 0.3, "slices": ["region=south"]},
         "fairness": {"region": {"negative_predictive_value": {"max_gap": 0.9}}}}
verdict = gate.check(".", asked)
assert [check.name for check in verdict.checks] == [
    f"{name} on region=south",
    "negative_predictive_value between groups of region at 0.5: the gap",
], verdict
assert not verdict.passed
try:
    limits.parse({name: {"min": 1.1}})
except Exception as error:
    assert "from 0 to 1" in str(error), error
else:
    raise AssertionError("a limit out of range")
"""


def test_a_metric_is_added_by_a_row(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path.endswith("unit")))

    done = subprocess.run([sys.executable, "-c", ONE_ROW_MORE], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("one", BINARY.metrics, ids=lambda one: one.name)
def test_a_metric_that_another_says_is_of_the_same_kind_and_over_the_same_rows(one):
    if one.said_by:
        other = BINARY.metric(one.said_by)

        assert (one.counted, one.interval, one.top, one.at_thresholds) == (
            other.counted,
            other.interval,
            other.top,
            other.at_thresholds,
        )
        assert {one.better, other.better} == ({"higher", "lower"} if one.rest_of else {one.better})


def test_what_leads_is_in_the_table():
    assert {BINARY.primary, *BINARY.headlines} <= {one.name for one in BINARY.metrics}


def test_a_metric_at_a_threshold_is_called_by_both():
    assert BINARY.title("true_positive_rate@0.25") == "true positive rate at 0.25"
    assert BINARY.title("auc_pr") == "average precision"
    assert "auc@0.5" in BINARY
    assert "f1" not in BINARY
