"""A window is measured by the code of the evaluation, and held against the limits that let the version in."""

import html
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from evaluated_samples import GRADES, make_grades, make_prices, make_table
from windows_measured import BEGIN, DAY, Rows, check, collect, measured, publish

from cd4ml.contracts.evaluation import OVERALL
from cd4ml.contracts.verdict import Outcome, Verdict
from cd4ml.contracts.window import Window
from cd4ml.contracts.window_quality import WindowQuality
from cd4ml.monitoring import monitored, quality, reliance
from cd4ml.monitoring.limits_held import REMEDY
from cd4ml.monitoring.monitored import Judged
from cd4ml.storage import open_store

LIMITS = {
    "auc": {"min": 0.6, "slices": ["overall", "region=*"]},
    "accuracy@0.5": {"min": 0.5, "baseline": {"min_change": -0.2}},
    "latency_ms": {"max": 10_000},
    "fairness": {"region": {"selection_rate": {"max_gap": 0.9}}},
}


def probabilities(table: Any) -> np.ndarray:
    """As the candidate of `evaluated` gives them."""
    income, region = (table.column(name).to_numpy() for name in ("income", "region"))
    return (1 / (1 + np.exp(2 * np.where(region == "south", 1, 0) - 2 * income))).astype(np.float32)


def asked(rows: int = 4000, **others: Any) -> Rows:
    """Rows as the candidate was evaluated on; all have labels."""
    table = make_table(rows)
    texts = [str(one).lower() for one in table.column("took").to_pylist()]
    features = {name: table.column(name).to_pylist() for name in ("region", "level")}
    return replace(Rows(features, ["probability"], probabilities(table), texts), **others)


@pytest.fixture
def store(tmp_path: Path, evaluated: Any, models: Any) -> Path:
    publish(tmp_path / "store", evaluated, models["candidate"], LIMITS)
    return tmp_path / "store"


def test_the_rows_that_were_evaluated_measure_as_they_were_evaluated(store: Path, evaluated: Any) -> None:
    found, folder = evaluated
    table = pq.read_table(folder / "test")
    rows = asked(len(table))

    (version,) = measured(store, rows).by_version

    then = found.summary.of("candidate")
    assert {one.slice for one in version.slices} == then.keys()
    for one in version.slices:
        assert one.rows == then[one.slice].rows
        assert one.metrics == pytest.approx(then[one.slice].metrics)
        assert one.intervals.keys() == then[one.slice].intervals.keys()
        for metric, interval in one.intervals.items():
            assert interval == pytest.approx(then[one.slice].intervals[metric])
    assert [one.gap for one in version.fairness] == [
        pytest.approx(one.gap) for one in found.summary.fairness if one.model == "candidate"
    ]
    assert {one.word for one in version.moved} <= {"as evaluated", "unknown"}


def test_the_limits_that_let_the_version_in_are_held(store: Path) -> None:
    found = measured(store, asked())

    assert found.ripe
    assert check(found, "auc on region=south").outcome is Outcome.PASSED
    assert check(found, "accuracy@0.5 on overall").interval is not None
    assert check(found, "change of accuracy@0.5 against the baseline").outcome is Outcome.SKIPPED
    assert "another model" in check(found, "change of accuracy@0.5 against the baseline").reason
    assert check(found, "latency_ms of the model").outcome is Outcome.SKIPPED
    assert check(found, "selection_rate between groups of region at 0.5: the gap").outcome is Outcome.PASSED
    assert found.outcome in (Outcome.PASSED, Outcome.INCONCLUSIVE)  # the isle is small


def test_a_model_that_decayed_fails_and_is_said_to_be_worse(store: Path) -> None:
    rows = asked()
    wrong = [("true" if one == "false" else "false") if place % 2 else one for place, one in enumerate(rows.labels)]

    found = measured(store, replace(rows, labels=wrong))

    assert check(found, "auc on overall").outcome is Outcome.FAILED
    (version,) = found.by_version
    assert next(one.word for one in version.moved if (one.metric, one.slice) == ("auc", OVERALL)) == "worse"
    assert found.outcome is Outcome.FAILED


