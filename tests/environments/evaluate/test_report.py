import json
import re
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.evaluation import (
    Change,
    Fairness,
    Group,
    ModelSummary,
    Slice,
    Summary,
    at,
)
from cd4ml.evaluation import figures, report
from cd4ml.evaluation.curves import Curves
from cd4ml.evaluation.explorer import explorer
from cd4ml.evaluation.report import TrendPoint, WorstRow
from cd4ml.reports import course

ALL_ROWS = 1000
THRESHOLDS = np.linspace(0, 1, 1001)

GROUPED = [one.name for one in BINARY.among_groups]


@dataclass(frozen=True)
class Page:
    html: str

    @property
    def text(self) -> str:
        """What a reader sees, without what the pictures say."""
        shown = re.sub(r"<(svg|script|style)\b.*?</\1>", " ", self.html, flags=re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", shown)).split())


def metrics(auc: float | None = 0.8, rate: float = 0.5, **others: float) -> dict[str, float | None]:
    made = {"example_count": 1000.0, "label_rate": 0.4, "auc": auc, "auc_pr": auc, "binary_cross_entropy": 0.5}
    return {**made, "calibration": 1.0, **{at(one.name, 0.5): rate for one in BINARY.at_thresholds}, **others}


def one_slice(name: str, model: str = "candidate", rows: int = ALL_ROWS, **others: float) -> Slice:
    values = {} if name == "overall" else dict(part.split("=") for part in name.split(","))
    found = metrics(**others)
    intervals = {metric: (value - 0.021, value + 0.023) for metric, value in found.items() if value is not None}
    return Slice(model, name, values, rows, found, intervals)


def group(rate: float, rows: int = 400) -> Group:
    return Group(rate, (rate - 0.031, rate + 0.032), rows, 0.0, 1.0)


def fair(metric: str, low: float = 0.22, high: float = 0.63, **others: Any) -> Fairness:
    made = Fairness(
        model="candidate",
        column="region",
        metric=metric,
        threshold=None if metric == "calibration" else 0.5,
        overall=0.5,
        gap=high - low,
        gap_interval=(high - low - 0.041, high - low + 0.042),
        ratio=low / high,
        ratio_interval=(low / high - 0.051, low / high + 0.052),
        lowest="south",
        highest="north",
        groups={"north": group(high), "south": group(low), "isle": group(0.4, rows=9)},
        too_small=("isle",),
    )
    return replace(made, **others)


def summary(change: Change | None = None, **others: Any) -> Summary:
    """A candidate (AUC 0.8) beside a baseline (0.75)."""
    slices = tuple(
        one
        for model, auc in (("candidate", 0.8), ("baseline", 0.75))
        for one in (
            one_slice("overall", model, auc=auc),
            one_slice("region=north", model, rows=591, auc=auc + 0.05),
            one_slice("region=south", model, rows=400, auc=auc - 0.1, rate=0.22),
            one_slice("region=isle", model, rows=9, auc=auc),
        )
    )
    made = Summary(
        label="took",
        rows=ALL_ROWS,
        test_digest="sha256:t",
        judged=1,
        thresholds=(0.5,),
        models={
            one.model: ModelSummary(f"sha256:{one.model}", one.metrics, one.intervals)
            for one in slices
            if one.slice == "overall"
        },
        slices=slices,
        changes=(change or changed(),),
        fairness=tuple(fair(metric) for metric in GROUPED),
    )
    return replace(made, **others)


def changed(value: float = 0.05, interval: Any = (0.012, 0.088), metric: str = "auc", slice: str = "overall") -> Change:
    return Change("baseline", slice, metric, value, interval)


def curves(seed: int = 0) -> Curves:
    random = np.random.default_rng(seed)
    labels = random.random(ALL_ROWS) < 0.4
    scores = np.clip(random.normal(0.35 + 0.2 * labels, 0.15), 0.001, 0.999)
    above = scores > np.r_[-1, THRESHOLDS[1:-1], 2][:, None]
    confusion = np.stack([above & labels, above & ~labels, ~above & ~labels, ~above & labels], axis=-1).sum(axis=1)
    buckets = np.minimum((scores * 10).astype(int), 9)
    calibration = [
        ((buckets == one).sum(), scores[buckets == one].mean(), labels[buckets == one].mean())
        for one in np.unique(buckets)
    ]
    return Curves(THRESHOLDS, confusion.astype(float), np.array(calibration))


@pytest.fixture
def write(tmp_path):
    def write(found: Summary | None = None, worst: Any = (), trend: Any = ()) -> Page:
        file = tmp_path / "report.html"
        by_model = {"candidate": curves(0), "baseline": curves(1)}
        report.write(file, name="dnn", found=found or summary(), drawn=by_model, history=[], worst=worst, trend=trend)
        return Page(file.read_text(encoding="utf-8"))

    return write


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    file: Path = tmp_path_factory.mktemp("report") / "report.html"
    history = [{"epoch": 1, "loss": 0.6, "auc": 0.7, "eval_loss": 0.6, "eval_auc": 0.7}]
    report.write(
        file,
        name="dnn",
        found=summary(),
        drawn={"candidate": curves(0), "baseline": curves(1)},
        history=history,
        worst=[],
        trend=[],
    )
    return Page(file.read_text(encoding="utf-8"))


def test_it_says_on_how_many_rows_it_was_measured(page):
    assert "Measured on all 1,000 rows of the test split" in page.text


def test_groups_that_could_not_be_compared_are_named_with_why(write):
    told = {
        sensitive: write(replace(summary(), fairness=(), sensitive=sensitive)).text for sensitive in ((), ("region",))
    }

    assert "No sensitive column was named, so fairness was not looked at." in told[()]
    assert "No sensitive column" not in told[("region",)]
    why = "of more than 20 classes each is measured on all rows alone."
    assert f"Groups by region were not compared: {why}" in told[("region",)]


def test_it_is_one_file_that_needs_no_network(page):
    assert page.html.count("<svg") == 3 + 1 + 1 + 1
    assert not re.search(r"""<link|@import|(src|href)\s*=\s*["'](?!#)""", page.html)


@pytest.mark.parametrize(
    ("value", "interval", "headline", "kind"),
    [
        (0.05, (0.012, 0.088), "Better than the baseline", "passed"),
        (-0.05, (-0.088, -0.012), "Worse than the baseline", "failed"),
        (0.05, (-0.002, 0.102), "No difference from the baseline beyond chance", "neutral"),
        (0.05, (0.0, 0.1), "No difference from the baseline beyond chance", "neutral"),
        (0.05, None, "No difference from the baseline beyond chance", "neutral"),
    ],
)
def test_better_and_worse_are_said_only_where_the_interval_of_the_change_leaves_zero_out(
    write, value, interval, headline, kind
):
    page = write(summary(changed(value, interval), fairness=()))

    assert f'<div class="verdict {kind}">' in page.html
    assert f"{headline} AUC 0.800 against 0.750: {value:+.3f}," in page.text
    assert ("without an interval" in page.text) == (interval is None)
    if interval:
        assert f"between {interval[0]:+.3f} and {interval[1]:+.3f} at 95% confidence" in page.text


def test_without_a_champion_it_says_so(page):
    assert "There is no champion" in page.text


def test_rows_of_one_class_have_no_auc_and_it_says_so(write):
    found = summary(changes=(), slices=(one_slice("overall", auc=None),), fairness=())
    page = write(replace(found, models={"candidate": ModelSummary("sha256:c", metrics(auc=None), {})}))

    assert "The AUC is undefined" in page.text


@pytest.mark.parametrize(("judged", "warned"), [(20, False), (21, True)])
def test_a_test_split_that_has_judged_more_than_20_models_is_warned_of(write, judged, warned):
    page = write(summary(judged=judged, fairness=()))

    assert (f"This test split has judged {judged} candidates" in page.text) == warned
    assert ("another seed under split , or a newer time window" in page.text) == warned


def test_numbers_have_their_intervals(page):
    assert "0.800 0.779–0.823 AUC" in page.text  # on top
    assert "AUC 0.800 0.779–0.823 0.750 0.729–0.773 +0.050 +0.012 to +0.088" in page.text  # side by side
    assert "region=south 400 40.0 % yes 0.700 0.679–0.723" in page.text  # slices


@pytest.mark.parametrize(
    ("metric", "change", "kind"),
    [
        ("accuracy@0.5", 0.1, "passed"),
        ("binary_cross_entropy", 0.1, "failed"),
        ("false_positive_rate@0.5", -0.1, "passed"),
        ("selection_rate@0.5", 0.1, "neutral"),
        ("latency_ms", 0.1, "failed"),
        ("calibration", 0.1, "passed"),
        ("calibration", -0.1, "neutral"),
    ],
)
def test_a_change_has_the_colour_of_what_it_means_for_its_metric(write, metric, change, kind):
    found = summary(changed(change, (change - 0.01, change + 0.01), metric), fairness=())
    slices = tuple(replace(one, metrics={**one.metrics, "calibration": 0.95}) for one in found.slices)
    models = {
        role: replace(one, metrics={**one.metrics, "latency_ms": 2.0, "size_mib": 1.0})
        for role, one in found.models.items()
    }

    page = write(replace(found, slices=slices, models=models))

    assert re.findall(r'<span class="badge (\w+)">([+-]\d\.\d+)</span><small>', page.html) == [(kind, f"{change:+.3f}")]


def test_the_forest_plot_is_drawn_from_the_intervals_of_the_summary():
    found = summary()
    models = {role: found.of(role) for role in found.models}
    wider = replace(models["candidate"]["region=south"], intervals={"auc": (0.5, 0.9)})
    changes = [changed(slice="region=south")]

    drawn = figures.slices(BINARY, models, changes)

    assert "against the baseline" in drawn
    other = {**models["candidate"], "region=south": wider}
    assert drawn != figures.slices(BINARY, {**models, "candidate": other}, changes)
    assert drawn != figures.slices(BINARY, models, [changed(slice="region=south", interval=(0.04, 0.06))])


def test_a_slice_that_is_too_small_is_drawn_and_compared_nowhere_and_it_says_so(write):
    page = write(summary(changes=(changed(), changed(slice="region=isle"), changed(slice="region=south"))))

    assert page.html.count("too few rows</text>") == 1
    row = re.search(r"<tr><td>region=isle</td>.*?</tr>", page.html, re.DOTALL)[0]
    assert "badge" not in row
    assert re.search(r'data-value="">–</td>\s*</tr>$', row)
    assert 'badge passed">+0.050' in re.search(r"<tr><td>region=south</td>.*?</tr>", page.html, re.DOTALL)[0]


def test_a_slice_without_an_auc_is_not_left_out_of_the_forest_plot():
    undefined = replace(one_slice("region=isle", rows=9, auc=None), metrics=metrics(auc=None, label_rate=1.0))

    drawn = figures.slices(BINARY, {"candidate": {"overall": one_slice("overall"), "region=isle": undefined}}, [])

    assert "region=isle  (9)" in drawn
    assert drawn.count("too few rows</text>") == 1


def test_the_fairness_chart_names_each_model_in_its_colour():
    of_baseline = [fair(metric, model="baseline", too_small=("north", "south", "isle")) for metric in GROUPED]

    drawn = figures.fairness(BINARY, [*(fair(metric) for metric in GROUPED), *of_baseline])

    assert re.findall(r">(candidate|baseline|too small to judge)</text>", drawn)
    assert figures.COLOURS["baseline"] in drawn


def test_rates_of_groups_and_gaps_have_their_intervals(page):
    assert "south 0.220 0.189–0.252 400 rows" in page.text
    assert "true positive rate 0.5 0.410 0.369–0.452 0.349 0.298–0.401 south 0.220 – north 0.630" in page.text
    assert "calibration – 0.410" in page.text


def test_the_largest_gap_is_said_on_top_where_it_is_no_chance(write):
    small = [fair(metric, 0.5, 0.52) for metric in GROUPED if metric != "true_positive_rate"]
    large = fair("true_positive_rate", 0.1, 0.7)

    told = write(summary(fairness=(*small, large))).text
    untold = write(summary(fairness=(*small, replace(large, gap_interval=(-0.01, 1.0))))).text

    assert "In south the true positive rate is 0.10 against 0.70 in north, a gap between 0.56 and 0.64." in told
    assert "treated unequally" not in untold


def test_the_named_criteria_are_shown_with_their_intervals_and_not_judged(write):
    page = write(
        summary(
            fairness=(
                fair("selection_rate", 0.2, 0.4),
                fair("true_positive_rate", 0.5, 0.6),
                fair("false_positive_rate", 0.1, 0.4),
                *(fair(metric) for metric in GROUPED[3:5]),
                fair("precision", gap=None, gap_interval=None, ratio=None, ratio_interval=None, lowest=None),
                fair("calibration"),
            )
        )
    )
    rows = dict(re.findall(r"<tr><td>([a-z -]+, (?:gap|ratio))<small.*?</small></td>(.*?)</tr>", page.html, re.DOTALL))
    read = {name: Page(row).text for name, row in rows.items()}

    assert read == {
        "demographic parity, gap": "0.200 0.159–0.242 – south 0.200 – north 0.400 selection rate",
        "equal opportunity, gap": "0.100 0.059–0.142 – south 0.500 – north 0.600 true positive rate",
        "equalised odds, gap": "0.300 0.259–0.342 – south 0.100 – north 0.400 false positive rate",
        "predictive parity, gap": "– – fewer than two groups can be judged",
        "four fifths, ratio": "0.500 0.449–0.552 – south 0.200 – north 0.400 selection rate",
    }


def test_equalised_odds_is_not_read_from_one_rate_alone(write):
    rates = [fair(metric) for metric in GROUPED if metric != "false_positive_rate"]
    unknown = fair("false_positive_rate", gap=None, ratio=None, lowest=None, highest=None)

    page = write(summary(fairness=(*rates, unknown)))

    assert re.search(r"equalised odds, gap .*? – – fewer than two groups can be judged", page.text)


def test_groups_that_are_too_small_are_named_with_the_rates_that_they_are_too_small_for(write):
    rates = {metric: fair(metric) for metric in GROUPED}
    rates["precision"] = fair("precision", too_small=("isle", "north"))

    page = write(summary(fairness=tuple(rates.values())))

    assert "too small to judge isle; north by precision: fewer than 30 of the rows" in page.text
    assert "isle 0.400 0.369–0.432 9 rows, too few" in page.text


def test_the_explorer_holds_the_counts_of_the_curves(page):
    told = json.loads(re.search(r'<script type="application/json" id="counts">(.*?)</script>', page.html, re.DOTALL)[1])
    steps = np.searchsorted(THRESHOLDS, told["thresholds"])

    assert THRESHOLDS[steps].tolist() == told["thresholds"]
    assert told["models"] == {
        "candidate": curves(0).confusion[steps].tolist(),
        "baseline": curves(1).confusion[steps].tolist(),
    }


def test_the_explorer_has_few_steps_from_end_to_end_and_begins_with_the_first_threshold():
    found = explorer({"candidate": curves()}, (0.503, 0.25))

    assert 100 <= len(found.thresholds) <= 200 + 2
    assert (found.thresholds[0], found.thresholds[-1]) == (0, 1)
    assert found.thresholds[found.start] == 0.503
    assert 0.25 in found.thresholds


def test_the_explorer_is_fine_where_the_predictions_are():
    crowded = curves()
    crowded = replace(crowded, thresholds=crowded.thresholds**4)  # most of them below 0.1

    steps = np.array(explorer({"candidate": crowded}, (0.5,)).models["candidate"])
    selected = steps[:, :2].sum(axis=1)

    assert np.abs(np.diff(selected)).max() <= ALL_ROWS / 50


def test_the_worst_errors_are_shown_with_the_label_and_the_probability_first(write):
    rows = [
        WorstRow(0.0123456, {"region": "south", "took": True, "income": None, "probability": 0.5}),
        WorstRow(0.98, {"region": "north", "took": False, "income": 12.0, "probability": 0.6}),
    ]

    page = write(worst=rows)

    assert (
        "Worst errors took probability region income probability True 0.01235 south – 0.5 False 0.98 north 12 0.6"
        in page.text
    )


def test_without_worst_errors_there_is_no_table_of_them(page):
    assert "Worst errors" not in page.text


@pytest.mark.parametrize("others", [[], [TrendPoint(4, None, None)]])
def test_fewer_than_two_versions_are_no_trend(write, others):
    assert "published versions" not in write(trend=[TrendPoint(3, 0.8, None), *others]).text


def test_the_trend_leads_from_the_last_versions_to_the_candidate(write):
    page = write(trend=[TrendPoint(3, 0.78, None), TrendPoint(5, None, None), TrendPoint(12, 0.79, (0.77, 0.81))])

    picture = re.search(r"AUC of the last published versions.*?</svg>", page.html, re.DOTALL)[0]
    assert re.findall(r">(3|5|12|candidate)</text>", picture) == ["3", "12", "candidate"]


@pytest.mark.parametrize(
    "hostile",
    ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "$\\frac$ & \"a\" 'b' {{ 7*7 }}", "x" * 500],
)
def test_hostile_text_stays_text(write, hostile):
    found = summary()
    named = one_slice("overall")
    named = replace(named, slice=f"region={hostile}", values={"region": hostile}, rows=400)
    fairness = tuple(
        replace(one, lowest=hostile, groups={"north": group(0.63), hostile: group(0.22)}, too_small=())
        for one in found.fairness
    )
    found = replace(found, label=hostile, slices=(*found.slices, named), fairness=fairness)

    page = write(found, worst=[WorstRow(0.1, {hostile: True, f"{hostile} column": hostile})])

    assert page.html.count("<script") == 3
    assert "<img" not in page.html
    assert f"region={hostile}" in page.text
    assert f"In {hostile} the selection rate" in page.text
    json.loads(re.search(r'id="counts">(.*?)</script>', page.html, re.DOTALL)[1])


