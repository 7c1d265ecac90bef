"""A number is evaluated as a class is: TFMA's metrics on every slice, intervals, groups, report."""

import json
import re
from html import unescape

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow_model_analysis as tfma
from evaluated_samples import ROWS, make_model, make_prices
from kfp.dsl import ClassificationMetrics

from cd4ml.contracts import evaluation as summary
from cd4ml.contracts import predictions
from cd4ml.contracts.regression import REGRESSION
from cd4ml.errors import EvaluationError
from cd4ml.evaluation import gate, residual_figures, residuals
from cd4ml.evaluation.estimates import Scored

WEIGHTS = {"candidate": 10, "baseline": 2}


def predicted(table, role):
    income, region = (table.column(name).to_numpy() for name in ("income", "region"))
    more = np.where(region == "south", 9, 0) if role == "candidate" else 0
    return (np.float32(WEIGHTS[role]) * income + more + 100).astype(np.float64)


def rows_of(table, name):
    return np.full(len(table), True) if name == "overall" else table.column("region").to_numpy() == "south"


@pytest.mark.parametrize("role", ["candidate", "baseline"])
@pytest.mark.parametrize("name", ["overall", "region=south"])
def test_what_is_found_is_what_numpy_finds(prices, role, name):
    found, folder = prices
    table = pq.read_table(folder / "test")
    rows = rows_of(table, name)
    labels, given = table.column("price").to_numpy()[rows], predicted(table, role)[rows]
    errors = given - labels

    slice_ = found.summary.of(role)[name]

    assert slice_.rows == rows.sum()
    assert slice_.metrics == pytest.approx(
        {
            "example_count": rows.sum(),
            "mean_label": labels.mean(),
            "mean_prediction": given.mean(),
            "mean_error": errors.mean(),
            "mean_squared_error": (errors**2).mean(),
            "root_mean_squared_error": np.sqrt((errors**2).mean()),
            "mean_absolute_error": np.abs(errors).mean(),
            "r_squared": 1 - (errors**2).sum() / ((labels - labels.mean()) ** 2).sum(),
        },
        rel=1e-6,
    )
    assert slice_.intervals.keys() == slice_.metrics.keys() - {"example_count"}


def test_the_numbers_are_tfmas_own_where_it_has_them_and_none_ran_row_by_row(prices):
    found, folder = prices
    for role in ("candidate", "baseline"):
        result = tfma.load_eval_result(str(folder / "evaluation" / "tfma"), model_name=role)
        slices = list(found.summary.of(role).values())
        assert len(result.slicing_metrics) == len(slices) == 6
        for key, outputs in result.slicing_metrics:
            values = {column: str(value) for column, value in key}
            ours = next(one for one in slices if one.values == values).metrics
            theirs = {name: one["doubleValue"] for name, one in outputs[""][""].items() if not name.endswith("_diff")}
            assert set(theirs) == set(ours) - {"mean_error", "root_mean_squared_error", "r_squared"}
            assert theirs == pytest.approx({name: ours[name] for name in theirs}, rel=1e-12)
    assert found.summary.row_by_row == {}


def test_tfma_itself_on_beam_finds_the_same(run_prices, prices):
    found, _ = run_prices(runner=["DirectRunner"])

    for one, other in zip(prices[0].summary.slices, found.summary.slices, strict=True):
        assert (one.model, one.slice) == (other.model, other.slice)
        assert other.metrics == pytest.approx(one.metrics, rel=1e-9)


def test_changes_have_intervals_of_the_same_rows(prices):
    found, _ = prices
    changes = {one.metric: one for one in found.summary.changes if one.slice == "overall"}

    assert "mean_label" not in changes
    better = changes["root_mean_squared_error"]
    assert better.interval[0] < better.value < better.interval[1] < 0
    assert changes["r_squared"].interval[0] > 0
    assert changes["mean_squared_error"].value == pytest.approx(
        found.summary.models["candidate"].metrics["mean_squared_error"]
        - found.summary.models["baseline"].metrics["mean_squared_error"]
    )


