import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from evaluated_samples import ROWS, make_model, make_table

from cd4ml.contracts import evaluation as summary
from cd4ml.contracts import model, predictions
from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.chosen import ChosenThreshold
from cd4ml.contracts.model import Input
from cd4ml.errors import EvaluationError
from cd4ml.evaluation import gate, rows


def predictions_of(models, role, table):
    signature = tf.saved_model.load(str(models[role] / "saved_model")).signatures["serving_default"]
    income = tf.constant(table.column("income").to_numpy(), tf.float32)
    return (
        signature(income=income, region=tf.constant(table.column("region").to_numpy()))["probability"]
        .numpy()
        .astype(np.float64)
    )


def auc(labels, predictions):
    """The share of pairs, one of each class, that are in the right order."""
    differences = predictions[labels][:, None] - predictions[~labels][None, :]
    return ((differences > 0) + 0.5 * (differences == 0)).mean()


def average_precision(labels, predictions):
    """The mean over the positives of the share of positives among what has their score or a higher one."""
    chosen = predictions[None, :] >= predictions[labels][:, None]
    return (chosen[:, labels].sum(axis=1) / chosen.sum(axis=1)).mean()


def test_a_candidate_whose_threshold_was_chosen_is_measured_there_first(run, models, tmp_path, capsys):
    shutil.copytree(models["candidate"], tmp_path / "chosen")
    chosen = ChosenThreshold(0.3, rows=10, cost=0.2, false_positive=1, false_negative=2)
    contract = replace(model.read_contract(tmp_path / "chosen"), threshold=chosen)
    model.write_contract(contract, tmp_path / "chosen")

    found, folder = run(candidate=tmp_path / "chosen")

    assert summary.read(folder / "evaluation").thresholds == (0.3, 0.5, 0.25)
    labels, selected = (
        pq.read_table(folder / "test").column("took").to_numpy(),
        predictions_of(models, "candidate", pq.read_table(folder / "test")) > 0.3,
    )
    assert found.metrics["accuracy"] == pytest.approx((labels == selected).mean(), abs=1e-6)
    assert "threshold of the candidate: 0.3, at which a row of the 10 of eval costs 0.2" in capsys.readouterr().out
    assert model.read_contract(tmp_path / "chosen") == contract
    assert "accuracy at 0.3, the threshold that was chosen on eval" in (folder / "report.html").read_text()
    held = gate.check(folder / "evaluation", {"recall@chosen": {"min": 0.5, "baseline": {"min_change": -1}}}).checks
    overall = found.summary.models["candidate"]
    assert held[0].value == overall.metrics["recall@0.3"]
    assert held[0].interval == overall.intervals["recall@0.3"]


@pytest.mark.parametrize("role", ["candidate", "baseline"])
@pytest.mark.parametrize("name", ["overall", "region=south"])
def test_what_is_found_is_what_numpy_finds(evaluated, models, role, name):
    found, folder = evaluated
    table = pq.read_table(folder / "test")
    rows = table.column("region").to_numpy() == "south" if name != "overall" else np.full(ROWS, True)
    labels = table.column("took").to_numpy()[rows]
    predictions = predictions_of(models, role, table)[rows]
    expected = {
        "example_count": rows.sum(),
        "label_rate": labels.mean(),
        "auc": auc(labels, predictions),
        "auc_pr": average_precision(labels, predictions),
        "binary_cross_entropy": -np.log(np.where(labels, predictions, 1 - predictions)).mean(),
        "calibration": predictions.sum() / labels.sum(),
    }
    for threshold in (0.5, 0.25):
        positive = predictions > threshold
        expected |= {
            f"accuracy@{threshold}": (positive == labels).mean(),
            f"precision@{threshold}": labels[positive].mean(),
            f"recall@{threshold}": positive[labels].mean(),
            f"true_positive_rate@{threshold}": positive[labels].mean(),
            f"false_positive_rate@{threshold}": positive[~labels].mean(),
            f"true_negative_rate@{threshold}": 1 - positive[~labels].mean(),
            f"false_negative_rate@{threshold}": 1 - positive[labels].mean(),
            f"selection_rate@{threshold}": positive.mean(),
        }

    slice_ = found.summary.of(role)[name]

    assert slice_.rows == rows.sum()
    assert slice_.metrics == pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="module")