def test_what_tfma_had_to_run_row_by_row_is_said(write):
    page = write(summary(row_by_row={"FlipRateCombiner": "no leaf is known for it"}))

    assert "FlipRateCombiner ran row by row: no leaf is known for it" in page.text
    assert "row by row" not in write().text


ODD_NAMES = [
    "$a$",
    r"$\frac{1$",
    "_x",
    "long " * 60,
    "nul\0",
    "two\nlines",
    "\u202e\u05e9\u05dc\u05d5\u05dd",
    "\U0001f600",
    "",
]


def at_thresholds(scores: Any, labels: Any, thresholds: Any = THRESHOLDS) -> Curves:
    scores, labels, thresholds = np.array(scores), np.array(labels, bool), np.array(thresholds)
    above = scores > np.r_[-1, thresholds[1:-1], 2][:, None]
    confusion = np.stack([above & labels, above & ~labels, ~above & ~labels, ~above & labels], axis=-1).sum(axis=1)
    buckets = np.searchsorted(np.quantile(scores, np.linspace(0, 1, 11))[1:-1], scores)
    calibration = [
        ((buckets == one).sum(), scores[buckets == one].mean(), labels[buckets == one].mean())
        for one in np.unique(buckets)
    ]
    return Curves(thresholds, confusion.astype(float), np.array(calibration))