def test_groups_are_compared_by_mean_error_mean_prediction_and_absolute_error(prices):
    found, folder = prices
    table = pq.read_table(folder / "test")
    errors = predicted(table, "candidate") - table.column("price").to_numpy()
    by_region = {one: errors[table.column("region").to_numpy() == one].mean() for one in ("north", "south")}

    of_candidate = {one.metric: one for one in found.summary.fairness if one.model == "candidate"}

    assert list(of_candidate) == ["mean_error", "mean_prediction", "mean_absolute_error"]
    one = of_candidate["mean_error"]
    assert (one.column, one.threshold, one.lowest, one.highest) == ("region", None, "north", "south")
    assert one.too_small == ("isle",)
    assert one.gap == pytest.approx(by_region["south"] - by_region["north"])
    assert one.gap_interval[0] > 3
    assert (one.ratio, one.ratio_interval, one.groups["south"].ratio) == (None, None, None)
    assert of_candidate["mean_absolute_error"].ratio is not None


def test_a_number_has_no_thresholds_and_its_summary_is_read_as_it_was_written(prices):
    found, folder = prices

    assert found.summary.thresholds == ()
    assert found.summary.problem_name == "regression"
    assert summary.read(folder / "evaluation") == found.summary
    assert found.summary.weakest() == (
        "region=south",
        found.summary.of("candidate")["region=south"].metrics["root_mean_squared_error"],
    )


def test_the_ui_gets_finite_numbers_and_no_curve(prices):
    found, _ = prices
    shown = ClassificationMetrics(name="roc", uri="", metadata={})

    found.log_classes(shown)

    assert shown.metadata == {}
    assert (found.roc_curve, found.confusion_matrix) == (([], [], []), ([], []))
    assert found.metadata["headline"] == f"root_mean_squared_error {found.metrics['root_mean_squared_error']:.4g}"
    assert found.metrics["root_mean_squared_error_change_vs_baseline"] < 0
    assert found.metrics["worst_slice_root_mean_squared_error"] > found.metrics["root_mean_squared_error"]
    assert found.metrics["region_mean_error_gap"] > 3
    assert json.dumps(found.metrics, allow_nan=False)


def test_known_predictions_are_kept_by_the_name_of_the_output(prices):
    _, folder = prices
    file = folder / "evaluation" / "predictions.parquet"

    known = predictions.read(file)

    assert pq.read_schema(file).names == ["features", "prediction"]
    assert known.names == ["income", "region"]
    kept = pa.Table.from_pylist([dict(zip(known.names, row, strict=True)) for row in known.rows])
    assert known.outputs == pytest.approx(predicted(kept, "candidate"), rel=1e-6)


def test_the_gate_holds_limits_on_errors_and_on_the_mean_error_of_groups(prices):
    _, folder = prices
    limits = {
        "as_good_as": "baseline",
        "root_mean_squared_error": {"max": 10, "slices": ["region=*"], "baseline": {"max_change": 0.0}},
        "mean_error": {"min": -1, "max": 1},
        "r_squared": {"min": 0.2, "confident": True},
        "fairness": {"region": {"mean_error": {"max_gap": 2.0}}},
    }

    verdict = gate.check(folder / "evaluation", limits)

    outcomes = {check.name: str(check.outcome) for check in verdict.checks}
    assert outcomes == {
        "change of root_mean_squared_error on overall against the baseline": "passed",
        "root_mean_squared_error on region=isle": "inconclusive",
        "root_mean_squared_error on region=north": "passed",
        "root_mean_squared_error on region=south": "passed",
        "mean_error on overall": "failed",
        "r_squared on overall": "passed",
        "mean_error between groups of region: the gap": "failed",
    }


@pytest.mark.parametrize("price", [100.0, 19.99])
def test_rows_of_one_label_have_no_r_squared(run_prices, price):
    found, folder = run_prices(make_prices(60, price=np.full(60, price)))

    assert found.summary.models["candidate"].metrics["r_squared"] is None
    assert gate.check(folder / "evaluation", {"r_squared": {"min": 0}}).reasons == [
        "r_squared on overall: it is not defined on 60 rows that all have one label, "
        "so the limit 'at least 0' could not be checked"
    ]


def test_one_row_is_evaluated_without_intervals(run_prices):
    found, folder = run_prices(make_prices(1))

    assert found.summary.models["candidate"].intervals == {}
    assert "all 1" not in (folder / "report.html").read_text()


def test_predictions_that_are_not_finite_are_refused(run_prices, price_models):
    with pytest.raises(EvaluationError, match="candidate: .*400 of 400 predictions are no finite numbers"):
        run_prices(candidate=price_models["broken"])


