"""The rates that are stated of a window's quality, by simulation: false failures, estimates, selective labels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.evaluation import CANDIDATE, OVERALL, ModelSummary, Slice, Summary
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.ordinal import ORDINAL
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.evaluation import estimates, gate, limits
from cd4ml.evaluation.estimates import Scored
from cd4ml.evaluation.fairness import compare
from cd4ml.evaluation.measure import complete
from cd4ml.evaluation.rows import Slicing
from cd4ml.monitoring import callers, estimated, limits_held, selective
from cd4ml.monitoring.answered import Answers
from cd4ml.monitoring.estimated import Given
from cd4ml.monitoring.quality import ERROR

CLASSES = ("bronze", "silver", "gold")
WINDOWS = 400
REGIONS = ("north", "south", "west")


def sharp(random: np.random.Generator, rows: int, classes: int = 3) -> np.ndarray:
    """Calibrated probabilities, float32 [rows, classes]."""
    return random.dirichlet(np.full(classes, 0.6), rows).astype(np.float32)


def drawn(random: np.random.Generator, probabilities: np.ndarray) -> np.ndarray:
    """Labels as likely as they say, int [rows]."""
    edges = np.cumsum(probabilities.astype(np.float64), axis=1)
    return (random.random(len(edges))[:, None] > edges).sum(axis=1).clip(max=edges.shape[1] - 1)


def by_region(codes: np.ndarray) -> list[Slicing]:
    return [Slicing([OVERALL], np.zeros(len(codes), int)), Slicing([f"region={one}" for one in REGIONS], codes)]


def summary_of(labels: np.ndarray, outputs: np.ndarray, codes: np.ndarray) -> Summary:
    """What the evaluation's code finds on some rows."""
    empty = [Slice(CANDIDATE, OVERALL, {}, len(labels), {"example_count": float(len(labels))}, {})]
    for place, region in enumerate(REGIONS):
        rows = int((codes == place).sum())
        empty.append(Slice(CANDIDATE, f"region={region}", {"region": region}, rows, {"example_count": float(rows)}, {}))
    scored = Scored(MULTICLASS, labels, {CANDIDATE: outputs}, by_region(codes), CLASSES)
    slices, _ = complete(scored, empty, ())
    return Summary(
        label="grade",
        rows=len(labels),
        test_digest="",
        judged=0,
        thresholds=(),
        models={CANDIDATE: ModelSummary("", slices[0].metrics, slices[0].intervals)},
        slices=tuple(slices),
        changes=(),
        fairness=tuple(compare(MULTICLASS, slices=slices, columns=[["region"]], thresholds=[])),
        problem_name="multiclass",
        classes=CLASSES,
        sensitive=("region",),
    )


def windows(seed: int, rows: int = 1000) -> Iterator[Summary]:
    random = np.random.default_rng(seed)
    for _ in range(WINDOWS):
        outputs, codes = sharp(random, rows), random.integers(0, 3, rows)
        yield summary_of(drawn(random, outputs), outputs, codes)


def held(found: Summary, allowed: limits.Limits, error: float = ERROR) -> list[Check]:
    number = len(list(gate.held(found, allowed)))
    return list(gate.held(found, allowed, error=error / number))


def test_a_model_that_just_keeps_its_limits_fails_no_more_often_than_is_stated() -> None:
    """Each limit is what the model truly has, the worst that can be kept; groups are as far apart as they may."""
    big = np.random.default_rng(9)
    outputs = sharp(big, 400_000)
    true = summary_of(drawn(big, outputs), outputs, big.integers(0, 3, 400_000)).of(CANDIDATE)[OVERALL].metrics
    everywhere = {"slices": ["overall", "region=*"]}
    allowed = limits.parse(
        {
            "top_1_accuracy": {"min": true["top_1_accuracy"], **everywhere},
            "log_loss": {"max": true["log_loss"], **everywhere},
            "macro_auc": {"min": true["macro_auc"], **everywhere},
            "class_recall@gold": {"min": true["class_recall@gold"], **everywhere},
            "fairness": {"region": {"class_recall": {"max_gap": 0.001}}},
        }
    )

    failed = [any(check.outcome is Outcome.FAILED for check in held(found, allowed)) for found in windows(1)]

    assert sum(failed) <= ERROR * WINDOWS + 3 * np.sqrt(ERROR * WINDOWS)


