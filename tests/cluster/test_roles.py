"""Who may do what, and nothing else, as the cluster itself answers."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from conftest import Cluster
from operators import wait_until
from overlays import render

from cd4ml.cluster import indexed_job, train_job, twins
from cd4ml.cluster.twins import Twins

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
VOLUMES = "volumes of workers of trainings are of emptyDir, configMap, downwardAPI and ephemeral alone"
NO_NODE = "workers of trainings have nothing of their node"
NO_OTHER = "workers of trainings have the labels of such alone"
NO_ADDRESS = "Services of workers of trainings have no address"
OUR_RUNTIME = "workers of trainings are of the TrainingRuntime cd4ml-training"
OWN = {**twins.OURS, **twins.COMPONENT, twins.TEAM: "one", twins.ATTEMPT: "one-1", "sidecar.istio.io/inject": "false"}
TRAIN_JOBS = f"{train_job.PLURAL}.{train_job.GROUP}"

Object = dict[str, Any]


def reads(secret: str) -> Object:
    return {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": secret, "key": "key", "optional": True}}}


def one_container(**more: Any) -> Object:
    return {"containers": [{"name": "node", "image": "any:1", **more}]}


MORE: tuple[tuple[str, Object], ...] = (
    (NO_MORE, {"automountServiceAccountToken": True}),
    (NO_MORE, {"serviceAccountName": "deployer"}),
    (NO_MORE, {"initContainers": [{"name": "first", "image": "any:1"}]}),
    (NO_MORE, one_container(envFrom=[{"secretRef": {"name": "minio-root"}}])),
    (NO_MORE, one_container(env=[reads("minio-root")])),
    (VOLUMES, {"volumes": [{"name": "any", "secret": {"secretName": "minio-root"}}]}),
    (VOLUMES, {"volumes": [{"name": "any", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]}),
    (VOLUMES, {"volumes": [{"name": "any", "csi": {"driver": "secrets-store.csi.k8s.io"}}]}),
    (VOLUMES, {"volumes": [{"name": "any", "persistentVolumeClaim": {"claimName": "data-minio-0"}}]}),
    (VOLUMES, {"volumes": [{"name": "any", "hostPath": {"path": "/"}}]}),
    (NO_NODE, {"hostNetwork": True}),
    (NO_NODE, {"hostPID": True}),
    (NO_NODE, one_container(securityContext={"privileged": True})),
)
"""What the pod of a worker must not have."""
OTHER_LABELS = (
    {},
    {"app.kubernetes.io/component": "router"},
    {**OWN, "app.kubernetes.io/name": "minio"},
    {**OWN, "seldon-deployment-id": "uptake"},
)


@pytest.fixture(scope="module")
def train_jobs(shared_cluster: Cluster) -> Iterator[None]:
    """Has the cluster know TrainJobs, where no Trainer is."""
    there = bool(shared_cluster.kubectl("get", "crd", TRAIN_JOBS, "--ignore-not-found", "-o", "name"))
    if not there:
        shared_cluster.kubectl("apply", "-f", "-", input=definition())
        shared_cluster.kubectl("wait", "--for=condition=Established", f"crd/{TRAIN_JOBS}", "--timeout=60s")
    yield
    if not there:
        shared_cluster.kubectl("delete", "crd", TRAIN_JOBS)


def definition() -> str:
    """A kind that takes whatever a TrainJob says."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": train_job.VERSION, "served": True, "storage": True, "schema": schema}
    names = {"kind": train_job.NAME, "plural": train_job.PLURAL}
    spec = {"group": train_job.GROUP, "scope": "Namespaced", "names": names, "versions": [version]}
    metadata = {"name": TRAIN_JOBS}
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return yaml.safe_dump({**kind, "metadata": metadata, "spec": spec})


@pytest.fixture(scope="module")
def task(shared_cluster: Cluster) -> tuple[str, ...]:
    """What has kubectl ask as the account of tasks, in a namespace of its own, where the component `trainer` is."""
    namespace = shared_cluster.namespace()
    rendered = yaml.safe_load_all(render("kubeflow", namespace, ["trainer"]))
    known = [one for one in rendered if one["kind"] != "TrainingRuntime"]
    shared_cluster.kubectl("apply", "--filename", "-", input=yaml.safe_dump_all(known))
    return ("--namespace", namespace, "--as", f"system:serviceaccount:{namespace}:pipeline-runner")


