"""`cd4ml doctor` and the store: it is refused where two writers at once can both win."""

from pathlib import Path

import pytest
from conftest import Command, Outcome
from kfp_server import KfpServer
from s3_server import S3Server
from test_kubeflow_doctor import states


def found(outcome: Outcome) -> tuple[int, str | None, str | None]:
    told = states(outcome.out)
    return outcome.code, told.get("store"), told.get("conditional writes")


def test_a_store_in_which_one_of_eight_wins_is_ok(kfp: KfpServer, cd4ml: Command, s3: S3Server) -> None:
    outcome = cd4ml("doctor", "--host", kfp.host)

    assert found(outcome) == (0, "ok", "ok")
    assert "of 8 writers at once one won, 5 times" in outcome.out
    assert {name.partition("/")[0] for name in s3.objects} == {"probes"}
    assert "very-secret" not in outcome.all


@pytest.mark.parametrize("fault", ["lets_all_win", "races"])
def test_a_store_in_which_several_win_is_refused(kfp: KfpServer, cd4ml: Command, s3: S3Server, fault: str) -> None:
    setattr(s3, fault, True)

    outcome = cd4ml("doctor", "--host", kfp.host)

    assert found(outcome) == (1, "ok", "failed")
    said = " ".join(outcome.out.split())
    assert "two runs at once would publish the same version" in said
    assert "upgrade it, or keep the store in an S3 that heeds `If-None-Match`" in said


def test_a_store_of_another_bucket_is_checked_where_it_is_named(kfp: KfpServer, cd4ml: Command, s3: S3Server) -> None:
    s3.bucket = "team"

    assert found(cd4ml("doctor", "--host", kfp.host)) == (1, "failed", None)
    assert found(cd4ml("doctor", "--host", kfp.host, "--store", "s3://team/models")) == (0, "ok", "ok")
    assert all(name.startswith("models/probes/") for name in s3.objects)


def test_who_may_not_write_is_told_so(kfp: KfpServer, cd4ml: Command, s3: S3Server) -> None:
    s3.refused = "probes/"

    outcome = cd4ml("doctor", "--host", kfp.host)

    assert found(outcome) == (0, "ok", "warning")
    assert "you may not try them" in outcome.out


@pytest.mark.parametrize("store", ["store", "s3://", "s3://UPPER", "gs://cd4ml"])
def test_what_is_no_store_of_a_cluster_is_told(kfp: KfpServer, cd4ml: Command, store: str, tmp_path: Path) -> None:
    outcome = cd4ml("doctor", "--host", kfp.host, "--store", store)

    assert found(outcome) == (1, "failed", None)
    assert "Traceback" not in outcome.all
    assert not list(tmp_path.iterdir())