def test_a_model_that_is_much_worse_than_its_limits_fails_nearly_always() -> None:
    allowed = limits.parse({"top_1_accuracy": {"min": 0.85}, "macro_auc": {"min": 0.95, "slices": ["region=*"]}})

    failed = [any(check.outcome is Outcome.FAILED for check in held(found, allowed)) for found in windows(2, 600)]

    assert np.mean(failed) > 0.95


def test_rows_of_one_caller_that_are_alike_fail_no_more_often_than_is_stated() -> None:
    """A hundred callers of ten rows each, with one prediction and one label; accuracy is just what it may be."""
    random, number = np.random.default_rng(12), 300
    big = sharp(random, 400_000)
    true = float(np.mean(drawn(random, big) == big.argmax(axis=1)))
    allowed = limits.parse({"top_1_accuracy": {"min": true}})
    units = np.repeat(np.arange(100), 10)
    codes = random.integers(0, 3, 100)[units]
    rows = pa.table({"unit": units.astype(str), "request_id": np.arange(1000).astype(str)})
    naive, failed = 0, 0
    for seed in range(number):
        outputs = sharp(random, 100)
        labels = drawn(random, outputs)
        of_all = held(summary_of(labels[units], outputs[units], codes), allowed)
        alone = callers.one_each(rows, np.arange(1000), seed=seed)
        assert units[alone].tolist() == list(range(100))
        of_callers = held(summary_of(labels[units[alone]], outputs[units[alone]], codes[alone]), allowed)
        naive += of_all[0].outcome is Outcome.FAILED
        (one,) = limits_held.borne_out(of_all, of_callers, len(alone))
        failed += one.outcome is Outcome.FAILED

    assert naive > 0.1 * number  # what rows that are taken for independent would say
    assert failed <= ERROR * number + 3 * np.sqrt(ERROR * number)


def realised(problem: Problem, labels: np.ndarray, outputs: np.ndarray, slicing: Slicing) -> dict[str, np.ndarray]:
    """By metric what came to be on each slice, by the evaluation's code, and rates at 0.4 by counting."""
    scored = Scored(problem, labels, {CANDIDATE: outputs}, [slicing], CLASSES)
    found = {metric: one.values for metric, one in estimates.of(scored, CANDIDATE)(slicing)}
    if problem is BINARY:
        places = [np.flatnonzero(slicing.codes == place) for place in range(len(slicing.names))]
        y, chosen = labels == 1, outputs > 0.4
        of_rows = {
            "label_rate": (y, np.ones(len(y), bool)),
            "accuracy@0.4": (y == chosen, np.ones(len(y), bool)),
            "precision@0.4": (y & chosen, chosen),
            "recall@0.4": (y & chosen, y),
            "true_positive_rate@0.4": (y & chosen, y),
            "false_negative_rate@0.4": (y & ~chosen, y),
            "false_positive_rate@0.4": (~y & chosen, ~y),
            "true_negative_rate@0.4": (~y & ~chosen, ~y),
        }
        found |= {
            name: np.array([found[rows].sum() / of[rows].sum() for rows in places])
            for name, (found, of) in of_rows.items()
        }
    return found


@pytest.mark.parametrize("problem", [BINARY, MULTICLASS, ORDINAL], ids=lambda one: one.name)
def test_where_probabilities_are_right_the_estimate_has_what_comes_as_often_as_is_stated(problem: Problem) -> None:
    random = np.random.default_rng(4)
    rows, draws = 1200, 400
    outputs = random.beta(0.8, 1.4, rows).astype(np.float32) if problem is BINARY else sharp(random, rows)
    given = Given(problem, outputs, (0.4,), () if problem is BINARY else CLASSES)
    slicings = by_region(random.choice(3, rows, p=[0.6, 0.3, 0.1]))
    found = {(one.metric, one.slice): one for one in estimated.of(given, slicings)}
    came: dict[tuple[str, str], list[float]] = {}
    for _ in range(draws):
        whole = np.column_stack([1 - outputs, outputs]) if problem is BINARY else outputs
        labels = drawn(random, whole)
        for slicing in slicings:
            for metric, values in realised(problem, labels, outputs, slicing).items():
                for name, value in zip(slicing.names, values, strict=True):
                    came.setdefault((metric, name), []).append(value)

    judged = {key: one for key, one in found.items() if one.interval}
    assert len(judged) >= 25
    assert {metric for metric, _ in judged} <= {metric for metric, _ in came}
    within = {}
    for key, one in judged.items():
        values = np.array(came[key])
        assert one.value == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(draws) + 0.01)
        within[key] = np.mean((values >= one.interval[0]) & (values <= one.interval[1]))
    assert 0.93 < np.mean(list(within.values())) < 0.975
    assert min(within.values()) > 0.89
    assert max(within.values()) < 0.99


