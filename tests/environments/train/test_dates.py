"""Dates as features: their ages and their places in the year, the week and the day."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pytest
from conftest import Inputs, predictions_of, requested
from hypothesis import given
from hypothesis import strategies as st

from cd4ml.contracts import model
from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.moments import MISSING
from cd4ml.errors import TrainingError
from cd4ml.training import date_parts, dates, statistics
from cd4ml.training.statistics import Date, Number
from cd4ml.training.train import train
from cd4ml.training.trainers import Dates

MODELS = ["linear", "dnn", "wide_and_deep", "trees"]
SETTINGS = {"trees": {"trees": 60}}
START = datetime(2023, 1, 1, tzinfo=UTC)
DATES = {"columns": ["bought", "asked"], "since": "asked"}


def orders(rows: int, seed: int) -> pa.Table:
    """Asked on a weekend, at night, in winter or soon after it was bought: each tells the label of a quarter."""
    random = np.random.default_rng(seed)
    asked = [START + timedelta(minutes=int(one)) for one in random.integers(0, 3 * 365 * 24 * 60, rows)]
    ages = random.gamma(1.0, 40.0, rows)
    bought = [at - timedelta(days=age) for at, age in zip(asked, ages, strict=True)]
    said = np.array(
        [
            [at.weekday() >= 5, at.hour < 12, at.month in (11, 12, 1, 2), age < 28]
            for at, age in zip(asked, ages, strict=True)
        ]
    )
    by = random.integers(0, 4, rows)
    took = said[np.arange(rows), by] ^ (random.random(rows) < 0.05)
    return pa.table(
        {
            "bought": pa.array(bought, pa.timestamp("us", "UTC"), mask=random.random(rows) < 0.05),
            "asked": pa.array(asked, pa.timestamp("us", "UTC")),
            "by": [f"b{one}" for one in by],
            "took": took,
        }
    )


def trained(inputs: Inputs, folder: Path, name: str, **settings: Any) -> Path:
    train(requested(inputs, spec={"model": name, **SETTINGS.get(name, {}), **settings}), folder=folder)
    return folder


def area(folder: Path, table: pa.Table) -> float:
    return BINARY.score(table["took"].to_numpy(zero_copy_only=False).astype(np.float32), predictions_of(folder, table))


@pytest.fixture(scope="module")
def inputs(prepare: Callable[..., Inputs]) -> Inputs:
    return prepare(orders(6000, 1), orders(1500, 2), exclude=())


@pytest.fixture(scope="module")
def models(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind, with dates."""
    root = tmp_path_factory.mktemp("dates")
    return {name: trained(inputs, root / name, name, dates=DATES) for name in MODELS}


@pytest.mark.parametrize(("name", "least"), [("linear", 0.62), ("dnn", 0.75), ("wide_and_deep", 0.75), ("trees", 0.8)])
def test_a_model_learns_from_the_age_and_the_place_of_a_date_and_without_them_does_not(models, name, least):
    assert area(models[name], orders(2000, 3)) > least


def test_a_column_of_times_that_is_not_named_is_no_feature(inputs, tmp_path):
    folder = trained(inputs, tmp_path / "model", "linear")

    assert [one.name for one in model.read_contract(folder).inputs] == ["by"]
    assert area(folder, orders(2000, 3)) < 0.6


def test_the_contract_says_what_a_date_is_measured_against(models, inputs, tmp_path):
    table = orders(6000, 1)
    moments = {name: table[name].cast(pa.int64()).drop_null().to_numpy() for name in ("bought", "asked")}
    ranges = {name: (one.min(), one.max()) for name, one in moments.items()}

    bought, asked, _ = model.read_contract(models["dnn"]).inputs
    cycles = ("year", "week", "day")
    assert bought == Input("bought", "date", range=ranges["bought"], since="asked", cycles=cycles)
    assert asked == Input("asked", "date", range=ranges["asked"], cycles=cycles)

    [alone, _] = model.read_contract(trained(inputs, tmp_path / "model", "linear", dates=["bought"])).inputs
    assert alone == Input("bought", "date", range=ranges["bought"], cycles=cycles)