@pytest.mark.parametrize(
    ("price", "told"),
    [
        (np.full(ROWS, np.inf), "test split: label 'price': 400 of 400 rows have none that is finite, the first inf"),
        (np.full(ROWS, "dear"), "test split: label 'price': string cannot be a number to predict"),
    ],
)
def test_a_label_that_is_no_number_is_told(run_prices, price, told):
    with pytest.raises(EvaluationError, match=told):
        run_prices(make_prices(price=price))


def test_a_model_of_classes_is_not_compared_with_one_of_a_number(run_prices, tmp_path):
    other = make_model(tmp_path / "other", label="price")

    with pytest.raises(EvaluationError, match="champion: it is of binary classification, the candidate of regression"):
        run_prices(champion=str(other))


def test_thresholds_are_left_aside_and_that_is_said(run_prices, capsys):
    found, _ = run_prices(thresholds=[0.3, 0.7])

    assert found.summary.thresholds == ()
    assert "thresholds: none is of regression, so they are left aside" in capsys.readouterr().out


def scored(labels, **predictions):
    given = {role: np.asarray(one, np.float32) for role, one in predictions.items()}
    return Scored(REGRESSION, np.asarray(labels, np.float64), given, [])


def test_the_pictures_count_every_row_once_and_what_is_far_out_at_the_edge():
    labels = np.arange(10_000.0)
    candidate, baseline = labels + 5, labels - 100
    candidate[7] = 1e9

    drawn = residuals.of(scored(labels, candidate=candidate, baseline=baseline))

    one, other = drawn["candidate"], drawn["baseline"]
    assert one.labels.sum() == one.missed.sum() == other.missed.sum() == 10_000
    assert (one.numbers == other.numbers).all()
    assert (one.errors == other.errors).all()
    assert 9_000 < one.numbers[-1] < 11_000
    assert one.labels[-1, 0] == 1
    assert other.missed[:, 0].sum() == 10_000
    assert np.diag(one.labels).sum() > 9_000


def test_the_mean_error_is_that_of_as_many_rows_each_with_its_interval():
    random = np.random.default_rng(0)
    predictions = random.normal(size=600)
    errors = np.where(predictions > 0, 2.0, -1.0) + random.normal(size=600)

    means = residuals.of(scored(predictions - errors, candidate=predictions))["candidate"].means

    assert len(means) == 20  # of thirty rows each
    assert (np.diff(means[:, 0]) > 0).all()
    assert (means[:, 2] < means[:, 1]).all()
    assert means[0, 1] == pytest.approx(-1, abs=0.6)
    assert means[-1, 1] == pytest.approx(2, abs=0.6)
    assert 16 <= sum(low < (2 if at > 0 else -1) < high for at, _, low, high in means) <= 20


@pytest.mark.parametrize("rows", [1, 29])
def test_of_few_rows_that_are_all_alike_there_are_pictures_without_means(rows):
    drawn = residuals.of(scored(np.full(rows, 3.0), candidate=np.full(rows, 3.0)))

    assert drawn["candidate"].means.shape == (0, 4)
    for draw in (residual_figures.predicted_and_true, residual_figures.errors_by_prediction):
        assert draw(drawn["candidate"]).startswith("<svg")
    assert residual_figures.errors(drawn).startswith("<svg")


@pytest.fixture(scope="module")
def page(prices):
    _, folder = prices
    return (folder / "report.html").read_text()


def test_the_report_speaks_of_errors_and_of_no_classes(page):
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(script|style)\b.*?</\1>", " ", page))).split())

    assert "Better than the baseline" in text
    assert "How far is it off?" in text
    for picture in ("Predicted and true", "Error by prediction", "Errors"):
        assert picture in text
    assert "In north the mean error is" in text
    assert "RMSE of the weakest slice, region=south" in text
    for word in ("threshold", "probabilit", "positive", "class", "AUC", "ROC", "rate"):
        assert word not in re.sub(r"sepa?rate|generate|illustrate|strate", "", text), word
    assert "could not be drawn" not in text


def test_the_worst_rows_are_those_with_the_largest_errors(page, prices):
    _, folder = prices
    table = pq.read_table(folder / "test")
    errors = predicted(table, "candidate") - table.column("price").to_numpy()
    worst = table.column("price").to_numpy()[np.argmax(np.abs(errors))]

    rows = page.partition("Worst errors")[2]

    assert "<th>price</th><th>prediction</th>" in rows
    assert re.search(r"<td>(.*?)</td>", rows)[1] == f"{worst:.4g}"
