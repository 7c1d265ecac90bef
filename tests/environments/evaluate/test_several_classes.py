"""Three classes and more are evaluated as two are: TFMA's metrics on every slice, intervals, groups, report."""

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
import tensorflow_model_analysis as tfma
from evaluated_samples import GRADES, ROWS, make_grade_model, make_grades
from google.protobuf import text_format
from kfp.dsl import ClassificationMetrics
from tensorflow_model_analysis.proto.config_pb2 import EvalConfig

from cd4ml import columnar
from cd4ml.contracts import evaluation as summary
from cd4ml.contracts import predictions
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.ordinal import ORDINAL
from cd4ml.errors import EvaluationError
from cd4ml.evaluation import confusion_figures, confusions, estimates, gate, measure
from cd4ml.evaluation.estimates import Scored
from cd4ml.evaluation.rows import Slicing

WEIGHTS = {"candidate": 2.0, "baseline": 0.4}


def predicted(table, role):
    """What the models of the samples give, computed without them: float64 [rows, 3]."""
    income = WEIGHTS[role] * table.column("income").to_numpy().astype(np.float64)
    less = 2.0 * (table.column("region").to_numpy() == "south") if role == "candidate" else 0.0
    likely = np.exp(np.stack([0 * income, income, 2 * income - 1 - less], axis=1))
    return likely / likely.sum(axis=1, keepdims=True)


def places_of(table):
    """The places of the classes of its rows, int [rows]."""
    return np.array([GRADES.index(one) for one in table.column("grade").to_pylist()])


def by_pairs(own, scores):
    """The AUC by its definition: the share of pairs of rows that are in order, of which a tie is half a one."""
    apart = scores[own][:, None] - scores[~own][None, :]
    return ((apart > 0) + (apart == 0) / 2).mean()


@pytest.mark.parametrize("role", ["candidate", "baseline"])
@pytest.mark.parametrize("name", ["overall", "region=south"])
def test_what_is_found_is_what_the_definitions_say(grades, role, name):
    found, folder = grades
    table = pq.read_table(folder / "test")
    rows = np.full(len(table), True) if name == "overall" else table.column("region").to_numpy() == "south"
    labels = places_of(table)[rows]
    given = predicted(table, role)[rows]
    chosen, order = given.argmax(axis=1), np.argsort(-given, axis=1)
    expected = {
        "example_count": rows.sum(),
        "log_loss": -np.log(given[np.arange(len(labels)), labels]).mean(),
        "top_1_accuracy": (chosen == labels).mean(),
        "top_2_accuracy": (order[:, :2] == labels[:, None]).any(axis=1).mean(),
    }
    f1 = []
    for place, grade in enumerate(GRADES):
        own, taken = labels == place, chosen == place
        expected |= {
            f"class_rate@{grade}": own.mean(),
            f"class_selection_rate@{grade}": taken.mean(),
            f"class_precision@{grade}": own[taken].mean(),
            f"class_recall@{grade}": taken[own].mean(),
            f"class_auc@{grade}": by_pairs(own, given[:, place]),
        }
        f1.append(2 / (1 / own[taken].mean() + 1 / taken[own].mean()))
    expected |= {
        "balanced_accuracy": np.mean([expected[f"class_recall@{grade}"] for grade in GRADES]),
        "macro_f1": np.mean(f1),
        "macro_auc": np.mean([expected[f"class_auc@{grade}"] for grade in GRADES]),
    }

    slice_ = found.summary.of(role)[name]

    assert slice_.metrics == pytest.approx(expected, rel=1e-5)
    assert slice_.intervals.keys() == slice_.metrics.keys() - {"example_count"}


def test_the_numbers_are_tfmas_own_where_it_has_them_and_none_ran_row_by_row(grades):
    found, folder = grades
    for role in ("candidate", "baseline"):
        result = tfma.load_eval_result(str(folder / "evaluation" / "tfma"), model_name=role)
        slices = list(found.summary.of(role).values())
        assert len(result.slicing_metrics) == len(slices) == 6
        for key, outputs in result.slicing_metrics:
            ours = next(one for one in slices if one.values == {column: str(value) for column, value in key}).metrics
            theirs = {name: one["doubleValue"] for name, one in outputs[""][""].items() if not name.endswith("_diff")}
            assert set(theirs) == {"example_count", "log_loss", "top_1_accuracy"}
            assert theirs == pytest.approx({name: ours[name] for name in theirs}, rel=1e-5)
    assert found.summary.row_by_row == {}