def test_a_task_makes_and_removes_workers_of_a_training(shared_cluster: Cluster, task: tuple[str, ...]) -> None:
    for made in (job("workers"), service("workers")):
        shared_cluster.kubectl("create", "-f", "-", *task, input=made)
    shared_cluster.kubectl("delete", "job,service", "workers", *task)


def test_what_a_training_makes_is_let_in(shared_cluster: Cluster, train_jobs: None, task: tuple[str, ...]) -> None:
    metadata = {"name": "task", "namespace": task[1], "uid": "7d3a9c00"}
    own = {"metadata": metadata, "spec": one_container(env=[reads("cd4ml-trainer")]), "status": {"podIP": "10.0.0.7"}}
    made = Twins(own=own, team="one", attempt=1, count=2, command=["a"], environment={"A": "a"}, port=2222)
    objects = [indexed_job.service(made), indexed_job.job(made), train_job.train_job(made)]

    shared_cluster.kubectl("create", "--dry-run=server", "-f", "-", *task, input=yaml.safe_dump_all(objects))


def test_a_task_makes_and_removes_no_other_job_or_service(shared_cluster: Cluster, task: tuple[str, ...]) -> None:
    making = ("create", "--dry-run=server", "-f", "-", *task)
    shop = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": {"ports": [{"port": 80}]}}
    wait_until(
        lambda: WORKERS_ALONE in said(shared_cluster, *making, input=job("other", labels={"a": "b"})), "a refusal"
    )
    assert WORKERS_ALONE in said(shared_cluster, *making, input=yaml.safe_dump(shop))
    shared_cluster.kubectl("create", "-f", "-", *task[:2], input=yaml.safe_dump(shop))

    assert WORKERS_ALONE in said(shared_cluster, "delete", "service", "shop", *task)


@pytest.mark.parametrize(("words", "more"), MORE)
def test_a_worker_of_a_training_has_no_more_than_who_trains(
    shared_cluster: Cluster, task: tuple[str, ...], words: str, more: Object
) -> None:
    making = ("create", "--dry-run=server", "-f", "-", *task)

    wait_until(lambda: words in said(shared_cluster, *making, input=job("workers", **more)), "a refusal")


@pytest.mark.parametrize("labels", OTHER_LABELS)
def test_a_worker_of_a_training_is_not_taken_for_another_pod(
    shared_cluster: Cluster, task: tuple[str, ...], labels: dict[str, str]
) -> None:
    making = ("create", "--dry-run=server", "-f", "-", *task)
    for made in (job("workers", of_pods=labels), service("workers", selector=labels)):
        wait_until(lambda made=made: NO_OTHER in said(shared_cluster, *making, input=made), "a refusal")  # type: ignore[misc]


@pytest.mark.parametrize(
    "more",
    [
        {"clusterIP": None},
        {"clusterIP": None, "type": "NodePort"},
        {"externalIPs": ["192.0.2.7"]},
        {"clusterIP": None, "type": "ExternalName", "externalName": "example.com"},
    ],
)
def test_a_service_of_workers_has_no_address(shared_cluster: Cluster, task: tuple[str, ...], more: Object) -> None:
    making = ("create", "--dry-run=server", "-f", "-", *task)

    wait_until(lambda: NO_ADDRESS in said(shared_cluster, *making, input=service("workers", **more)), "a refusal")


