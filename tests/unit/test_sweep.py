"""`cd4ml.contracts.sweep`: what a sweep has tried, and which trial wins."""

from dataclasses import replace

import pytest

from cd4ml.contracts.sweep import Sweep, Trial
from cd4ml.errors import DocumentError
from cd4ml.reports.tried import unbeaten

SWEEP = Sweep(
    name="0a1b",
    model={"model": "dnn"},
    objective="auc",
    better="higher",
    ranges={"dropout": {"min": 0.0, "max": 0.5}, "hidden": [[64], [64, 32]]},
    constraints={},
    parallel=2,
    seed=0,
    trials=4,
    minutes=None,
)


def trial(number: int, value: float | None = None, **changed: object) -> Trial:
    state = "failed" if value is None else "ended"
    whole = Trial(number, {"dropout": 0.1, "hidden": [64]}, 0, "2026-11-30T05:00:00+00:00", state=state, value=value)
    return replace(whole, **changed)


def test_both_documents_are_read_as_they_were_written():
    tried = trial(3, 0.75, measured={"latency_ms": 1.5, "gap": None}, values=((1, 0.7), (2, 0.75)))

    assert Trial.parse(tried.text, "trial") == tried
    assert Sweep.parse(SWEEP.text, "sweep") == SWEEP


def test_a_trial_that_has_ended_has_a_value():
    text = trial(0, 0.5).text.replace('"value": 0.5', '"value": null')

    with pytest.raises(DocumentError, match=r"it has ended, and has no value\); it is tried anew"):
        Trial.parse(text, "trial")


def test_the_best_that_has_ended_wins_and_of_equals_the_first():
    trials = [trial(0, 0.7), trial(1), trial(2, 0.8), trial(3, 0.8), trial(4, None, state="pruned")]

    assert SWEEP.best(trials) == trials[2]
    assert SWEEP.best(reversed(trials)) == trials[2]
    assert replace(SWEEP, better="lower").best(trials) == trials[0]
    assert SWEEP.best(trials[1:2]) is None


def test_what_breaks_a_constraint_or_is_not_known_to_keep_it_does_not_win():
    limited = replace(SWEEP, constraints={"latency_ms": 2.0, "gap": 0.1})
    trials = [
        trial(0, 0.9, measured={"latency_ms": 2.1, "gap": 0.0}),
        trial(1, 0.8, measured={"latency_ms": 1.0, "gap": None}),
        trial(2, 0.6, measured={"latency_ms": 2.0, "gap": 0.1}),
    ]

    assert limited.best(trials) == trials[2]
    assert limited.best(trials[:2]) is None


def test_a_trial_is_unbeaten_where_none_is_better_and_takes_less():
    limited = replace(SWEEP, constraints={"latency_ms": 2.0})
    found = {0: (0.7, 1.0), 1: (0.8, 3.0), 2: (0.6, 2.0), 3: (0.8, 4.0), 4: (0.9, 5.0), 5: (0.65, 1.0)}
    trials = [trial(number, value, measured={"latency_ms": took}) for number, (value, took) in found.items()]
    trials += [trial(6, 0.99, measured={"latency_ms": None}), trial(7)]

    assert [one.number for one in unbeaten(limited, "latency_ms", trials)] == [0, 1, 4]
    assert [one.number for one in unbeaten(replace(limited, better="lower"), "latency_ms", trials)] == [5, 2]
