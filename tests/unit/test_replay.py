"""What a policy would have earned of captured requests is told as it would have been, or it is told that it cannot."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from captures import BEGIN, Arms, captured, write
from typer.testing import CliRunner

from cd4ml import cli
from cd4ml.deployment.evidence import replay
from cd4ml.deployment.evidence.designs import Bandit
from cd4ml.deployment.evidence.divided import Divided
from cd4ml.deployment.evidence.replay import Pair, Replayed
from cd4ml.deployment.evidence.units import Units
from cd4ml.errors import DeploymentError

LOGS, CALLERS = 1000, 500
RATES = (0.2, 0.35)
PAIR = Pair("old", "new")
AT = pa.array([BEGIN + timedelta(minutes=number) for number in range(CALLERS)], pa.timestamp("us", "UTC"))
IDS = pa.array(np.arange(CALLERS).astype(str))
BANDIT = Bandit.model_validate({"window": "10 minutes"})


LATER = BEGIN + timedelta(days=1)


def read(bandit: Bandit, folder: Path) -> Replayed:
    return replay.read(bandit, folder, until=LATER, champion="old", challenger="new")


def log(random: np.random.Generator, propensities: np.ndarray) -> Replayed:
    """A log of a caller a minute, replayed."""
    challenged = random.random(CALLERS) < propensities
    outcomes = (random.random(CALLERS) < np.where(challenged, RATES[1], RATES[0])) * 1.0
    rewards = pa.table({"request_id": IDS, "reward": outcomes})
    divided = Divided(challenged, pa.table({"at": AT, "request_id": IDS}), rewards, propensities)
    everyone = np.ones(CALLERS, bool)
    found = Units(divided, everyone, torn=0, requests=CALLERS, unnamed=0, told=CALLERS, strange=~everyone, why="")
    return replay.replay(BANDIT, found, PAIR)


def test_intervals_hold_what_would_have_been_earned_as_often_as_they_say_and_estimates_are_right_on_average() -> None:
    random = np.random.default_rng(11)
    propensities = np.repeat([0.2, 0.5], CALLERS // 2)  # a canary
    logs = [log(random, propensities) for _ in range(LOGS)]

    def truth(share: float) -> float:
        return RATES[0] + share * (RATES[1] - RATES[0])

    for place in (0, 1):
        estimates = [one.estimates[place] for one in logs]
        expected = np.array([truth(one.share) for one in estimates])
        held = [one.interval[0] <= true <= one.interval[1] for one, true in zip(estimates, expected, strict=True)]
        assert np.mean(held) >= 1 - BANDIT.error
        widths = [one.interval[1] - one.interval[0] for one in estimates]
        spread = (np.array([one.doubly_robust for one in estimates]) - expected).std()
        assert np.mean(widths) < 2.5 * (2 * 1.96 * spread)  # what a normal approximation would take
        for kind in ("ips", "snips", "doubly_robust"):
            off = np.array([getattr(one, kind) for one in estimates]) - expected
            assert abs(off.mean()) < 4 * off.std() / np.sqrt(LOGS) + 0.002  # of SNIPS, which is a ratio
    for place, other in ((0, truth(propensities.mean())), (1, RATES[0])):
        gains = [(one.gains[place].interval, truth(one.estimates[0].share) - other) for one in logs]
        assert np.mean([low <= true <= high for (low, high), true in gains]) >= 1 - BANDIT.error
    assert np.mean([one.estimates[0].share for one in logs]) > 0.6


def test_what_is_estimated_of_the_shares_that_there_were_is_what_was_earned(tmp_path: Path) -> None:
    bandit = Bandit.model_validate(
        {"range": [-1, 3], "floor": 0.49, "policy": "epsilon-greedy", "window": "61 minutes"}
    )

    found = read(bandit, write(tmp_path, 8000))

    policy, champion = found.estimates
    assert policy.doubly_robust == pytest.approx(found.earned, abs=0.02)
    assert policy.snips == pytest.approx(found.earned, abs=0.02)
    assert policy.effective == pytest.approx(found.callers, rel=0.01)
    assert champion.effective == pytest.approx(found.callers / 2, rel=0.1)


def test_a_policy_learns_of_the_outcomes_alone_that_were_known_by_then(tmp_path: Path) -> None:
    folder = write(tmp_path, 8000, Arms(rewards=(0.0, 1.0)))
    shares = [
        read(Bandit.model_validate({"window": window}), folder).estimates[0].share
        for window in ("61 minutes", "2 hours")
    ]

    assert shares[0] == pytest.approx((0.5 * 3660 + 0.9 * 4340) / 8000, abs=0.03)
    assert shares[1] == pytest.approx((0.5 * 7200 + 0.9 * 800) / 8000, abs=0.03)


@pytest.mark.parametrize(
    ("requests", "given", "said"),
    [
        (
            8000,
            {"weight": 0.01},
            r"the rarer arm had \d+ once thompson would have learned anything, and 100 are needed",
        ),
        (3600, {}, "the rarer arm had 0 once thompson would have learned anything, and 100 are needed"),
        (8000, {"weight": 0.0}, "has no two arms between which chance divided requests"),
    ],
)
def test_a_log_that_tells_too_little_is_refused_with_the_remedy(
    tmp_path: Path, requests: int, given: dict[str, Any], said: str
) -> None:
    folder = write(tmp_path, requests, Arms(**given))

    with pytest.raises(DeploymentError, match=rf"{said}; divide requests by chance for more than .* `replay: none`"):
        replay.read(Bandit.model_validate({"window": "61 minutes"}), folder, until=LATER)


def test_the_command_tells_what_the_policy_would_have_earned_beside_what_was(tmp_path: Path) -> None:
    folder = write(tmp_path / "capture", 8000, Arms(rewards=(0.3, 0.5)))
    arguments = ["deployments", "replay", "uptake", "--capture", str(folder), "--window", "61 minutes"]

    found = CliRunner().invoke(cli.app, [*arguments, "--champion", "old", "--challenger", "new"])
    last = CliRunner().invoke(cli.app, [*arguments, "--policy", "epsilon-greedy"])
    half = CliRunner().invoke(cli.app, [*arguments, "--champion", "old"])
    bad = CliRunner().invoke(cli.app, [*arguments, "--floor", "0.7"])

    said = " ".join(found.output.split())
    assert found.exit_code == 0, found.output
    for words in ("what was earned", "always the champion", "thompson on", "callers of old and new"):
        assert words in said
    assert "epsilon-greedy" in last.output
    assert (half.exit_code, bad.exit_code) == (1, 1)
    assert "name both arms" in str(half.output) + str(half.exception)


def test_a_policy_is_replayed_on_outcomes_that_come_weeks_late(tmp_path: Path) -> None:
    for number, days in enumerate((0, 20)):
        for name, table in zip(("requests", "feedback"), captured(2000, Arms(), seed=number, unit=None), strict=True):
            later = pa.array([at + timedelta(days=days) for at in table["at"].to_pylist()], table["at"].type)
            folder = tmp_path / name / f"2026-01-{1 + days:02}"
            folder.mkdir(parents=True)
            pq.write_table(table.set_column(0, "at", later), folder / "0.parquet")
    arguments = ["deployments", "replay", "uptake", "--capture", str(tmp_path), "--window", "6 days"]

    found = CliRunner().invoke(cli.app, [*arguments, "--champion", "old", "--challenger", "new"])

    assert found.exit_code == 0, found.exception
    assert "thompson on 2,000 callers of old and new" in " ".join(found.output.split())


def test_a_log_of_several_rollouts_is_replayed_on_the_last(tmp_path: Path) -> None:
    for number, (first, second) in enumerate([("d-8", "d-9"), ("d-9", "d-10")]):
        table, given = captured(8000, Arms(), seed=number, unit=None)
        names = {"old": first, "new": second}
        column = pa.array([names[arm] for arm in table["arm"].to_pylist()])
        later = pa.array([at + timedelta(hours=3 * number) for at in table["at"].to_pylist()], table["at"].type)
        table = table.set_column(2, "arm", column).set_column(0, "at", later)
        for name, content in (("requests", table), ("feedback", given)):
            (tmp_path / name / "2026-01-01").mkdir(parents=True, exist_ok=True)
            pq.write_table(content, tmp_path / name / "2026-01-01" / f"{number}.parquet")

    found = replay.read(Bandit.model_validate({"missing": 0.0}), tmp_path, until=LATER)

    assert (found.pair.champion, found.pair.challenger) == ("d-9", "d-10")
    assert found.callers <= 8000