@pytest.mark.parametrize(
    ("found", "has_curves"),
    [
        pytest.param(at_thresholds([0.3] * 50, [0, 1] * 25), True, id="constant predictions"),
        pytest.param(at_thresholds([0.2, 0.8] * 25, [0, 1] * 25), True, id="right predictions"),
        pytest.param(at_thresholds([0.0, 1.0], [1, 0]), True, id="two rows"),
        pytest.param(at_thresholds(np.linspace(0, 1, 50), [0] * 50), False, id="label rate 0"),
        pytest.param(at_thresholds(np.linspace(0, 1, 50), [1] * 50), False, id="label rate 1"),
        pytest.param(at_thresholds([0.7], [1]), False, id="one row"),
        pytest.param(Curves(np.array([0.5]), np.array([[3.0, 2, 4, 5]]), np.ones((1, 3))), True, id="one threshold"),
        pytest.param(Curves(np.array([0.5]), np.array([[0.0, 0, 4, 5]]), np.ones((1, 3))), True, id="none predicted"),
    ],
)
def test_any_predictions_have_their_pictures(found, has_curves):
    both = {"candidate": found, "baseline": found}

    assert figures.calibration(both).startswith("<svg")
    for drawn in (figures.roc(both, {}), figures.precision_recall(both, {})):
        assert drawn.startswith("<svg") if has_curves else drawn is None
    assert explorer(both, (0.5,)).models["candidate"]


