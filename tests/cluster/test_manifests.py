"""The API server takes every overlay, for real and twice."""

from collections.abc import Iterator

import pytest
import yaml
from conftest import Cluster
from overlays import render

OPTIONS = ("gpu", "istio", "monitoring")
CUSTOM = {
    "monitoring.coreos.com/v1": ("ServiceMonitor", "PodMonitor", "PrometheusRule"),
    "security.istio.io/v1": ("PeerAuthentication", "AuthorizationPolicy"),
    "external-secrets.io/v1": ("ExternalSecret",),
}
"""What the options need beyond a bare cluster. Where it is absent the tests bring a definition that takes any field."""


@pytest.fixture(scope="module")
def custom_resources(shared_cluster: Cluster) -> Iterator[None]:
    known = shared_cluster.kubectl("get", "crd", "--output", "name")
    made = []
    for api_version, kinds in CUSTOM.items():
        group, version = api_version.split("/")
        for kind in kinds:
            plural = kind.lower().removesuffix("y") + ("ies" if kind.endswith("y") else "s")
            if f"/{plural}.{group}\n" not in known:
                made.append(f"{plural}.{group}")
                shared_cluster.kubectl("create", "--filename", "-", input=definition(group, version, kind, plural))
    for name in made:
        shared_cluster.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")
    yield
    if made:
        shared_cluster.kubectl("delete", "crd", "--wait=false", *made)


def definition(group: str, version: str, kind: str, plural: str) -> str:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"kind": kind, "plural": plural, "singular": kind.lower()}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": group, "names": names, "scope": "Namespaced", "versions": [served]}
    metadata = {"name": f"{plural}.{group}"}
    kind_of_it = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return yaml.safe_dump(kind_of_it | {"metadata": metadata, "spec": spec})


@pytest.mark.usefixtures("custom_resources")
@pytest.mark.parametrize(
    ("overlay", "components"),
    [("standalone", OPTIONS), ("kubeflow", ("minio",)), ("production", ())],
)
def test_the_api_server_takes_an_overlay_and_takes_it_again(
    cluster: Cluster, overlay: str, components: tuple[str, ...]
) -> None:
    text = render(overlay, cluster.namespace(), components, running=False)
    dry = cluster.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", "-", input=text
    )
    cluster.kubectl("apply", "--validate=strict", "--filename", "-", input=text)
    once = generations(cluster, text)
    cluster.kubectl("apply", "--validate=strict", "--filename", "-", input=text)

    assert len(dry.splitlines()) == len(once) == len(list(yaml.safe_load_all(text)))
    assert generations(cluster, text) == once


def generations(cluster: Cluster, text: str) -> dict[str, str]:
    """By object: how often what it asks for was changed."""
    columns = "custom-columns=KIND:.kind,NAME:.metadata.name,GENERATION:.metadata.generation"
    listed = cluster.kubectl("get", "--filename", "-", "--no-headers", "--output", columns, input=text)
    return {f"{kind}/{name}": generation for kind, name, generation in map(str.split, listed.splitlines())}


def test_an_interrupted_apply_is_finished_by_the_next(cluster: Cluster) -> None:
    text = render("standalone", cluster.namespace(), running=False)
    half = "---\n".join(text.split("---\n")[:20])

    cluster.kubectl("apply", "--filename", "-", input=half)
    whole = cluster.kubectl("apply", "--filename", "-", input=text)

    assert "statefulset.apps/minio created" in whole


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        ({"hostNetwork": True}, "host namespaces"),
        ({"securityContext": {}}, "runAsNonRoot"),
        ({"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}, "restricted volume types"),
    ],
)
def test_a_pod_that_is_not_restricted_is_refused(
    closed: tuple[Cluster, str], mistake: dict[str, object], reason: str
) -> None:
    cluster, namespace = closed
    container = {
        "name": "task",
        "image": "task:1",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "task", "namespace": namespace}}
    arguments = ("create", "--dry-run=server", "--filename", "-")

    cluster.kubectl(*arguments, input=yaml.safe_dump(pod | {"spec": spec}))
    with pytest.raises(AssertionError, match=rf"(?s)violates PodSecurity.*{reason}"):
        cluster.kubectl(*arguments, input=yaml.safe_dump(pod | {"spec": spec | mistake}))


def test_a_container_that_says_nothing_gets_what_a_driver_needs(closed: tuple[Cluster, str]) -> None:
    cluster, namespace = closed
    security = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec = {"containers": [{"name": "driver", "image": "driver:1", "securityContext": security}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "driver", "namespace": namespace}, "spec": spec}
    text = yaml.safe_dump(pod)
    made = cluster.kubectl("create", "--dry-run=server", "--output", "yaml", "--filename", "-", input=text)

    assert yaml.safe_load(made)["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"memory": "1Gi"},
    }


def test_a_service_that_opens_the_namespace_to_the_outside_is_refused(closed: tuple[Cluster, str]) -> None:
    cluster, namespace = closed

    with pytest.raises(AssertionError, match="exceeded quota"):
        cluster.kubectl("create", "service", "nodeport", "open", "--tcp=80", "--namespace", namespace)


@pytest.fixture(scope="module")
def closed(shared_cluster: Cluster) -> tuple[Cluster, str]:
    """A namespace with the standalone overlay."""
    namespace = shared_cluster.namespace()
    shared_cluster.kubectl("apply", "--filename", "-", input=render("standalone", namespace, running=False))
    return shared_cluster, namespace
