"""A bandit's shares follow what is known, and neither it nor its end is misled by that they do."""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from captures import BEGIN, Arms, captured, with_column
from pydantic import ValidationError

from cd4ml.deployment.evidence import anytime, units
from cd4ml.deployment.evidence.bandit import EVEN, shares
from cd4ml.deployment.evidence.designs import Bandit
from cd4ml.deployment.evidence.regret import regret

RUNS, LOOKS, CALLERS = 1000, 20, 40
"""Bandits, how often each sets its shares, and how many callers come in between."""
POLICIES = ("thompson", "epsilon-greedy")
STEADY = np.full(LOOKS, 1.0)
FALLING = np.linspace(2, 0.2, LOOKS)


@dataclass(frozen=True)
class Lived:
    """Bandits that have lived."""

    outcomes: np.ndarray
    challenged: np.ndarray
    propensities: np.ndarray

    def guesses(self, rarest: float) -> anytime.Guesses:
        return anytime.difference(self.outcomes, self.challenged, self.propensities, rarest=rarest)


def lived(bandit: Bandit, rates: tuple[float, float], times: np.ndarray = STEADY, runs: int = RUNS) -> Lived:
    """Bandits whose callers are worth 1 at the rates of their arms, times what the hour makes of them."""
    random = np.random.default_rng(5)
    share, found = np.full((runs, 1), EVEN), Lived(*[np.empty((runs, 0))] * 3)
    for time in times:
        challenged = random.random((runs, CALLERS)) < share
        outcomes = random.random((runs, CALLERS)) < np.where(challenged, rates[1], rates[0]) * time
        new = (outcomes, challenged, np.broadcast_to(share, challenged.shape))
        old = (found.outcomes, found.challenged, found.propensities)
        parts = [np.concatenate(both, axis=1) for both in zip(old, new, strict=True)]
        found = Lived(parts[0], parts[1].astype(bool), parts[2])
        values = found.guesses(bandit.floor).values
        share = shares(bandit, values, np.array([values.shape[1]]))
    return found


def told(bandit: Bandit, found: Lived) -> float:
    """The part of the bandits of which a difference is told, however often one looks."""
    guesses, enough = found.guesses(bandit.floor), -math.log(bandit.error / 2)
    parts = [anytime.Guesses(part, guesses.reach) for part in np.array_split(guesses.values, 20)]
    either = [
        np.logical_or.reduce([(part.against(0.0, above=above) >= enough).any(axis=-1) for above in (False, True)])
        for part in parts
    ]
    return float(np.concatenate(either).mean())


def plainly_told(found: Lived) -> float:
    """The part of the bandits whose plain means are more than 1.96 standard errors apart in the end."""
    means, variances = [], []
    for own in (found.challenged, ~found.challenged):
        count = own.sum(axis=1)
        means.append((found.outcomes * own).sum(axis=1) / count)
        variances.append(means[-1] * (1 - means[-1]) / count)
    return float((np.abs(means[0] - means[1]) > 1.96 * np.sqrt(sum(variances))).mean())


@pytest.mark.parametrize("policy", POLICIES)
def test_where_nothing_differs_hardly_a_bandit_is_decided_though_its_shares_follow_outcomes_that_change(
    policy: str,
) -> None:
    bandit = Bandit.model_validate({"policy": policy, "error": 0.1})

    found = lived(bandit, (0.4, 0.4), FALLING)

    assert found.propensities.std() > 0.1
    assert told(bandit, found) <= bandit.error
    assert plainly_told(found) > 0.2  # what plain means would make of it


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("rates", [(0.3, 0.5), (0.5, 0.3)])
def test_where_one_arm_is_better_either_policy_loses_less_than_equal_shares_would(
    policy: str, rates: tuple[float, float]
) -> None:
    bandit = Bandit.model_validate({"policy": policy})

    found = lived(bandit, rates)

    of_worse = found.propensities if rates[1] < rates[0] else 1 - found.propensities
    assert of_worse.mean() < 0.75 * EVEN
    assert told(bandit, lived(bandit, (0.1, 0.9), runs=100)) > 0.9


