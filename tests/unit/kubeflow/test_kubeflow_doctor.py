"""`cd4ml doctor`: every check with its remedy."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from kfp_server import KfpServer, serving

from cd4ml import images

NAMESPACED = "/api/v1/namespaces/cd4ml"
IMAGES = [images.TOOLS, images.VALIDATE, images.TRAIN, images.EVALUATE, images.SERVE]


def whole() -> dict[str, Any]:
    """What a cluster's API server gives where nothing is missing."""
    secret = {"kind": "PartialObjectMetadata", "metadata": {"name": "s"}}
    node = {
        "metadata": {"name": "node-1"},
        "status": {
            "allocatable": {"nvidia.com/gpu": "2"},
            "images": [{"names": [f"registry/{one}"]} for one in IMAGES],
        },
    }
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    return {
        "/version/": {"major": "1", "minor": "33", "gitVersion": "v1.33.13"}
        | dict.fromkeys(("gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"), "-"),
        **{
            f"{NAMESPACED}/secrets/{name}": secret
            for name in (
                "cd4ml-store",
                "cd4ml-trainer",
                "cd4ml-publisher",
                "cd4ml-deployer",
                "cd4ml-models",
                "cd4ml-router",
                "cd4ml-monitoring",
            )
        },
        f"{NAMESPACED}/secrets/mlpipeline-minio-artifact": secret,
        f"{NAMESPACED}/configmaps/kfp-launcher": {"metadata": {"name": "kfp-launcher"}},
        f"{NAMESPACED}/serviceaccounts/deployer": {"metadata": {"name": "deployer"}},
        f"{NAMESPACED}/serviceaccounts/pipeline-runner": {"metadata": {"name": "pipeline-runner"}},
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/seldondeployments.machinelearning.seldon.io": {
            "spec": {"group": "g", "names": {"kind": "k", "plural": "p"}, "scope": "Namespaced", "versions": []}
        },
        "/apis/apps/v1/namespaces/kubeflow/deployments/workflow-controller": argo({"MAX_WORKFLOW_SIZE": "1468006"}),
        "/api/v1/nodes": {"items": [node]},
        "/apis/storage.k8s.io/v1/storageclasses": {
            "items": [{"metadata": {"name": "standard", "annotations": default}, "provisioner": "p"}]
        },
    }


def argo(variables: dict[str, str]) -> dict[str, Any]:
    """The Deployment of Argo's controller."""
    container = {"name": "c", "env": [{"name": name, "value": value} for name, value in variables.items()]}
    return {"spec": {"selector": {}, "template": {"spec": {"containers": [container]}}}}


