"""A verdict: passed only when every limit is kept, and read back as it was written."""

import json
from pathlib import Path

import pytest

from cd4ml.contracts import verdict as gates
from cd4ml.errors import DocumentError, GateError

KEPT = gates.Check("auc on overall", "at least 0.7", 0.8, True, "auc on overall is 0.8", "overall", (0.78, 0.82))
BROKEN = gates.Check("auc on region=south", "at least 0.7", 0.6, False, "auc on region=south is 0.6, below 0.7")
UNKNOWN = gates.Check("auc on region=west", "at least 0.7", None, False, "auc on region=west: no rows")


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


def test_a_verdict_of_before_there_were_intervals_is_read(tmp_path: Path) -> None:
    old = {"name": "auc", "limit": "at least 0.7", "value": 0.8, "passed": True, "reason": "auc is 0.8"}
    (tmp_path / "verdict").write_text(json.dumps({"gate": "check_model", "about": {}, "checks": [old]}))

    assert gates.Verdict.read(tmp_path / "verdict").checks == (gates.Check(**old),)


def test_what_is_no_verdict_is_refused(tmp_path: Path) -> None:
    (tmp_path / "verdict").write_text('{"passed": true}')

    with pytest.raises(DocumentError, match="not a cd4ml/Verdict .*; run the gate again"):
        gates.Verdict.read(tmp_path / "verdict")


def test_a_verdict_that_held_nothing_against_anything_has_not_passed() -> None:
    with pytest.raises(GateError, match="no limit was held against anything"):
        gates.Verdict("check_model", {"model": "sha256:1"}, ()).raise_if_failed()