def ticks(drawn: str, axis: str) -> list[float]:
    return [
        float(text) for text in re.findall(rf'<g id="{axis}tick_\d+">.*?<text[^>]*>([\d.]+)</text>', drawn, re.DOTALL)
    ]


def test_the_pictures_of_a_rare_event_end_where_its_shares_do():
    random = np.random.default_rng(0)
    scores = random.gamma(1, 0.004, 20_000).clip(0, 1)
    rare = {"candidate": at_thresholds(scores, random.random(20_000) < scores, np.r_[0, np.unique(scores)[::40], 1])}
    usual = {"candidate": curves()}

    assert max(ticks(figures.calibration(rare), "x") + ticks(figures.calibration(rare), "y")) < 0.1
    assert max(ticks(figures.precision_recall(rare, {}), "y")) < 0.5
    assert max(ticks(figures.precision_recall(rare, {}), "x")) == 1
    assert max(ticks(figures.calibration(usual), "x")) == 1
    assert max(ticks(figures.precision_recall(usual, {}), "y")) == 1


@pytest.mark.parametrize(
    "epochs",
    [
        [(1, 0.5)],
        [(1, 0.5), (2, np.nan), (3, 0.4)],
        [(1, np.nan), (2, np.nan)],
        [(1, 0.5), (2, np.inf)],
        [(1, 1e308), (2, 5e-324)],
    ],
)
def test_any_training_is_drawn(epochs):
    history = [
        {"epoch": epoch, "loss": value, "auc": value, "eval_loss": value, "eval_auc": value} for epoch, value in epochs
    ]

    assert course.learning(BINARY, history).startswith("<svg")