@pytest.fixture(scope="module")
def seen() -> keras.Model:
    """From a date and one that it is measured against to its age, and its places in the year, the week and the day."""
    date = Date(0, 0, True, Number(0, 1, 0, 1, True), "since", ("year", "week", "day"))
    known = {"at": date, "since": Date(0, 0, True, None, "", ())}
    contract = Contract("took", ("no", "yes"), (Input("at", "date"), Input("since", "date")), {})
    raw = {name: keras.Input((), dtype="int64") for name in known}
    [age] = date_parts.ages(contract, known, raw)
    places = date_parts.places(contract, known, raw)
    return keras.Model(list(raw.values()), [age.days, *(one.value for one in places), places[0].known])


def microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


ZONES = st.sampled_from([timezone(timedelta(hours=hours)) for hours in (-11, -5, 0, 1, 14)])
MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)


@given(moment=MOMENTS, since=MOMENTS)
def test_the_parts_of_a_date_are_those_of_the_calendar(seen, moment, since):
    age, day_of_year, weekday, hour, known = (
        float(one[0]) for one in seen([np.array([microseconds(moment)]), np.array([microseconds(since)])])
    )

    moment = moment.astimezone(UTC)
    assert age == pytest.approx((since - moment) / timedelta(days=1), rel=1e-6, abs=1e-9)
    assert day_of_year == moment.replace(year=2000).timetuple().tm_yday - 1
    assert weekday == moment.weekday()
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    assert hour == pytest.approx((moment - midnight) / timedelta(hours=1), abs=1e-5)
    assert known


@pytest.mark.parametrize(
    ("text", "day_of_year", "weekday"),
    [
        ("0001-01-01", 0, 0),
        ("1900-02-28", 58, 2),
        ("1900-03-01", 60, 3),
        ("1969-12-31", 365, 2),
        ("2000-02-29", 59, 1),
        ("2024-02-29", 59, 3),
        ("2024-12-31", 365, 1),
        ("2023-12-31", 365, 6),
        ("9999-12-31", 365, 4),
    ],
)
def test_days_that_a_calendar_can_get_wrong(seen, text, day_of_year, weekday):
    moment = np.array([microseconds(datetime.fromisoformat(text).replace(tzinfo=UTC))])

    _, found, of_week, hour, _ = (float(one[0]) for one in seen([moment, moment]))

    assert (found, of_week, hour) == (day_of_year, weekday, 0)


def test_a_date_that_is_missing_on_either_side_has_no_age(seen):
    age, _, _, _, known = seen([np.array([MISSING, 0, MISSING]), np.array([0, MISSING, MISSING])])

    assert np.isnan(age).all()
    assert known.numpy().tolist() == [False, True, False]


def test_what_preprocessing_takes_of_a_date_is_that_of_the_rows(inputs):
    table = orders(6000, 1)
    known = statistics.read(inputs.statistics_folder)

    found = dates.measured(known, inputs.train_split, Dates(columns=("bought",), since="asked"))["bought"]

    rows = table.filter(table["bought"].is_valid())
    ages = [(one["asked"] - one["bought"]) / timedelta(days=1) for one in rows.select(["bought", "asked"]).to_pylist()]
    assert (found.missing, found.age.missing, found.since) == (True, True, "asked")
    assert found.cycles == ("year", "week", "day")
    assert (found.age.minimum, found.age.maximum) == pytest.approx((min(ages), max(ages)))
    assert (found.age.mean, found.age.deviation) == pytest.approx((np.mean(ages), np.std(ages)))
    assert found.age.quantiles == pytest.approx(np.quantile(ages, np.linspace(0.1, 1, 10), method="inverted_cdf"))


