"""A window of production beside what its versions were trained on: seen where it differs, quiet where it does not."""

import html
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import production
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from production import Asked
from s3_server import s3_server
from scipy import stats

from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window_drift import WindowDrift
from cd4ml.errors import DocumentError
from cd4ml.monitoring.drift import compare, compare_each
from cd4ml.monitoring.prediction_columns import CLASS, PROBABILITY

ROWS = 1500


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the versions 1 and 2 of `uptake`."""
    folder = tmp_path_factory.mktemp("store")
    for version in (1, 2):
        production.publish(folder, version)
    return folder


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


def compared(folder: Path, store: Path, *asked: Asked, **others: object) -> WindowDrift:
    window = production.window(folder / "window", *asked, **others)
    return compare(window, store=str(store), output=folder / "drift.json")


def check(found: WindowDrift, name: str) -> Check:
    return next(one for one in found.checks if one.name == name)


def named(found: WindowDrift, outcome: Outcome) -> list[str]:
    return [one.name for one in found.checks if one.outcome is outcome]


def with_feature(asked: Asked, name: str, values: object) -> Asked:
    column = values if isinstance(values, pa.Array) else pa.array(values)
    return replace(asked, features={**asked.features, name: column})


def smallest_rate(found: WindowDrift) -> float:
    """The smallest rate of false alarms at which this window is an alarm."""
    comparisons = [one for version in found.by_version for one in (version.inputs, version.predictions) if one]
    told = [one.told_apart.false_alarm_rate for one in comparisons if one.told_apart]
    return min(told + [change.false_alarm_rate for one in comparisons for change in one.changes])


def test_a_window_as_in_training_passes_and_is_written_as_it_is_returned(tmp_path: Path, store: Path, random) -> None:
    found = compared(tmp_path, store, Asked.quietly(random, ROWS))

    assert WindowDrift.read(tmp_path / "drift.json") == found
    assert named(found, Outcome.SKIPPED) == ["flood of one caller"]
    assert {one.outcome for one in found.checks} == {Outcome.PASSED, Outcome.SKIPPED}
    assert (found.model, found.number, found.headline) == ("uptake", 2, "as in training")
    (version,) = found.by_version
    assert (version.version, version.rows, version.compared) == ("1", ROWS, ROWS)
    assert version.reference == "train of version 3"
    assert version.latency_ms == {"blue p50": 2.0, "blue p95": 5.0}
    assert version.inputs.compared == (4000, ROWS)
    assert {change.column for change in version.inputs.changes} == {one.name for one in production.INPUTS}


def test_200_quiet_windows_raise_no_more_alarms_than_stated(tmp_path: Path) -> None:
    """Each against a sample of its own; some have rows enough for a classifier."""
    windows, rate = 200, 0.2
    rates, alarms = [], 0
    for seed in range(windows):
        random = np.random.default_rng((1, seed))
        production.publish(tmp_path / "store", 1, rows=800, seed=seed)
        found = compared(tmp_path, tmp_path / "store", Asked.quietly(random, 120 if seed % 4 == 0 else 99))
        rates.append(smallest_rate(found))
        alarms += bool(found.failed)

    assert alarms <= stats.binom.ppf(0.999, windows, found.false_alarm_rate)
    assert 0 < np.count_nonzero(np.array(rates) <= rate) <= stats.binom.ppf(0.999, windows, rate)


def test_what_one_caller_sends_again_and_again_is_no_drift(tmp_path: Path) -> None:
    rates = []
    for seed in range(30):
        random = np.random.default_rng((2, seed))
        production.publish(tmp_path / "store", 1, rows=800, seed=seed)
        asked = production.repeated(Asked.quietly(random, 99), 10)
        found = compared(tmp_path, tmp_path / "store", asked)
        rates.append(smallest_rate(found))

    assert np.count_nonzero(np.array(rates) <= 0.2) <= stats.binom.ppf(0.999, len(rates), 0.2)
    assert (found.by_version[0].rows, found.by_version[0].callers, found.by_version[0].compared) == (990, 99, 99)


DRIFTS = {
    "drift of age": ("age", lambda random, rows: np.round(random.uniform(38, 82, rows)), "`age`: the mean is 60"),
    "drift of spent": (
        "spent",
        lambda random, rows: random.lognormal(3, 1, rows) * 100,
        "`spent` is missing in 0 % of the rows",
    ),
    "drift of region": (
        "region",
        lambda random, rows: random.choice(["north", "south", "east"], rows),
        "`region`: ",
    ),
    "drift of member": (
        "member",
        lambda random, rows: pa.array(random.random(rows) < 0.3, mask=random.random(rows) < 0.4),
        "`member` is missing in 4",
    ),
    "drift of offered": (
        "offered",
        lambda random, rows: production.moments(-86_400.0 * random.integers(1, 30, rows)),
        "`offered`: all times are midnight now",
    ),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_planted_drift_of_an_input_is_found_and_said_in_words(tmp_path: Path, store: Path, random, name: str) -> None:
    column, planted, said = DRIFTS[name]
    found = compared(tmp_path, store, with_feature(Asked.quietly(random, ROWS), column, planted(random, ROWS)))

    drifted = check(found, f"{name} in version 1")
    assert drifted.outcome is Outcome.FAILED
    assert drifted.reason.startswith(said)
    others = [one for one in DRIFTS if one != name]
    assert {check(found, f"{one} in version 1").outcome for one in others} == {Outcome.PASSED}
    assert check(found, "drift of predictions: probability in version 1").outcome is Outcome.PASSED


def test_other_predictions_than_in_evaluation_are_drift(tmp_path: Path, store: Path, random) -> None:
    quiet = Asked.quietly(random, ROWS)
    found = compared(tmp_path, store, replace(quiet, given=quiet.given**0.5))

    assert named(found, Outcome.FAILED) == ["drift of predictions: probability in version 1"]
    assert "the mean is 0.5" in found.failed[0].reason


def test_one_and_the_same_prediction_for_all_is_drift(tmp_path: Path, store: Path, random) -> None:
    found = compared(tmp_path, store, replace(Asked.quietly(random, ROWS), given=np.full(ROWS, 0.25)))

    assert "`probability` is 0.25 wherever it is there" in found.failed[0].reason


def test_of_several_classes_the_predicted_one_is_compared_and_how_sure_it_is(tmp_path: Path, random) -> None:
    production.publish(tmp_path / "store", problem="multiclass")
    quiet = Asked.quietly(random, ROWS, classes=3)
    shuffled = replace(quiet, given=quiet.given[:, [2, 0, 1]])
    first = replace(quiet, given=np.tile([0.9, 0.05, 0.05], (ROWS, 1)))
    names = [f"drift of predictions: {name} in version 1" for name in (CLASS, PROBABILITY)]

    same = compared(tmp_path, tmp_path / "store", shuffled, outputs=("game", "book", "film"))
    one = compared(tmp_path, tmp_path / "store", first, outputs=production.CLASSES["multiclass"])
    other = compared(tmp_path, tmp_path / "store", quiet, outputs=("a", "b", "c"))

    assert [check(same, name).outcome for name in names] == [Outcome.PASSED] * 2
    assert [check(one, name).outcome for name in names] == [Outcome.FAILED] * 2
    assert check(other, "drift of predictions in version 1").outcome is Outcome.ERROR
    assert "name the outputs ['a', 'b', 'c']" in check(other, "drift of predictions in version 1").reason


def test_what_training_never_had_is_told_with_its_share(tmp_path: Path, store: Path, random) -> None:
    quiet, some = Asked.quietly(random, ROWS), random.random(ROWS) < 0.06
    asked = with_feature(
        quiet, "region", np.where(some, "mars", quiet.features["region"].to_numpy(zero_copy_only=False))
    )
    asked = with_feature(asked, "age", np.where(some, 120.0, quiet.features["age"].to_numpy()))
    asked = with_feature(asked, "member", np.where(some, "perhaps", "true"))
    found = compared(tmp_path, store, asked)

    unseen = check(found, "unseen categories of region in version 1")
    assert unseen.outcome is Outcome.FAILED
    assert unseen.value == pytest.approx(some.mean())
    assert unseen.interval[0] < some.mean() < unseen.interval[1]
    assert check(found, "values of age outside training's range in version 1").outcome is Outcome.FAILED
    assert "no boolean" in check(found, "unreadable values of member in version 1").reason
    region = next(one for one in found.by_version[0].skew if one.feature == "region")
    assert region.unseen.value == pytest.approx(some.mean())
    assert region.missing_before == 0


def test_a_value_that_training_always_had_may_not_be_missing(tmp_path: Path, store: Path, random) -> None:
    quiet = Asked.quietly(random, ROWS)
    asked = with_feature(quiet, "age", pa.array(quiet.features["age"].to_numpy(), mask=random.random(ROWS) < 0.06))
    found = compared(tmp_path, store, asked)

    assert named(found, Outcome.FAILED) == ["missing values of age in version 1"]
    assert "`age`, which training always had" in found.failed[0].reason


def test_one_value_that_cannot_be_read_hides_none_that_are_missing(tmp_path: Path, store: Path, random) -> None:
    quiet = Asked.quietly(random, ROWS)
    given = np.where(random.random(ROWS) < 0.06, None, quiet.features["age"].to_numpy().astype(str))
    asked = with_feature(quiet, "age", ["a lot", *given[1:]])
    found = compared(tmp_path, store, asked)

    assert named(found, Outcome.FAILED) == ["missing values of age in version 1"]
    assert check(found, "unreadable values of age in version 1").outcome is Outcome.PASSED


def test_a_feature_of_ever_new_values_is_no_skew(tmp_path: Path, random) -> None:
    store, rows = tmp_path / "store", 2000
    production.publish(store, rows=rows)
    names = np.array([f"v{place}" for place in range(10_000)])
    shares = 1 / np.arange(1, len(names) + 1)

    def drawn() -> np.ndarray:
        return random.choice(names, rows, p=shares / shares.sum())

    before = drawn()
    production.keep(store, "region", before)
    found = compared(tmp_path, store, with_feature(Asked.quietly(random, rows), "region", drawn()))

    unseen = check(found, "unseen categories of region in version 1")
    assert unseen.value > 0.1
    assert unseen.outcome is Outcome.PASSED


def test_each_version_is_held_against_its_own_training(tmp_path: Path, store: Path, random) -> None:
    other = with_feature(Asked.quietly(random, ROWS, "2"), "age", random.uniform(40, 90, ROWS))
    found = compared(tmp_path, store, Asked.quietly(random, ROWS), other)

    assert [one.version for one in found.by_version] == ["1", "2"]
    assert check(found, "drift of age in version 1").outcome is Outcome.PASSED
    assert check(found, "drift of age in version 2").outcome is Outcome.FAILED
    assert [one.name for one in found.failed] == ["drift of age in version 2"]
    assert found.headline == "1 change, as drift of age in version 2"


def test_columns_that_now_go_together_are_drift_of_the_rows_as_a_whole(tmp_path: Path, store: Path, random) -> None:
    quiet = Asked.quietly(random, ROWS)
    age = pa.array(np.sort(quiet.features["age"].to_numpy()))
    spent = np.sort(random.lognormal(3, 1, ROWS).round()).astype(np.int64)
    together = {**quiet.features, "age": age, "spent": pa.array(spent, mask=random.random(ROWS) < 0.1)}
    found = compared(tmp_path, store, replace(quiet, features=together))

    assert named(found, Outcome.FAILED) == ["drift of the rows as a whole in version 1"]
    assert "`spent`" in found.failed[0].reason
    assert "`age`" in found.failed[0].reason


def test_the_false_alarms_of_a_window_are_divided_among_its_versions(tmp_path: Path, store: Path, random) -> None:
    one, other = (Asked.quietly(random, 400, version) for version in "12")
    one = with_feature(one, "age", np.round(random.uniform(24, 84, 400)))

    alone, beside = compared(tmp_path, store, one), compared(tmp_path, store, one, other)
    rates = [
        {change.column: change.false_alarm_rate for change in found.by_version[0].inputs.changes}
        for found in (alone, beside)
    ]

    assert rates[0]["age"] < 0.1
    assert rates[1] == {column: pytest.approx(min(1, 2 * rate)) for column, rate in rates[0].items()}


@pytest.mark.parametrize(("rows", "lacking"), [(10, 315), (200, 125)])
def test_too_few_rows_say_how_many_more(tmp_path: Path, store: Path, random, rows: int, lacking: int) -> None:
    found = compared(tmp_path, store, Asked.quietly(random, rows))

    assert named(found, Outcome.FAILED) == []
    name = "drift of inputs in version 1" if rows < 30 else "drift of age in version 1"
    assert check(found, name).outcome is Outcome.INCONCLUSIVE
    assert f"{lacking} more are needed" in check(found, name).reason


def test_few_rows_are_enough_where_all_has_changed(tmp_path: Path, store: Path, random) -> None:
    found = compared(tmp_path, store, with_feature(Asked.quietly(random, 60), "age", random.uniform(200, 300, 60)))

    assert check(found, "drift of age in version 1").outcome is Outcome.FAILED


def test_features_that_are_not_captured_are_passed_over_in_words(tmp_path: Path, store: Path, random) -> None:
    quiet = Asked.quietly(random, ROWS)
    some = replace(quiet, features={"age": quiet.features["age"], "shoe": quiet.features["age"]})

    found, nothing = (compared(tmp_path, store, one) for one in (some, replace(quiet, features={})))

    assert check(found, "drift of age in version 1").outcome is Outcome.PASSED
    assert check(found, "drift of region in version 1").outcome is Outcome.SKIPPED
    assert "`region` is not captured" in check(found, "drift of region in version 1").reason
    assert found.by_version[0].unused == ("shoe",)
    assert nothing.by_version[0].inputs is None
    assert check(nothing, "drift of predictions: probability in version 1").outcome is Outcome.PASSED


def test_rows_without_any_feature_are_told_and_are_no_missing_values(tmp_path: Path, store: Path, random) -> None:
    half, bare = Asked.quietly(random, ROWS), np.arange(ROWS) % 2 == 0
    window = production.window(tmp_path / "window", half)
    rows = pq.read_table(window / "rows.parquet")
    features = rows["features"].combine_chunks()
    masked = pa.StructArray.from_arrays(features.flatten(), fields=list(features.type), mask=pa.array(bare))
    place = rows.column_names.index("features")
    pq.write_table(rows.set_column(place, "features", masked), window / "rows.parquet")

    found = compare(window, store=str(store), output=tmp_path / "drift.json")

    assert found.failed == []
    told = check(found, "rows without features in version 1")
    assert told.outcome is Outcome.SKIPPED
    assert "of 750 of 1,500 rows no feature was captured" in told.reason
    (version,) = found.by_version
    assert (version.inputs.compared[1], version.predictions.compared[1]) == (750, ROWS)
    assert next(one for one in version.skew if one.feature == "age").missing.value == 0


def test_hashes_of_personal_data_are_passed_over(tmp_path: Path, store: Path, random) -> None:
    hashes = [sha256(str(place).encode()).hexdigest() if place % 9 else None for place in range(ROWS)]
    found = compared(tmp_path, store, with_feature(Asked.quietly(random, ROWS), "age", hashes))

    assert check(found, "drift of age in version 1").outcome is Outcome.SKIPPED
    assert found.failed == []


def test_hashes_of_what_nobody_calls_personal_are_not_as_in_training(tmp_path: Path, store: Path, random) -> None:
    hashes = [sha256(str(place % 7).encode()).hexdigest() for place in range(ROWS)]
    found = compared(tmp_path, store, with_feature(Asked.quietly(random, ROWS), "region", hashes))

    one = check(found, "drift of region in version 1")
    assert (one.outcome, found.outcome, found.headline) == ("inconclusive", "inconclusive", "inconclusive")
    assert "which neither training had nor the contract marks as personal" in one.reason
    assert check(found, "drift of age in version 1").outcome is Outcome.PASSED


def test_hours_of_the_day_are_not_compared_where_the_window_has_not_all(tmp_path: Path, store: Path, random) -> None:
    found = compared(tmp_path, store, Asked.quietly(random, ROWS), hours=1)

    assert check(found, "drift of offered in version 1").outcome is Outcome.SKIPPED
    (age,) = found.by_version[0].ages
    assert (age.column, age.median, age.p95) == ("offered", pytest.approx(15, abs=1), pytest.approx(28.5, abs=0.5))


def test_a_window_without_rows_is_inconclusive(tmp_path: Path, store: Path, random) -> None:
    nobody, refused = (
        compared(tmp_path, store),
        compared(tmp_path, store, replace(Asked.quietly(random, 0), statuses={"400": 180, "503": 20})),
    )

    assert [(one.name, one.outcome) for one in nobody.checks] == [("rows", Outcome.INCONCLUSIVE)]
    assert nobody.headline == "no requests"
    assert named(refused, Outcome.FAILED) == ["errors in version 1"]
    assert "100 % of 200 answers are errors (180 of status 400, 20 of status 503)" in refused.failed[0].reason
    assert "has the schema changed on the side of callers?" in refused.failed[0].reason
    assert refused.by_version[0].rows == 0


def test_errors_now_and_then_pass(tmp_path: Path, store: Path, random) -> None:
    found = compared(tmp_path, store, replace(Asked.quietly(random, 400), statuses={"200": 400, "503": 8}))

    assert check(found, "errors in version 1").outcome is Outcome.PASSED
    assert found.by_version[0].errors == 8


def test_a_flood_of_one_caller_is_told_and_does_not_drift_all(tmp_path: Path, store: Path, random) -> None:
    quiet = Asked.quietly(random, 2 * ROWS)
    loud = np.arange(2 * ROWS) < ROWS + 10
    ages = np.where(loud, 80.0, quiet.features["age"].to_numpy())
    units = ["loud" if one else f"caller-{place}" for place, one in enumerate(loud)]
    found = compared(tmp_path, store, replace(with_feature(quiet, "age", ages), units=units))

    assert named(found, Outcome.FAILED) == ["flood of one caller"]
    assert "the caller loud sent 50 % of 3,000 rows" in found.failed[0].reason


def test_a_version_that_is_not_published_is_an_error(tmp_path: Path, store: Path, random) -> None:
    quiet = Asked.quietly(random, 50)
    found = compared(tmp_path, store, replace(quiet, version="7"), replace(quiet, version=""))

    assert named(found, Outcome.ERROR) == ["drift in version (unknown)", "drift in version 7"]


def test_a_version_that_keeps_nothing_says_what_to_do(tmp_path: Path, random) -> None:
    production.publish(tmp_path / "store", keeps=False)
    found = compared(tmp_path, tmp_path / "store", Asked.quietly(random, ROWS))

    for name in ("drift of inputs in version 1", "drift of predictions in version 1"):
        assert check(found, name).outcome is Outcome.SKIPPED
        assert "publish the model again" in check(found, name).reason
    assert found.headline.startswith("not compared in version 1: the version keeps no rows that it was trained on;")
    assert found.uncompared == (found.headline,)


def test_each_window_that_was_handed_on_is_compared_in_a_file_of_its_own(tmp_path: Path, store: Path, random) -> None:
    for name, rows in (("first", 0), ("second", 400)):
        production.window(tmp_path / "windows" / name, Asked.quietly(random, rows))
    (tmp_path / "none").mkdir()

    found = compare_each(
        tmp_path / "windows", store=str(store), output=tmp_path / "drift", report=tmp_path / "drift.html"
    )
    nothing = compare_each(
        tmp_path / "none", store=str(store), output=tmp_path / "nothing", report=tmp_path / "nothing.html"
    )

    read = [WindowDrift.read(tmp_path / "drift" / f"{name}.json") for name in ("first", "second")]
    assert found.windows == tuple(read)
    assert found.metadata["headline"] == "as in training (the last of 2 windows)"
    assert found.metrics["rows"] == 400
    assert (nothing.metadata["headline"], nothing.metrics) == ("no window is due", {})
    report = (tmp_path / "drift.html").read_text()
    assert "uptake: what differs from training" in report
    assert all(one.reason in html.unescape(report) for one in found.windows[-1].checks)
    assert "No window is due" in (tmp_path / "nothing.html").read_text()


def test_a_window_is_compared_with_versions_in_a_bucket(
    tmp_path: Path, store: Path, random, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = production.window(tmp_path / "window", Asked.quietly(random, 400), Asked.quietly(random, 40, "9"))
    with s3_server() as s3:
        s3.objects = {
            f"here/{file.relative_to(store)}": file.read_bytes() for file in store.rglob("*") if file.is_file()
        }
        variables = {"ENDPOINT_URL": s3.url, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "here"}
        for name, value in variables.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        found = compare(window, store="s3://cd4ml/here/", output=tmp_path / "drift.json")

    assert found == compare(window, store=str(store), output=tmp_path / "drift.json")
    assert named(found, Outcome.ERROR) == ["drift in version 9"]


def test_what_is_no_window_is_told(tmp_path: Path, store: Path) -> None:
    with pytest.raises(DocumentError, match="collect the window again"):
        compare(tmp_path, store=str(store), output=tmp_path / "drift.json")