def test_a_model_that_answers_the_same_to_all_fails_where_rows_are_enough(store: Path) -> None:
    collapsed = replace(asked(3000), predictions=np.full(3000, 0.1, np.float32))
    inverted = replace(asked(3000), predictions=(np.array(asked(3000).labels) == "false").astype(np.float32))

    failed, upside_down = measured(store, collapsed, day=1), measured(store, inverted, day=2)
    few = measured(store, replace(asked(200), predictions=np.full(200, 0.1, np.float32)), day=3)

    assert check(failed, "auc on overall").outcome is Outcome.FAILED
    assert check(failed, "auc on overall").reason == f"auc on overall is 0.5, below the limit 0.6; {REMEDY}"
    assert (check(upside_down, "auc on overall").outcome, check(upside_down, "auc on overall").value) == ("failed", 0)
    assert (check(few, "auc on overall").outcome, check(few, "auc on overall").value) == ("inconclusive", 0.5)


def test_what_a_few_callers_show_with_many_rows_may_be_chance(store: Path) -> None:
    rows = asked()
    wrong = ["true" if one == "false" else "false" for one in rows.labels]
    units = [str(place % 20) for place in range(len(wrong))]

    found = measured(store, replace(rows, labels=wrong, more={"unit": units}))

    told = check(found, "accuracy@0.5 on overall")
    assert told.outcome is Outcome.INCONCLUSIVE
    assert told.reason.endswith("may be chance: all rows are of 20 callers, and one row of each does not show it")


def test_before_labels_are_ripe_an_estimate_stands_in_and_is_settled_later(store: Path) -> None:
    rows = asked()
    nothing = replace(rows, labels=[None] * len(rows.labels))

    first = measured(store, nothing, looked=timedelta(hours=1))
    later = measured(store, rows, looked=40 * DAY)

    assert not first.ripe
    early = check(first, "auc on overall")
    assert early.outcome is Outcome.INCONCLUSIVE
    assert early.value is None
    assert "no row has a label yet" in early.reason
    assert early.reason.endswith(" until then")
    assert "estimated to be" in early.reason
    before, after = (one.by_version[0].estimated("label_rate", "region=north") for one in (first, later))
    assert before is not None
    assert after is not None
    assert (before.value, before.interval, before.was) == (after.value, after.interval, None)
    assert after.was == pytest.approx(later.by_version[0].measured("label_rate", "region=north"))
    assert after.said == f"estimated {after.value:.4g}, was {after.was:.4g}"
    assert after.within  # in the north the candidate is calibrated, in the south it is not
    assert later.by_version[0].estimated("label_rate", "region=south").within is False


def test_labels_that_are_not_ripe_give_no_verdict(store: Path) -> None:
    found = measured(store, asked(), looked=timedelta(minutes=5))

    one = check(found, "auc on overall")
    assert one.outcome is Outcome.INCONCLUSIVE
    assert "4,000 of 4,000 rows that have a label so far" in one.reason
    assert found.by_version[0].estimated("auc").was is None


def test_labels_above_a_threshold_alone_are_no_verdict(store: Path) -> None:
    rows = asked()
    accepted = [one if given > 0.5 else None for one, given in zip(rows.labels, rows.predictions, strict=True)]

    found = measured(store, replace(rows, labels=accepted))

    one = check(found, "accuracy@0.5 on overall")
    assert (one.outcome, one.value) == (Outcome.INCONCLUSIVE, None)
    assert "goes by what was predicted" in one.reason
    assert "it is estimated to be" in one.reason
    assert "until then" not in one.reason
    assert found.by_version[0].slices == ()


def test_an_arm_that_explores_makes_the_verdict_possible(store: Path) -> None:
    rows = asked(8000)
    explored = np.random.default_rng(3).random(8000) < 0.25
    known = explored | (rows.predictions > 0.5)
    labels = [one if there else None for one, there in zip(rows.labels, known, strict=True)]
    arms = np.where(explored, "explore", "champion")

    found = measured(store, replace(rows, labels=labels, arm=arms, propensity=np.where(explored, 0.25, 0.75)))

    one = check(found, "accuracy@0.5 on overall")
    truth = np.mean((rows.predictions > 0.5) == (np.array(rows.labels) == "true"))
    assert one.outcome is Outcome.PASSED
    assert one.interval[0] < truth < one.interval[1]
    assert found.by_version[0].labelling.used == explored.sum()


