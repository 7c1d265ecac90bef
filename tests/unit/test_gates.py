"""A verdict: passed only when every limit is kept, and read back as it was written."""

import json
from pathlib import Path

import pytest

from cd4ml.contracts import verdict as gates
from cd4ml.errors import DocumentError, GateError

KEPT = gates.Check(
    "auc on overall", "at least 0.7", 0.8, gates.Outcome.PASSED, "auc on overall is 0.8", "overall", (0.78, 0.82)
)
BROKEN = gates.Check(
    "auc on region=south", "at least 0.7", 0.6, gates.Outcome.FAILED, "auc on region=south is 0.6, below 0.7"
)
UNKNOWN = gates.Check(
    "auc on region=west", "at least 0.7", None, gates.Outcome.INCONCLUSIVE, "auc on region=west: no rows"
)


def test_a_verdict_reads_back(tmp_path: Path) -> None:
    verdict = gates.Verdict("check_model", {"model": "sha256:1"}, (KEPT, BROKEN, UNKNOWN), ("the test split is old",))

    verdict.write(tmp_path / "new" / "verdict")

    assert gates.Verdict.read(tmp_path / "new" / "verdict") == verdict


def test_one_broken_limit_fails_and_every_reason_is_told() -> None:
    with pytest.raises(GateError) as raised:
        gates.Verdict("check_model", {}, (KEPT, BROKEN, UNKNOWN)).raise_if_failed()

    assert str(raised.value).splitlines() == [
        "check_model: 2 of 3 limits not kept",
        "  - auc on region=south is 0.6, below 0.7",
        "  - auc on region=west: no rows",
    ]


def test_kept_limits_pass() -> None:
    verdict = gates.Verdict("check_model", {"model": "sha256:1"}, (KEPT,)).raise_if_failed()

    assert verdict.metadata["headline"] == "1 of 1 limits kept"
    assert verdict.metadata["model_digest"] == "sha256:1"


def test_warnings_end_no_run_and_are_told_in_the_headline() -> None:
    verdict = gates.Verdict("check_model", {}, (KEPT,), ("one", "two")).raise_if_failed()

    assert verdict.metadata["headline"] == "1 of 1 limits kept, 2 warnings"
    assert verdict.metadata["warnings"] == "one; two"


@pytest.mark.parametrize(("passed", "outcome"), [(True, "passed"), (False, "failed")])
def test_a_verdict_of_before_there_were_outcomes_and_intervals_is_read(
    tmp_path: Path, passed: bool, outcome: str
) -> None:
    old = {"name": "auc", "limit": "at least 0.7", "value": 0.8, "passed": passed, "reason": "auc is 0.8"}
    (tmp_path / "verdict").write_text(json.dumps({"gate": "check_model", "about": {}, "checks": [old]}))

    verdict = gates.Verdict.read(tmp_path / "verdict")

    assert verdict.checks == (gates.Check("auc", "at least 0.7", 0.8, gates.Outcome(outcome), "auc is 0.8"),)
    assert verdict.passed is passed


def test_what_is_skipped_ends_no_run_and_is_no_pass_by_itself() -> None:
    skipped = gates.Check("change of auc", "at least 0", None, gates.Outcome.SKIPPED, "first model")

    verdict = gates.Verdict("check_model", {}, (KEPT, skipped)).raise_if_failed()

    assert verdict.metadata["headline"] == "1 of 1 limits kept, 1 skipped"
    assert verdict.skipped == ["first model"]
    with pytest.raises(GateError, match="no limit was held against anything"):
        gates.Verdict("check_model", {}, (skipped,)).raise_if_failed()


@pytest.mark.parametrize("outcome", ["inconclusive", "error", "failed"])
def test_what_is_not_known_to_be_kept_ends_the_run(outcome: str) -> None:
    doubtful = gates.Check("auc", "at least 0.7", 0.8, gates.Outcome(outcome), "auc is 0.8")

    with pytest.raises(GateError, match="1 of 2 limits not kept"):
        gates.Verdict("check_model", {}, (KEPT, doubtful)).raise_if_failed()


def test_the_worst_of_several_outcomes_counts() -> None:
    rising = [gates.Outcome(one) for one in ("skipped", "passed", "inconclusive", "error", "failed")]

    assert [gates.worst(rising[:place]) for place in range(1, 6)] == rising
    assert gates.worst(reversed(rising)) == "failed"
    assert gates.worst([]) == "skipped"


def test_an_outcome_that_is_not_known_is_no_verdict(tmp_path: Path) -> None:
    new = {"name": "auc", "limit": "", "value": 0.8, "outcome": "fine", "reason": ""}
    (tmp_path / "verdict").write_text(json.dumps({"gate": "check_model", "about": {}, "checks": [new]}))

    with pytest.raises(DocumentError, match="not a cd4ml/Verdict"):
        gates.Verdict.read(tmp_path / "verdict")


def test_what_is_no_verdict_is_refused(tmp_path: Path) -> None:
    (tmp_path / "verdict").write_text('{"passed": true}')

    with pytest.raises(DocumentError, match="not a cd4ml/Verdict .*; run the gate again"):
        gates.Verdict.read(tmp_path / "verdict")


def test_a_verdict_that_held_nothing_against_anything_has_not_passed() -> None:
    with pytest.raises(GateError, match="no limit was held against anything"):
        gates.Verdict("check_model", {"model": "sha256:1"}, ()).raise_if_failed()
