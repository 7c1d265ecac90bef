"""Intervals that may be looked at after every request keep the error that they state; no other may."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from cd4ml.deployment.evidence import anytime

ROLLOUTS = 1000
ERROR = 0.05


def rollouts(
    rates: tuple[float, float], *, weight: float, requests: int, chunk: int = 50
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some rollouts at a time: what came of each request, and whether the challenger had it."""
    random = np.random.default_rng(7)
    for _ in range(ROLLOUTS // chunk):
        challenged = random.random((chunk, requests)) < weight
        yield (random.random(challenged.shape) < np.where(challenged, rates[1], rates[0])) * 1.0, challenged


def refuted(rates: tuple[float, float], difference: float, *, above: bool, weight: float, requests: int) -> np.ndarray:
    """After how many requests a difference is refuted, by rollout; infinite where it never is."""
    after = []
    for outcomes, challenged in rollouts(rates, weight=weight, requests=requests):
        guesses = anytime.difference(outcomes, challenged, np.full(challenged.shape, weight))
        told = guesses.against(difference, above=above) >= math.log(2 / ERROR)
        after.append(np.where(told.any(axis=-1), told.argmax(axis=-1) + 1.0, np.inf))
    return np.concatenate(after)


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize(("rates", "weight"), [((0.3, 0.3), 0.5), ((0.02, 0.02), 0.1), ((0.05, 0.1), 0.2)])
def test_a_true_difference_is_hardly_ever_refuted_though_one_looks_after_every_request(
    rates: tuple[float, float], weight: float, above: bool
) -> None:
    after = refuted(rates, rates[1] - rates[0], above=above, weight=weight, requests=1000)

    assert np.isfinite(after).mean() <= ERROR / 2


def pairs(rates: tuple[float, float], *, both: float, requests: int, chunk: int = 50) -> Iterator[np.ndarray]:
    """Some rollouts at a time of requests that both had, of which so many fail for both: what came of each."""
    random = np.random.default_rng(7)
    for _ in range(ROLLOUTS // chunk):
        chance = random.random((chunk, requests))
        first = chance < rates[0]
        second = (chance < both) | ((chance >= rates[0]) & (chance < rates[0] + rates[1] - both))
        yield np.stack([first, second]) * 1.0


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize(
    ("rates", "both"), [((0.3, 0.3), 0.0), ((0.3, 0.3), 0.25), ((0.02, 0.02), 0.01), ((0, 0.1), 0)]
)
def test_a_true_difference_is_hardly_ever_refuted_by_pairs_though_one_looks_after_every_request(
    rates: tuple[float, float], both: float, above: bool
) -> None:
    refuted = []
    for champion, challenger in pairs(rates, both=both, requests=1000):
        evidence = anytime.paired(challenger, champion).against(rates[1] - rates[0], above=above)
        refuted.append((evidence >= math.log(2 / ERROR)).any(axis=-1))

    assert np.concatenate(refuted).mean() <= ERROR / 2


def test_pairs_that_are_as_far_apart_as_can_be_ruin_nobody_at_once() -> None:
    guesses = anytime.paired(np.ones(100), np.zeros(100))

    assert 0.8 < guesses.interval(ERROR)[0] < guesses.interval(ERROR)[1] == 1
    assert np.isfinite(guesses.against(-1.0, above=True)).all()


def test_pairs_tell_a_difference_that_there_is_the_sooner_the_more_they_have_in_common() -> None:
    needed = []
    for both in (0.0, 0.09):
        champion, challenger = next(pairs((0.1, 0.1), both=both, requests=2000))
        told = anytime.paired(challenger, champion).against(0.05, above=True) >= math.log(2 / ERROR)
        needed.append(np.median(np.where(told.any(axis=-1), told.argmax(axis=-1), np.inf)))

    assert needed[1] < needed[0] / 2


def test_a_test_for_one_look_would_not_pass_this_simulation() -> None:
    alarms = []
    for outcomes, challenged in rollouts((0.3, 0.3), weight=0.5, requests=1000):
        count = np.stack([(~challenged).cumsum(axis=-1), challenged.cumsum(axis=-1)])
        total = np.stack([(outcomes * ~challenged).cumsum(axis=-1), (outcomes * challenged).cumsum(axis=-1)])
        mean, pooled = total / np.maximum(count, 1), total.sum(axis=0) / count.sum(axis=0)
        deviation = np.sqrt(pooled * (1 - pooled) * (1 / np.maximum(count, 1)).sum(axis=0))
        alarms.append((np.abs(mean[1] - mean[0]) > 1.96 * deviation)[:, 100:].any(axis=-1))

    assert np.concatenate(alarms).mean() > 4 * ERROR


def test_what_bettors_have_against_the_truth_is_what_they_began_with_on_average() -> None:
    """Exactly, over all that can come of five requests; each has a weight of its own."""
    champion, challenger = 0.2, 0.7
    weights = np.array([0.1, 0.5, 0.3, 0.8, 0.5])
    for above in (True, False):
        expected = 0.0
        for challenged in itertools.product([False, True], repeat=5):
            for outcomes in itertools.product([0.0, 1.0], repeat=5):
                arm, came = np.array(challenged), np.array(outcomes)
                rate = np.where(arm, challenger, champion)
                chance = np.where(arm, weights, 1 - weights) * np.where(came == 1, rate, 1 - rate)
                have = anytime.difference(came, arm, weights).against(challenger - champion, above=above)[-1]
                expected += chance.prod() * math.exp(have)
        assert expected == pytest.approx(1)


def test_a_challenger_that_is_much_worse_is_told_in_few_requests_and_one_as_good_in_not_many_more_than_a_plan() -> None:
    broken = refuted((0.02, 1.0), 0.02, above=False, weight=0.1, requests=500)
    assert np.quantile(broken, 0.9) < 200

    fine = refuted((0.05, 0.05), 0.05, above=True, weight=0.5, requests=3000)
    planned = 2 * 2 * 0.05 * 0.95 * ((1.96 + 0.84) / 0.05) ** 2  # a test for one look, of 80% power
    assert np.quantile(fine, 0.8) < 3 * planned


def test_an_interval_ends_where_the_evidence_does() -> None:
    outcomes, challenged = next(rollouts((0.05, 0.1), weight=0.3, requests=2000, chunk=1))
    guesses = anytime.difference(outcomes[0], challenged[0], np.full(2000, 0.3))

    low, high = guesses.interval(ERROR)

    assert low < 0.05 < high < 1
    assert guesses.against(high, above=True)[-1] == pytest.approx(math.log(2 / ERROR), abs=1e-3)
    assert guesses.against(low, above=False)[-1] == pytest.approx(math.log(2 / ERROR), abs=1e-3)


@pytest.fixture(scope="module")
def shares() -> dict[tuple[int, int], tuple[float, float]]:
    """The interval of each share of up to 60 requests."""
    return {(part, count): anytime.share(part, count, error=ERROR) for count in range(61) for part in range(count + 1)}


@pytest.mark.parametrize("true", [0.02, 0.3, 0.5, 0.97])
def test_a_true_share_is_hardly_ever_outside_though_one_looks_after_every_request(
    shares: dict[tuple[int, int], tuple[float, float]], true: float
) -> None:
    """Exactly, over all that can come of 60 requests."""
    never_out = {0: 1.0}
    for count in range(1, 61):
        came: dict[int, float] = {}
        for part, chance in never_out.items():
            for more, likely in ((1, true), (0, 1 - true)):
                low, high = shares[part + more, count]
                if low <= true <= high:
                    came[part + more] = came.get(part + more, 0.0) + chance * likely
        never_out = came

    assert 1 - ERROR <= sum(never_out.values()) < 1


def test_a_share_is_told_the_closer_the_more_requests_there_are() -> None:
    widths = []
    for count in (100, 1000, 10_000):
        low, high = anytime.share(count // 50, count, error=ERROR)
        assert low < 0.02 < high
        widths.append(high - low)

    assert widths[0] > 2 * widths[1] > 4 * widths[2]
    none_of_300 = math.exp(math.lgamma(300.5) - math.lgamma(301)) / math.sqrt(math.pi)  # of all shares, by the prior
    assert anytime.share(0, 300, error=ERROR) == (0, pytest.approx(1 - (ERROR * none_of_300) ** (1 / 300), abs=1e-6))
    assert anytime.share(10, 10, error=ERROR)[1] == 1


def test_no_requests_tell_nothing() -> None:
    none = np.array([])

    guesses = anytime.difference(none, none.astype(bool), none)

    assert guesses.interval(ERROR) == (-1, 1)
    assert anytime.share(0, 0, error=ERROR) == (0, 1)
    assert math.isinf(guesses.needed(0.01, above=True, error=ERROR))
    assert anytime.ratio(none, none, quantile=0.99, error=ERROR) == (0, math.inf)
    assert anytime.ratio(np.ones(1), none, quantile=0.5, error=ERROR) == (0, math.inf)


def test_so_many_times_the_requests_as_are_needed_tell() -> None:
    outcomes, challenged = (some[0] for some in next(rollouts((0.05, 0.05), weight=0.5, requests=1000, chunk=1)))
    guesses = anytime.difference(outcomes, challenged, np.full(1000, 0.5))

    times = guesses.needed(0.03, above=True, error=ERROR)

    assert 1 < times < 20
    for factor, tells in ((0.9, False), (1.0, True)):
        as_many = anytime.Guesses(np.resize(guesses.values, round(1000 * times * factor)), guesses.reach)
        assert (as_many.interval(ERROR)[1] <= 0.03) is tells


@pytest.mark.parametrize(("quantile", "slower"), [(0.5, 1.0), (0.9, 1.3)])
def test_a_true_ratio_of_quantiles_is_hardly_ever_left_out_though_one_looks_again_and_again(
    quantile: float, slower: float
) -> None:
    random, left_out = np.random.default_rng(3), 0
    for _ in range(ROLLOUTS):
        champion, challenger = random.lognormal(2, 0.5, 400), random.lognormal(2, 0.5, 200) * slower
        looks = (anytime.ratio(challenger[:n], champion[: 2 * n], quantile=quantile, error=ERROR) for n in LOOKS)
        left_out += any(not low <= slower <= high for low, high in looks)

    assert left_out / ROLLOUTS <= ERROR


LOOKS = (5, 10, 20, 40, 80, 120, 160, 200)


def test_a_true_ratio_is_hardly_ever_left_out_of_what_pairs_say_of_whom_one_is_slow_as_the_other_is_fast() -> None:
    random, left_out = np.random.default_rng(3), 0
    for _ in range(ROLLOUTS // 2):
        slow = np.exp(random.normal(2, 0.5, 200))
        looks = (anytime.ratio(slow[:n], 1 / slow[:n], quantile=0.5, error=ERROR, pairs=True) for n in LOOKS)
        left_out += any(not low <= math.exp(4) <= high for low, high in looks)

    assert left_out / (ROLLOUTS // 2) <= ERROR


def test_pairs_say_less_of_a_ratio_for_they_may_depend_on_each_other() -> None:
    random = np.random.default_rng(3)
    one, other = random.lognormal(2, 0.5, 500), random.lognormal(2, 0.5, 500)

    wide, narrow = (anytime.ratio(one, other, quantile=0.5, error=ERROR, pairs=pairs) for pairs in (True, False))

    assert wide[0] < narrow[0] < 1 < narrow[1] < wide[1]
    assert anytime.ratio(np.ones(1), np.array([]), quantile=0.5, error=ERROR, pairs=True) == (0, math.inf)


def test_quantiles_of_values_that_are_often_the_same_are_not_told_apart() -> None:
    random = np.random.default_rng(3)
    values = random.integers(1, 4, 2000) * 1.0

    assert anytime.ratio(values[:1000], values[1000:], quantile=0.5, error=ERROR) == (1, 1)


def test_a_ratio_is_told_by_as_many_values_as_are_needed() -> None:
    random = np.random.default_rng(3)
    one, other = random.lognormal(2, 0.5, 500), random.lognormal(2, 0.5, 500)

    times = anytime.ratio_needed(one, other, quantile=0.5, error=ERROR, limit=1.12)

    assert 1 < times < 20
    for factor, tells in ((0.8, False), (1.1, True)):
        copies = [np.resize(np.sort(values), 500) for values in (one, other)]
        high = anytime.ratio(*copies, quantile=0.5, error=ERROR, times=times * factor)[1]
        assert (high <= 1.12) is tells


def test_requests_that_one_arm_loses_are_told_and_chance_is_not() -> None:
    random = np.random.default_rng(5)
    weights = np.full(4000, 0.5)
    told = [not anytime.by_chance(random.random(4000) < share, weights, ERROR) for share in [0.5] * 100 + [0.44] * 20]

    assert sum(told[:100]) <= 5
    assert all(told[100:])
