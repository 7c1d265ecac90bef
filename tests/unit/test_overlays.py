"""What every overlay of the manifests keeps, without a cluster."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cd4ml.cluster import accounts, store_setup, train_job, twins
from cd4ml.kubeflow import doctor
from cd4ml.training import cluster_workers, node
from cd4ml.version import VERSION

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
OPTIONS = ("gpu", "istio", "monitoring")
MINIO = {"StatefulSet minio", "Job minio-setup"}
PODS: dict[str, set[str]] = {"standalone": MINIO, "everything": MINIO, "kubeflow": set(), "production": set()}
"""By overlay: what it has that makes pods."""
OF_AN_ADMIN = {
    accounts.SOURCES_SECRET,
    accounts.SIGNING_SECRET,
    accounts.TRUSTED_SECRET,
    accounts.ALERTS_SECRET,
}
"""What tasks find where an admin has made it (docs/admin.md), and do without where not."""
BUILT_IN = {
    "",
    "admissionregistration.k8s.io",
    "apps",
    "batch",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
}

Resource = dict[str, Any]


def tool(name: str, how: str) -> str:
    found = shutil.which(name, path=f"{ROOT / '.venvs'}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"there is no {name} here: {how}")
    return str(found)


def kustomize(folder: Path) -> str:
    command = [tool("kubectl", "install kubectl 1.27 or later"), "kustomize", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    said = [line for line in ended.stderr.splitlines() if "on idle HTTP channel" not in line]  # what Go's client says
    assert said == [], "kustomize warns"
    return ended.stdout


@pytest.fixture(scope="module", params=PODS)
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param != "everything":
        return kustomize(MANIFESTS / "overlays" / request.param)
    folder = tmp_path_factory.mktemp("overlay")
    overlay = {
        "resources": [os.path.relpath(MANIFESTS / "overlays" / "standalone", folder)],
        "components": [os.path.relpath(MANIFESTS / "components" / name, folder) for name in OPTIONS],
        "namespace": "cd4ml",
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return kustomize(folder)


@pytest.fixture(scope="module")
def resources(rendered: str) -> list[Resource]:
    return list(yaml.safe_load_all(rendered))


of_all_that_have_pods = pytest.mark.parametrize("rendered", [name for name in PODS if PODS[name]], indirect=True)


def pods(resources: list[Resource]) -> Iterator[Resource]:
    for resource in resources:
        if "template" in resource.get("spec", {}):
            yield resource["spec"]["template"]


def containers(resources: list[Resource]) -> Iterator[Resource]:
    for pod in pods(resources):
        yield from pod["spec"]["containers"]


def test_the_root_applies_the_standalone_overlay() -> None:
    assert kustomize(ROOT) == kustomize(MANIFESTS / "overlays" / "standalone")


def test_the_default_overlay_needs_no_custom_resource_but_its_own_cluster() -> None:
    for resource in yaml.safe_load_all(kustomize(ROOT)):
        assert resource["apiVersion"].rpartition("/")[0] in BUILT_IN


def test_no_overlay_holds_a_secret(resources: list[Resource]) -> None:
    assert not [resource for resource in resources if resource["kind"] == "Secret"]


def test_every_object_is_labelled_as_ours(resources: list[Resource]) -> None:
    assert {resource["metadata"]["labels"]["app.kubernetes.io/part-of"] for resource in resources} == {"cd4ml"}


@pytest.mark.parametrize(("rendered", "names"), PODS.items(), indirect=["rendered"])
def test_a_store_of_our_own_is_all_that_an_overlay_runs(resources: list[Resource], names: set[str]) -> None:
    making = [one for one in resources if "template" in one.get("spec", {})]

    assert {f"{one['kind']} {one['metadata']['name']}" for one in making} == names


def mounted() -> set[str]:
    """The Secrets that tasks of the compiled pipelines mount, but for those of an admin."""
    texts = [file.read_text() for file in (ROOT / "pipelines" / "compiled").glob("*.yaml")]
    return {name for text in texts for name in re.findall(r"secretName: (\S+)", text)} - OF_AN_ADMIN


def test_the_vault_of_production_has_every_secret_that_a_task_mounts() -> None:
    made = yaml.safe_load_all(kustomize(MANIFESTS / "overlays" / "production"))
    names = {one["metadata"]["name"] for one in made if one["kind"] == "ExternalSecret"}
    vault = {f"cd4ml/{role.user}" for role in store_setup.ROLES}
    text = (ROOT / "docs" / "admin.md").read_text()

    assert mounted() <= names
    assert names == {role.secret for role in store_setup.ROLES}
    assert vault == set(re.findall(r"`(cd4ml/[a-z]+)`", text[text.index("**In production**") :].split("\n\n")[0]))


def test_the_store_of_our_own_makes_every_secret_that_a_task_mounts() -> None:
    made = yaml.safe_load_all(kustomize(MANIFESTS / "overlays" / "standalone"))
    [role] = [one for one in made if one["kind"] == "Role" and one["metadata"]["name"] == "minio-setup"]

    assert mounted() <= {role.secret for role in store_setup.ROLES}
    assert {one.secret for one in store_setup.ROLES} < set(role["rules"][0]["resourceNames"])


def test_every_secret_that_a_task_mounts_is_made_in_a_profile_and_looked_for_by_doctor() -> None:
    [named] = re.findall(r"for name in (.+); do\n  kubectl -n PROFILE", (ROOT / "docs" / "admin.md").read_text())

    assert mounted() <= {f"cd4ml-{name}" for name in named.split()}
    assert mounted() <= set(doctor.SECRETS)


@of_all_that_have_pods
def test_every_image_is_pinned_and_names_no_registry(resources: list[Resource]) -> None:
    for container in containers(resources):
        assert re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)?:(?!latest)[A-Za-z0-9_.-]+", container["image"])


@of_all_that_have_pods
def test_the_tools_image_is_of_this_version(resources: list[Resource]) -> None:
    ours = {container["image"] for container in containers(resources) if container["image"].startswith("cd4ml/")}

    assert ours == {f"cd4ml/tools:{VERSION}"}


@of_all_that_have_pods
def test_every_container_says_what_it_needs_and_gets_no_more(resources: list[Resource]) -> None:
    for container in containers(resources):
        for bound in ("requests", "limits"):
            assert container["resources"][bound].keys() >= {"cpu", "memory", "ephemeral-storage"}


@of_all_that_have_pods
def test_every_pod_is_restricted_and_cannot_write_to_its_image(resources: list[Resource]) -> None:
    for pod in pods(resources):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(resources):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_our_own_namespace_is_restricted_and_closed(resources: list[Resource]) -> None:
    by_name = {(resource["kind"], resource["metadata"]["name"]): resource for resource in resources}
    namespace = by_name.get(("Namespace", "cd4ml"))
    if namespace is None:
        assert ("NetworkPolicy", "default-deny") not in by_name, "a profile's notebooks would lose their network"
        return

    for mode in ("enforce", "audit", "warn"):
        assert namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"
    assert by_name["NetworkPolicy", "default-deny"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_a_linter_finds_nothing(rendered: str) -> None:
    """Left out, with the reason: pinned tags need no pull; the pods of KFP and Seldon are not in these files; and
    clients reach MinIO by its Service, so it has a cluster address.
    """
    ignored = ("container-image-pull-policy", "networkpolicy-targets-pod", "statefulset-has-servicename")
    options = [option for name in ignored for option in ("--ignore-test", name)]
    command = [tool("kube-score", "make lint-tools"), "score", "--output-format", "ci", *options, "-"]
    ended = subprocess.run(command, input=rendered, capture_output=True, text=True, check=False)

    assert [line for line in ended.stdout.splitlines() if not line.startswith(("[OK]", "[SKIPPED]"))] == []
    assert ended.returncode == 0


def test_trainer_is_given_a_runtime_that_is_restricted_and_makes_no_pod_again(tmp_path: Path) -> None:
    component = os.path.relpath(MANIFESTS / "components/trainer", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"namespace": "team", "components": [component]}))
    found = {one["kind"]: one for one in yaml.safe_load_all(kustomize(tmp_path))}
    runtime, role = found["TrainingRuntime"], found["Role"]

    assert (runtime["metadata"]["name"], runtime["metadata"]["namespace"]) == (train_job.RUNTIME, "team")
    assert runtime["apiVersion"] == f"{train_job.GROUP}/{train_job.VERSION}"
    [replicated] = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert replicated["name"] == train_job.REPLICATED
    assert replicated["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    assert replicated["template"]["spec"]["backoffLimit"] == 0
    pod = replicated["template"]["spec"]["template"]["spec"]
    assert (pod["automountServiceAccountToken"], pod["restartPolicy"]) == (False, "Never")
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    [container] = pod["containers"]
    assert (container["name"], tuple(container["command"])) == (twins.CONTAINER, node.COMMAND)
    [get, make] = role["rules"]
    assert (get["resourceNames"], get["verbs"]) == ([train_job.RUNTIME], ["get"])
    assert (make["resources"], make["verbs"]) == ([train_job.PLURAL], ["list", "create", "delete"])


def test_the_network_lets_workers_of_trainings_hear_each_other_where_they_listen(resources: list[Resource]) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in resources if one["kind"] == "NetworkPolicy"}
    workers = {"podSelector": {"matchLabels": twins.COMPONENT}}

    for name in ("tasks-training", "training-workers"):
        [rule] = [one for one in policies[name]["ingress"] if opens(one, cluster_workers.PORT)]
        assert workers in rule["from"]
        assert all(one["podSelector"] for one in rule["from"])
        closed = "default-deny" in policies or name == "training-workers"
        assert opens(policies[name]["ingress"][-1], 80) is not closed
    assert policies["training-workers"]["podSelector"] == workers["podSelector"]


def opens(rule: Resource, port: int) -> bool:
    ports = [one for one in rule["ports"] if one["protocol"] == "TCP"]
    return any(one["port"] <= port <= one.get("endPort", one["port"]) for one in ports)
