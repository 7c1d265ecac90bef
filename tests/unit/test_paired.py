"""A shadow is held against the champion by the answers of both to the same requests."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from captures import NO_FEEDBACK, Arms, captured, check, mirrored, with_column, write_mirrored

from cd4ml.contracts.verdict import Verdict, worst
from cd4ml.deployment.evidence import analysis, divided, paired
from cd4ml.deployment.evidence import limits as rollout_limits
from cd4ml.deployment.evidence.reading import Captured

LIMITS = {
    "error_rate": {"max_increase": 0.02},
    "latency_p50": {"max_ratio": 1.2},
    "mean_prediction": {"max_change": 0.02, "slices": ["overall", "region=south"]},
    "prediction_difference": {"max_mean": 0.05},
}


def analysed(asked: pa.Table, copies: pa.Table, limits: dict[str, Any]) -> Verdict:
    return analysis.analyse(paired.among(asked, copies, NO_FEEDBACK), rollout_limits.parse(limits), about={})


def test_a_shadow_that_does_as_well_passes_every_limit(tmp_path: Path) -> None:
    write_mirrored(tmp_path, 4000, Arms(predictions=(0.3, 0.31)))

    found = paired.read(Captured(tmp_path, paired.asked("old", "new")))
    verdict = analysis.analyse(found, rollout_limits.parse(LIMITS), about={})

    assert verdict.passed, verdict.reasons
    said = [one.reason for one in verdict.checks]
    assert said[0] == "sample_ratio: the challenger got 4,000 of 4,000 requests, and 4,000 were due"
    assert said[-1].startswith("prediction_difference: +0.009986 [+0.0")
    assert said[-1].endswith("], over 4,000 requests that both answered; at most 0.05 is kept")


@pytest.mark.parametrize(
    ("arms", "broken"),
    [
        (Arms(errors=(0.02, 0.1)), "error_rate"),
        (Arms(latencies=(3, 5)), "latency_p50"),
        (Arms(predictions=(0.3, 0.34)), "mean_prediction"),
        (Arms(predictions=(0.3, 0.4)), "prediction_difference"),
    ],
)
def test_a_shadow_that_does_worse_fails_the_limit_that_it_breaks(arms: Arms, broken: str) -> None:
    verdict = analysed(*mirrored(3000, arms), LIMITS)

    assert check(verdict, broken).outcome == "failed"


def test_predictions_that_differ_row_by_row_are_told_though_their_mean_is_the_same() -> None:
    asked, copies = mirrored(3000)
    copies = with_column(copies, "predictions", copies["predictions"].to_pylist()[::-1])

    verdict = analysed(asked, copies, LIMITS)

    assert check(verdict, "mean_prediction").outcome != "failed"
    assert check(verdict, "prediction_difference").outcome == "failed"


def test_rows_of_one_request_do_not_make_up_for_each_other() -> None:
    asked, copies = mirrored(2000)
    asked = with_column(asked, "predictions", [[0.2, 0.6]] * 2000)
    copies = with_column(copies, "predictions", [[0.6, 0.2]] * 2000)

    assert check(analysed(asked, copies, LIMITS), "prediction_difference").value == pytest.approx(0.4)


def test_the_same_requests_tell_far_more_than_as_many_that_are_divided() -> None:
    limits = rollout_limits.parse({"mean_prediction": {"max_change": 0.02}})
    both = analysis.analyse(paired.among(*mirrored(2000), NO_FEEDBACK), limits, about={})
    table, feedback = captured(2000, Arms(), seed=0, unit=None)
    one = analysis.analyse(divided.among(table, feedback, challenger="new"), limits, about={})

    widths = [high - low for low, high in (check(found, "mean_prediction").interval for found in (both, one))]
    assert widths[0] < widths[1] / 2


def test_copies_that_were_dropped_are_said_and_count_as_failed() -> None:
    asked, copies = mirrored(1000, Arms(errors=(0, 0)))
    dropped = np.arange(1000) % 10 == 0
    copies = with_column(copies, "status", np.where(dropped, 503, 200))
    copies = with_column(copies, "latency_ms", [None if drop else 3.0 for drop in dropped])
    copies = with_column(copies, "predictions", [None if drop else [0.3] for drop in dropped])

    verdict = analysed(asked, copies, LIMITS)

    assert check(verdict, "sample_ratio").reason == (
        "sample_ratio: the challenger got 1,000 of 1,000 requests, and 1,000 were due (100 copies were dropped, for "
        "which it had no room, and count as failed)"
    )
    errors = check(verdict, "error_rate")
    assert (errors.outcome, errors.value) == ("failed", pytest.approx(0.1))
    assert "ms of 900" in check(verdict, "latency_p50").reason
    assert "over 900 requests that both answered" in check(verdict, "prediction_difference").reason


def test_copies_that_are_lost_make_the_comparison_an_error() -> None:
    asked, copies = mirrored(1000)

    ratio = check(analysed(asked, copies.slice(100), LIMITS), "sample_ratio")

    assert ratio.outcome == "error"
    assert "got 900 of 1,000 requests, and 1,000 were due, which is not chance" in ratio.reason


def test_a_part_of_the_requests_is_enough() -> None:
    verdict = analysed(*mirrored(4000, copied=0.5), LIMITS)

    assert verdict.passed, verdict.reasons
    assert check(verdict, "sample_ratio").value == pytest.approx(0.5, abs=0.05)


def test_of_a_caller_the_first_request_alone_counts() -> None:
    asked, copies = mirrored(1000)

    found = paired.among(with_column(asked, "unit", (np.arange(1000) // 4).astype(str)), copies, NO_FEEDBACK)

    assert found.count == 250
    assert found.table["request_id"].to_pylist()[:2] == found.table["request_id"].to_pylist()[250:252] == ["0-0", "0-4"]


def test_before_the_first_copy_nothing_is_told() -> None:
    asked, copies = mirrored(100, copied=0.01)

    verdicts = analysed(asked, copies.slice(0, 0), LIMITS), analysed(asked.slice(0, 0), copies.slice(0, 0), LIMITS)

    for verdict in verdicts:
        assert verdict.checks[0].outcome == "passed"
        assert {one.outcome for one in verdict.checks[1:]} == {"inconclusive"}
        assert "nothing is known of the challenger yet" in verdict.checks[1].reason


@pytest.mark.parametrize(
    ("limits", "predictions", "said"),
    [
        ({"reward": {"min_change": -0.1}}, [0.3], "reward: nobody sees what a mirror answers"),
        ({"prediction_difference": {"max_mean": 0.1}}, [0.3, 0.4], "predicts for another number of rows"),
        ({"prediction_difference": {"max_mean": 0.1}}, [3.0], "100 of 200 values are not from 0 to 1, such as 3"),
    ],
)
def test_what_no_pair_can_tell_is_an_error(limits: dict[str, Any], predictions: list[float], said: str) -> None:
    asked, copies = mirrored(100)

    told = analysed(asked, with_column(copies, "predictions", [predictions] * 100), limits).checks[1]

    assert told.outcome == "error"
    assert said in told.reason


def test_requests_that_one_arm_answered_have_no_difference_of_predictions() -> None:
    table, feedback = captured(100, Arms(), seed=0, unit=None)
    found = divided.among(table, feedback, challenger="new")

    verdict = analysis.analyse(found, rollout_limits.parse({"prediction_difference": {"max_mean": 0.1}}), about={})

    assert "one arm alone answered each request; it takes a mirror" in check(verdict, "prediction_difference").reason


def test_when_nothing_differs_shadows_that_are_looked_at_again_and_again_are_hardly_ever_undone() -> None:
    mean = 2 * 0.1 / np.sqrt(np.pi)  # of how far two draws are apart that vary by 0.1
    limits = {"error_rate": {"max_increase": 0.001}, "prediction_difference": {"max_mean": mean}, "error": 0.1}
    undone = 0
    for seed in range(200):
        asked, copies = mirrored(400, Arms(errors=(0.1, 0.1)), seed=seed)
        other, _ = captured(400, Arms(errors=(0.1, 0.1)), seed=1000 + seed, unit=None)  # as likely, and apart
        for name in ("status", "predictions"):
            copies = with_column(copies, name, other[name].combine_chunks())
        looks = (analysed(asked.slice(0, count), copies.slice(0, count), limits) for count in (50, 100, 200, 400))
        undone += any(worst(one.outcome for one in look.checks) in ("failed", "error") for look in looks)

    assert undone / 200 <= 0.1
