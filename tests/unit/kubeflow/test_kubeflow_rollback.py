"""`cd4ml deployments rollback` of what a cluster serves: a run of the pipeline `deployment` there."""

import pytest
from conftest import Command
from kfp_server import KfpServer
from test_kubeflow_submit import look, node

from cd4ml.contracts.approval import Approval
from cd4ml.contracts.deployment import Held
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.errors import StorageError
from cd4ml.registry import deployments, numbers
from cd4ml.storage import Store, open_store

ROLLBACK = ("deployments", "rollback", "uptake", "--store", "s3://cd4ml", "--by", "Ada", "--reason", "odd answers")
PASSED = [look("SUCCEEDED", *(node(name, "SUCCEEDED") for name in ("find-version", "deploy-model")))]


def published(number: int) -> Version:
    return Version("uptake", number, f"sha256:{number}", "now", "run", "", DatasetReference("p", 0, "sha256:d"))


@pytest.fixture
def store(s3: object) -> Store:
    """A store whose versions 1 and 2 were deployed on a cluster."""
    opened = open_store("s3://cd4ml")
    opened.add_folder(published(7).folder, {"version.json": published(7).text})
    for number in (1, 2):
        version = published(number)
        opened.add_folder(version.folder, {"version.json": version.text})
        begun = deployments.begin(opened, version, run="run", target="cluster", strategy="replace", persons=number)
        deployments.add(opened, begun, Held("http://uptake-default.cd4ml.svc:8000/api/v1.0/predictions", "now"))
    return opened


@pytest.mark.parametrize(
    ("options", "version", "asks"),
    [((), 1, {}), (("--to", "1"), 1, {}), (("--to", "2"), 2, {}), (("--to", "7"), 7, {"approvals": 2})],
)
def test_the_pipeline_deploys_the_version_as_the_deployer_and_asks_people_of_one_that_is_no_way_back(
    kfp: KfpServer, cd4ml: Command, store: Store, options: tuple[str, ...], version: int, asks: dict[str, int]
) -> None:
    kfp.progress = list(PASSED)

    outcome = cd4ml(*ROLLBACK, *options, "--host", kfp.host)

    assert outcome.code == 0, outcome.all
    [sent] = kfp.runs
    assert sent["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "deployment"
    assert sent["runtime_config"]["parameters"] == {
        "name": "uptake",
        "version": version,
        "store": "s3://cd4ml",
        "target": "cluster",
        **asks,
    }
    assert ("it waits until 2 people approve it, of whom Ada is one" in outcome.out) == bool(asks)
    said = Approval.parse(store.read(f"approvals/uptake/{version}/1.json"), "")
    assert said.headline == "Ada: odd answers"
    assert sent["service_account"] == "deployer"
    assert "passed" in outcome.out


def test_a_run_that_fails_is_told(kfp: KfpServer, cd4ml: Command, store: Store) -> None:
    kfp.progress = [look("FAILED", node("find-version", "SUCCEEDED"), node("deploy-model", "FAILED"))]

    assert cd4ml(*ROLLBACK, "--host", kfp.host).code == 1


def test_a_way_back_needs_no_right_to_approve_and_any_other_version_does(
    kfp: KfpServer, cd4ml: Command, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.progress = list(PASSED)

    def refused(*_: object) -> int:
        raise StorageError("approvals/uptake/1: access denied")

    monkeypatch.setattr(numbers, "append", refused)
    back = cd4ml(*ROLLBACK, "--host", kfp.host)
    other = cd4ml(*ROLLBACK, "--to", "7", "--host", kfp.host)

    assert (back.code, other.code, len(kfp.runs)) == (0, 1, 1)
    assert "who goes back and why could not be kept: approvals/uptake/1: access denied" in back.err