def test_its_confusion_matrix_is_the_one_among_tfmas_plots(grades):
    found, folder = grades
    result = tfma.load_eval_result(str(folder / "evaluation" / "tfma"), model_name="candidate")
    [plots] = [plots[""][""] for key, plots in result.plots if not key]
    counts = np.zeros((3, 3), int)
    for one in plots["multiClassConfusionMatrixAtThresholds"]["matrices"][0]["entries"]:
        counts[one.get("actualClassId", 0), one.get("predictedClassId", 0)] = one["numWeightedExamples"]

    assert found.confusion_matrix == (list(GRADES), counts.tolist())


def test_what_each_class_is_measured_by_is_what_tfma_finds_of_it(grades, tmp_path):
    found, folder = grades
    table = pq.read_table(folder / "test")
    asked = "".join(
        f'metrics {{ class_name: "{kind}" config: \'"name": "{name}@{grade}", "class_id": {place}, "top_k": 1\' }}'
        for kind, name in (("Precision", "class_precision"), ("Recall", "class_recall"))
        for place, grade in enumerate(GRADES)
    )
    config = f'model_specs {{ label_key: "label" prediction_key: "given" }} metrics_specs {{ {asked} }}'
    columns = {
        "label": places_of(table),
        "given": predicted(table, "candidate").astype(np.float32),
    }

    theirs = columnar.run(text_format.Parse(config, EvalConfig()), columns, tmp_path).result()

    ours = found.summary.models["candidate"].metrics
    [(_, outputs)] = theirs.slicing_metrics
    measured = {name: one["doubleValue"] for of_key in outputs[""].values() for name, one in of_key.items()}
    assert len(measured) == 6
    assert {name: ours[name] for name in measured} == pytest.approx(measured, rel=1e-6)


def test_changes_have_intervals_of_the_same_rows(grades):
    found, _ = grades
    changes = {one.metric: one for one in found.summary.changes if one.slice == "overall"}

    assert not [name for name in changes if name.startswith("class_rate")]
    better = changes["log_loss"]
    assert better.interval[0] < better.value < better.interval[1] < 0
    assert changes["top_1_accuracy"].interval[0] > 0
    low, high = changes["class_recall@bronze"].interval  # both find the same rows of it
    assert -0.02 < low < 0 < high < 0.02
    assert changes["class_precision@gold"].interval is None  # the baseline predicts it for three rows


def test_a_class_that_is_not_among_the_rows_of_a_slice_has_no_recall_and_is_no_part_of_a_mean(grades):
    found, folder = grades
    isle = found.summary.of("candidate")["region=isle"]

    assert isle.metrics["class_rate@gold"] == 0
    assert isle.metrics["class_recall@gold"] is None
    assert isle.metrics["class_auc@gold"] is None
    assert isle.metrics["class_auc@bronze"] is None  # all rows are of it
    assert isle.metrics["macro_auc"] is None
    assert isle.metrics["balanced_accuracy"] == isle.metrics["class_recall@bronze"]
    assert "balanced_accuracy" not in isle.intervals
    limits = {name: {"min": 0, "slices": ["region=isle"]} for name in ("class_recall@gold", "macro_auc")}
    assert gate.check(folder / "evaluation", limits).reasons == [
        "class_recall@gold on region=isle: none of the 3 rows is of the class 'gold', "
        "so the limit 'at least 0' could not be checked",
        "macro_auc on region=isle: it is not defined on 3 rows that are all of one class, "
        "so the limit 'at least 0' could not be checked",
    ]


def test_a_class_that_the_test_split_lacks_is_measured_nowhere_and_the_others_are(run_grades):
    table = make_grades()
    known = table.filter(pa.compute.not_equal(table.column("grade"), "gold"))

    found, folder = run_grades(known, slices=[], sensitive=[])

    metrics = found.summary.models["candidate"].metrics
    assert (metrics["class_recall@gold"], metrics["class_auc@gold"], metrics["class_precision@gold"]) == (None, None, 0)
    assert metrics["macro_auc"] == pytest.approx((metrics["class_auc@bronze"] + metrics["class_auc@silver"]) / 2)
    assert "could not be drawn" not in (folder / "report.html").read_text()


def test_groups_are_compared_by_what_each_class_is_predicted_for_and_found_of(grades):
    found, _ = grades
    of_candidate = {one.metric: one for one in found.summary.fairness if one.model == "candidate"}

    assert list(of_candidate) == [
        f"{name}@{grade}" for name in ("class_selection_rate", "class_recall") for grade in GRADES
    ]
    gold = of_candidate["class_recall@gold"]
    by_region = {name: found.summary.of("candidate")[f"region={name}"].metrics for name in ("north", "south")}
    assert (gold.column, gold.threshold, gold.lowest, gold.highest) == ("region", None, "south", "north")
    assert gold.too_small == ("isle",)
    assert gold.gap == pytest.approx(by_region["north"][gold.metric] - by_region["south"][gold.metric])
    assert gold.gap_interval[0] > 0.2
    assert gold.ratio == pytest.approx(by_region["south"][gold.metric] / by_region["north"][gold.metric])


