"""The table of metrics: every fact of a metric is one of its row, so that a metric is added by a row."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.ordinal import ORDINAL
from cd4ml.contracts.regression import REGRESSION

ROW = """
from cd4ml import Metric

def rejected(rows, found, threshold):
    return rows - round((found[f"selection_rate@{threshold}"] or 0) * rows)

NPV = Metric(
    "negative_predictive_value", "NPV", at_thresholds=True, interval="share", better="higher", counted=rejected,
    place_among_groups=8,
)
"""
USED = """
from evaluated import a_summary
from cd4ml import Cd4mlError
from cd4ml.contracts import evaluation as summary
from cd4ml.evaluation import gate, limits

name = "negative_predictive_value@0.5"
found = a_summary()
assert found.of("candidate")["region=south"].counted(found.problem, name) == round(79 * 0.8)
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
except Cd4mlError as error:
    assert "from 0 to 1" in str(error), error
else:
    raise AssertionError("a limit out of range")
"""
ENTRY = "[cd4ml.metrics]\nnegative_predictive_value = acme_metrics:NPV\n"
TABLE = "from cd4ml.contracts.binary import BINARY; print([one.name for one in BINARY.metrics][-2:])"
TABLE_OF_NUMBERS = TABLE.replace("binary", "regression").replace("BINARY", "REGRESSION")


def python(program, folder=None):
    environment = {**os.environ, "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{Path(__file__).parent}"}
    return subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True)


def test_a_metric_of_another_package_is_a_row_as_others_are(tmp_path, installed):
    installed("acme_metrics", ROW, ENTRY)

    done = python(USED, tmp_path)

    assert done.returncode == 0, done.stderr


def test_a_metric_of_another_package_comes_last(installed):
    installed("acme_metrics", ROW, ENTRY)

    assert python(TABLE).stdout == "['size_mib', 'negative_predictive_value']\n"


def test_a_metric_of_another_package_is_of_the_problems_that_it_names(installed):
    rows = ROW + 'BIAS = Metric("bias", "acme.Bias", top=None, problems=("regression",))\n'
    installed("acme_metrics", rows, f"{ENTRY}bias = acme_metrics:BIAS\n")

    assert python(TABLE).stdout == "['size_mib', 'negative_predictive_value']\n"
    assert python(TABLE_OF_NUMBERS).stdout == "['size_mib', 'bias']\n"


def test_a_metric_of_another_package_is_said_by_one_of_its_own_problem(installed):
    row = 'FDR = Metric("false_discovery_rate", "FDR", at_thresholds=True, rest_of="precision")\n'
    installed(
        "acme_metrics", f"from cd4ml import Metric\n{row}", "[cd4ml.metrics]\nfalse_discovery_rate = acme_metrics:FDR\n"
    )

    assert python(TABLE).stdout == "['size_mib', 'false_discovery_rate']\n"
    assert python(TABLE_OF_NUMBERS).stdout == "['latency_ms', 'size_mib']\n"


@pytest.mark.parametrize(
    ("entry", "row", "told"),
    [
        ("auc", 'Metric("auc", "AUC")', "metric 'auc': cd4ml has one of this name itself"),
        ("cost", 'Metric("costs", "NPV")', "its row is called 'costs'"),
        ("cost@1", 'Metric("cost@1", "NPV")', "its name is not made of a-z, 0-9 and _"),
        ("cost_diff", 'Metric("cost_diff", "NPV")', "or ends with _diff"),
        ("cost", 'Metric("cost")', "no class of TFMA measures it"),
        ("cost", 'Metric("cost", "NPV", of_classes=True)', "nothing measures it of each class"),
        ("cost", 'Metric("cost", "NPV", interval="bounded")', "nothing computes its interval of the kind 'bounded'"),
        ("cost", 'Metric("cost", "NPV", interval="share", top=None)', "it is said to be a share, and to be above 1"),
        ("cost", 'Metric("cost", "NPV", same_as="price")', "there is no metric 'price', by which it is said"),
        ("cost", "'NPV'", "is no cd4ml.Metric"),
    ],
)
def test_a_row_that_cannot_be_measured_is_told(installed, entry, row, told):
    installed(
        "acme_metrics", f"from cd4ml import Metric\nROW = {row}\n", f"[cd4ml.metrics]\n{entry} = acme_metrics:ROW\n"
    )

    done = python(TABLE)

    assert "cd4ml.errors.PluginError" in done.stderr
    assert told in done.stderr
    assert "mend the package" in done.stderr


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


DOCS = Path(__file__).parents[2] / "docs"
ROWS_THAT_COUNT = {
    "all": 1000,
    "positive": 300,
    "negative": 700,
    "predicted positive": 200,
    "those of the rarer class": 300,
}


def test_the_table_of_the_docs_has_every_metric_and_says_which_rows_it_is_over():
    rows = re.findall(r"^\| (`.*?) \| .* \| (.*) \|$", (DOCS / "limits.md").read_text(), re.MULTILINE)
    said = {name: counted for names, counted in rows for name in re.findall("`([a-z_]+(?:@t)?)`", names)}
    found = {"label_rate": 0.3, "selection_rate@t": 0.2}

    table = {one.name + "@t" * one.at_thresholds: one for one in BINARY.metrics}
    assert {name for name in said if name.removesuffix("@t") in BINARY} == table.keys()
    for name, one in table.items():
        if one.of == "model":
            assert said[name].startswith("none")
            assert one in BINARY.of_models
        else:
            assert BINARY.counted(name, 1000, found) == ROWS_THAT_COUNT[said[name]], name


def test_the_docs_have_every_metric_of_several_classes_and_say_by_which_groups_are_compared():
    of_classes, _, fairness = (DOCS / "limits.md").read_text().partition("### Fairness")
    table = of_classes.partition("Of three classes and more, where")[2].partition("The means are over")[0]

    said = [name for name in re.findall("`([a-z_0-9]+)(?:@c)?`", table) if name != "c"]
    assert set(said) == {one.name for one in ORDINAL.metrics}
    of_each = {name for name in said if f"`{name}@c`" in table}
    assert of_each == {one.name for one in MULTICLASS.by_class}
    compared = re.findall("`(class_[a-z_]+)` [(]", " ".join(fairness.split()))
    assert compared == [one.name for one in MULTICLASS.among_groups]
    ordered = re.findall("`([a-z_]+)` too [(]", " ".join(fairness.split()))
    assert compared + ordered == [one.name for one in ORDINAL.among_groups]


def test_the_docs_have_every_metric_of_a_number_and_say_by_which_groups_are_compared():
    of_a_number, fairness = (
        (DOCS / "limits.md").read_text().partition(start)[2] for start in ("Of a number,", "### Fairness")
    )

    said = set(re.findall("`([a-z_]+)`", of_a_number.partition("A limit on a metric")[0]))
    assert said == {one.name for one in REGRESSION.metrics}
    compared = re.findall("`([a-z_]+)` [(]", fairness.partition("groups are compared by")[2].partition("A gap")[0])
    assert compared == [one.name for one in REGRESSION.among_groups]


def test_each_metric_of_a_number_has_ends_a_better_side_and_an_interval():
    table = {one.name: (one.bottom, one.top, one.better, one.interval) for one in REGRESSION.on_all}

    error, mean = (0, None, "lower", "positive"), (None, None, "neither", "signed")
    assert table == {
        "example_count": (0, None, "neither", None),
        "mean_label": mean,
        "mean_prediction": mean,
        "mean_error": (None, None, "nearer 0", "signed"),
        "root_mean_squared_error": error,
        "mean_squared_error": error,
        "mean_absolute_error": error,
        "r_squared": (None, 1, "higher", "below 1"),
    }
    assert REGRESSION.at_thresholds == ()


def test_a_metric_is_of_all_rows_or_at_thresholds_or_of_a_model():
    kinds = [[one.name for one in kind] for kind in (BINARY.on_all, BINARY.at_thresholds, BINARY.of_models)]

    assert kinds[0] == ["example_count", "label_rate", "auc", "auc_pr", "binary_cross_entropy", "calibration"]
    assert kinds[2] == ["latency_ms", "size_mib"]
    assert sorted(name for kind in kinds for name in kind) == sorted(one.name for one in BINARY.metrics)


def test_of_what_has_no_rate_no_row_counts():
    found = {"label_rate": None, "selection_rate@0.5": None}

    assert BINARY.counted("recall@0.5", 10, found) == BINARY.counted("precision@0.5", 10, found) == 0


def test_groups_are_compared_by_the_rates_of_the_docs_in_their_order():
    said = (DOCS / "limits.md").read_text().partition("The rates are ")[2].partition("(which has no threshold)")[0]

    assert [one.name for one in BINARY.among_groups] == re.findall("`(.*?)`", said)


def test_each_metric_has_an_end_and_a_better_side():
    def named(**fields):
        return {one.name for one in BINARY.metrics if all(getattr(one, name) == it for name, it in fields.items())}

    losses = {"binary_cross_entropy", "latency_ms", "size_mib"}
    assert named(better="lower") == {*losses, "false_positive_rate", "false_negative_rate"}
    assert named(better="neither") == {"example_count", "label_rate", "selection_rate"}
    assert named(better="nearer 1") == {"calibration"}
    assert named(top=None) == {*losses, "example_count", "calibration"}
    assert named(top=1.0) == {one.name for one in BINARY.metrics} - named(top=None)


def test_each_metric_has_the_interval_that_fits_its_kind():
    """As the table of docs/evaluation.md has it."""
    by_kind = {kind: [one.name for one in BINARY.metrics if one.interval == kind] for kind in ("bounded", "positive")}

    assert by_kind == {"bounded": ["auc", "auc_pr"], "positive": ["binary_cross_entropy", "calibration"]}
    assert {one.name for one in BINARY.metrics if one.interval == "share"} == {
        "label_rate",
        *(one.name for one in BINARY.at_thresholds),
    }


@pytest.mark.parametrize(
    ("name", "found", "why"),
    [
        ("auc", {"label_rate": 0}, "it is not defined on 1,000 rows that are all of one class"),
        ("precision@0.5", {"label_rate": 1}, "it is not defined on 1,000 rows that are all of one class"),
        ("precision@0.5", {"label_rate": 0.5}, "none of the 1,000 rows is predicted positive"),
        ("auc", {"label_rate": 0.5}, "it is not a finite number"),
    ],
)
def test_why_a_metric_cannot_be_computed_is_told(name, found, why):
    assert BINARY.why_undefined(name, 1000, found) == why
