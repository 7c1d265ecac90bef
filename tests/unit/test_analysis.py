"""A challenger is held against the champion by what was captured: passed, failed, or about so many requests more."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from captures import BEGIN, Arms, captured, check, publish, with_column, write, write_labelled
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts.verdict import Verdict, worst
from cd4ml.deployment.evidence import analysis, divided
from cd4ml.deployment.evidence import limits as rollout_limits
from cd4ml.deployment.evidence.compared import BY_CHANCE
from cd4ml.deployment.evidence.divided import Divided
from cd4ml.deployment.evidence.reading import Captured
from cd4ml.errors import DeploymentError

EVERYTHING = {
    "error_rate": {"max_increase": 0.02},
    "latency_p50": {"max_ratio": 1.1},
    "latency_p99": {"max_ratio": 1.5},
    "mean_prediction": {"max_change": 0.02},
    "reward": {"min_change": -0.05},
}
REWARD = {"reward": {"min_change": -0.05}}


def read(folder: Path, *, challenger: str = "new", until: datetime | None = None, **more: Any) -> Divided:
    return divided.read(Captured(folder, BY_CHANCE, **more), champion="old", challenger=challenger, until=until)


def analysed(folder: Path, limits: dict[str, Any], **more: Any) -> Verdict:
    found = read(folder, **more)
    return analysis.analyse(found, rollout_limits.parse(limits), about={"champion": "1", "challenger": "2"})


def test_a_challenger_that_does_as_well_passes_every_limit(tmp_path: Path) -> None:
    verdict = analysed(write(tmp_path, 12_000), EVERYTHING)

    assert verdict.passed, verdict.reasons
    assert [one.name for one in verdict.checks] == ["sample_ratio", "reward_ratio", *EVERYTHING]
    errors = check(verdict, "error_rate")
    assert errors.limit == "at most 0.02"
    assert errors.interval[0] < 0 < errors.interval[1] < 0.02
    assert re.fullmatch(
        r"error_rate: [-+]\S+ \[-\S+, \+\S+\], from 0.0\d+ of [56],\d{3} to 0.0\d+ of [56],\d{3}; at most 0.02 is kept",
        errors.reason,
    ), errors.reason


@pytest.mark.parametrize(
    ("arms", "broken", "reason"),
    [
        (Arms(errors=(0.02, 0.2)), "error_rate", "at most 0.02 is broken"),
        (Arms(latencies=(3, 4)), "latency_p50", "at most 1.1 is broken"),
        (Arms(latencies=(3, 9)), "latency_p99", "at most 1.5 is broken"),
        (Arms(predictions=(0.3, 0.4)), "mean_prediction", "at least -0.02 and at most 0.02 is broken"),
        (Arms(predictions=(0.4, 0.3)), "mean_prediction", "at least -0.02 and at most 0.02 is broken"),
        (Arms(rewards=(0.5, 0.3)), "reward", "at least -0.05 is broken"),
    ],
)
def test_a_challenger_that_does_worse_fails_the_limit_that_it_breaks(
    tmp_path: Path, arms: Arms, broken: str, reason: str
) -> None:
    verdict = analysed(write(tmp_path, 4000, arms), EVERYTHING)

    assert check(verdict, broken).outcome == "failed"
    assert check(verdict, broken).reason.endswith(reason)
    assert worst(one.outcome for one in verdict.checks) == "failed"
    kept = [one for one in verdict.checks if not one.name.startswith((broken, "latency"))]
    assert all(one.outcome in ("passed", "inconclusive") for one in kept)


@pytest.mark.parametrize("name", ["error_rate", "latency_p99", "reward"])
def test_about_so_many_requests_more_as_are_said_tell(tmp_path: Path, name: str) -> None:
    limits = {name: EVERYTHING[name] if name != "reward" else {"min_change": -0.1}}
    first = check(analysed(write(tmp_path / "first", 1500), limits), name)
    assert first.outcome == "inconclusive"
    more = int(re.search(r"; about ([\d,]+) requests more, like these, tell whether", first.reason)[1].replace(",", ""))

    then = check(analysed(write(tmp_path / "then", 1500 + 2 * more), limits), name)

    assert more < 20_000
    assert then.outcome == "passed", then.reason


def test_the_error_is_divided_among_the_limits(tmp_path: Path) -> None:
    folder = write(tmp_path, 2000)

    alone, among = (
        check(analysed(folder, limits), "error_rate").interval
        for limits in ({"error_rate": EVERYTHING["error_rate"]}, EVERYTHING)
    )

    assert among[0] < alone[0] < alone[1] < among[1]


def test_a_request_that_was_no_good_is_not_the_fault_of_an_arm(tmp_path: Path) -> None:
    folder = write(tmp_path, 3000, Arms(errors=(0.02, 0.3)))
    file = next(folder.glob("requests/*/*.parquet"))
    table = pq.read_table(file)
    status = pa.array([400 if one == 500 else one for one in table["status"].to_pylist()], pa.int16())
    pq.write_table(table.set_column(table.column_names.index("status"), "status", status), file)

    assert analysed(folder, {"error_rate": {"max_increase": 0.02}}).passed


def test_what_an_arm_has_no_room_for_it_failed_and_did_not_answer_fast(tmp_path: Path) -> None:
    folder = write(tmp_path, 3000, Arms(errors=(0.02, 0.3)))
    file = next(folder.glob("requests/*/*.parquet"))
    table = pq.read_table(file)
    refused = pc.equal(table["status"], 500)
    table = with_column(table, "status", pc.if_else(refused, 429, table["status"]).to_pylist())
    table = with_column(table, "latency_ms", pc.if_else(refused, 0.01, table["latency_ms"]).to_pylist())
    pq.write_table(table, file)

    verdict = analysed(folder, {"error_rate": {"max_increase": 0.02}, "latency_p50": {"max_ratio": 1.5}})

    assert check(verdict, "error_rate").outcome == "failed"
    assert check(verdict, "latency_p50").value == pytest.approx(1, abs=0.05)


def test_before_an_arm_has_a_request_nothing_is_told(tmp_path: Path) -> None:
    verdict = analysed(write(tmp_path, 20, Arms(weight=1e-9)), EVERYTHING)

    assert [one.outcome for one in verdict.checks[:2]] == ["passed"] * 2
    said = "nothing is known of the challenger yet; whether at most 0.02 is kept cannot be told yet"
    assert check(verdict, "error_rate").reason == f"error_rate: {said}"
    assert {one.outcome for one in verdict.checks[2:]} == {"inconclusive"}
    assert {one.interval for one in verdict.checks if one.name.startswith("latency")} == {None}
    nothing = analysed(tmp_path / "nothing", EVERYTHING)
    assert {one.outcome for one in nothing.checks[2:]} == {"inconclusive"}


def test_when_nothing_differs_rollouts_that_are_looked_at_again_and_again_are_hardly_ever_undone() -> None:
    limits = rollout_limits.parse(
        {"error_rate": {"max_increase": 0.001}, "reward": {"min_change": -0.001}, "error": 0.1}
    )
    undone = 0
    for seed in range(200):
        table, feedback = captured(400, Arms(errors=(0.1, 0.1)), seed=seed, unit=None)
        everything = divided.among(table, feedback, challenger="new")
        looks = (everything.first(count) for count in (50, 100, 200, 400))
        verdicts = (analysis.analyse(look, limits, about={}) for look in looks)
        undone += any(worst(one.outcome for one in verdict.checks) in ("failed", "error") for verdict in verdicts)

    assert undone / 200 <= 0.1


def test_a_group_that_is_treated_worse_fails_alone(tmp_path: Path) -> None:
    folder = write(tmp_path, 6000)
    file = next(folder.glob("requests/*/*.parquet"))
    table = pq.read_table(file)
    south_by_new = [
        arm == "new" and "south" in features
        for arm, features in zip(table["arm"].to_pylist(), table["features"].to_pylist(), strict=True)
    ]
    status = pa.array([500 if hit else 200 for hit in south_by_new], pa.int16())
    pq.write_table(table.set_column(table.column_names.index("status"), "status", status), file)

    verdict = analysed(folder, {"error_rate": {"max_increase": 0.02, "slices": ["region=south", "region=north"]}})

    assert check(verdict, "error_rate on region=south").outcome == "failed"
    north = check(verdict, "error_rate on region=north")
    assert (north.outcome, north.slice) == ("passed", "region=north")


def test_a_slice_whose_features_are_not_captured_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    verdict = analysed(write(tmp_path, 1000), {"error_rate": {"max_increase": 0.02, "slices": ["gender=female"]}})

    told = check(verdict, "error_rate on gender=female")
    assert told.outcome == "error"
    assert "the feature 'gender' is captured of none of 1,000 requests; send it in each by this name" in told.reason


def test_requests_that_one_arm_loses_make_the_comparison_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path, 2000)
    file = next(folder.glob("requests/*/*.parquet"))
    table = pq.read_table(file)
    lost = [arm == "new" and number % 5 == 0 for number, arm in enumerate(table["arm"].to_pylist())]
    pq.write_table(table.filter(pa.array([not one for one in lost])), file)

    ratio = check(analysed(folder, EVERYTHING), "sample_ratio")

    assert ratio.outcome == "error"
    assert "which is not chance, so that the arms cannot be compared" in ratio.reason


def test_of_a_caller_the_first_request_alone_counts(tmp_path: Path) -> None:
    folder = write(tmp_path, 4000, unit=4)

    found = read(folder)

    assert found.count == 1000
    first = [BEGIN + timedelta(seconds=seconds) for seconds in (0, 4, 8)]
    assert found.table["at"].to_pylist()[:3] == first
    assert found.told("reward").table["at"].to_pylist()[:3] == first


def test_requests_of_a_time_alone_are_compared(tmp_path: Path) -> None:
    folder = write(tmp_path, 1000)

    since, until = BEGIN + timedelta(seconds=100), BEGIN + timedelta(seconds=300)
    found = read(folder, since=since, until=until)

    assert found.count == 200
    assert found.table["at"][0].as_py() == since


def test_what_was_captured_on_earlier_days_is_not_even_read(tmp_path: Path) -> None:
    folder = write(tmp_path, 100)
    for name in ("requests", "feedback"):
        (folder / name / "2025-12-31").mkdir()
        (folder / name / "2025-12-31" / "1.parquet").write_bytes(b"removed, or about to be")

    assert read(folder, since=BEGIN).count == 100
    with pytest.raises(DeploymentError, match="cannot be read"):
        read(folder)


def test_a_third_arm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="new answered too, and two arms are compared"):
        read(write(tmp_path, 100), challenger="newest")


def of_100(folder: Path, which: Callable[[int], bool]) -> Path:
    """A capture of which some rewards are 100."""
    file = next(folder.glob("feedback/*/*.parquet"))
    table = pq.read_table(file)
    rewards = [100.0 if which(place) else one for place, one in enumerate(table["reward"].to_pylist())]
    pq.write_table(with_column(table, "reward", rewards), file)
    return folder


def test_a_few_rewards_out_of_their_range_are_left_out_and_said(tmp_path: Path) -> None:
    limits = {"reward": {"min_change": -0.1}}
    verdict = analysed(of_100(write(tmp_path, 20_000), lambda place: place % 100 == 0), limits)

    assert verdict.passed
    assert re.fullmatch(
        r"reward_ratio: 5,\d{3} of [\d,]+ requests of the champion have a reward, and [45],\d{3} of [\d,]+ of the "
        r"challenger; 100 of 10,000 are left out \(\d+ of the champion, \d+ of the challenger\), for 100 is not from "
        r"0 to 1; send such, or write the `range` that they have",
        check(verdict, "reward_ratio").reason,
    ), check(verdict, "reward_ratio").reason
    theirs, ours = re.search(r"from \S+ of ([\d,]+) to \S+ of ([\d,]+)", check(verdict, "reward").reason).groups()
    assert int(theirs.replace(",", "")) + int(ours.replace(",", "")) == 9900


def test_the_first_rewards_may_all_be_out_of_their_range(tmp_path: Path) -> None:
    verdict = analysed(of_100(write(tmp_path, 40), lambda _: True), REWARD)

    assert check(verdict, "reward_ratio").outcome == "passed"
    assert check(verdict, "reward").outcome == "inconclusive"


def test_many_rewards_out_of_their_range_are_an_error(tmp_path: Path) -> None:
    folder = of_100(write(tmp_path, 1000), lambda place: place % 10 == 0)

    told = check(analysed(folder, REWARD), "reward_ratio")
    wide = check(analysed(folder, {"reward": {"min_change": -100, "range": [0, 200]}}), "reward_ratio")

    assert (told.outcome, wide.outcome) == ("error", "passed")
    assert "these are more than 20 and more than 5%, so that feedback does not tell" in told.reason


def test_rewards_that_come_for_one_arm_alone_are_an_error_and_no_judgement(tmp_path: Path) -> None:
    file = next(write(tmp_path, 4000, Arms(rewards=(0.3, 0.7))).glob("feedback/*/*.parquet"))
    table = pq.read_table(file)
    pq.write_table(table.filter(pc.equal(table["reward"], 1.0)), file)

    told = check(analysed(tmp_path, REWARD), "reward_ratio")

    assert told.outcome == "error"
    assert "which is not chance, so that they do not tell of the arms" in told.reason


def test_a_change_of_the_hour_is_not_taken_for_one_between_the_arms(tmp_path: Path) -> None:
    """The challenger gets more of the requests of the hour in which more fail."""
    write(tmp_path, 3000, Arms(weight=0.1, errors=(0.02, 0.02)), seed=1)
    write(tmp_path, 3000, Arms(weight=0.6, errors=(0.3, 0.3)), seed=2)

    found = check(analysed(tmp_path, {"error_rate": {"max_increase": 0.02}}), "error_rate")

    assert found.outcome == "inconclusive"
    assert found.interval[0] < 0 < found.interval[1]


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({}, "so that every challenger would pass; write one, such as error_rate: {max_increase: 0.01}"),
        ({"error": 0.01}, "names no limit"),
        ({"error_rate": {"max_increas": 0.1}}, "error_rate.max_increas: unknown; did you mean 'max_increase'?"),
        ({"error_rate": {"max_increase": 0}}, "error_rate.max_increase: Input should be greater than 0, not 0"),
        ({"eror_rate": {"max_increase": 0.1}}, "eror_rate: unknown; did you mean 'error_rate'?"),
        ({"reward": {"min_change": 0, "range": [1, 0]}}, "reward: range: write the least value and then a greater one"),
        (
            {"error_rate": {"max_increase": 0.1, "slices": ["region=*"]}},
            "error_rate: slices: 'region=*' stands for several; name each, for each needs a part of the error",
        ),
    ],
)
def test_limits_that_say_nothing_or_another_thing_are_refused(limits: dict[str, Any], told: str) -> None:
    with pytest.raises(DeploymentError) as refused:
        rollout_limits.parse(limits)

    assert told in str(refused.value)


def asked(folder: Path, limits: str, *more: str, challenger: str = "new") -> tuple[int, str, Exception | None]:
    """The exit status of `cd4ml deployments analyse`, what it printed, and its error."""
    file = folder / "limits.yaml"
    file.write_text(limits)
    arms = ["--champion", "old", "--challenger", challenger]
    done = CliRunner().invoke(app, ["deployments", "analyse", str(folder), *arms, "--limits", str(file), *more])
    return done.exit_code, done.output, done.exception


@pytest.mark.parametrize(
    ("increase", "status", "outcome"), [(0.1, 0, "passed"), (0.0201, 1, "inconclusive"), (0.001, 1, "failed")]
)
def test_the_command_line_says_of_each_limit_what_became_of_it(
    tmp_path: Path, increase: float, status: int, outcome: str
) -> None:
    errors = (0.02, 0.4) if outcome == "failed" else (0.02, 0.02)
    write(tmp_path, 2000, Arms(errors=errors))

    ended, output, _ = asked(tmp_path, f"error_rate: {{max_increase: {increase}}}")

    assert ended == status
    ratio, rate = output.splitlines()
    assert ratio.startswith("passed sample_ratio: ")
    assert rate.startswith(f"{outcome} error_rate: ")


@pytest.mark.parametrize(
    ("limits", "challenger", "told"),
    [
        ("error_rate: {max_increase: 0.1, max_increase: 0.2}", "new", "error_rate.max_increase: is there twice"),
        ("error_rate: 0.1", "new", "error_rate: Input should be a valid dictionary"),
        ("error_rate: {max_increase: 0.1}", "nwe", "new answered too"),
    ],
)
def test_the_command_line_tells_what_it_cannot_use(tmp_path: Path, limits: str, challenger: str, told: str) -> None:
    _, _, error = asked(write(tmp_path, 100), limits, challenger=challenger)

    assert isinstance(error, DeploymentError)
    assert told in str(error)


def test_the_command_line_compares_the_requests_of_a_time_alone(tmp_path: Path) -> None:
    folder, limits = write(tmp_path, 2000), "error_rate: {max_increase: 0.1}"

    def requests(*times: str) -> str:
        return re.search(r"of ([\d,]+) requests", asked(folder, limits, *times)[1])[1]

    assert requests() == "2,000"
    assert requests("--since", "2026-01-01T00:10:00Z", "--until", "2026-01-01T00:30:00") == "1,200"
    assert requests("--since", "2026-01-01T01:10:00+01:00") == "1,400"
    _, _, error = asked(folder, limits, "--since", "2026-02-01")
    assert "has no request that old or new had a chance to get at that time" in str(error)
    _, _, error = asked(folder, limits, "--until", "tomorrow")
    assert "'tomorrow' is no time; write it as 2026-11-29T08:00Z" in str(error)


def test_the_command_line_tells_a_folder_without_a_capture(tmp_path: Path) -> None:
    _, _, error = asked(tmp_path, "error_rate: {max_increase: 0.1}")

    assert isinstance(error, DeploymentError)
    assert f"{tmp_path}: has no request that old or new had a chance to get" in str(error)


def test_the_documented_limits_are_held(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text()
    documented = re.search(r"^```yaml\n(error_rate.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]

    store = publish(tmp_path / "store")
    _, output, _ = asked(write(tmp_path, 100), documented, "--model", "uptake", "--store", str(store))

    told = [re.split(r": (?!the (?:gap|increase))", line)[0].split(" ", 1)[1] for line in output.splitlines()]
    predicted = ["mean_prediction", "mean_prediction on region=south", "prediction_difference"]
    labelled = ["accuracy", "accuracy on region=south", "brier_score"]
    gaps = [
        "selection_rate between groups of gender at 0.5: the gap",
        "selection_rate between groups of gender at 0.5: the increase of the gap",
        "equal opportunity (true_positive_rate) between groups of gender at 0.5: the increase of the gap",
    ]
    ratios = ["sample_ratio", "label_ratio", "reward_ratio"]
    assert told == [*ratios, "error_rate", "latency_p99", *predicted, "reward", *labelled, *gaps]


def test_the_command_line_judges_by_labels_what_the_contract_of_the_model_says(tmp_path: Path) -> None:
    store = publish(tmp_path / "store")
    write_labelled(tmp_path, 6000)

    ended, output, _ = asked(tmp_path, "accuracy: {min_change: -0.1}", "--model", "uptake", "--store", str(store))

    assert ended == 0
    assert [line.split(": ")[0] for line in output.splitlines()] == [
        "passed sample_ratio",
        "passed label_ratio",
        "passed accuracy",
    ]
    _, _, error = asked(tmp_path, "accuracy: {min_change: -0.1}")
    assert isinstance(error, DeploymentError)
    assert "a limit takes labels: name the model with --model, and its --store" in str(error)
