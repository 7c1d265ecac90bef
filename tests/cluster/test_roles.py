"""Who may do what, and nothing else, as the cluster itself answers."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from conftest import Cluster
from operators import wait_until
from overlays import render

from cd4ml.cluster.twins import TEAM

TABLE = {
    "pipeline-runner": (
        """
        get configmaps/kfp-launcher, get secrets/mlpipeline-minio-artifact, get pods,
        create workflowtaskresults.argo, patch workflowtaskresults.argo,
        list pods, get pods/log, list events, create jobs.batch, list jobs.batch, delete jobs.batch,
        create services, list services, delete services
        """,
        """
        get secrets/minio-root, get secrets/cd4ml-store, get secrets/cd4ml-trainer, get secrets/cd4ml-publisher,
        get secrets/cd4ml-signing,
        list secrets, list configmaps, create pods,
        create pods/exec, delete pods, get seldondeployments.seldon, create seldondeployments.seldon,
        create workflows.argo, patch jobs.batch, update services, list deployments.apps, create events
        """,
    ),
    "deployer": (
        """
        get secrets/mlpipeline-minio-artifact, create workflowtaskresults.argo, get seldondeployments.seldon,
        create seldondeployments.seldon, delete seldondeployments.seldon, get services, create services,
        update services, delete services, list endpointslices.discovery, list deployments.apps,
        create deployments.apps, delete deployments.apps, list pods, get pods/log, list events, create events,
        create jobs.batch, list jobs.batch, delete jobs.batch
        """,
        """
        update deployments.apps, patch deployments.apps, get secrets/minio-root, get secrets/cd4ml-store,
        update seldondeployments.seldon, list seldondeployments.seldon, patch services, create pods, patch jobs.batch,
        delete pods, create pods/exec, create rolebindings.rbac
        """,
    ),
    "monitoring": (
        """
        list pods, list services, list seldondeployments.seldon, list deployments.apps
        """,
        """
        get secrets, get secrets/cd4ml-monitoring, get pods/log, create pods, get configmaps,
        patch seldondeployments.seldon
        """,
    ),
    "minio": (
        "",
        """
        get pods, get secrets, get secrets/minio-root, list configmaps
        """,
    ),
    "default": (
        "",
        """
        get pods, get secrets, list configmaps
        """,
    ),
    "minio-setup": (
        """
        create secrets, get secrets/minio-root, get secrets/cd4ml-store, get secrets/cd4ml-trainer,
        get secrets/cd4ml-publisher,
        get secrets/cd4ml-deployer, get secrets/cd4ml-models, get secrets/cd4ml-router,
        get secrets/cd4ml-monitoring, get secrets/mlpipeline-minio-artifact
        """,
        """
        list secrets, get secrets/other, get secrets/cd4ml-signing, update secrets/minio-root,
        delete secrets/minio-root, get pods
        """,
    ),
    "cd4ml:viewers": (
        """
        list pods, get pods/log, list events, list jobs.batch, list workflows.argo,
        get seldondeployments.seldon, list runs.kfp
        """,
        """
        get secrets, get secrets/cd4ml-store, list secrets, create runs.kfp, delete pods, create pods,
        create pods/exec, create pods/portforward, get roles.rbac, create workflows.argo
        """,
    ),
    "cd4ml:scientists": (
        """
        list pods, get pods/log, create runs.kfp, terminate runs.kfp, create experiments.kfp
        """,
        """
        get secrets, create seldondeployments.seldon, delete pods, create pods, patch seldondeployments.seldon,
        create workflows.argo, create pipelines.kfp, create jobs.kfp
        """,
    ),
    "cd4ml:engineers": (
        """
        create runs.kfp, create pipelines.kfp, delete pods, create jobs.kfp, create seldondeployments.seldon,
        create services, update services, delete services, list endpointslices.discovery, create pods/portforward,
        list pods
        """,
        """
        get secrets, create secrets, create pods, create pods/exec, create rolebindings.rbac,
        delete persistentvolumeclaims, create workflows.argo, patch networkpolicies.networking,
        delete statefulsets.apps, patch resourcequotas
        """,
    ),
    "cd4ml:admins": (
        """
        get secrets, delete secrets, delete jobs.batch, patch networkpolicies.networking, patch statefulsets.apps,
        create rolebindings.rbac, patch resourcequotas, create pods/exec, delete workflows.argo,
        delete seldondeployments.seldon, delete persistentvolumeclaims, create runs.kfp
        """,
        """
        delete nodes, create clusterroles.rbac, create clusterrolebindings.rbac, create persistentvolumes
        """,
    ),
}
"""By account or group: what it must be able to do, and what it must not."""
GROUPS = {
    "seldon": "machinelearning.seldon.io",
    "kfp": "pipelines.kubeflow.org",
    "argo": "argoproj.io",
    "rbac": "rbac.authorization.k8s.io",
    "networking": "networking.k8s.io",
    "discovery": "discovery.k8s.io",
}
ELSEWHERE = ("list pods", "get secrets", "create seldondeployments.seldon")

Question = tuple[str, str]


def questions(column: int) -> list[Question]:
    return [
        (who, what.strip()) for who, columns in TABLE.items() for what in columns[column].split(",") if what.strip()
    ]


MUST, MUST_NOT = questions(0), questions(1)
OUTSIDE = [(who, what) for who in TABLE for what in ELSEWHERE]


@dataclass(frozen=True)
class Answers:
    """What the cluster says to every question, inside the namespace of the roles and outside of it."""

    inside: dict[Question, bool]
    outside: dict[Question, bool]


@pytest.fixture(scope="module")
def answers(shared_cluster: Cluster) -> Answers:
    namespace = shared_cluster.namespace()
    shared_cluster.kubectl("apply", "--filename", "-", input=render("standalone", namespace, running=False))
    return Answers(
        ask(shared_cluster, MUST + MUST_NOT, namespace, namespace), ask(shared_cluster, OUTSIDE, "default", namespace)
    )


def ask(cluster: Cluster, asked: list[Question], namespace: str, home: str) -> dict[Question, bool]:
    """What `kubectl auth can-i` asks, all at once, and of resources that the cluster may not know."""
    reviews = yaml.safe_dump_all([review(who, what, namespace, home) for who, what in asked])
    told = cluster.kubectl("create", "--output", "jsonpath={.status.allowed} ", "--filename", "-", input=reviews)
    return dict(zip(asked, (answer == "true" for answer in told.split()), strict=True))


def review(who: str, what: str, namespace: str, home: str) -> dict[str, Any]:
    verb, named = what.split()
    resource, _, part = named.partition("/")
    resource, _, group = resource.partition(".")
    attributes = {"namespace": namespace, "verb": verb, "resource": resource, "group": GROUPS.get(group, group)}
    attributes |= {"subresource": part} if resource == "pods" else {"name": part}
    if who.startswith("cd4ml:"):
        subject: dict[str, Any] = {"user": "somebody", "groups": [who]}
    else:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{home}", "system:authenticated"]
        subject = {"user": f"system:serviceaccount:{home}:{who}", "groups": groups}
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    return kind | {"spec": subject | {"resourceAttributes": attributes}}


@pytest.mark.parametrize("question", MUST, ids=" ".join)
def test_a_role_may_do_what_it_must(answers: Answers, question: Question) -> None:
    assert answers.inside[question]


@pytest.mark.parametrize("question", MUST_NOT, ids=" ".join)
def test_a_role_may_not_do_what_it_must_not(answers: Answers, question: Question) -> None:
    assert not answers.inside[question]


@pytest.mark.parametrize("question", OUTSIDE, ids=" ".join)
def test_a_role_ends_at_its_namespace(answers: Answers, question: Question) -> None:
    assert not answers.outside[question]


ROUTERS_ALONE = "the account deployer makes and removes the Deployments of routers alone"


@pytest.fixture(scope="module")
def deployer(shared_cluster: Cluster) -> tuple[str, ...]:
    """What has kubectl ask as the account that deploys, in a namespace of its own."""
    namespace = shared_cluster.namespace()
    shared_cluster.kubectl("apply", "--filename", "-", input=render("kubeflow", namespace))
    return ("--namespace", namespace, "--as", f"system:serviceaccount:{namespace}:deployer")


def test_who_deploys_makes_and_removes_the_deployments_of_routers(
    shared_cluster: Cluster, deployer: tuple[str, ...]
) -> None:
    content = deployment("uptake-1-router", {"app": "uptake", "cd4ml/router": "uptake-1"})
    shared_cluster.kubectl("create", "-f", "-", *deployer, input=content)
    shared_cluster.kubectl("delete", "deployment", "uptake-1-router", *deployer)


@pytest.mark.parametrize("labels", [{"app": "shop"}, {"app": "shop", "cd4ml/router": "uptake-1"}])
def test_who_deploys_makes_and_removes_no_other_deployment(
    shared_cluster: Cluster, deployer: tuple[str, ...], labels: dict[str, str]
) -> None:
    name = f"shop-{len(labels)}"
    making = ("create", "--dry-run=server", "-f", "-", *deployer)
    wait_until(lambda: ROUTERS_ALONE in said(shared_cluster, *making, input=deployment(name, labels)), "a refusal")
    shared_cluster.kubectl("create", "-f", "-", *deployer[:2], input=deployment(name, labels))

    assert ROUTERS_ALONE in said(shared_cluster, "delete", "deployment", name, *deployer)


def test_an_account_of_that_name_that_is_not_ours_is_not_narrowed(shared_cluster: Cluster) -> None:
    namespace = shared_cluster.namespace()
    account = f"{namespace}:deployer"
    shared_cluster.kubectl("create", "serviceaccount", "deployer", "-n", namespace)
    edits = ("deployer", "--clusterrole=edit", f"--serviceaccount={account}", "-n", namespace)
    shared_cluster.kubectl("create", "rolebinding", *edits)

    asked = ("--namespace", namespace, "--as", f"system:serviceaccount:{account}")
    shared_cluster.kubectl("create", "-f", "-", *asked, input=deployment("shop", {"app": "shop"}))


WORKERS_ALONE = "tasks make and remove the workers of trainings alone"
NO_MORE = "workers of trainings have no account, and no Secret but cd4ml-trainer"


@pytest.fixture(scope="module")
def task(shared_cluster: Cluster) -> tuple[str, ...]:
    """What has kubectl ask as the account of tasks, in a namespace of its own."""
    namespace = shared_cluster.namespace()
    shared_cluster.kubectl("apply", "--filename", "-", input=render("kubeflow", namespace))
    return ("--namespace", namespace, "--as", f"system:serviceaccount:{namespace}:pipeline-runner")


def test_a_task_makes_and_removes_workers_of_a_training(shared_cluster: Cluster, task: tuple[str, ...]) -> None:
    shared_cluster.kubectl("create", "-f", "-", *task, input=job("workers"))
    shared_cluster.kubectl("delete", "job", "workers", *task)


def test_a_task_makes_and_removes_no_other_job_or_service(shared_cluster: Cluster, task: tuple[str, ...]) -> None:
    making = ("create", "--dry-run=server", "-f", "-", *task)
    shop = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": {"ports": [{"port": 80}]}}
    wait_until(lambda: WORKERS_ALONE in said(shared_cluster, *making, input=job("other", labels={})), "a refusal")
    assert WORKERS_ALONE in said(shared_cluster, *making, input=yaml.safe_dump(shop))
    shared_cluster.kubectl("create", "-f", "-", *task[:2], input=yaml.safe_dump(shop))

    assert WORKERS_ALONE in said(shared_cluster, "delete", "service", "shop", *task)


@pytest.mark.parametrize(
    "more",
    [
        {"automountServiceAccountToken": True},
        {"serviceAccountName": "deployer"},
        {"volumes": [{"name": "secret", "secret": {"secretName": "minio-root"}}]},
        {"volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]},
        {"initContainers": [{"name": "first", "image": "any:1"}]},
        {"containers": [{"name": "any", "image": "any:1", "envFrom": [{"secretRef": {"name": "minio-root"}}]}]},
        {
            "containers": [
                {
                    "name": "any",
                    "image": "any:1",
                    "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "minio-root", "key": "key"}}}],
                }
            ]
        },
    ],
)
def test_a_worker_of_a_training_has_no_more_than_who_trains(
    shared_cluster: Cluster, task: tuple[str, ...], more: dict[str, Any]
) -> None:
    making = ("create", "--dry-run=server", "-f", "-", *task)

    wait_until(lambda: NO_MORE in said(shared_cluster, *making, input=job("workers", **more)), "a refusal")


def job(name: str, *, labels: Mapping[str, str] = MappingProxyType({TEAM: "one"}), **pod: Any) -> str:
    """A Job that is not begun, of a pod as workers of a training are."""
    key = {"secretKeyRef": {"name": "cd4ml-trainer", "key": "AWS_SECRET_ACCESS_KEY", "optional": True}}
    container = {
        "name": "node",
        "image": "any:1",
        "env": [{"name": "KEY", "valueFrom": key}, {"name": "A", "value": "a"}],
    }
    of_workers = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
    metadata = {"name": name, "labels": dict(labels)}
    spec = {"suspend": True, "template": {"spec": {**of_workers, **pod}}}
    return yaml.safe_dump({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})


def said(cluster: Cluster, *arguments: str, input: str | None = None) -> str:
    """What kubectl says, also where it fails."""
    try:
        return cluster.kubectl(*arguments, input=input)
    except AssertionError as error:
        return str(error)


def deployment(name: str, labels: dict[str, str]) -> str:
    """A Deployment of no pods."""
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "any", "image": "any:1"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    return yaml.safe_dump(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels}, "spec": spec}
    )


PAGE = Path(__file__).parents[2] / "docs/for-engineers.md"


@pytest.fixture(scope="module")
def kfp(shared_cluster: Cluster) -> str:
    """A namespace in the place of KFP's, where an admin has entered what the page says, for the user NAME."""
    namespace = shared_cluster.namespace()
    entered = re.findall(r"^kubectl -n kubeflow create .*?[^\\]$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    script = "\n".join(entered).replace("-n kubeflow", f"-n {namespace}")
    subprocess.run(["bash", "-euc", script], env=os.environ | {"KUBECONFIG": shared_cluster.kubeconfig}, check=True)
    return namespace


@pytest.mark.parametrize(
    ("who", "verb", "service", "may"),
    [
        ("NAME", "get", "ml-pipeline:http", True),
        ("NAME", "create", "ml-pipeline:http", True),
        ("NAME", "delete", "ml-pipeline:http", True),
        ("NAME", "create", "ml-pipeline-ui:http", True),
        ("NAME", "get", "minio:http", False),
        ("another", "get", "ml-pipeline:http", False),
    ],
)
def test_who_was_let_in_reaches_kfp_through_the_cluster(
    shared_cluster: Cluster, kfp: str, who: str, verb: str, service: str, may: bool
) -> None:
    attributes = {"namespace": kfp, "verb": verb, "resource": "services", "name": service, "subresource": "proxy"}
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    asked = yaml.safe_dump(kind | {"spec": {"user": who, "resourceAttributes": attributes}})
    told = shared_cluster.kubectl("create", "--output", "jsonpath={.status.allowed}", "--filename", "-", input=asked)

    assert told == str(may).lower()