@dataclass
class Cluster:
    """A cluster's API server, as far as the checks ask it."""

    content: dict[str, Any] = field(default_factory=whole)
    allowed: bool = True
    accepted: dict[str, str] = field(default_factory=dict)
    hidden: str = ""
    """Where it is not empty, a part of the paths at which nobody may look."""
    token: str = ""
    host: str = ""

    def answer(self, _method: str, path: str, *query_and_body: Any) -> tuple[int, Any]:
        if re.search("accessreviews$", path):
            return 201, {**json.loads(query_and_body[-1]), "status": {"allowed": self.allowed}}
        if self.hidden and self.hidden in path:
            return 403, {"kind": "Status", "code": 403, "message": f"{path} is forbidden"}
        found = self.content.get(path)
        return (200, found) if found else (404, {"kind": "Status", "code": 404, "message": f"{path} not found"})


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with serving(Cluster()) as server:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": server.host}}],
            "users": [{"name": "u", "user": {"token": "kube-token"}}],
            "contexts": [{"name": "staging", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "staging",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield server


def states(out: str) -> dict[str, str]:
    lines = (re.split(r"\s{2,}", line) for line in out.splitlines())
    return {line[1]: line[0] for line in lines if line[0] in ("ok", "warning", "failed")}


def test_where_nothing_is_missing_every_check_is_ok(kfp: KfpServer, cluster: Cluster, cd4ml: Command) -> None:
    kfp.multi_user = True

    outcome = cd4ml("doctor", "--host", kfp.host, "--namespace", "cd4ml")

    assert outcome.code == 0
    assert set(states(outcome.out).values()) == {"ok"}
    assert "context staging, Kubernetes v1.33.13, namespace cd4ml" in outcome.out
    assert "2.17.0 (SDK 2.17" in outcome.out
    assert "2 on node-1" in outcome.out
    assert "kube-token" not in outcome.all
    secrets = [form for path, form in cluster.accepted.items() if "/secrets/" in path]
    assert len(secrets) == 8
    assert all("as=PartialObjectMetadata" in form for form in secrets), "their values come to this machine"


@pytest.mark.parametrize(
    ("missing", "check", "state", "remedy"),
    [
        ("/secrets/cd4ml-store", "Secret cd4ml-store", "failed", "apply the manifests of cd4ml to the namespace cd4ml"),
        ("/configmaps/kfp-launcher", "ConfigMap kfp-launcher", "failed", "apply the manifests of cd4ml"),
        ("seldondeployments", "Seldon or KServe", "failed", "install Seldon Core 1.17.1 or KServe 0.20"),
        ("/nodes", "GPUs", "warning", "train with `gpus: 0`"),
        ("/nodes", "images", "warning", "load them"),
        ("/storageclasses", "storage class", "failed", "name a default one"),
    ],
)
def test_what_is_missing_is_told_with_its_remedy(
    kfp: KfpServer, cluster: Cluster, cd4ml: Command, missing: str, check: str, state: str, remedy: str
) -> None:
    kfp.multi_user = True
    path = next(one for one in cluster.content if missing in one)
    if "items" in cluster.content[path]:
        cluster.content[path] = {"items": [{"metadata": {"name": "n"}, "provisioner": "p", "status": {}}]}
    else:
        del cluster.content[path]

    outcome = cd4ml("doctor", "--host", kfp.host, "--namespace", "cd4ml")

    assert outcome.code == (1 if state == "failed" else 0)
    assert states(outcome.out)[check] == state
    assert remedy in outcome.out


def test_kserve_in_the_place_of_seldon_is_fine(kfp: KfpServer, cluster: Cluster, cd4ml: Command) -> None:
    kfp.multi_user = True
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    found = cluster.content.pop(f"{crds}/seldondeployments.machinelearning.seldon.io")
    cluster.content[f"{crds}/inferenceservices.serving.kserve.io"] = found

    outcome = cd4ml("doctor", "--host", kfp.host, "--namespace", "cd4ml")

    assert states(outcome.out)["Seldon or KServe"] == "ok"
    assert "InferenceService known" in outcome.out


@pytest.mark.parametrize("variables", [{}, {"MAX_WORKFLOW_SIZE": "1048576"}])
def test_an_argo_that_hides_the_tasks_of_large_runs_from_kfp_is_told(
    kfp: KfpServer, cluster: Cluster, cd4ml: Command, variables: dict[str, str]
) -> None:
    kfp.multi_user = True
    cluster.content["/apis/apps/v1/namespaces/kubeflow/deployments/workflow-controller"] = argo(variables)

    outcome = cd4ml("doctor", "--host", kfp.host, "--namespace", "cd4ml")

    assert outcome.code == 0
    assert states(outcome.out)["Argo"] == "warning"
    assert "compresses runs above 1,048,576 bytes" in outcome.out
    assert "set its MAX_WORKFLOW_SIZE" in outcome.out


def test_a_namespace_to_which_no_run_goes_fails(kfp: KfpServer, cluster: Cluster, cd4ml: Command) -> None:
    outcome = cd4ml("doctor", "--host", kfp.host, "--namespace", "cd4ml")

    assert outcome.code == 1
    assert states(outcome.out)["users"] == "failed"
    said = " ".join(outcome.out.split())
    assert "all runs go to its own namespace (kubeflow, as a rule) and none to cd4ml" in said
    assert "leave --namespace out and apply the manifests of cd4ml to KFP's own namespace" in said


@pytest.mark.parametrize("namespace", [[], ["--namespace", "kubeflow"], ["--namespace", ""]])
def test_a_kfp_of_one_user_runs_in_its_own_namespace(kfp: KfpServer, cd4ml: Command, namespace: list[str]) -> None:
    outcome = cd4ml("doctor", "--host", kfp.host, *namespace)

    assert outcome.code == 0
    assert states(outcome.out)["users"] == "ok"


def test_a_login_before_the_api_alone_is_told(kfp: KfpServer, cd4ml: Command) -> None:
    kfp.page = "<html>Log in</html>"

    outcome = cd4ml("doctor", "--host", kfp.host)

    assert outcome.code == 1
    assert states(outcome.out)["users"] == "failed"
    assert "answers, but not as KFP's API does" in outcome.out


def test_rights_that_are_missing_are_named(kfp: KfpServer, cluster: Cluster, cd4ml: Command) -> None:
    cluster.allowed = False

    outcome = cd4ml("doctor", "--host", kfp.host, "--namespace", "cd4ml")

    assert outcome.code == 1
    assert (states(outcome.out)["your rights"], states(outcome.out)["rights of deployer"]) == ("warning", "failed")
    assert "missing: get seldondeployments, create seldondeployments" in outcome.out
    assert states(outcome.out)["rights of pipeline-runner"] == "warning"
    assert "or train with `workers: 1`" in " ".join(outcome.out.split())


@pytest.mark.parametrize(
    ("hidden", "check"),
    [
        ("/secrets/cd4ml-store", "Secret cd4ml-store"),
        ("/nodes", "GPUs"),
        ("customresourcedefinitions", "Seldon or KServe"),
    ],
)
def test_what_one_may_not_see_is_no_failure(
    kfp: KfpServer, cluster: Cluster, cd4ml: Command, hidden: str, check: str
) -> None:
    kfp.multi_user, cluster.hidden = True, hidden

    outcome = cd4ml("doctor", "--host", kfp.host, "--namespace", "cd4ml")

    assert outcome.code == 0
    assert states(outcome.out)[check] == "warning"
    assert "you may not look (403)" in outcome.out
    assert "ask an admin to run `cd4ml doctor`" in outcome.out


def test_a_login_that_ended_fails_the_check_of_the_cluster(kfp: KfpServer, cluster: Cluster, cd4ml: Command) -> None:
    cluster.token = "another"

    outcome = cd4ml("doctor", "--host", kfp.host)

    assert outcome.code == 1
    assert states(outcome.out)["cluster"] == "failed"
    assert "log in again" in outcome.out


@pytest.mark.parametrize(
    ("version", "state"), [("2.99.0", "ok"), ("2.1.0", "warning"), ("unknown", "warning"), ("3.0.0", "failed")]
)
@pytest.mark.parametrize("through_ui", [False, True])
def test_the_version_of_kfp_is_held_against_the_sdk(
    kfp: KfpServer, cd4ml: Command, version: str, state: str, through_ui: bool
) -> None:
    kfp.version, kfp.through_ui = version, through_ui

    outcome = cd4ml("doctor", "--host", kfp.host)

    assert states(outcome.out)["KFP's version"] == state


def test_without_a_kubeconfig_the_cluster_is_left_out(kfp: KfpServer, cd4ml: Command) -> None:
    outcome = cd4ml("doctor", "--host", kfp.host)

    assert outcome.code == 0
    assert states(outcome.out)["cluster"] == "warning"


def test_a_store_that_cannot_be_reached_is_told_without_its_key(
    kfp: KfpServer, cd4ml: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")

    outcome = cd4ml("doctor", "--host", kfp.host)

    assert outcome.code == 1
    assert states(outcome.out)["store"] == "failed"
    assert "http://127.0.0.1:9: [Errno 111] Connection refused" in outcome.out
    assert "very-secret" not in outcome.all