def test_a_training_with_a_score_that_was_not_defined_is_drawn():
    assert course.learning(BINARY, [{"epoch": 1, "loss": 0.5, "eval_loss": 0.5, "eval_auc": 0.7}]).startswith("<svg")


def test_slices_of_odd_names_and_hundreds_of_them_are_drawn(write):
    names = ["overall", *(f"plan={name}" for name in ODD_NAMES), *(f"plan={number}" for number in range(300))]
    slices = tuple(
        replace(one_slice("overall", model), slice=name, values={"plan": name})
        for model in ("candidate", "baseline")
        for name in names
    )
    rates = tuple(
        fair(metric, groups={name: group(0.4) for name in ODD_NAMES}, lowest="_x", highest="$a$") for metric in GROUPED
    )

    page = write(summary(slices=slices, changes=tuple(changed(slice=name) for name in names), fairness=rates))

    assert page.html.count("<svg") == 3 + 1 + 1
    assert "could not be drawn" not in page.html
    assert "plan=$a$  (1,000)</text>" in page.html
    drawn = re.findall(r"<svg.*?</svg>", page.html, re.DOTALL)
    assert not [one for one in drawn if "\0" in one or "long " * 12 in one]


def test_a_group_without_a_rate_and_a_trend_without_intervals_are_drawn():
    alone = [fair(metric, overall=None, groups={"a": Group(None, None, 0, None, None)}) for metric in GROUPED]

    assert figures.fairness(BINARY, alone).startswith("<svg")
    points = [figures.Point("1", 0.7, None), figures.Point("2", 0.7, None)]
    assert figures.trend(BINARY, points, None).startswith("<svg")


