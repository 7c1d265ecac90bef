"""Limits that let a version in, as they are held against a window of what it answered."""

from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.monitoring import limits_held

FAILED, OPEN = Outcome.FAILED, Outcome.INCONCLUSIVE


def auc(limit: str, outcome: Outcome) -> Check:
    return Check("auc on overall", limit, 0.65, outcome, "auc on overall is 0.65")


def test_of_two_limits_of_one_name_each_must_fail_on_one_row_of_each_caller_itself() -> None:
    found = [auc("at least 0.9", FAILED), auc("at least 0.7", FAILED)]
    alone = [auc("at least 0.9", FAILED), auc("at least 0.7", OPEN)]

    held = list(limits_held.borne_out(found, alone, 40))

    assert [(one.limit, one.outcome) for one in held] == [("at least 0.9", FAILED), ("at least 0.7", OPEN)]


def test_what_fails_says_what_to_do_and_nothing_else_does() -> None:
    found = [auc("at least 0.9", FAILED), auc("at least 0.7", OPEN), auc("at least 0.6", Outcome.PASSED)]

    failed, *others = limits_held.with_remedy(found)

    assert failed.reason == (
        "auc on overall is 0.65; see what drifted in this window, and train again (`cd4ml monitor retrain`) or go back "
        "(`cd4ml deployments rollback`)"
    )
    assert others == found[1:]
