"""`cd4ml submit`: what is sent to KFP, what is shown of the run, and what its end means."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from kfp_server import NEVER, KfpServer, Made, Ran, serving

from cd4ml.kubeflow import connection
from cd4ml.registry import records

EXAMPLE = Path(__file__).parents[3] / "examples/promotions/training.yaml"
RUN = "11111111-1111-1111-1111-111111111111"
BEGUN, ENDED = "2026-11-21T09:00:05Z", "2026-11-21T09:00:25Z"


def node(name: str, state: str, end_time: str = ENDED) -> dict[str, Any]:
    return {
        "run_id": RUN,
        "task_id": f"task-of-{name}",
        "display_name": name,
        "create_time": BEGUN,
        "start_time": BEGUN,
        "end_time": end_time,
        "state": state,
    }


def look(state: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    ended = ENDED if state in ("SUCCEEDED", "FAILED", "CANCELED") else NEVER
    return {"state": state, "finished_at": ended, "run_details": {"task_details": list(nodes)}}


PASSES = [
    look("PENDING"),
    look("RUNNING", node("verify-deployment-driver", "RUNNING", NEVER)),
    look("RUNNING", node("verify-deployment-driver", "SUCCEEDED"), node("verify-deployment", "RUNNING", NEVER)),
    look("SUCCEEDED", node("verify-deployment-driver", "SUCCEEDED"), node("verify-deployment", "SUCCEEDED")),
]
FAILS = [
    look("RUNNING"),
    look("FAILED", node("verify-deployment-driver", "SUCCEEDED"), node("verify-deployment", "FAILED")),
]


def test_the_file_of_a_local_run_is_what_is_submitted(kfp: KfpServer, cd4ml: Command, verification: Path) -> None:
    outcome = cd4ml(
        "submit", verification, "--host", kfp.host, "--no-wait", "--run-name", "first", "--service-account", "deployer"
    )

    assert outcome.code == 0
    sent = kfp.runs[0]
    assert sent["runtime_config"]["parameters"] == {"name": "uptake", "store": "s3://cd4ml"}
    assert (sent["display_name"], sent["service_account"]) == ("first", "deployer")
    assert sent["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "verification"
    assert sent["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]
    assert kfp.experiments[0]["display_name"] == "verification"
    assert f"to       KFP at {kfp.host}\n" in outcome.out
    assert f"look     {kfp.host}/#/runs/details/{RUN}" in outcome.out


def test_an_experiment_that_is_there_is_used_again(kfp: KfpServer, cd4ml: Command, verification: Path) -> None:
    for _ in range(2):
        assert cd4ml("submit", verification, "--host", kfp.host, "--no-wait", "--experiment", "nightly").code == 0

    assert [one["display_name"] for one in kfp.experiments] == ["nightly"]
    assert len(kfp.runs) == 2


def test_without_the_cache_no_task_asks_for_it(kfp: KfpServer, cd4ml: Command, tmp_path: Path) -> None:
    file = EXAMPLE.read_text()
    here = tmp_path / "training.yaml"
    here.write_text(
        file.replace("source: ", "source: s3://cd4ml/").replace("store: ", "store: s3://cd4ml/") + "  target: cluster\n"
    )

    def cached() -> list[bool]:
        tasks = kfp.runs[-1]["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"].values()
        return [task.get("cachingOptions", {}).get("enableCache", False) for task in tasks]

    assert cd4ml("submit", here, "--host", kfp.host, "--no-wait").code == 0
    assert any(cached())
    assert cd4ml("submit", here, "--host", kfp.host, "--no-wait", "--no-cache").code == 0
    assert not any(cached())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{name: uptake, stoer: s3://cd4ml}", "stoer: unknown; did you mean 'store'?"),
        ("{name: ../uptake, store: s3://cd4ml}", "name:"),
        ("{name: uptake, store: store}", "store: 'store' lies on this machine, where no cluster sees it"),
    ],
)
def test_bad_arguments_are_told_and_nothing_is_sent(
    kfp: KfpServer, cd4ml: Command, tmp_path: Path, arguments: str, said: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(f"pipeline: verification\narguments: {arguments}\n")

    outcome = cd4ml("submit", file, "--host", kfp.host)

    assert outcome.code == 1
    assert said in outcome.err
    assert kfp.written == []


def test_a_run_that_passes_shows_its_tasks_and_exits_0(kfp: KfpServer, cd4ml: Command, verification: Path) -> None:
    kfp.progress = list(PASSES)
    made = Made("verdict", "s3://mlpipeline/v", {"headline": "100 rows as evaluated"})
    kfp.lineage[RUN] = [Ran("verify-deployment", "Verify deployment", artifacts=[made])]

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 0
    assert "passed  Verify deployment      20.0 s  100 rows as evaluated" in outcome.out


def test_a_run_that_fails_says_the_words_of_the_error_and_exits_1(
    kfp: KfpServer, cd4ml: Command, verification: Path
) -> None:
    kfp.progress = list(FAILS)
    kfp.lineage[RUN] = [Ran("verify-deployment", "Verify deployment", state=4, pod="verification-x-impl-7")]
    kfp.logs["verification-x-impl-7"] = (
        "I1121 09:00:10.1 12 launcher_v2.go:150] starting\n"
        "Traceback (most recent call last):\n"
        '  File "/x.py", line 3, in <module>\n'
        "cd4ml.errors.DeploymentError: row 7: served 0.91, evaluated 0.42; deploy the version again\n"
        "I1121 09:00:11.1 12 launcher_v2.go:151] publish success.\n"
        "F1121 09:00:11.2 12 main.go:57] failed to execute component: exit status 1\n"
    )

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 1
    assert outcome.out.endswith("failed row 7: served 0.91, evaluated 0.42; deploy the version again\n")


def test_the_states_of_tasks_that_come_after_that_of_the_run_are_waited_for(
    kfp: KfpServer, cd4ml: Command, verification: Path
) -> None:
    driver = node("verify-deployment-driver", "SUCCEEDED")
    kfp.progress = [look("FAILED", driver, node("verify-deployment", "RUNNING", NEVER)), *FAILS[1:]]

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 1
    assert "failed  Verify deployment" in outcome.out


def test_a_failure_that_no_one_foresaw_shows_its_traceback_alone(
    kfp: KfpServer, cd4ml: Command, verification: Path
) -> None:
    kfp.progress = list(FAILS)
    kfp.lineage[RUN] = [Ran("verify-deployment", "Verify deployment", state=4, pod="pod-7")]
    kfp.logs["pod-7"] = (
        "I1121 09:00:10.1 12 launcher_v2.go:150] starting\n"
        "Traceback (most recent call last):\n"
        '  File "/x.py", line 3, in <module>\n'
        "ImportError: no such library\n"
        "E1121 09:00:11.1 12 launcher_v2.go:151] exit status 1\n"
    )

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.out.endswith(
        'failed Traceback (most recent call last):\n  File "/x.py", line 3, in <module>\nImportError: no such library\n'
    )


def test_a_driver_that_fails_fails_its_task(kfp: KfpServer, cd4ml: Command, verification: Path) -> None:
    kfp.progress = [look("FAILED", node("verify-deployment-driver", "FAILED"), node("verify-deployment", "SKIPPED"))]

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert "failed  Verify deployment" in outcome.out


def test_a_failed_run_without_a_log_names_the_task(kfp: KfpServer, cd4ml: Command, verification: Path) -> None:
    kfp.progress = list(FAILS)

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 1
    assert "failed The task verify-deployment failed; KFP gives no log of it" in outcome.out


@pytest.mark.parametrize("template", ["system-container-impl", "retry-system-container-impl"])
def test_without_ml_metadata_the_log_of_the_last_attempt_is_found_by_what_kfp_says_of_the_attempts(
    kfp: KfpServer, cd4ml: Command, verification: Path, template: str
) -> None:
    kfp.metadata_fails = True
    attempts = {"child_tasks": [{"pod_name": "verification-x-7"}, {"pod_name": "verification-x-8"}]}
    kfp.progress = [look("FAILED", node("verify-deployment", "FAILED"), node("executor", "FAILED") | attempts)]
    kfp.logs[f"verification-x-{template}-7"] = "ValueError: the first attempt"
    kfp.logs[f"verification-x-{template}-8"] = "ValueError: no answer"

    submitted = cd4ml("submit", verification, "--host", kfp.host)
    shown = cd4ml("runs", "show", RUN, "--host", kfp.host)

    assert "failed ValueError: no answer" in submitted.out
    assert "failed ValueError: no answer" in shown.out


def test_a_failed_run_without_a_log_says_what_its_record_says(
    kfp: KfpServer, cd4ml: Command, verification: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(tmp_path / "store")
    monkeypatch.setenv(records.PIPELINE, "verification")
    monkeypatch.setenv(records.RUN, RUN)
    records.begin(store, name="run", arguments={})
    records.end(store, status="failed", failure="the answers differ")
    verified = {"runtime_config": {"parameters": {"store": store}}}
    kfp.progress = [one | verified for one in FAILS]

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert "failed the answers differ" in outcome.out


def test_a_run_that_ended_before_its_tasks_names_what_says_why(
    kfp: KfpServer, cd4ml: Command, verification: Path
) -> None:
    kfp.progress = [look("FAILED", node("root-driver", "FAILED"))]

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 1
    assert f"kubectl describe workflow --namespace kubeflow --selector pipeline/runid={RUN}" in outcome.out


def test_a_task_that_kfp_lost_sight_of_is_told_and_not_taken_for_one_that_was_skipped(
    kfp: KfpServer, cd4ml: Command, verification: Path
) -> None:
    kfp.progress = [look("SUCCEEDED", node("root-driver", "SUCCEEDED"))]

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 0
    assert "KFP does not know Verify deployment" in outcome.err
    assert "MAX_WORKFLOW_SIZE" in outcome.err
    assert "skipped" not in outcome.out


def test_a_connection_that_is_lost_while_waiting_is_tried_again(
    kfp: KfpServer, cd4ml: Command, verification: Path
) -> None:
    kfp.progress, kfp.lost = list(PASSES), 3

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 0
    assert outcome.err.count("trying again") == 1


class Clock:
    """A clock that a sleep moves on by a minute."""

    def __init__(self) -> None:
        self.now = 1e6

    def monotonic(self) -> float:
        return self.now

    def sleep(self, _: float) -> None:
        self.now += 60


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("cd4ml.kubeflow.runs.time", clock)
    return clock


def test_a_connection_may_be_lost_for_ten_minutes_each_time(
    kfp: KfpServer, cd4ml: Command, verification: Path, clock: Clock
) -> None:
    class LostTwice(list[dict[str, Any]]):
        def pop(self, _: Any = 0) -> dict[str, Any]:
            kfp.lost = 9
            return super().pop(0)

    kfp.progress, kfp.lost = LostTwice(PASSES), 9

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 0
    assert outcome.err.count("trying again") == len(PASSES)


def test_a_connection_that_is_lost_for_longer_ends_the_wait_and_says_that_the_run_goes_on(
    kfp: KfpServer, cd4ml: Command, verification: Path, clock: Clock
) -> None:
    kfp.progress, kfp.lost = list(PASSES), 1000
    began = clock.now

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 1
    assert "cannot be reached" in outcome.err
    assert f"the run goes on; look at it with `cd4ml runs show {RUN}`" in outcome.err
    assert 600 <= clock.now - began <= 660


@pytest.mark.parametrize("state", ["CANCELING", "CANCELED"])
def test_a_run_that_somebody_ends_is_no_pass(kfp: KfpServer, cd4ml: Command, verification: Path, state: str) -> None:
    begun = node("verify-deployment", "RUNNING", NEVER)
    kfp.progress = [look("RUNNING", begun), look(state, begun)]

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 1
    assert outcome.out.endswith("stopped The run was ended on KFP.\n")


def test_a_second_attempt_counts_and_not_the_one_before(kfp: KfpServer, cd4ml: Command, verification: Path) -> None:
    driver, failed = node("verify-deployment-driver", "SUCCEEDED"), node("verify-deployment", "FAILED")
    again = {"create_time": "2026-11-21T09:01:00Z", "start_time": "2026-11-21T09:01:00Z"}
    running = {**node("verify-deployment", "RUNNING", NEVER), **again}
    passed = {**node("verify-deployment", "SUCCEEDED", "2026-11-21T09:01:07Z"), **again}
    kfp.progress = [look("RUNNING", running, driver, failed), look("SUCCEEDED", passed, driver, failed)]
    kfp.lineage[RUN] = [
        Ran(
            "verify-deployment", "Verify deployment", 4, artifacts=[Made("verdict", "s3://m/1", {"headline": "first"})]
        ),
        Ran("verify-deployment", "Verify deployment", artifacts=[Made("verdict", "s3://m/2", {"headline": "second"})]),
    ]

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 0
    assert "failed" not in outcome.out
    assert "second" in outcome.out
    assert "first" not in outcome.out


def test_an_interrupted_wait_says_that_the_run_goes_on(
    kfp: KfpServer, cd4ml: Command, verification: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cd4ml.kubeflow.runs.time.sleep", interrupted)

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 130
    assert f"the run goes on; look at it with `cd4ml runs show {RUN}`" in outcome.out


def test_a_server_of_another_major_version_is_refused(kfp: KfpServer, cd4ml: Command, verification: Path) -> None:
    for version in ("3.0.1", "1.8.22"):
        kfp.version = version

        outcome = cd4ml("submit", verification, "--host", kfp.host)

        assert outcome.code == 1
        assert f"is KFP {version}, and cd4ml compiles for KFP 2." in outcome.err
    assert kfp.written == []


def test_a_server_of_many_users_wants_a_namespace(kfp: KfpServer, cd4ml: Command, verification: Path) -> None:
    kfp.multi_user = True

    refused = cd4ml("submit", verification, "--host", kfp.host, "--no-wait")
    taken = cd4ml("submit", verification, "--host", kfp.host, "--no-wait", "--namespace", "team-a")

    assert (refused.code, taken.code) == (1, 0)
    assert "name the namespace of your profile with --namespace" in refused.err
    assert kfp.experiments[0]["namespace"] == "team-a"
    assert f"to       KFP at {kfp.host}, namespace team-a\n" in taken.out


@pytest.mark.parametrize("command", ["submit", "schedule"])
def test_a_namespace_that_a_server_of_one_user_does_not_run_in_is_refused(
    kfp: KfpServer, cd4ml: Command, verification: Path, command: str
) -> None:
    options = ["--cron", "0 6 * * *"] if command == "schedule" else ["--no-wait"]
    refused = cd4ml(command, verification, "--host", kfp.host, *options, "--namespace", "cd4ml")

    assert refused.code == 1
    assert "all runs go to its own namespace (kubeflow, as a rule) and none to cd4ml" in refused.err
    assert "leave --namespace out" in refused.err
    assert kfp.written == []

    taken = cd4ml(command, verification, "--host", kfp.host, *options, "--namespace", "kubeflow")

    assert taken.code == 0
    assert "namespace" not in kfp.experiments[0]


@pytest.mark.parametrize("health", [b"<html>Log in</html>", b"", b"ok", b"[]", b"null", b"\xff\xfe"])
def test_what_answers_and_is_no_kfp_is_told(kfp: KfpServer, cd4ml: Command, verification: Path, health: bytes) -> None:
    kfp.health = health

    for command in (["submit", verification, "--no-wait"], ["doctor"], ["runs", "list"]):
        outcome = cd4ml(*command, "--host", kfp.host)

        assert outcome.code == 1
        assert "answers, but not as KFP's API does" in " ".join(outcome.all.split())


@pytest.mark.parametrize("page", ["<html>Log in: runs, experiments</html>", '"runs"', "[]"])
def test_a_login_before_the_rest_of_the_api_is_told(
    kfp: KfpServer, cd4ml: Command, verification: Path, page: str
) -> None:
    kfp.page = page

    for command in (
        ["submit", verification, "--no-wait"],
        ["schedule", verification, "--cron", "0 6 * * *"],
        ["schedules", "list"],
        ["runs", "list"],
        ["runs", "show", RUN],
        ["pipelines", "upload", "verification"],
    ):
        outcome = cd4ml(*command, "--host", kfp.host)

        assert outcome.code == 1
        assert "answers, but not as KFP's API does; where a login stands before it give a token" in outcome.err


def test_an_api_server_that_its_ui_does_not_reach_is_told(kfp: KfpServer, cd4ml: Command, verification: Path) -> None:
    kfp.health = {"apiServerReady": False, "frontendTagName": "2.17.0"}

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 1
    assert "KFP's API server is not ready; try again in a minute" in outcome.err


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (302, "sends to a login (302); give a token with --token-file"),
        (399, "sends to a login (399)"),
        (400, "refuses (400): no, said the server"),
        (401, "refuses to know you (401): no token was given; name the file of one with --token-file"),
        (403, "you may not do this (403): no, said the server; ask an admin for the role"),
        (429, "not ready (429): no, said the server; try again in a minute"),
        (500, "fails (500): no, said the server; see the log of the pod ml-pipeline"),
        (503, "not ready (503): no, said the server; try again in a minute"),
    ],
)
def test_a_refusal_is_told_in_one_line_with_what_to_do(
    kfp: KfpServer, cd4ml: Command, verification: Path, status: int, said: str
) -> None:
    kfp.refuses = status

    outcome = cd4ml("submit", verification, "--host", kfp.host)

    assert outcome.code == 1
    assert f"{kfp.host}: {said}" in outcome.err
    assert outcome.err.count("\n") == 1


def jwt(expires: int, issuer: str = "") -> str:
    parts = ({"alg": "RS256"}, {"exp": expires, "iss": issuer})
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts), "s1"])


@pytest.mark.parametrize("issuer", ["", "a", "ab", "abc"])  # of each length that base64 fills up
def test_an_expired_token_is_told_and_never_printed(
    kfp: KfpServer, cd4ml: Command, verification: Path, tmp_path: Path, issuer: str
) -> None:
    token = tmp_path / "token"
    token.write_text(jwt(1_600_000_000, issuer))
    kfp.token = "another"

    outcome = cd4ml("submit", verification, "--host", kfp.host, "--token-file", token)

    assert outcome.code == 1
    assert "refuses to know you (401): the token expired at 2020-09-13 12:26 UTC; get a new one" in outcome.err
    assert token.read_text() not in outcome.all
    assert kfp.written == []


def test_a_token_is_read_again_while_a_run_is_waited_for(
    kfp: KfpServer, cd4ml: Command, verification: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("first-token")
    kfp.token, kfp.progress = "first-token", list(PASSES)

    def replaced(_: float) -> None:
        token.write_text("second-token")
        kfp.token = "second-token"

    monkeypatch.setattr("cd4ml.kubeflow.runs.time.sleep", replaced)

    outcome = cd4ml("submit", verification, "--host", kfp.host, "--token-file", token)

    assert outcome.code == 0
    assert "-token" not in outcome.all.replace("--token", "")


def test_where_kfp_is_and_who_asks_may_be_said_by_the_environment(
    kfp: KfpServer, cd4ml: Command, verification: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("the-token\n")
    kfp.token = "the-token"
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", f"{kfp.host}/")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("KF_PIPELINES_DEFAULT_EXPERIMENT_NAME", "nightly")
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://kfp.example.org/pipeline/")

    outcome = cd4ml("submit", verification, "--no-wait")

    assert outcome.code == 0
    assert [one["display_name"] for one in kfp.experiments] == ["nightly"]
    assert f"look     https://kfp.example.org/pipeline/#/runs/details/{RUN}" in outcome.out


def test_within_a_cluster_kfp_is_asked_by_its_service_with_the_token_of_the_pod(
    kfp: KfpServer, cd4ml: Command, verification: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert connection.connect(connection.Address()).host == "http://ml-pipeline.kubeflow.svc.cluster.local:8888"

    monkeypatch.setattr(connection, "_IN_CLUSTER", kfp.host)
    monkeypatch.setattr(connection, "_IN_CLUSTER_TOKEN", str(tmp_path / "pods-token"))
    (tmp_path / "pods-token").write_text("of-the-pod")
    (tmp_path / "token").write_text("of-a-person")
    kfp.token = "of-the-pod"

    assert cd4ml("submit", verification, "--no-wait").code == 0
    refused = cd4ml("submit", verification, "--no-wait", "--token-file", tmp_path / "token")
    assert "the token is not accepted; get a new one, for this KFP" in refused.err


def test_a_kfp_behind_tls_is_asked_only_where_its_authority_is_named(
    cd4ml: Command, verification: Path, tmp_path: Path
) -> None:
    certificate = tmp_path / "ca.pem"
    subject = ["-subj", "/CN=kfp", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files], check=True)
    with serving(KfpServer(), tls=(certificate, tmp_path / "key.pem")) as kfp:
        refused = cd4ml("submit", verification, "--host", kfp.host, "--no-wait")
        taken = cd4ml("submit", verification, "--host", kfp.host, "--no-wait", "--ca", certificate)
        absent = cd4ml("submit", verification, "--host", kfp.host, "--no-wait", "--ca", tmp_path / "no.pem")

    assert (refused.code, taken.code, absent.code) == (1, 0, 1)
    assert "TLS fails" in refused.err
    assert "name the authority that signed its certificate with --ca" in refused.err
    assert "no.pem: no such file; --ca names a PEM file of certificates" in absent.err


def test_a_server_that_is_not_there_is_told_in_one_line(cd4ml: Command, verification: Path) -> None:
    outcome = cd4ml("submit", verification, "--host", "http://127.0.0.1:9")

    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "http://127.0.0.1:9: cannot be reached ([Errno 111] Connection refused); name KFP's address" in outcome.err


def test_without_host_and_kubeconfig_both_are_named(cd4ml: Command, verification: Path) -> None:
    outcome = cd4ml("submit", verification)

    assert outcome.code == 1
    assert "name KFP with --host or KF_PIPELINES_ENDPOINT" in outcome.err


@pytest.fixture
def kubeconfig(kfp: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubeconfig whose cluster's API server hands on to KFP, as the service proxy does."""
    file = tmp_path / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": kfp.host}}],
                "users": [{"name": "u", "user": {"token": "kube-token"}}],
                "contexts": [{"name": "staging", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "staging",
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(file))
    answer, prefix = kfp.answer, "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"

    def handed_on(method: str, path: str, *rest: Any) -> tuple[int, Any]:
        return (
            answer(method, path.removeprefix(prefix), *rest) if path.startswith(prefix) else (404, "404 page not found")
        )

    monkeypatch.setattr(kfp, "answer", handed_on)


def test_who_may_not_reach_kfp_through_the_cluster_is_told_of_that_right(
    kfp: KfpServer, cd4ml: Command, verification: Path, kubeconfig: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = 'services "ml-pipeline:http" is forbidden: User "jo" cannot get resource "services/proxy"'
    monkeypatch.setattr(kfp, "answer", lambda *_: (403, {"kind": "Status", "message": said, "code": 403}))

    outcome = cd4ml("submit", verification, "--yes")

    assert outcome.code == 1
    assert f"{said}; ask an admin for that right (docs/for-engineers.md), or name KFP's address" in outcome.err


def test_a_context_that_nobody_named_is_not_changed(
    kfp: KfpServer, cd4ml: Command, verification: Path, kubeconfig: None
) -> None:
    refused = cd4ml("submit", verification, "--no-wait")
    taken = cd4ml("submit", verification, "--no-wait", "--context", "staging")

    assert (refused.code, taken.code) == (1, 0)
    assert "only the kubeconfig's current context says so; name it with --context staging, or say --yes" in refused.err
    assert "(kubeconfig's context staging)" in taken.out
    assert len(kfp.runs) == 1


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code", "sent"), [("y\n", 0, 1), ("n\n", 1, 0)])
def test_on_a_terminal_it_is_asked_whether_the_context_is_to_be_changed(
    kfp: KfpServer,
    cd4ml: Command,
    verification: Path,
    kubeconfig: None,
    monkeypatch: pytest.MonkeyPatch,
    *,
    answer: str,
    code: int,
    sent: int,
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    outcome = cd4ml("submit", verification, "--no-wait")

    assert (outcome.code, len(kfp.runs)) == (code, sent)
    assert "Go on? [y/N]" in outcome.all


def test_what_is_only_read_is_not_asked_about(
    kfp: KfpServer, cd4ml: Command, kubeconfig: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", Terminal())

    outcome = cd4ml("runs", "list")

    assert outcome.code == 0
    assert "Go on?" not in outcome.all
