import decimal

import numpy as np
import pyarrow as pa
import pytest
from audited import alarms, clean, examined, noise

from cd4ml.validation import groups
from cd4ml.validation.audit import areas


@pytest.mark.parametrize("seed", range(20))
def test_a_clean_table_raises_no_alarm(seed):
    assert alarms(clean(seed), dates=["offered_at", "joined_at"]) == []


@pytest.mark.parametrize("seed", range(3))
def test_many_columns_that_say_nothing_tell_nothing_together(seed):
    table = noise(seed)
    asked = {"sensitive": {"gender": groups.values_of(table["gender"])}, "exclude": ["gender"]}

    (together,) = [proxy for proxy in examined(table, **asked).proxies if not proxy.by]

    assert together.auc == pytest.approx(0.5, abs=0.1)  # three standard errors
    assert alarms(table, **asked) == []


def odd(random, rows):
    """Columns of every type and of what is hardly there, each without a name that means anything."""
    hidden = random.random(rows) < random.choice([0, 0.3, 1])
    day = random.integers(-(2**40), 2**40, rows)
    return [
        pa.array(random.normal(size=rows) * 10.0 ** random.integers(-300, 300), mask=hidden),
        pa.array(random.choice([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e308], rows), mask=hidden),
        pa.array(random.integers(-(2**63), 2**63 - 1, rows), mask=hidden),
        pa.array(random.choice(["", "a", "ü" * 50, "x\ny"], rows), mask=hidden),
        pa.array([f"v{place}" for place in range(rows)], mask=hidden),
        pa.array(random.random(rows) < 0.5, mask=hidden),
        pa.array(day, pa.timestamp(random.choice(["s", "ms", "us", "ns"]), "UTC"), mask=hidden),
        pa.array([decimal.Decimal(int(one)) for one in random.integers(0, 99, rows)], pa.decimal128(10, 0)),
        pa.array(random.normal(size=rows).astype(np.float32)),
        pa.nulls(rows, pa.string()),
        pa.nulls(rows),
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(30))
def test_any_table_can_be_audited(seed):
    random = np.random.default_rng(seed)
    rows = int(random.choice([1, 2, 5, 300, 1200]))
    columns = odd(random, rows)
    label = pa.array(random.integers(0, 2, rows), pa.int8(), mask=random.random(rows) < random.choice([0, 0.2, 1]))
    table = pa.table(
        {**{f"c {place}": column for place, column in enumerate(columns)}, "label": label, "key": columns[2 + seed % 3]}
    )
    low, high = sorted(random.integers(0, rows + 1, 2))
    parts = {"train": table.slice(0, low), "eval": table.slice(low, high - low), "test": table.slice(high)}

    examined(table, parts, time="c 6", dates=["c 6", "c 5"], sensitive={"c 3": table["c 3"].fill_null("")})


@pytest.mark.parametrize(
    ("rows", "rate", "shift"), [(400, 0.5, 0.5), (2000, 0.1, 1.0), (2000, 0.5, 0.0), (500, 0.3, 2.5)]
)
def test_the_interval_of_an_area_holds_the_truth_as_often_as_it_says(rows, rate, shift):
    random = np.random.default_rng(0)
    wanted = areas.of_scores(*_normal(random, 400_000, 0.5, shift)).value

    found = [areas.of_scores(*_normal(random, rows, rate, shift)) for _ in range(1000)]

    held = np.mean([one.low <= wanted <= one.high for one in found])
    assert 0.93 <= held <= 0.975


def test_the_area_of_codes_that_say_nothing_is_a_half_however_many_there_are():
    random = np.random.default_rng(0)
    outcome = random.random(3000) < 0.3
    dealt = areas.folds(outcome)

    for values in (2, 20, 200):
        found = [areas.of_codes(random.integers(0, values, 3000).astype(np.uint8), outcome, dealt) for _ in range(500)]
        above = np.mean([one.low > 0.5 for one in found])
        assert np.mean([one.value for one in found]) == pytest.approx(0.5, abs=0.01)
        assert above <= 0.08  # 0.05, as the order of the codes is chosen to fit, and three errors of 500 draws


def _normal(random, rows, rate, shift):
    outcome = random.random(rows) < rate
    return random.normal(size=rows) + shift * outcome, outcome