def test_a_model_that_changed_within_the_window_is_judged_by_version(store: Path, evaluated: Any, models: Any) -> None:
    publish(store, evaluated, models["candidate"], {"auc": {"min": 0.6}}, version=2)
    rows = asked()
    later = np.arange(4000) >= 3000

    found = measured(store, replace(rows, version=np.where(later, "2", "1"), arm=np.where(later, "new", "old")))

    assert [(one.version, one.rows, one.arms) for one in found.by_version] == [
        ("1", 3000, ("old",)),
        ("2", 1000, ("new",)),
    ]
    assert check(found, "version 2: auc on overall").outcome is Outcome.PASSED
    assert "version 1: auc on region=north" in {one.name for one in found.checks}
    assert found.headline.startswith("version 1: AUC 0.")


@pytest.mark.parametrize(("version", "named"), [("canary", "canary"), ("7", "7"), (None, "")])
def test_what_is_not_published_is_told(store: Path, version: str | None, named: str) -> None:
    found = measured(store, asked(50, version=version))

    assert check(found, "version").outcome is Outcome.ERROR
    assert f"{named!r} answered, and is no published version" in check(found, "version").reason


@pytest.mark.parametrize("rows", [None, 0])
def test_a_window_without_rows_is_inconclusive(store: Path, rows: int | None) -> None:
    found = measured(store, rows)

    assert (found.outcome, found.headline) == (Outcome.INCONCLUSIVE, "nothing was predicted")


def test_a_day_of_one_class_is_inconclusive_where_two_are_needed(store: Path) -> None:
    rows = asked(400)

    found = measured(store, replace(rows, labels=["true"] * 400))

    assert check(found, "auc on overall").outcome is Outcome.INCONCLUSIVE
    assert "all of one class" in check(found, "auc on overall").reason
    assert check(found, "accuracy@0.5 on overall").value is not None


def test_answers_that_are_no_probability_fail_and_are_left_out(store: Path) -> None:
    rows = asked()
    given = rows.predictions.copy()
    given[:7] = np.nan
    given[7] = 1.5

    found = measured(store, replace(rows, predictions=given))

    assert check(found, "answers").outcome is Outcome.FAILED
    assert "8 of 4,000 rows have no probabilities" in check(found, "answers").reason
    assert found.by_version[0].slices[0].rows == 3992


def test_a_value_that_was_not_evaluated_is_a_slice_too_and_a_flood_of_them_is_one(store: Path) -> None:
    rows = asked()
    region = list(rows.features["region"])
    region[10:1010] = ["west"] * 1000
    region[1010:1510] = [f"no-{place}" for place in range(500)]
    region[1510:1530] = ["east"] * 20

    found = measured(store, replace(rows, features={**rows.features, "region": region}))

    assert check(found, "auc on region=west").outcome is Outcome.PASSED
    assert "of its 20 rows count, 30 are needed: take a wider window)" in check(found, "auc on region=east").reason
    slices = {one.slice: one.rows for one in found.by_version[0].slices}
    assert len(slices) <= 104
    assert slices["region=(other)"] >= 400
    assert "region=west" not in {one.slice for one in found.by_version[0].moved}


def test_a_blank_and_a_value_that_is_not_there_are_one_slice(store: Path) -> None:
    rows = asked(500)
    region = ["", None, *rows.features["region"][2:]]

    found = measured(store, replace(rows, features={**rows.features, "region": region}))

    slices = {one.slice: one.rows for one in found.by_version[0].slices}
    assert slices["region=(missing)"] == 2
    assert "region=" not in slices


def test_a_column_that_is_not_captured_is_told(store: Path) -> None:
    rows = asked()

    found = measured(store, replace(rows, features={"level": rows.features["level"]}))

    one = check(found, "auc on region=*")
    assert one.outcome is Outcome.INCONCLUSIVE
    assert "region is not captured; name it in `captured_features`" in one.reason
    assert check(found, "auc on overall").outcome is Outcome.PASSED