@pytest.mark.parametrize(
    "picture", ["roc", "precision_recall", "calibration", "slices", "fairness", "learning", "trend"]
)
def test_a_fault_while_drawing_is_a_line_in_the_report_and_in_the_log(tmp_path, monkeypatch, caplog, picture):
    def fail(*_: Any, **__: Any) -> None:
        raise IndexError("no <such> row")

    helpers = {"calibration": "_square", "slices": "_values", "fairness": "_groups", "trend": "_points"}
    helper = helpers.get(picture, "_curves" if picture in ("roc", "precision_recall") else "figure_svg")
    monkeypatch.setattr(course if picture == "learning" else figures, helper, fail)
    history = [{"epoch": 1, "loss": 0.6, "auc": 0.7, "eval_loss": 0.6, "eval_auc": 0.7}]
    trend = [TrendPoint(1, 0.7, None), TrendPoint(2, 0.7, None)]
    report.write(
        tmp_path / "r.html",
        name="dnn",
        found=summary(),
        drawn={"candidate": curves()},
        history=history,
        worst=[],
        trend=trend,
    )

    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    told = html.count("This picture could not be drawn (IndexError: no &lt;such&gt; row).")
    assert told >= 1
    assert told + html.count("<svg") == 7
    assert {one.exc_info[0] for one in caplog.records} == {IndexError}
    assert any(one.getMessage().startswith(f"{picture}: ") for one in caplog.records)
    assert "The models side by side" in html
