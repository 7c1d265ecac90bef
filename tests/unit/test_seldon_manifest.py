"""What is sent to Seldon is checked first, for Seldon itself takes nearly anything."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cd4ml import images, settings
from cd4ml.deployment.targets import seldon
from cd4ml.errors import DeploymentError

URI = "s3://cd4ml/models/uptake/3/model"


def test_a_version_becomes_one_predictor_with_all_traffic() -> None:
    content = manifest()

    assert content["metadata"]["name"] == "uptake-1"
    assert content["metadata"]["labels"] == {"app.kubernetes.io/part-of": "cd4ml", "cd4ml/model": "uptake"}
    [predictor] = content["spec"]["predictors"]
    assert (predictor["name"], predictor["traffic"], predictor["replicas"]) == ("p", 100, 1)
    assert predictor["graph"] == {"name": "model", "type": "MODEL"}
    assert predictor["annotations"] == {
        "seldon.io/no-engine": "true",
        "cd4ml/release": "run-1",
        "cd4ml/version": "3",
        "cd4ml/deployment": "1",
        "cd4ml/digest": "abc",
        "cd4ml/model-uri": URI,
    }


def test_the_container_is_named_as_its_node_and_listens_where_the_service_does() -> None:
    [container] = pod()["containers"]

    assert container["name"] == "model"
    assert container["image"] == images.SERVE
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": seldon.PORT, "metrics": 6000}
    assert container["env"] == [
        {"name": "MODEL_FOLDER", "value": "/mnt/models/model"},
        {"name": "MODEL_NAME", "value": "uptake"},
        {"name": "MODEL_VERSION", "value": "3"},
        {"name": "MODEL_DIGEST", "value": "abc"},
        {"name": "PORT", "value": str(ports["http"])},
        {"name": "METRICS_PORT", "value": str(ports["metrics"])},
    ]


def test_a_server_gets_traffic_when_its_model_is_loaded_and_starts_again_only_when_it_does_not_answer() -> None:
    [container] = pod()["containers"]

    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert asked == {
        "startup": {"path": "/health/status", "port": "http"},
        "readiness": {"path": "/health/status", "port": "http"},
        "liveness": {"path": "/health/ping", "port": "http"},
    }
    patience = {name: container[f"{name}Probe"] for name in asked}
    seconds = {name: one["periodSeconds"] * one["failureThreshold"] for name, one in patience.items()}
    assert seconds == {"startup": 300, "readiness": 15, "liveness": 30}


def test_a_model_asks_for_half_a_processor_and_a_gibibyte_and_runs_as_the_user_of_the_images() -> None:
    content = pod()
    [container] = content["containers"]

    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"cpu": "2", "memory": "2Gi"},
    }
    ids = [content["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")]
    assert ids == [10001] * 3  # as the Dockerfile makes it
    assert container["image"].startswith("cd4ml/serve")
    assert container["command"] == ["python", "-m", "cd4ml.serving.server"]
    assert [volume["emptyDir"]["sizeLimit"] for volume in content["volumes"]] == ["10Gi", "10Gi"]


def test_a_model_pushes_tasks_off_a_full_node() -> None:
    manifests = Path(__file__).parents[2] / "manifests"
    classes = [
        one
        for file in manifests.rglob("*.yaml")
        for one in yaml.safe_load_all(file.read_text())
        if one and one.get("kind") == "PriorityClass"
    ]
    values = {one["metadata"]["name"]: one["value"] for one in classes}

    assert values[pod()["priorityClassName"]] > 0  # that of what names no class


def test_metrics_name_the_version_of_the_model_as_that_of_the_predictor() -> None:
    [predictor] = manifest()["spec"]["predictors"]

    assert predictor["labels"]["version"] == "3"


@pytest.mark.parametrize(
    "name",
    [
        "MLSERVER_GRPC_PORT",
        "MLSERVER_HTTP_PORT",
        "MLSERVER_MODEL_URI",
        "PREDICTIVE_UNIT_GRPC_SERVICE_PORT",
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT",
        "PREDICTIVE_UNIT_METRICS_ENDPOINT",
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT",
        "PREDICTIVE_UNIT_PARAMETERS",
        "PREDICTOR_LABELS",
        "SELDON_DEPLOYMENT_ID",
    ],
)
def test_a_variable_that_the_operator_sets_itself_is_refused_with_the_reason(name: str) -> None:
    content = as_tuples(manifest())
    container = content["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"][0]
    container["env"] = ({"name": name, "value": "8000"},)

    with pytest.raises(DeploymentError, match=f"operator sets {name} itself, .* whole environment: leave it out"):
        parse(content)


@pytest.mark.parametrize(
    "ports",
    [
        (),
        ({"name": "http", "containerPort": 8000},),
        ({"name": "http", "containerPort": 9000}, {"name": "metrics", "containerPort": 6000}),
        ({"name": "web", "containerPort": 8000}, {"name": "metrics", "containerPort": 6000}),
        ({"name": "http", "containerPort": 8000}, {"name": "metrics", "containerPort": 8000}),
    ],
)
def test_a_server_whose_ports_seldon_would_not_find_is_refused(ports: tuple[dict[str, Any], ...]) -> None:
    content = as_tuples(manifest())
    content["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"][0]["ports"] = ports

    with pytest.raises(DeploymentError, match="they have to be 'http' \\(8000\\) and 'metrics' \\(6000\\)"):
        parse(content)


def test_the_pod_fetches_its_model_as_a_user_who_only_reads_models() -> None:
    [fetch] = pod()["initContainers"]

    assert fetch["image"] == images.TOOLS
    assert fetch["command"] == ["python", "-m", "cd4ml.storage.fetch", URI.removesuffix("/model"), "/mnt/models"]
    assert fetch["envFrom"] == [{"secretRef": {"name": "cd4ml-models"}}]
    assert fetch["volumeMounts"][0] == pod()["containers"][0]["volumeMounts"][0] | {"readOnly": False}


def test_a_server_keeps_requests_where_it_is_told_as_a_user_who_adds_to_captures() -> None:
    [without] = pod()["containers"]
    [container] = pod(capture="s3://cd4ml/captures/uptake")["containers"]

    assert [one for one in container["env"] if one not in without["env"]] == [
        {"name": "CAPTURE_FOLDER", "value": "s3://cd4ml/captures/uptake"}
    ]
    assert "envFrom" not in without
    assert container["envFrom"] == [
        {"secretRef": {"name": "cd4ml-models"}},
        {"secretRef": {"name": "cd4ml-capture", "optional": True}},
    ]


def test_a_pod_starts_only_with_the_keys_that_whoever_deploys_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "trusted-keys" not in str(pod())
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "ours.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    monkeypatch.setenv("CD4ML_TRUSTED_KEYS", str(tmp_path))

    content = pod()

    assert content["volumes"][-1] == {"name": "trusted-keys", "secret": {"secretName": "cd4ml-trusted-keys"}}
    for container in (*content["initContainers"], *content["containers"]):
        assert container["volumeMounts"][-1] == {
            "name": "trusted-keys",
            "mountPath": "/etc/cd4ml/trusted-keys",
            "readOnly": True,
        }


def test_every_container_keeps_the_restricted_standard() -> None:
    content = pod()

    assert content["automountServiceAccountToken"] is False
    assert content["securityContext"]["runAsNonRoot"] is True
    assert content["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*content["initContainers"], *content["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]) == {"requests", "limits"}


def test_the_longest_name_is_one_that_seldon_does_not_hash() -> None:
    assert len(f"{'a' * 47}-99999-p-0-model") == 63
    assert manifest(name="a" * 47, number=99_999)["metadata"]["name"] == f"{'a' * 47}-99999"

    with pytest.raises(DeploymentError, match="has 54 characters; at most 53"):
        manifest(name="a" * 48, number=99_999)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(DeploymentError) as raised:
        seldon.deployment(
            "Up_take", namespace="team", model_uri=URI, version=3, digest="abc", release="run=1", number=1
        )

    assert str(raised.value).splitlines() == [
        "the deployment of Up_take: not as it should be",
        "  - metadata.name: 'Up_take-1' is not a name as Services have it (a-z, 0-9 and '-', a letter first, "
        "63 characters at most)",
        "  - spec.predictors.0.annotations: 'cd4ml/release' has a '=' in its value, for which Seldon drops all "
        "annotations",
    ]


def test_a_rollout_without_a_release_is_refused() -> None:
    with pytest.raises(DeploymentError, match="cd4ml/release is missing"):
        manifest(release="")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("traffic",), 150),
        (("traffic",), -10),
        (("traffic",), 50),
        (("replicas",), -1),
        (("replicas",), "2"),
        (("shadow",), True),
        (("graph", "type"), "MODLE"),
        (("graph", "name"), "a" * 50),
        (("graph", "name"), "other"),
        (("graph", "logger"), {"mode": "ALL"}),
        (("engineResources",), {"limits": {"cpu": "1"}}),
        (("labels", "team"), "a b"),
        (("componentSpecs", 0, "spec", "containers", 0, "name"), "other"),
        (("componentSpecs", 0, "spec", "containers", 0, "image"), "cd4ml/serve"),
        (("componentSpecs", 0, "spec", "containers", 0, "ports", 0, "containerPort"), 0),
        (("componentSpecs", 0, "spec", "containers", 0, "resources", "limits", "memory"), "2 GB"),
        (("componentSpecs", 0, "spec", "containers", 0, "resources", "limits", "memory"), "-1Gi"),
        (("componentSpecs", 0, "spec", "containers", 0, "securityContext", "allowPrivilegeEscalation"), True),
        (("componentSpecs", 0, "spec", "automountServiceAccountToken"), True),
        (("componentSpecs", 0, "spec", "securityContext", "runAsUser"), 0),
    ],
)
def test_what_seldon_takes_and_then_fails_on_is_refused(place: tuple[str | int, ...], value: object) -> None:
    content = as_tuples(manifest())
    parse(content)
    inner: Any = content["spec"]["predictors"][0]
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value

    with pytest.raises(DeploymentError, match=r"predictors\.0"):
        parse(content)


@pytest.mark.parametrize("count", [0, 2])
def test_there_is_one_predictor(count: int) -> None:
    content = as_tuples(manifest())
    content["spec"]["predictors"] = content["spec"]["predictors"] * count

    with pytest.raises(DeploymentError, match=r"spec\.predictors"):
        parse(content)


def manifest(name: str = "uptake", release: str = "run-1", number: int = 1, capture: str = "") -> dict[str, Any]:
    return seldon.deployment(
        name,
        namespace="team",
        model_uri=URI,
        version=3,
        digest="abc",
        release=release,
        number=number,
        capture=capture,
    ).manifest()


def pod(capture: str = "") -> dict[str, Any]:
    return manifest(capture=capture)["spec"]["predictors"][0]["componentSpecs"][0]["spec"]


def parse(content: object) -> seldon.SeldonDeployment:
    return settings.parse(seldon.SeldonDeployment, content=content, name="the deployment", error=DeploymentError)


def as_tuples(content: Any) -> Any:
    """The same with tuples for lists, as the typed object has them."""
    if isinstance(content, dict):
        return {key: as_tuples(value) for key, value in deepcopy(content).items()}
    return tuple(as_tuples(one) for one in content) if isinstance(content, list) else content