def test_labels_of_no_class_of_the_version_are_told(store: Path) -> None:
    rows = asked()

    found = measured(store, replace(rows, labels=["perhaps", *rows.labels[1:]]))

    assert "1 label of 4,000 rows are no class" in check(found, "labels").reason


def test_a_first_model_keeps_its_bootstrap_limits(tmp_path: Path, evaluated: Any, models: Any) -> None:
    limits = {"auc": {"champion": {"min_change": -0.01}}, "bootstrap": {"auc": {"min": 0.6}}}
    for number, champion in ((1, ""), (2, "sha256:other")):
        publish(tmp_path / "store", evaluated, models["candidate"], limits, version=number, champion=champion)
    rows = asked(2000)

    first, later = (
        measured(tmp_path / "store", replace(rows, version=number), day=day) for day, number in enumerate(("1", "2"))
    )

    assert check(first, "auc on overall").outcome is Outcome.PASSED
    assert {one.outcome for one in later.checks} == {Outcome.SKIPPED}


def test_a_number_is_measured_and_has_no_estimate(tmp_path: Path, prices: Any, price_models: Any) -> None:
    publish(tmp_path / "store", prices, price_models["candidate"], {"root_mean_squared_error": {"max": 50}})
    table = make_prices(2000)
    income, region = (table.column(name).to_numpy() for name in ("income", "region"))
    given = 10 * income + np.where(region == "south", 9, 0) + 100
    labels = [str(one) for one in table.column("price").to_pylist()]
    rows = Rows({"region": region.tolist(), "level": table.column("level").to_pylist()}, ["prediction"], given, labels)

    found = measured(tmp_path / "store", rows)

    error = check(found, "root_mean_squared_error on overall")
    assert error.outcome is Outcome.PASSED
    truth = np.sqrt(np.mean((given.astype(np.float32) - table.column("price").to_numpy()) ** 2))
    assert error.value == pytest.approx(truth, rel=1e-5)
    (version,) = found.by_version
    assert (version.estimates, version.reliance.outcome) == ((), Outcome.SKIPPED)


def test_errors_that_are_all_one_fail_where_rows_are_enough(tmp_path: Path, prices: Any, price_models: Any) -> None:
    limits = {"root_mean_squared_error": {"max": 30_000}, "r_squared": {"min": 0.1}}
    publish(tmp_path / "store", prices, price_models["candidate"], limits)
    table = make_prices(400)
    texts = {name: table.column(name).to_pylist() for name in ("region", "level")}
    rows = Rows(texts, ["prediction"], np.full(400, 1e5), ["5.1"] * 400)

    found = measured(tmp_path / "store", rows)

    one, of_one_label = (check(found, f"{name} on overall") for name in limits)
    assert (one.outcome, one.interval) == (Outcome.FAILED, None)
    assert one.reason == f"root_mean_squared_error on overall is 99,995, above the limit 30,000; {REMEDY}"
    assert of_one_label.outcome is Outcome.INCONCLUSIVE
    assert "it is not defined on 400 rows that all have one label" in of_one_label.reason


def test_several_classes_are_measured_whatever_order_answers_name_them_in(
    tmp_path: Path, grades: Any, grade_models: Any
) -> None:
    limits = {
        "top_1_accuracy": {"min": 0.3, "slices": ["overall", "region=*"]},
        "class_recall@gold": {"min": 0.05},
        "macro_auc": {"min": 0.5},
    }
    publish(tmp_path / "store", grades, grade_models["candidate"], limits)
    table = make_grades(3000)
    income = 2 * table.column("income").to_numpy().astype(float)
    region = table.column("region").to_numpy()
    scores = np.exp(np.stack([0 * income, income, 2 * income - 1 - np.where(region == "south", 2, 0)], axis=1))
    given = scores / scores.sum(axis=1, keepdims=True)
    labels = table.column("grade").to_pylist()
    rows = Rows({"region": region.tolist(), "level": [1] * 3000}, list(GRADES)[::-1], given[:, ::-1], labels)

    found = measured(tmp_path / "store", rows)

    right = np.mean(np.array(GRADES)[given.argmax(axis=1)] == np.array(labels))
    assert check(found, "top_1_accuracy on overall").value == pytest.approx(right)
    assert check(found, "class_recall@gold on overall").outcome is Outcome.PASSED
    north = found.by_version[0].estimated("top_1_accuracy", "region=north")
    assert north is not None
    assert north.within

    of_gold = check(measured(tmp_path / "store", replace(rows, labels=["gold"] * 3000), day=1), "macro_auc on overall")
    assert of_gold.outcome is Outcome.INCONCLUSIVE
    assert "it is not defined on 3,000 rows that are all of one class" in of_gold.reason