def rare(run, models, tmp_path_factory):
    """A calibrated model of an event of one row in some hundred, beside an uncalibrated one of the same order."""
    rows = 20_000
    table = make_table(rows)
    took = np.random.default_rng(2).random(rows) < 1 / (1 + np.exp(7 - 1.5 * table.column("income").to_numpy()))
    root = tmp_path_factory.mktemp("rare")
    found, folder = run(
        table.set_column(3, "took", pa.array(took)),
        candidate=make_model(root / "calibrated", 1.5, less=7.0),
        baseline=make_model(root / "uncalibrated", 1.5),
    )
    return found, folder, took, table


def test_the_areas_of_a_rare_event_are_exact(rare):
    found, folder, took, table = rare
    income = table.column("income").to_numpy()

    metrics = found.summary.models["candidate"].metrics

    assert 0.001 < took.mean() < 0.005
    assert metrics["auc"] == pytest.approx(auc(took, income), abs=1e-5)
    assert metrics["auc_pr"] == pytest.approx(average_precision(took, income), rel=1e-3)  # float32 has ties
    assert found.metrics["auc"] == metrics["auc"]
    assert f"{metrics['auc']:.3f}" in (folder / "report.html").read_text()


def test_two_models_of_one_order_differ_by_nothing_however_they_are_calibrated(rare):
    found, _, _, _ = rare
    changes = {one.metric: one for one in found.summary.changes if one.slice == "overall"}

    assert (changes["auc"].value, changes["auc"].interval) == (0, (0, 0))
    assert changes["auc_pr"].value == 0
    assert changes["binary_cross_entropy"].interval[1] < 0


def test_the_curve_of_a_rare_event_has_points_where_its_predictions_are(rare):
    found, _, took, table = rare
    false_positives, true_positives, _ = found.roc_curve

    area = np.trapezoid(true_positives, false_positives)
    assert area == pytest.approx(auc(took, table.column("income").to_numpy()), abs=0.005)


def test_predictions_of_exactly_0_and_1_have_the_loss_that_scikit_learn_gives_them(run, tmp_path):
    table = make_table(took=np.arange(ROWS) < 40)
    sure = make_model(tmp_path / "sure", 200.0)

    found, _ = run(table, candidate=sure)

    labels, income = table.column("took").to_numpy(), table.column("income").to_numpy()
    with np.errstate(over="ignore"):
        said = 1 / (1 + np.exp(-np.float32(200) * income))
    step = np.finfo(np.float32).eps  # sklearn.metrics.log_loss clips by the step of the predictions' type
    clipped = np.clip(said, step, 1 - step).astype(np.float64)
    expected = -np.log(np.where(labels, clipped, 1 - clipped)).mean()
    assert (said == 1).any()
    assert found.summary.models["candidate"].metrics["binary_cross_entropy"] == pytest.approx(expected, rel=1e-3)


def test_the_gap_between_groups_is_found_and_the_small_group_is_named(evaluated):
    found, _ = evaluated

    gap = next(
        one
        for one in found.summary.fairness
        if (one.model, one.metric, one.threshold) == ("candidate", "true_positive_rate", 0.5)
    )

    assert gap.column == "region"
    assert (gap.lowest, gap.highest, gap.too_small) == ("south", "north", ("isle",))
    assert gap.gap == pytest.approx(gap.groups["north"].rate - gap.groups["south"].rate)
    assert gap.gap_interval[0] > 0.3


def test_the_folder_holds_the_summary_tfmas_own_files_and_known_predictions(evaluated, models):
    found, folder = evaluated
    evaluation = folder / "evaluation"

    kept = predictions.read(evaluation / "predictions.parquet")
    result = tfma.load_eval_result(str(evaluation / "tfma"), model_name="candidate")

    assert summary.read(evaluation) == found.summary
    assert found.summary.row_by_row == {}
    assert kept.names == ["income", "region"]
    rows_kept = pa.Table.from_pylist([dict(zip(kept.names, row, strict=True)) for row in kept.rows])
    assert kept.outputs == pytest.approx(predictions_of(models, "candidate", rows_kept))
    assert len(kept.rows) == 100
    assert len(result.slicing_metrics) == len(found.summary.of("candidate")) == 6
    assert sorted(path.name for path in evaluation.iterdir()) == [
        "outputs.parquet",
        "predictions.parquet",
        "summary.json",
        "tfma",
    ]
    outputs = predictions.read_outputs(evaluation / "outputs.parquet")
    assert set(kept.outputs) <= set(outputs)
    assert len(outputs) == found.summary.rows


