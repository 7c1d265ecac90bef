"""The command that applies an overlay asks first, and says what the cluster lacks before it changes anything."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import Cluster
from overlays import write

APPLY = Path(__file__).parents[2] / "scripts" / "apply"


def apply(
    kubeconfig: str | Path, overlay: Path, *options: str, answer: str = "", path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"KUBECONFIG": str(kubeconfig)}
    if path:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    command = [str(APPLY), *options, str(overlay)]
    return subprocess.run(command, input=answer, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def overlay(tmp_path: Path, cluster: Cluster) -> Path:
    """The standalone overlay, for a namespace of the test's own, and without pods."""
    folder = tmp_path / "overlay"
    folder.mkdir()
    write(folder, "standalone", cluster.namespace(), running=False)
    return folder


@pytest.fixture
def roles(tmp_path: Path, cluster: Cluster) -> Path:
    """The overlay for a profile, for a namespace of the test's own."""
    folder = tmp_path / "roles"
    folder.mkdir()
    write(folder, "kubeflow", cluster.namespace())
    return folder


def namespace_of(overlay: Path) -> str:
    return str(yaml.safe_load((overlay / "kustomization.yaml").read_text())["namespace"])


def test_it_names_the_context_and_without_a_yes_changes_nothing(cluster: Cluster, overlay: Path) -> None:
    context = cluster.kubectl("config", "current-context").strip()
    refused = apply(cluster.kubeconfig, overlay, answer="n\n")

    assert refused.returncode == 1
    assert refused.stdout.startswith(f"context    {context} (https://")
    assert refused.stderr == "apply: nothing was changed\n"
    assert cluster.kubectl("get", "roles", "--namespace", namespace_of(overlay), "--output", "name") == ""


def test_with_a_yes_it_applies(cluster: Cluster, roles: Path) -> None:
    applied = apply(cluster.kubeconfig, roles, answer="y\n")
    again = apply(cluster.kubeconfig, roles, "--yes")

    assert applied.returncode == again.returncode == 0, applied.stderr + again.stderr
    assert "role.rbac.authorization.k8s.io/deployer created" in applied.stdout
    assert "deployer" not in again.stdout


def test_before_it_asks_it_shows_what_would_change(cluster: Cluster, overlay: Path, roles: Path) -> None:
    applied = apply(cluster.kubeconfig, roles, "--yes")
    cluster.kubectl("patch", "role", "deployer", "--type=merge", "--patch", '{"rules": []}', "-n", namespace_of(roles))
    changed = apply(cluster.kubeconfig, roles, answer="n\n")
    render = cluster.kubectl("kustomize", str(overlay)).replace("suspend: true", "suspend: true\n  completions: 2")
    cluster.kubectl("apply", "--filename", "-", input=render)
    other_job = apply(cluster.kubeconfig, overlay, answer="n\n")

    assert applied.returncode == 0, applied.stderr
    assert "+  - seldondeployments\n" in changed.stdout
    assert "minio-setup-api" in other_job.stdout
    assert "completions" not in other_job.stdout  # kubectl cannot compare a Job that has changed


def test_of_the_network_it_opens_the_way_to_this_cluster_s_api_alone(cluster: Cluster, tmp_path: Path) -> None:
    namespace = cluster.namespace()
    component = os.path.relpath(APPLY.parents[1] / "manifests/components/namespace", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(f"namespace: {namespace}\ncomponents: [{component}]\n")
    applied = apply(cluster.kubeconfig, tmp_path, "--yes")
    policy = yaml.safe_load(
        cluster.kubectl("get", "networkpolicy", "tasks-api", "--namespace", namespace, "--output", "yaml")
    )
    opened = {(rule["to"][0]["ipBlock"]["cidr"], rule["ports"][0]["port"]) for rule in policy["spec"]["egress"]}
    service = cluster.kubectl("get", "service", "kubernetes", "-n", "default", "--output=jsonpath={.spec.clusterIP}")
    server = cluster.kubectl("get", "nodes", "--output=jsonpath={.items[0].status.addresses[0].address}")

    assert applied.returncode == 0, applied.stderr
    assert opened == {(f"{service}/32", 443), (f"{server}/32", 6443)}


def test_of_what_is_not_there_yet_it_says_that_all_is_new(cluster: Cluster, roles: Path) -> None:
    (roles / "kustomization.yaml").write_text(
        (roles / "kustomization.yaml").read_text().replace(namespace_of(roles), "not-there")
    )
    refused = apply(cluster.kubeconfig, roles, answer="n\n")

    assert "changes    all is new\n" in refused.stdout


def test_it_wants_a_newer_kubectl(cluster: Cluster, overlay: Path, tmp_path: Path) -> None:
    old = stand_in(tmp_path, 'echo \'{"clientVersion": {\n"minor": "24"}}\'')
    refused = apply(cluster.kubeconfig, overlay, path=old)

    assert refused.stderr == "apply: this kubectl is 1.24, whose kustomize is too old; install 1.27 or later\n"


def test_it_says_that_a_token_has_expired(cluster: Cluster, overlay: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    settings["users"][0]["user"] = {"token": "expired"}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(settings))
    refused = apply(tmp_path / "kubeconfig", overlay)

    assert refused.stderr.endswith("does not know you; has your token expired? Log in again\n")


def test_it_says_that_a_cluster_does_not_answer(cluster: Cluster, overlay: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    settings["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(settings))
    refused = apply(tmp_path / "kubeconfig", overlay)

    assert "(https://127.0.0.1:1) does not answer; is it the right one?" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_it_says_that_there_is_no_context(overlay: Path, tmp_path: Path) -> None:
    refused = apply(tmp_path / "none", overlay)

    assert refused.stderr == "apply: kubectl has no context; choose one: kubectl config use-context NAME\n"


def test_it_says_that_there_is_no_default_storage_class(cluster: Cluster, overlay: Path, tmp_path: Path) -> None:
    without = stand_in(tmp_path, '[ "$1 $2" = "get storageclass" ] && exit 0\nexec {kubectl} "$@"')
    refused = apply(cluster.kubeconfig, overlay, "--yes", path=without)

    assert refused.stderr.startswith("apply: this cluster has no default storage class")
    assert cluster.kubectl("get", "roles", "--namespace", namespace_of(overlay), "--output", "name") == ""


def test_it_says_which_operator_the_cluster_lacks(cluster: Cluster, tmp_path: Path) -> None:
    namespace = cluster.namespace()
    (tmp_path / "object.yaml").write_text(
        f"apiVersion: absent.example.com/v1\nkind: Absent\nmetadata: {{name: a, namespace: {namespace}}}\n"
    )
    (tmp_path / "kustomization.yaml").write_text("resources: [object.yaml]\n")
    refused = apply(cluster.kubeconfig, tmp_path, "--yes")

    assert refused.stderr == (
        "apply: this cluster knows nothing of absent.example.com; "
        "install its operator, or leave out the component that wants it\n"
    )


def stand_in(folder: Path, script: str) -> Path:
    """A folder with a kubectl that says something else."""
    real = subprocess.run(["which", "kubectl"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "bin").mkdir()
    kubectl = folder / "bin" / "kubectl"
    kubectl.write_text("#!/bin/bash\n" + script.replace("{kubectl}", real) + "\n")
    kubectl.chmod(0o755)
    return folder / "bin"
