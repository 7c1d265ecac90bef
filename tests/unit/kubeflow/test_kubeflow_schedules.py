"""`cd4ml schedule` and `cd4ml schedules`: one recurring run a name."""

from pathlib import Path

from conftest import Command
from kfp_server import KfpServer


def test_a_schedule_takes_the_place_of_the_one_of_its_name(kfp: KfpServer, cd4ml: Command, verification: Path) -> None:
    first = cd4ml("schedule", verification, "--cron", "0 6 * * *", "--host", kfp.host)
    second = cd4ml("schedule", verification, "--cron", "0 7 * * 1", "--host", kfp.host)

    assert (first.code, second.code) == (0, 0)
    assert "schedule nightly, 0 7 * * 1, in place of the one before" in second.out
    (held,) = kfp.recurring
    assert held["trigger"]["cron_schedule"]["cron"] == "0 0 7 * * 1"
    assert held["runtime_config"]["parameters"] == {"name": "uptake", "store": "s3://cd4ml"}
    assert (held["mode"], held["no_catchup"]) == ("ENABLE", True)


def test_schedules_are_listed_and_deleted(kfp: KfpServer, cd4ml: Command, verification: Path) -> None:
    cd4ml("schedule", verification, "--cron", "0 6 * * *", "--name", "dawn", "--host", kfp.host)

    listed = cd4ml("schedules", "list", "--host", kfp.host)
    deleted = cd4ml("schedules", "delete", "dawn", "--host", kfp.host)
    again = cd4ml("schedules", "delete", "dawn", "--host", kfp.host)

    assert "dawn      0 0 6 * * *  enabled" in listed.out
    assert (deleted.code, again.code) == (0, 1)
    assert kfp.recurring == []
    assert "there is no schedule 'dawn'" in again.err


def test_a_schedule_among_many_is_found(kfp: KfpServer, cd4ml: Command) -> None:
    kfp.recurring = [
        {"recurring_run_id": f"r{number}x", "display_name": f"schedule-{number}", "status": "ENABLED"}
        for number in range(450)
    ]

    listed = cd4ml("schedules", "list", "--host", kfp.host)
    deleted = cd4ml("schedules", "delete", "schedule-449", "--host", kfp.host)

    assert "schedule-449" in listed.out
    assert (deleted.code, len(kfp.recurring)) == (0, 449)


def test_a_cron_expression_that_is_none_is_told_and_nothing_is_sent(
    kfp: KfpServer, cd4ml: Command, verification: Path
) -> None:
    outcome = cd4ml("schedule", verification, "--cron", "daily", "--host", kfp.host)

    assert outcome.code == 1
    assert "--cron 'daily': has 1 fields, not five" in outcome.err
    assert kfp.written == []