def test_tfmas_own_views_show_the_slices_and_the_plots(evaluated):
    _, folder = evaluated
    result = tfma.load_eval_result(str(folder / "evaluation" / "tfma"), model_name="candidate")

    slices = tfma.view.render_slicing_metrics(result, slicing_column="region").data
    plots = tfma.view.render_plot(result).data

    assert {one["slice"] for one in slices} == {"region:isle", "region:north", "region:south"}
    assert plots.keys() >= {"confusionMatrixAtThresholds", "calibrationHistogramBuckets"}


def test_the_ui_gets_finite_numbers(evaluated):
    found, _ = evaluated
    false_positives, true_positives, thresholds = found.roc_curve
    classes, matrix = found.confusion_matrix

    assert found.metadata["headline"] == f"auc {found.metrics['auc']:.3f}"
    assert found.metrics["auc_change_vs_baseline"] < 0
    assert found.metrics["latency_ms"] > 0
    assert found.metrics["size_mib"] > 0
    assert found.metrics["region_true_positive_rate_gap"] > 0.3
    assert json.dumps(found.metrics, allow_nan=False)
    assert len(thresholds) <= 50
    assert (false_positives[0], true_positives[0]) == (0, 0)
    assert (false_positives[-1], true_positives[-1]) == (1, 1)
    assert np.all(np.diff(false_positives) >= 0)
    assert all(0 <= one <= 1 for one in thresholds)
    assert classes == ["false", "true"]
    assert sum(map(sum, matrix)) == ROWS
    assert (matrix[0][0] + matrix[1][1]) / ROWS == pytest.approx(found.metrics["accuracy"])


def test_the_report_says_what_was_found(evaluated):
    _, folder = evaluated

    page = (folder / "report.html").read_text()

    assert "Evaluation: dnn" in page
    assert "Worse than the baseline" in page
    assert "average precision" in page
    assert "all 400 rows of the test split" in page
    assert "In south the true positive rate is" in page
    assert "fewer than 30 of the rows" in page
    assert "<svg" in page


def test_rows_of_one_class_have_no_auc_and_fail_a_limit_on_it(run, models):
    table = make_table(rows=60, took=np.full(60, True))
    found, folder = run(table, champion=str(models["candidate"]), champion_digest=model.digest(models["candidate"]))

    assert found.summary.models["champion"].metrics["auc"] is None
    assert found.roc_curve == ([], [], [])
    assert "The AUC is undefined" in (folder / "report.html").read_text()
    assert gate.check(folder / "evaluation", {"auc": {"min": 0.5}}).reasons == [
        "auc on overall: it is not defined on 60 rows that are all of one class, "
        "so the limit 'at least 0.5' could not be checked"
    ]


def test_every_row_counts_however_many_batches_they_come_in(run, monkeypatch):
    whole, _ = run()
    monkeypatch.setattr(rows, "BATCH_ROWS", 150)
    batched, folder = run()

    assert batched.summary.rows == ROWS
    for one, other in zip(whole.summary.slices, batched.summary.slices, strict=True):
        found = [[np.nan if value is None else value for value in each.metrics.values()] for each in (one, other)]
        assert found[0] == pytest.approx(found[1], rel=1e-6, nan_ok=True)  # TFMA's loss is a sum of float32
    kept = predictions.read(folder / "evaluation" / "predictions.parquet")
    assert [income for income, _ in kept.rows] == make_table().column("income").to_pylist()[:100]


def test_columns_may_have_any_name(run, evaluated, models, tmp_path):
    """Also those that evaluation gives to columns of its own; the numbers are those of plain names."""
    called = {"income": "probability", "region": ".a=b, c", "level": "__label"}
    inputs = (Input("probability", "number", "income"), Input(".a=b, c", "category", "region"))
    renamed = {}
    for role in ("candidate", "baseline"):
        renamed[role] = shutil.copytree(models[role], tmp_path / role)
        model.write_contract(replace(model.read_contract(models[role]), inputs=inputs), renamed[role])
    table = make_table()
    table = table.rename_columns([called.get(name, name) for name in table.column_names])

    found, folder = run(table, **renamed, slices=["__label"], sensitive=[".a=b, c"])

    plain = evaluated[0].summary.of("candidate")
    names = {name: name.replace("region=", ".a%3Db%2C c=").replace("level=", "__label=") for name in plain}
    hostile = found.summary.of("candidate")
    assert set(hostile) == set(names.values())
    assert all(hostile[names[name]].metrics == plain[name].metrics for name in plain)
    known, kept = (predictions.read(one / "evaluation" / "predictions.parquet") for one in (evaluated[1], folder))
    assert kept.names == ["probability", ".a=b, c"]
    assert kept.rows == known.rows
    assert kept.outputs.tolist() == known.outputs.tolist()


