import numpy as np
import pytest
from audited import alarms, clean

from cd4ml.validation.audit import areas


@pytest.mark.parametrize("seed", range(20))
def test_a_clean_table_raises_no_alarm(seed):
    assert alarms(clean(seed)) == []


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