def test_a_task_makes_and_removes_train_jobs_of_our_runtime_alone(
    shared_cluster: Cluster, train_jobs: None, task: tuple[str, ...]
) -> None:
    making = ("create", "--dry-run=server", "-f", "-", *task)
    wait_until(lambda: WORKERS_ALONE in said(shared_cluster, *making, input=trained("other", known={})), "a refusal")
    shared_cluster.kubectl("create", "-f", "-", *task, input=trained("workers"))
    shared_cluster.kubectl("delete", TRAIN_JOBS, "workers", *task)
    shared_cluster.kubectl("create", "-f", "-", *task[:2], input=trained("other", known={}))

    assert WORKERS_ALONE in said(shared_cluster, "delete", TRAIN_JOBS, "other", *task)


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (OUR_RUNTIME, {"runtimeRef": {"name": "another", "kind": "TrainingRuntime"}}),
        (OUR_RUNTIME, {"runtimeRef": {"name": "cd4ml-training", "kind": "ClusterTrainingRuntime"}}),
        (OUR_RUNTIME, {"initializer": {"model": {"secretRef": {"name": "minio-root"}}}}),
        (OUR_RUNTIME, {"podTemplateOverrides": [{"spec": {"serviceAccountName": "deployer"}}]}),
        (NO_OTHER, {"labels": {"app.kubernetes.io/name": "minio"}}),
        (NO_MORE, {"trainer": {"env": [reads("cd4ml-publisher")]}}),
    ],
)
def test_a_train_job_of_a_training_asks_for_no_more(
    shared_cluster: Cluster, train_jobs: None, task: tuple[str, ...], words: str, more: Object
) -> None:
    making = ("create", "--dry-run=server", "-f", "-", *task)

    wait_until(lambda: words in said(shared_cluster, *making, input=trained("workers", **more)), "a refusal")


@pytest.mark.parametrize(
    ("words", "pod"),
    [
        *((words, {"spec": more}) for words, more in MORE),
        *((NO_OTHER, {"metadata": {"labels": labels}}) for labels in OTHER_LABELS if labels),
    ],
)
def test_what_a_train_job_says_of_its_pods_is_no_more_than_who_trains(
    shared_cluster: Cluster, train_jobs: None, task: tuple[str, ...], words: str, pod: Object
) -> None:
    making = ("create", "--dry-run=server", "-f", "-", *task)
    patch = patched([{"name": "node", "template": {"spec": {"template": pod}}}])

    wait_until(
        lambda: words in said(shared_cluster, *making, input=trained("workers", runtimePatches=patch)), "a refusal"
    )


def job(
    name: str,
    *,
    labels: Mapping[str, str] = MappingProxyType({twins.TEAM: "one"}),
    of_pods: Mapping[str, str] = MappingProxyType(OWN),
    **pod: Any,
) -> str:
    """A Job that is not begun, of a pod as workers of a training are."""
    container = {
        "name": "node",
        "image": "any:1",
        "env": [reads("cd4ml-trainer"), {"name": "A", "value": "a"}],
    }
    of_workers = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
    metadata = {"name": name, "labels": dict(labels)}
    template = {"metadata": {"labels": dict(of_pods)}, "spec": {**of_workers, **pod}}
    spec = {"suspend": True, "template": template}
    return yaml.safe_dump({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})


def service(name: str, *, selector: Mapping[str, str] = MappingProxyType(OWN), **more: Any) -> str:
    """A Service as workers of a training have."""
    metadata = {"name": name, "labels": {twins.TEAM: "one"}}
    spec = {"clusterIP": "None", "selector": dict(selector), "ports": [{"port": 2222}], **more}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})


def trained(name: str, *, known: Mapping[str, str] = MappingProxyType({twins.TEAM: "one"}), **more: Any) -> str:
    """A TrainJob of a pod as workers of a training are."""
    runtime = {"apiGroup": train_job.GROUP, "kind": "TrainingRuntime", "name": train_job.RUNTIME}
    spec = {"runtimeRef": runtime, "trainer": {"image": "any:1", "env": [reads("cd4ml-trainer")]}, **more}
    kind = {"apiVersion": f"{train_job.GROUP}/{train_job.VERSION}", "kind": train_job.NAME}
    return yaml.safe_dump({**kind, "metadata": {"name": name, "labels": dict(known)}, "spec": spec})


def patched(jobs: list[Object]) -> list[Object]:
    """What a TrainJob changes of the Jobs of its runtime."""
    template = {"spec": {"replicatedJobs": jobs}}
    return [{"manager": "any.io/one", "trainingRuntimeSpec": {"template": template}}]


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