def test_a_value_that_a_deployed_model_would_refuse_is_kept_as_missing(run):
    income = make_table(rows=60).column("income").to_numpy().astype(np.float64)
    income[:3] = [1e39, np.inf, 1e38]
    _, folder = run(make_table(rows=60, income=income))

    kept = predictions.read(folder / "evaluation" / "predictions.parquet")
    assert [row[kept.names.index("income")] for row in kept.rows[:3]] == [None, None, 1e38]


def test_tfma_itself_on_beam_finds_the_same(run, evaluated):
    found, _ = run(runner=["DirectRunner"])

    for one, other in zip(evaluated[0].summary.slices, found.summary.slices, strict=True):
        assert (one.model, one.slice) == (other.model, other.slice)
        numbers = [[np.nan if value is None else value for value in each.metrics.values()] for each in (one, other)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-6, nan_ok=True)


def test_a_change_is_the_candidates_metric_less_the_others_and_its_interval_holds_it(evaluated):
    found, _ = evaluated
    candidate, baseline = found.summary.of("candidate"), found.summary.of("baseline")

    assert found.summary.changes
    for change in found.summary.changes:
        before, after = baseline[change.slice].metrics[change.metric], candidate[change.slice].metrics[change.metric]
        assert change.value == pytest.approx(after - before, abs=1e-9)
    auc = next(one for one in found.summary.changes if (one.slice, one.metric) == ("overall", "auc"))
    assert auc.other == "baseline"
    assert auc.interval[0] < auc.value < auc.interval[1] < 0


def test_no_interval_leaves_the_range_of_its_metric(evaluated):
    found, _ = evaluated

    for one in found.summary.slices:
        for metric, (low, high) in one.intervals.items():
            top = np.inf if metric in ("binary_cross_entropy", "calibration") else 1
            assert 0 <= low <= one.metrics[metric] <= high <= top, (one.slice, metric)
    for gap in found.summary.fairness:
        assert gap.gap_interval is None or 0 <= gap.gap_interval[0] <= gap.gap <= gap.gap_interval[1]
        assert gap.ratio_interval is None or 0 <= gap.ratio_interval[0] <= gap.ratio <= gap.ratio_interval[1] <= 1


def test_a_slice_that_is_too_small_to_tell_has_no_interval_but_of_its_rates(evaluated):
    found, _ = evaluated
    isle = found.summary.of("candidate")["region=isle"]

    assert isle.rows == 3
    assert {metric.partition("@")[0] for metric in isle.intervals} <= {
        one.name for one in BINARY.metrics if one.interval == "share"
    }


def test_an_interval_is_about_as_wide_as_theory_has_it(evaluated):
    found, _ = evaluated
    overall = found.summary.of("candidate")["overall"]
    rate = overall.metrics["accuracy@0.5"]
    low, high = overall.intervals["accuracy@0.5"]

    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(rate * (1 - rate) / ROWS), rel=0.5)
    assert "example_count" not in overall.intervals


def test_predictions_that_are_no_numbers_are_refused(run, models):
    with pytest.raises(EvaluationError, match="candidate: .*400 of 400 predictions are no probabilities"):
        run(candidate=models["broken"])