def test_each_window_that_was_handed_on_is_measured(store: Path, tmp_path: Path) -> None:
    (tmp_path / "handed").mkdir()
    for day in (0, 1):
        folder = collect(store, asked(600), day=day)
        folder.rename((tmp_path / "handed").joinpath(Window.read(folder / "window.json").key))

    report = tmp_path / "quality.html"
    found = quality.measure_each(tmp_path / "handed", store=str(store), output=tmp_path / "found", report=report)

    keys = [one.window for one in found.windows]
    assert sorted(one.stem for one in (tmp_path / "found").iterdir()) == keys == sorted(keys)
    assert found.metadata["headline"].endswith("(the last of 2 windows)")
    assert found.metrics["auc"] == found.windows[1].by_version[0].measured("auc")
    assert "uptake: how right it is" in report.read_text()
    assert all(one.reason in html.unescape(report.read_text()) for one in found.windows[-1].checks)


def keep(store: Path, found: WindowQuality, day: int) -> None:
    """Keeps what was found as that of another day's window, which was collected too."""
    collect(store, asked(200), day=day)
    begin = BEGIN + day * DAY
    window = Window("uptake", begin.isoformat(), (begin + DAY).isoformat(), 1, "sha256:w", (), {}, 0)
    judged = Judged(window, Verdict("check_window", {}, ()), quality=replace(found, window=window.key))
    monitored.keep(open_store(str(store)), judged)


def test_estimates_that_held_in_other_windows_are_relied_on_and_others_are_not(store: Path) -> None:
    first = measured(store, asked())
    (version,) = first.by_version
    assert version.reliance.windows == 0
    assert "when the model was evaluated, its mean probability was" in version.reliance.reason
    for day in (1, 2, 3):
        kept = [replace(one, within=day == 1) for one in version.estimates]
        keep(store, replace(first, by_version=(replace(version, estimates=tuple(kept)),)), day)

    relied = measured(store, asked(3000), day=4).by_version[0].reliance

    assert (relied.windows, relied.misses) == (3, 2)
    assert relied.reason.startswith("in 1 of 3 earlier windows they were no further than chance from what came")
    assert relied.outcome is Outcome.PASSED  # two of three may still be chance
    missed = replace(first, by_version=(replace(version, estimates=tuple(kept)),))
    keep(store, missed, 9)
    assert measured(store, asked(1000), day=5).by_version[0].reliance.windows == 3  # what is later tells of nothing
    keep(store, missed, 6)
    assert measured(store, asked(2000), day=7).by_version[0].reliance.outcome is Outcome.FAILED


def test_windows_whose_labels_are_not_in_hide_none_of_those_that_tell(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reliance, "WINDOWS", 2)
    first = measured(store, asked())
    (version,) = first.by_version
    told = tuple(replace(one, within=True) for one in version.estimates)
    for day, estimates in enumerate([told, told, told, (), ()], 1):
        keep(store, replace(first, by_version=(replace(version, estimates=estimates),)), day)

    assert measured(store, asked(1000), day=6).by_version[0].reliance.windows == 2


def test_limits_that_are_not_those_of_the_verdict_are_not_held(tmp_path: Path, evaluated: Any, models: Any) -> None:
    publish(tmp_path / "store", evaluated, models["candidate"], LIMITS)
    file = tmp_path / "store/models/uptake/1/version.json"
    file.write_text(file.read_text().replace('"min": 0.6', '"min": 0.1'))

    found = measured(tmp_path / "store", asked(500))

    assert check(found, "limits").outcome is Outcome.ERROR
    assert "are not those of its verdict" in check(found, "limits").reason