@pytest.mark.parametrize(
    ("moments", "cycles"),
    [
        (["2024-01-01", "2024-12-31"], ("year", "week")),
        (["2023-01-01", "2023-12-31"], ("week",)),
        (["2024-01-01T09:00", "2024-01-07T09:00"], ()),
        (["2024-01-01", "2024-01-02T01:00"], ("day",)),
    ],
)
def test_a_place_in_a_cycle_is_seen_where_the_rows_have_all_of_it(prepare, moments, cycles):
    at = pa.array([datetime.fromisoformat(one) for one in moments], pa.timestamp("us"))
    table = pa.table({"at": at, "took": [True, False]})
    inputs = prepare(table, table)

    known = dates.measured(statistics.read(inputs.statistics_folder), inputs.train_split, Dates(columns=("at",)))

    assert known["at"].cycles == cycles


def test_the_column_that_ages_are_measured_against_is_an_input_and_no_feature_of_its_own(inputs, tmp_path):
    folder = trained(inputs, tmp_path / "model", "linear", dates={"columns": ["bought"], "since": "asked"})
    table = orders(50, 5)
    later = table.set_column(1, "asked", pa.array([one + timedelta(days=3) for one in table["asked"].to_pylist()]))
    nothing = pa.nulls(50, pa.timestamp("us"))

    assert [one.name for one in model.read_contract(folder).inputs] == ["bought", "asked", "by"]
    assert np.abs(predictions_of(folder, table) - predictions_of(folder, later)).max() > 1e-3
    np.testing.assert_array_equal(
        *(predictions_of(folder, one.set_column(0, "bought", nothing)) for one in (table, later))
    )


def test_a_server_gets_the_same_probabilities_from_texts(models, tmp_path):
    table = orders(60, 4).select(["bought", "asked", "by"])
    strange = [
        ("1970-01-01", "1969-12-31T23:59:59Z", datetime(1970, 1, 1), datetime(1969, 12, 31, 23, 59, 59)),
        ("9999-12-31", "", datetime(9999, 12, 31), None),
        ("0001-01-01", "2024-02-29", datetime(1, 1, 1), datetime(2024, 2, 29)),
        (None, "2024-06-01 12:00", None, datetime(2024, 6, 1, 12)),
        (
            "2024-02-29T23:59:59.999999+05:30",
            "2024-03-01T00:00-11:00",
            datetime(2024, 2, 29, 18, 29, 59, 999999),
            datetime(2024, 3, 1, 11),
        ),
    ]
    rows = {name: [one and one.isoformat() for one in table[name].to_pylist()] for name in ("bought", "asked")}
    for place, name in enumerate(rows):
        rows[name] += [one[place] for one in strange]
    rows["by"] = [*table["by"].to_pylist(), *["b0", "b1", "", None, "b3"]]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    bought, asked = (pa.array([one[place] for one in strange], pa.timestamp("us", "UTC")) for place in (2, 3))
    table = pa.concat_tables([table, pa.table({"bought": bought, "asked": asked, "by": rows["by"][-5:]})])
    program = (
        "import json, sys; from pathlib import Path; from cd4ml.serving.served_model import ServedModel\n"
        "rows = json.load(open(sys.argv[1]))\n"
        "for folder in sys.argv[2:]:\n"
        "    served = ServedModel(Path(folder), '')\n"
        "    inputs = served.encoder.inputs(rows, len(rows['by']), 'names')\n"
        "    print(json.dumps(served.predict(inputs).tolist()))"
    )

    python = Path(sys.prefix).parent / "serve" / "bin" / "python"
    answers = subprocess.check_output([python, "-c", program, tmp_path / "rows.json", *models.values()], text=True)

    for folder, answer in zip(models.values(), answers.splitlines(), strict=True):
        np.testing.assert_allclose(json.loads(answer), predictions_of(folder, table), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_the_type_of_a_column_and_its_zone_change_no_prediction(models, name):
    table = orders(50, 6)
    midnights = [one and one.replace(hour=0, minute=0, second=0, microsecond=0) for one in table["bought"].to_pylist()]
    moments = pa.array(midnights, pa.timestamp("us", "UTC"))

    found = [
        predictions_of(models[name], table.set_column(0, "bought", one))
        for one in (
            moments,
            moments.cast(pa.timestamp("us")),
            moments.cast(pa.timestamp("ns", "Asia/Kolkata")),
            moments.cast(pa.timestamp("us")).cast(pa.date32()),
            pa.array([one and one.isoformat() for one in midnights]),
        )
    ]

    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])