def test_a_model_whose_file_is_broken_says_so(run, tmp_path):
    folder = make_model(tmp_path / "model")
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"nonsense")

    with pytest.raises(EvaluationError, match="baseline: .*cannot be called.*train the model again"):
        run(baseline=folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": [0.5, 1.0]}, "1.0 is no threshold"),
        ({"thresholds": []}, "no threshold is given"),
        ({"sensitive": [["region"]]}, "name sensitive columns one by one"),
        ({"label": "tok"}, "candidate: it was trained to predict 'took', not 'tok'"),
        ({"slices": ["regoin"]}, "slice column 'regoin' is not there; did you mean 'region'?"),
        ({"slices": ["income"]}, "slices: income makes 400 slices, more than 100"),
        ({"runner": ["NoSuchRunner"]}, "runner: Unexpected pipeline runner: NoSuchRunner"),
        ({"runner": ["--flink_master=a"]}, "write its name and options"),
        ({"champion": "/gone"}, "champion: /gone/contract.json: not a model's contract"),
        ({"test": "/gone"}, "/gone: cannot be read as Parquet"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_runs(run, changes, message):
    with pytest.raises(EvaluationError) as error:
        run(**changes)

    assert message in str(error.value)


def test_a_bad_test_split_is_refused_with_the_column(run):
    table = make_table()

    for bad, message in [
        (table.drop_columns(["took"]), "'took', the label, is not there"),
        (table.drop_columns(["income"]), "'income', a feature of the candidate, is not there"),
        (table.set_column(0, "income", pa.array(["rich"] * ROWS)), "column 'income' is string"),
        (table.set_column(3, "took", pa.array(["perhaps"] * ROWS)), "'perhaps' is neither 'false' nor 'true'"),
        (table.slice(0, 0), "no rows; give the test split a larger share"),
    ]:
        with pytest.raises(EvaluationError) as error:
            run(bad)
        assert message in str(error.value)


def test_a_champion_of_the_other_positive_class_names_it(run, tmp_path):
    other = make_model(tmp_path / "other", classes=("true", "false"))

    with pytest.raises(EvaluationError) as error:
        run(champion=str(other))

    assert str(error.value) == (
        "champion: it tells true from false, the candidate false from true; write `positive: false`, "
        "or give the candidate another name than that of the published model"
    )


def test_a_number_that_is_none_is_missing_where_it_makes_slices(tmp_path):
    pq.write_table(pa.table({"took": [True] * 5, "hours": [1.5, float("nan"), None, 2.0, 2e10]}), tmp_path / "test")

    split = rows.open_split(tmp_path / "test", contracts={}, label="took", by=[("hours",)])
    _, by_hours = split.slicings([("hours",)])

    assert [by_hours.names[code] for code in by_hours.codes] == [
        "hours=1.5",
        "hours=(missing)",
        "hours=(missing)",
        "hours=2",
        "hours=20000000000",
    ]
    texts = ["1.5", "(missing)", "(missing)", "2", "20000000000"]
    assert split.groups(next(split.batches()))["hours"].tolist() == texts


def test_two_slices_of_one_name_are_refused(run):
    level = np.where(np.arange(ROWS) < 40, "1,region=north", "1")

    with pytest.raises(EvaluationError, match="two of them are called 'level=1,region=north'"):
        run(make_table(level=level), slices=["level", ["level", "region"]])


def test_models_of_other_classes_are_not_compared(run, tmp_path):
    other = make_model(tmp_path / "other", classes=("no", "yes"))

    with pytest.raises(EvaluationError, match="baseline: it tells no from yes, the candidate false from true"):
        run(baseline=other)


def test_nothing_is_left_of_an_evaluation_that_failed(run, models, tmp_path):
    with pytest.raises(EvaluationError):
        run(candidate=models["broken"], folder=tmp_path / "evaluation")

    assert list(tmp_path.iterdir()) == []


def test_what_was_predicted_before_is_measured_and_what_the_model_gives_now_is_kept(run, models, tmp_path):
    table = make_table()
    random = np.random.default_rng(2)
    before = {role: random.random(len(table)).astype(np.float32) for role in ("candidate", "champion")}
    pq.write_table(pa.table(before), tmp_path / "before")

    found, folder = run(
        baseline="",
        champion=str(models["baseline"]),
        champion_digest=model.digest(models["baseline"]),
        predicted_before=tmp_path / "before",
    )

    labels = table["took"].to_numpy(zero_copy_only=False)
    for role, predicted in before.items():
        assert found.summary.models[role].metrics["auc"] == pytest.approx(auc(labels, predicted))
    assert set(found.summary.models) == {"candidate", "champion"}
    kept = pq.read_table(folder / "evaluation" / "predictions.parquet")["probability"].to_numpy()
    assert kept == pytest.approx(predictions_of(models, "candidate", table)[: len(kept)])