def test_there_are_no_thresholds_and_the_summary_is_read_as_it_was_written(grades):
    found, folder = grades

    assert (found.summary.thresholds, found.summary.classes) == ((), GRADES)
    assert (found.summary.problem_name, found.summary.sensitive) == ("multiclass", ("region",))
    assert summary.read(folder / "evaluation") == found.summary
    assert found.summary.weakest() == (
        "level=1",
        found.summary.of("candidate")["level=1"].metrics["log_loss"],
    )


def test_the_ui_gets_finite_numbers_a_confusion_matrix_and_no_curve(grades):
    found, _ = grades
    shown = ClassificationMetrics(name="roc", uri="", metadata={})

    found.log_classes(shown)

    assert list(shown.metadata) == ["confusionMatrix"]
    assert found.roc_curve == ([], [], [])
    assert np.sum(found.confusion_matrix[1]) == ROWS
    assert found.metadata["headline"] == f"log_loss {found.metrics['log_loss']:.4g}"
    assert found.metrics["log_loss_change_vs_baseline"] < 0
    assert found.metrics["worst_slice_log_loss"] > found.metrics["log_loss"]
    gaps = [one.gap for one in found.summary.fairness if one.model == "candidate" and "recall" in one.metric]
    assert found.metrics["region_class_recall_gap"] == max(gaps)
    assert not [name for name in found.metrics if "@" in name]
    assert json.dumps(found.metrics, allow_nan=False)


def test_a_class_whose_name_is_a_number_is_no_threshold(grades):
    found, _ = grades
    metrics = {**found.summary.models["candidate"].metrics, "class_recall@0": 0.5}
    candidate = replace(found.summary.models["candidate"], metrics=metrics)

    shown = replace(found, summary=replace(found.summary, models={"candidate": candidate})).metrics

    assert not [name for name in shown if name.startswith("class_")]


def test_known_predictions_are_kept_by_the_name_of_the_output(grades):
    _, folder = grades
    file = folder / "evaluation" / "predictions.parquet"

    known = predictions.read(file)

    assert pq.read_schema(file).names == ["features", "probabilities"]
    kept = pa.Table.from_pylist([dict(zip(known.names, row, strict=True)) for row in known.rows])
    assert known.outputs == pytest.approx(predicted(kept, "candidate"), rel=1e-5)


def test_the_gate_holds_limits_on_means_on_classes_and_on_their_gaps(grades):
    _, folder = grades
    limits = {
        "as_good_as": "baseline",
        "log_loss": {"max": 1, "slices": ["region=north"]},
        "macro_f1": {"min": 0.5, "confident": True},
        "class_recall@gold": {"min": 0.3, "slices": ["region=*"], "baseline": {"min_change": 0.0}},
        "fairness": {"region": {"class_recall": {"max_gap": 0.3}}},
    }

    verdict = gate.check(folder / "evaluation", limits)

    assert {check.name: str(check.outcome) for check in verdict.checks} == {
        "change of log_loss on overall against the baseline": "passed",
        "log_loss on region=north": "passed",
        "macro_f1 on overall": "passed",
        "class_recall@gold on region=isle": "inconclusive",
        "class_recall@gold on region=north": "passed",
        "class_recall@gold on region=south": "failed",
        "change of class_recall@gold on overall against the baseline": "passed",
        "class_recall@bronze between groups of region: the gap": "passed",
        "class_recall@silver between groups of region: the gap": "passed",
        "class_recall@gold between groups of region: the gap": "failed",
    }