@pytest.mark.parametrize("policy", POLICIES)
def test_shares_keep_the_floor_always_and_reach_it(policy: str) -> None:
    bandit = Bandit.model_validate({"policy": policy, "floor": 0.15})

    found = lived(bandit, (0.1, 0.9))

    assert found.propensities.min() >= 0.15
    assert found.propensities.max() == 0.85
    assert np.all(found.propensities[:, -1] == 0.85)


@pytest.mark.parametrize("policy", POLICIES)
def test_what_it_costs_to_learn_falls_and_stays_below_that_of_equal_shares(policy: str) -> None:
    bandit = Bandit.model_validate({"policy": policy})
    found = lived(bandit, (0.3, 0.5), runs=100)
    lost = 0.2 * (1 - found.propensities)  # of each caller, truly

    told = [
        regret(anytime.Guesses(values, found.guesses(bandit.floor).reach), shares, error=bandit.error)
        for values, shares in zip(found.guesses(bandit.floor).values, found.propensities, strict=True)
    ]

    first, *_, last = np.array_split(lost.mean(axis=0), 4)
    held = [one.interval[0] <= truly <= one.interval[1] for one, truly in zip(told, lost.mean(axis=1), strict=True)]
    assert last.mean() < first.mean() / 2
    assert np.mean([one.value for one in told]) == pytest.approx(lost.mean(), abs=0.01)
    assert np.mean([one.even for one in told]) == pytest.approx(0.1, abs=0.01)
    assert np.mean(held) >= 1 - bandit.error


def test_regret_is_right_where_what_all_come_to_falls_with_the_hour_and_plain_means_are_not() -> None:
    bandit = Bandit.model_validate({})
    found = lived(bandit, (0.4, 0.4), FALLING, runs=100)
    guesses = found.guesses(bandit.floor)

    told = [
        regret(anytime.Guesses(values, guesses.reach), shares, error=bandit.error)
        for values, shares in zip(guesses.values, found.propensities, strict=True)
    ]

    assert np.mean([one.interval[0] <= 0 <= one.interval[1] for one in told]) >= 1 - bandit.error


def test_the_share_is_even_while_nothing_is_known_and_the_chance_to_be_better_then() -> None:
    random = np.random.default_rng(1)
    guesses = np.where(random.random(200) < 0.55, 2.0, -2.0)
    bandit = Bandit.model_validate({"floor": 0.01})

    none, few, many = shares(bandit, guesses, np.array([0, 20, 200]))

    means = random.normal(guesses.mean(), guesses.std() / math.sqrt(200), 100_000)  # what may be the true difference
    assert none == EVEN
    assert many == pytest.approx((means > 0).mean(), abs=0.02)
    assert few != many


def test_of_a_caller_the_first_request_alone_counts_whatever_arm_has_the_others() -> None:
    table, given = captured(4, Arms(rewards=(1.0, 1.0)), seed=0, unit=4)
    other = {"new": "old", "old": "new"}[table["arm"][0].as_py()]
    table = with_column(table, "arm", [table["arm"][0].as_py(), *[other] * 3])
    counted, until = Bandit.model_validate({"window": "2 hours"}).counted, BEGIN + timedelta(days=1)

    found, later = (units.among(table, each, counted, challenger="new", until=until) for each in (given, given[1:]))

    assert (found.count, found.torn, found.compared.rewarded()[1].tolist()) == (1, 0, [1.0])
    assert (later.count, later.compared.rewarded()[1].tolist()) == (1, [])


def test_how_much_a_guess_may_weigh_is_told_by_the_floor_and_not_by_the_shares_that_came() -> None:
    outcomes, challenged = np.array([1.0, 0.0]), np.array([True, False])

    before, after = (
        anytime.difference(outcomes, challenged, np.array(shares), rarest=0.1) for shares in ([0.5, 0.5], [0.5, 0.1])
    )

    assert before.reach == after.reach == 10


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"window": "2 days"}, "for: ends before the `window` of the first caller does"),
        ({"floor": 0.5}, "less than 0.5"),
        ({"policy": "ucb"}, "'thompson' or 'epsilon-greedy'"),
        ({"sticky": {}}, "takes either the name of a header or that of a feature"),
        ({"range": [1, 0]}, "range: write the least outcome and then a greater one"),
    ],
)
def test_what_is_no_bandit_is_told(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Bandit.model_validate(given)