@pytest.mark.parametrize("name", MODELS)
def test_missing_dates_and_those_of_other_ages_have_finite_predictions(models, name):
    far = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), None]
    table = pa.table(
        {
            "bought": pa.array(far * 3, pa.timestamp("us", "UTC")),
            "asked": pa.array([one for one in far for _ in far], pa.timestamp("us", "UTC")),
            "by": ["b1"] * 9,
        }
    )

    found = predictions_of(models[name], table)

    assert np.isfinite(found).all()
    assert ((found > 0) & (found < 1)).all()


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (["bougth"], "dates: column 'bougth' is not in the train split; did you mean 'bought'"),
        (["by"], "dates: column 'by' holds string, and no dates or times; leave it out"),
        (["took"], "dates: column 'took' holds bool, and no dates or times"),
        (["number"], "dates: column 'number' holds int64, and no dates or times"),
        (["empty"], "dates: the statistics have no values of column 'empty': it is empty or holds personal data"),
        (["asked"], "dates: column 'asked' is no feature; .*, or leave it out of exclude"),
        ({"columns": ["bought"], "since": "asked"}, "dates: column 'asked' is no feature"),
        ({"columns": ["bought"], "since": "never"}, "dates: no row has both 'bought' and 'never'; name another column"),
    ],
)
def test_a_column_that_is_no_date_to_learn_from_is_told(prepare, tmp_path, dates, message):
    rows = 100
    first = np.arange(rows) < rows / 2
    table = orders(rows, 1).append_column("number", pa.array(range(rows)))
    table = table.append_column("empty", pa.nulls(rows, pa.timestamp("us")))
    table = table.set_column(0, "bought", pa.array([START] * rows, pa.timestamp("us"), mask=first))
    table = table.append_column("never", pa.array([START] * rows, pa.timestamp("us"), mask=~first))

    with pytest.raises(TrainingError, match=message):
        trained(prepare(table, table, exclude=("asked",)), tmp_path / "model", "linear", dates=dates)


def test_a_date_that_others_are_measured_against_alone_leaves_no_feature(prepare, tmp_path):
    table = orders(100, 1).select(["asked", "took"])
    table = table.set_column(0, "asked", pa.array([START] * 100, pa.timestamp("us")))

    with pytest.raises(TrainingError, match="no feature is left"):
        trained(
            prepare(table, table, exclude=()),
            tmp_path / "model",
            "linear",
            dates={"columns": ["asked"], "since": "asked"},
        )


FUNCTION = """
def linear(job):
    from keras import layers
    assert [(one.name, one.kind, one.dtype) for one in job.features][:2] == [
        ("bought", "date", "int64"), ("asked", "date", "int64")], job.features
    assert job.statistics["bought"].age.mean > 0
    return job.network(lambda features: layers.Dense(1)(features.vector()), epochs=2)
"""


def test_a_function_sees_dates_among_its_features(inputs, tmp_path, monkeypatch):
    (tmp_path / "seeing.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(tmp_path)

    train(requested(inputs, spec={"function": "seeing:linear", "dates": DATES}), folder=tmp_path / "model")

    assert area(tmp_path / "model", orders(1000, 3)) > 0.55