def test_of_classes_that_have_an_order_it_is_found_how_far_the_predicted_is_from_the_true_one(run_grades, tmp_path):
    made = {
        "candidate": make_grade_model(tmp_path / "candidate", passed_over="south", problem=ORDINAL),
        "baseline": make_grade_model(tmp_path / "baseline", weight=0.4, problem=ORDINAL),
    }
    found, folder = run_grades(**made)
    table = pq.read_table(folder / "test")
    labels = places_of(table)
    apart = {role: np.abs(predicted(table, role).argmax(axis=1) - labels) for role in made}
    rows = table.column("region").to_numpy() == "south"

    by_slice = found.summary.of("candidate")
    overall = by_slice["overall"]
    assert found.summary.problem is ORDINAL
    assert overall.metrics["mean_class_error"] == pytest.approx(apart["candidate"].mean(), abs=1e-12)
    assert by_slice["region=south"].metrics["mean_class_error"] == pytest.approx(apart["candidate"][rows].mean())
    ends = scipy.stats.bootstrap([apart["candidate"]], np.mean, rng=0, vectorized=True).confidence_interval
    assert overall.intervals["mean_class_error"] == pytest.approx((ends.low, ends.high), abs=0.01)
    [change] = [one for one in found.summary.changes if (one.metric, one.slice) == ("mean_class_error", "overall")]
    assert change.value == pytest.approx(apart["candidate"].mean() - apart["baseline"].mean())
    text = unescape((folder / "report.html").read_text())
    assert "mean class error: how many places the predicted class is from the true one" in text
    [between] = [one for one in found.summary.fairness if (one.model, one.metric) == ("candidate", "mean_class_error")]
    groups = {name: apart["candidate"][table.column("region").to_numpy() == name].mean() for name in ("north", "south")}
    assert (between.highest, between.gap) == ("south", pytest.approx(groups["south"] - groups["north"]))
    most = overall.metrics["mean_class_error"] + 0.01
    limits = {
        "mean_class_error": {"max": most, "slices": ["overall", "region=south"]},
        "fairness": {"region": {"mean_class_error": {"max_gap": between.gap - 0.01}}},
    }
    verdict = gate.check(folder / "evaluation", limits)
    assert [str(check.outcome) for check in verdict.checks] == ["passed", "failed", "failed"]


def test_a_limit_on_a_class_that_is_none_is_told_with_the_nearest(grades):
    _, folder = grades

    with pytest.raises(EvaluationError, match="class_recall@golden: not measured; did you mean 'class_recall@gold'"):
        gate.check(folder / "evaluation", {"class_recall@golden": {"min": 0.5}})


def test_probabilities_that_are_none_are_refused(run_grades, grade_models):
    with pytest.raises(EvaluationError, match=r"candidate: .*400 of 400 predictions are no prob.*\[nan nan nan\]"):
        run_grades(candidate=grade_models["broken"])


def test_a_model_that_gives_another_number_of_classes_is_refused(run_grades, tmp_path):
    wrong = make_grade_model(tmp_path / "wrong", classes=(*GRADES, "platinum"))

    with pytest.raises(EvaluationError, match=r"of shape \(400, 3\) .*must have the shape \[batch, 4\]"):
        run_grades(candidate=wrong, baseline=wrong)


def test_a_label_of_no_class_is_told(run_grades):
    with pytest.raises(EvaluationError, match="test split: label 'grade': 'tin' is"):
        run_grades(make_grades(grade=np.full(ROWS, "tin")))


def test_models_of_other_classes_are_not_compared(run_grades, tmp_path):
    other = make_grade_model(tmp_path / "other", classes=GRADES[::-1])

    with pytest.raises(EvaluationError, match="baseline: it tells gold from silver from bronze, the candidate bro"):
        run_grades(baseline=other)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            lambda names: (*names[:-1], "z"),
            "the candidate 12: it has also 'z' and lacks 'class 11'; train",
        ),
        (lambda names: names[:-1], "it tells 11 classes apart, the candidate 12: it lacks 'class 11'; train both on"),
        (
            lambda names: (*names[:-2], names[-1], names[-2]),
            "in another order, the first of which is 'class 11' where",
        ),
    ],
)
def test_of_many_classes_it_is_told_in_which_two_models_differ(run_grades, tmp_path, changed, told):
    names = tuple(f"class {place}" for place in range(12))
    made = {
        "candidate": make_grade_model(tmp_path / "candidate", classes=names),
        "baseline": make_grade_model(tmp_path / "baseline", classes=changed(names)),
    }

    with pytest.raises(EvaluationError) as refused:
        run_grades(**made)

    assert told in str(refused.value)


def scored(number, rows=600, slicings=()):
    """Rows of many classes, the first of which is the likeliest where it is the label."""
    random = np.random.default_rng(0)
    labels = random.integers(0, number, rows)
    given = random.random((rows, number))
    given[np.arange(rows), labels] += 0.5
    given = (given / given.sum(axis=1, keepdims=True)).astype(np.float32)
    names = [f"class {place}" for place in range(number)]
    overall = Slicing(["overall"], np.zeros(rows, np.int64))
    return Scored(MULTICLASS, labels, {"candidate": given, "baseline": given[::-1]}, [overall, *slicings], names)