def answers(labelled: np.ndarray, outputs: np.ndarray, **columns: Any) -> Answers:
    rows = len(labelled)
    given = {"arm": ["champion"] * rows, "propensity": np.ones(rows), "row": np.ones(rows, np.int32), **columns}
    given = {"unit": pa.nulls(rows, pa.string()), "request_id": [str(place) for place in range(rows)], **given}
    labels = np.random.default_rng(0).random(rows) < (outputs if outputs.ndim == 1 else 0.5)
    return Answers(pa.table(given), outputs, labels.astype(np.float32), labelled, 0, 0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_labels_that_come_by_chance_are_called_selective_no_more_often_than_is_stated(share: float) -> None:
    random, draws, rows = np.random.default_rng(5), 1000, 600
    found, labels = [], []
    for _ in range(draws):
        outputs, labelled = random.random(rows).astype(np.float32), random.random(rows) < share
        arms = np.where(random.random(rows) < 0.3, "new", "old")
        found.append(selective.sample(answers(labelled, outputs, arm=arms)))
        labels.append(labelled.sum())

    calls = [one.labelling.used < one_labelled for one, one_labelled in zip(found, labels, strict=True)]
    assert sum(calls) <= 4  # of 1,000, where `selective.ERROR` states 1
    p_values = np.array([one.labelling.p_value for one in found])  # the less of two arms
    assert np.mean(p_values < 0.05) < 0.13
    assert share > 0.9 or np.mean(p_values < 0.05) > 0.03


def test_callers_whose_rows_are_alike_make_labels_selective_no_more_often_than_is_stated() -> None:
    random, units = np.random.default_rng(13), np.repeat(np.arange(200), 10)
    calls = 0
    for seed in range(300):
        outputs, labelled = random.random(200).astype(np.float32)[units], (random.random(200) < 0.5)[units]
        found = selective.sample(answers(labelled, outputs, unit=units.astype(str)), seed=seed)
        calls += found.labelling.outcome is not Outcome.PASSED

    assert calls <= 3  # of 300, where `selective.ERROR` states 1 in 1,000


def test_labels_of_accepted_rows_alone_are_found_of_every_kind_of_answer() -> None:
    random = np.random.default_rng(6)
    for _ in range(50):
        numbers, several = random.random(800).astype(np.float32), sharp(random, 800)
        for outputs, accepted in ((numbers, numbers > 0.6), (several, several.argmax(axis=1) == 2)):
            found = selective.sample(answers(accepted & (random.random(800) < 0.9), outputs))
            assert found.labelling.outcome is Outcome.INCONCLUSIVE
            assert len(found.places) == 0


def test_rows_that_explore_stand_for_all_however_unevenly_they_came_there() -> None:
    """The arm that explores gets more of the uncertain requests; its rows by themselves would say too little."""
    random = np.random.default_rng(7)
    guesses, naive, truths = [], [], []
    for seed in range(60):
        outputs = random.beta(0.5, 0.5, 6000).astype(np.float32)
        right = random.random(6000) < np.maximum(outputs, 1 - outputs)
        propensity = np.where(np.abs(outputs - 0.5) < 0.3, 0.5, 0.1)
        explored = random.random(6000) < propensity
        labelled = explored | (outputs > 0.7)
        found = selective.sample(
            answers(
                labelled,
                outputs,
                arm=np.where(explored, "explore", "champion"),
                propensity=np.where(explored, propensity, 1 - propensity),
            ),
            seed=seed,
        )
        assert found.labelling.outcome is Outcome.PASSED
        guesses.append(right[found.places].mean())
        naive.append(right[explored].mean())
        truths.append(right.mean())

    error = np.std(guesses) / np.sqrt(len(guesses))
    assert abs(np.mean(guesses) - np.mean(truths)) < 3 * error
    assert abs(np.mean(naive) - np.mean(truths)) > 10 * error


def test_without_propensities_rows_that_explore_stand_for_none() -> None:
    random = np.random.default_rng(8)
    outputs, explored = random.random(2000).astype(np.float32), random.random(2000) < 0.2
    arms = np.where(explored, "explore", "champion")

    found = selective.sample(answers(explored | (outputs > 0.7), outputs, arm=arms, propensity=np.full(2000, np.nan)))

    assert found.labelling.outcome is Outcome.INCONCLUSIVE
    assert "requests get a label whatever is predicted" in found.labelling.reason