def test_of_many_classes_each_is_measured_on_all_rows_and_only_the_means_on_slices():
    half = Slicing(["half=0", "half=1"], np.arange(600) % 2)
    rows = scored(21, slicings=[half])
    empty = {"example_count": 300.0}
    slices = [
        summary.Slice(role, name, {}, 300, empty, {})
        for role in rows.predictions
        for name in ("overall", "half=0", "half=1")
    ]

    completed, _ = measure.complete(rows, slices, [])

    by_name = {one.slice: one.metrics for one in completed if one.model == "candidate"}
    assert by_name["overall"]["class_recall@class 20"] is not None
    assert "class_recall@class 20" not in by_name["half=0"]
    assert by_name["half=0"]["class_rate@class 20"] > 0
    assert by_name["half=0"].keys() >= {"log_loss", "balanced_accuracy", "macro_f1", "macro_auc"}


def test_the_probability_of_a_row_that_is_0_costs_what_scikit_learn_has_it_cost():
    rows = scored(3, rows=3)
    sure = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    rows = replace(rows, labels=np.array([0, 1, 2]), predictions={"candidate": sure})

    found = dict(estimates.of(rows, "candidate")(rows.slicings[0]))

    step = np.finfo(np.float32).eps  # sklearn.metrics.log_loss clips by the step of the predictions' type
    assert found["log_loss"].values[0] == pytest.approx(-(np.log(step) + 2 * np.log(1 - step)) / 3)


def test_equal_probabilities_are_of_the_first_class_and_half_in_order():
    rows = scored(3, rows=90)
    rows = replace(rows, predictions={"candidate": np.full((90, 3), 1 / 3, np.float32)})

    found = {name: one.values[0] for name, one in estimates.of(rows, "candidate")(rows.slicings[0])}

    assert found["class_selection_rate@class 0"] == 1
    assert found["macro_auc"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("number", [3, 200])
def test_the_pictures_count_every_row_and_the_area_under_each_curve_is_its_auc(number):
    rows = scored(number)

    drawn = confusions.of(rows)

    one = drawn["candidate"]
    assert one.counts.sum() == 600
    assert np.trace(one.counts) == (rows.predictions["candidate"].argmax(axis=1) == rows.labels).sum()
    assert len(one.curves) == min(number, 20)
    found = {name: of.values[0] for name, of in estimates.of(rows, "candidate")(rows.slicings[0])}
    for name, points in one.curves.items():
        assert (points[0].tolist(), points[-1].tolist()) == ([0, 0], [1, 1])
        assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(found[f"class_auc@{name}"], abs=0.03)
    metrics = {name: value for name, value in found.items() if name.startswith("class_auc")}
    assert confusion_figures.one_against_rest(drawn, metrics).startswith("<svg")
    assert confusion_figures.confusion(one.counts, rows.classes).startswith("<svg")


def test_of_rows_of_one_class_there_is_no_curve():
    rows = replace(scored(3), labels=np.zeros(600, np.int64))

    drawn = confusions.of(rows)

    assert drawn["candidate"].curves == {}
    assert confusion_figures.one_against_rest(drawn, {}) is None
    assert confusion_figures.confusion(drawn["candidate"].counts, rows.classes).startswith("<svg")


@pytest.fixture(scope="module")
def page(grades):
    _, folder = grades
    return (folder / "report.html").read_text()


def test_the_report_speaks_of_classes_and_of_no_threshold(page):
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(script|style)\b.*?</\1>", " ", page))).split())

    assert "Better than the baseline" in text
    assert "What is taken for what" in text
    assert "silver bronze 47 39.5 %" in text  # most often mistaken
    assert "The candidate on 3 classes" in text
    assert "Each class against the rest" in text
    assert "In south the recall of gold is 0.19 against 0.71 in north" in text
    assert "log loss of the weakest slice, level=1" in text
    for word in ("threshold", "positive class", "average precision", "Means by group", "predicted yes"):
        assert word not in text, word
    assert "could not be drawn" not in text


def test_the_worst_rows_are_those_whose_class_had_the_least_probability(page, grades):
    _, folder = grades
    table = pq.read_table(folder / "test")
    given = predicted(table, "candidate")
    own = places_of(table)
    worst = np.argmin(given[np.arange(ROWS), own])

    rows = page.partition("Worst errors")[2]

    assert "<th>grade</th><th>predicted</th>" in rows
    cells = re.findall(r"<td>(.*?)</td>", rows)
    assert cells[:2] == [GRADES[own[worst]], f"{GRADES[given[worst].argmax()]} ({given[worst].max():.3f})"]
