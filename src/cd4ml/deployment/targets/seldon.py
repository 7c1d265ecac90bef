"""The SeldonDeployment that serves a release of a published model, as Seldon Core 1.17.1 takes it.

Seldon's webhook lets mistakes pass that its operator fails on later, or never (a weight of 150, `type: MODLE`, minus
one replica, a name that is too long), so the whole object is checked here before it is sent.

The operator makes the Services of the model container's port named `http`, and environment variables of both its ports.
Of the variables that it sets none may be there before, so the server is told its ports by others, `PORT` and
`METRICS_PORT`.

The model's container answers by itself, without Seldon's executor, and the pod fetches its model itself, so that the
graph's `modelUri` stays empty. The executor and the initializer that Seldon would add do not keep the restricted pod
security standard. Ones that do could be brought along (Seldon adds none where the pod has containers of their names,
`seldon-container-engine` and `<node>-model-initializer`), but one model needs neither.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from cd4ml import images, settings
from cd4ml.cluster import accounts
from cd4ml.contracts import signature
from cd4ml.deployment.targets import kind
from cd4ml.deployment.targets.kind import RELEASE, Kind, Object
from cd4ml.errors import DeploymentError

GROUP = "machinelearning.seldon.io"
API_VERSION = "v1"
PLURAL = "seldondeployments"
PREDICTOR = "p"
"""Short, for names are made of its name and of others, and hashes of those that get too long."""
CONTAINER = "model"
PORT = 8000
METRICS_PORT = 6000
LARGEST_MODEL = "10Gi"
CAPTURES = (
    {"secret_ref": {"name": accounts.MODELS_SECRET}},
    {"secret_ref": {"name": accounts.CAPTURE_SECRET, "optional": True}},
)
"""What a server has that keeps requests: the key of the store, and what an admin says."""
PRIORITY = "cd4ml-serving"
"""The PriorityClass of the manifests, by which a model pushes tasks off a full node."""
USER = 10001
"""User and group of our images."""
LONGEST_NAME = 63
LONGEST_NODE = 48
NO_EXECUTOR = "seldon.io/no-engine"
SET_BY_SELDON = frozenset(
    {
        "MLSERVER_GRPC_PORT",
        "MLSERVER_HTTP_PORT",
        "MLSERVER_METRICS_ENDPOINT",
        "MLSERVER_METRICS_PORT",
        "MLSERVER_MODEL_NAME",
        "MLSERVER_MODEL_URI",
        "PREDICTIVE_UNIT_GRPC_SERVICE_PORT",
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT",
        "PREDICTIVE_UNIT_ID",
        "PREDICTIVE_UNIT_IMAGE",
        "PREDICTIVE_UNIT_METRICS_ENDPOINT",
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT",
        "PREDICTIVE_UNIT_PARAMETERS",
        "PREDICTIVE_UNIT_SERVICE_PORT",
        "PREDICTOR_ID",
        "PREDICTOR_LABELS",
        "SELDON_DEPLOYMENT_ID",
        "SELDON_EXECUTOR_ENABLED",
    }
)
"""The environment variables that the operator sets in a model's container."""


def _like(pattern: str, words: str) -> AfterValidator:
    """Wants text of a form, and says in words which."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {words}")
        return text

    return AfterValidator(check)


def _without_equals(annotations: dict[str, str]) -> dict[str, str]:
    wrong = [key for key, value in annotations.items() if "=" in value]
    if wrong:
        raise ValueError(f"{wrong[0]!r} has a '=' in its value, for which Seldon drops all annotations")
    return annotations


def _not_set_by_seldon(name: str) -> str:
    if name in SET_BY_SELDON:
        raise ValueError(
            f"Seldon's operator sets {name} itself, and where such a name is there already it can drop the container's "
            "whole environment: leave it out (the server's ports are PORT and METRICS_PORT)"
        )
    return name


Name = Annotated[
    str,
    _like(
        r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?",
        "a name as Services have it (a-z, 0-9 and '-', a letter first, 63 characters at most)",
    ),
]
Annotations = Annotated[dict[str, str], AfterValidator(_without_equals)]
LabelValue = Annotated[str, _like(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", "the value of a label")]
Quantity = Annotated[str, _like(r"[1-9][0-9]*(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?", "a quantity, such as 500m or 2Gi")]
ImageName = Annotated[str, _like(r"[a-z0-9][-a-z0-9._/:]*[:@][A-Za-z0-9][\w.:-]*", "an image with its tag or digest")]
Variable = Annotated[
    str, _like(r"[A-Z_][A-Z0-9_]*", "the name of an environment variable"), AfterValidator(_not_set_by_seldon)
]
AbsolutePath = Annotated[str, _like(r"/.*", "an absolute path")]
Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    """A part of the manifest: nothing unknown, nothing converted, in Kubernetes' spelling."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class EnvironmentVariable(_Part):
    """An environment variable."""

    name: Variable
    value: str


class SecretName(_Part):
    """The name of a Secret."""

    name: Name
    optional: Literal[True] | None = None
    """Whether a pod also starts without it."""


class SecretVariables(_Part):
    """A Secret whose keys become environment variables."""

    secret_ref: SecretName


class Port(_Part):
    """A port of a container."""

    name: Name
    container_port: int
    protocol: Literal["TCP"] = "TCP"


class HttpGet(_Part):
    """A request that tells whether a container is well."""

    path: AbsolutePath
    port: str


class Probe(_Part):
    """How often to ask a container whether it is well."""

    http_get: HttpGet
    period_seconds: Count
    timeout_seconds: Count
    failure_threshold: Count


class Resources(_Part):
    """What a container asks for, and the most it gets."""

    requests: dict[Literal["cpu", "memory"], Quantity]
    limits: dict[Literal["cpu", "memory"], Quantity]


class Capabilities(_Part):
    """The capabilities of a container: none."""

    drop: tuple[Literal["ALL"]] = ("ALL",)


class ContainerSecurity(_Part):
    """What the restricted pod security standard asks of a container, and a root file system that stays as it is."""

    allow_privilege_escalation: Literal[False] = False
    read_only_root_filesystem: Literal[True] = True
    capabilities: Capabilities = Capabilities()


class Seccomp(_Part):
    """The system calls that a pod may make: the runtime's usual ones."""

    type: Literal["RuntimeDefault"] = "RuntimeDefault"


class PodSecurity(_Part):
    """What the restricted pod security standard asks of a pod."""

    run_as_non_root: Literal[True] = True
    run_as_user: Count = USER
    run_as_group: Count = USER
    fs_group: Count = USER
    seccomp_profile: Seccomp = Seccomp()


class Mount(_Part):
    """Where a container sees a volume."""

    name: Name
    mount_path: AbsolutePath
    read_only: bool = False


class EmptyFolder(_Part):
    """A folder that lives as long as its pod."""

    size_limit: Quantity


class Files(_Part):
    """The files of a Secret, without which the pod does not start."""

    secret_name: Name


class Volume(_Part):
    """A volume of a pod."""

    name: Name
    empty_dir: EmptyFolder | None = None
    secret: Files | None = None


class Container(_Part):
    """A container of a pod."""

    name: Name
    image: ImageName
    image_pull_policy: Literal["IfNotPresent"] = "IfNotPresent"
    command: tuple[str, ...] | None = None
    env: tuple[EnvironmentVariable, ...] | None = None
    env_from: tuple[SecretVariables, ...] | None = None
    ports: tuple[Port, ...] | None = None
    startup_probe: Probe | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    resources: Resources
    security_context: ContainerSecurity = ContainerSecurity()
    volume_mounts: tuple[Mount, ...]


class Pod(_Part):
    """The pods of a predictor."""

    automount_service_account_token: Literal[False] = False
    priority_class_name: Name
    security_context: PodSecurity = PodSecurity()
    init_containers: tuple[Container, ...]
    containers: tuple[Container, ...]
    volumes: tuple[Volume, ...]


class Component(_Part):
    """A Deployment that Seldon makes."""

    spec: Pod


class Graph(_Part):
    """What answers: one model."""

    name: Annotated[Name, Field(max_length=LONGEST_NODE)]
    type: Literal["MODEL"] = "MODEL"


class Predictor(_Part):
    """One version that is served."""

    name: Name
    replicas: Count
    traffic: Literal[100] = 100
    labels: dict[str, LabelValue]
    annotations: Annotations
    graph: Graph
    component_specs: tuple[Component]

    @model_validator(mode="after")
    def _check_release(self) -> Self:
        if not self.annotations.get(RELEASE):
            raise ValueError(f"annotations: {RELEASE} is missing, by which a rollout is told from the one before")
        return self

    @model_validator(mode="after")
    def _check_containers(self) -> Self:
        names = [container.name for container in self.component_specs[0].spec.containers]
        if names != [self.graph.name]:
            raise ValueError(f"the containers are {names}; the graph's node {self.graph.name!r} wants one of its name")
        return self

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        for container in self.component_specs[0].spec.containers:
            ports = [(port.name, port.container_port) for port in container.ports or ()]
            if sorted(ports) != [("http", PORT), ("metrics", METRICS_PORT)]:
                raise ValueError(
                    f"the ports of {container.name} are {ports}; they have to be 'http' ({PORT}) and 'metrics' "
                    f"({METRICS_PORT}), where the server listens, and of which Seldon makes those of the Service"
                )
        return self


class Metadata(_Part):
    """The object's name and place."""

    name: Name
    namespace: Name
    labels: dict[str, LabelValue]


class Specification(_Part):
    """What is to be served."""

    predictors: tuple[Predictor]


class SeldonDeployment(_Part):
    """The object that Seldon's operator acts on."""

    api_version: Literal["machinelearning.seldon.io/v1"] = "machinelearning.seldon.io/v1"
    kind: Literal["SeldonDeployment"] = "SeldonDeployment"
    metadata: Metadata
    spec: Specification

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        for predictor in self.spec.predictors:
            rest = f"-{predictor.name}-0-{predictor.graph.name}"
            longest = LONGEST_NAME - len(rest)
            if len(self.metadata.name) > longest:
                raise ValueError(
                    f"the name {self.metadata.name!r} has {len(self.metadata.name)} characters; at most {longest}, "
                    f"for Seldon appends '{rest}' and makes a hash of what is longer than {LONGEST_NAME}"
                )
        return self

    def manifest(self) -> dict[str, Any]:
        """The object as the cluster takes it."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def deployment(
    name: str,
    *,
    namespace: str,
    model_uri: str,
    version: int,
    digest: str,
    release: str,
    number: int,
    capture: str = "",
) -> SeldonDeployment:
    """The object that serves a published version for a deployment.

    Args:
        name: The model's name.
        namespace: Where it is served.
        model_uri: The model's folder in the store, `s3://bucket/path`; another version has another.
        version: Its version in the registry.
        digest: Of the model's files.
        release: Tells this rollout from every other.
        number: Of its deployment in the history.
        capture: The URI below which its server keeps requests and feedback; empty where it keeps none.

    Raises:
        DeploymentError: Seldon would not serve that; names every mistake.
    """
    labels = kind.labels(name)
    annotations = kind.annotations(model_uri=model_uri, version=version, digest=digest, release=release, number=number)
    predictor = {
        "name": PREDICTOR,
        "replicas": 1,
        "labels": {**labels, "version": str(version)},  # Seldon writes it into metrics, as `predictor_version`
        "annotations": {NO_EXECUTOR: "true", **annotations},
        "graph": {"name": CONTAINER},
        "component_specs": ({"spec": pod(name, model_uri=model_uri, version=version, digest=digest, capture=capture)},),
    }
    content = {
        "metadata": {"name": kind.object_name(name, number), "namespace": namespace, "labels": labels},
        "spec": {"predictors": (predictor,)},
    }
    return settings.parse(SeldonDeployment, content=content, name=f"the deployment of {name}", error=DeploymentError)


def _annotations(content: Object) -> dict[str, str]:
    found: dict[str, str] = content["spec"]["predictors"][0].get("annotations", {})
    return found


def _deployments(content: Object) -> int:
    return sum(len(predictor["componentSpecs"]) for predictor in content["spec"]["predictors"])


def _address(content: Object) -> str:
    metadata, predictor = content["metadata"], content["spec"]["predictors"][0]["name"]
    return f"{metadata['name']}-{predictor}.{metadata['namespace']}.svc:{PORT}"


def _failure(content: Object) -> str:
    status = content.get("status", {})
    return status.get("description") or "" if status.get("state") == "Failed" else ""


KIND = Kind(
    name="SeldonDeployment",
    group=GROUP,
    version=API_VERSION,
    plural=PLURAL,
    product="Seldon Core",
    install="seldon-core-operator 1.17.1",
    operator="Seldon's operator",
    manifest=lambda name, **about: deployment(name, **about).manifest(),
    annotations=_annotations,
    deployments=_deployments,
    address=_address,
    failure=_failure,
)


def pod(name: str, *, model_uri: str, version: int, digest: str, capture: str = "") -> dict[str, Any]:
    """What of a `Pod` serves a published version; takes what `deployment` takes."""
    model, folder = "model", "/mnt/models"
    version_uri, _, part = model_uri.rpartition("/")
    temporary = {"name": "tmp", "mount_path": "/tmp"}  # noqa: S108 (a volume of the pod's own)
    keys = {"name": "trusted-keys"}
    trusts = bool(signature.trusted_keys())
    mounted = ({**keys, "mount_path": signature.TRUSTED_MOUNTED, "read_only": True},) if trusts else ()
    fetch = {
        "name": "fetch",
        "image": images.TOOLS,
        "command": ("python", "-m", "cd4ml.storage.fetch", version_uri, folder),
        "env_from": ({"secret_ref": {"name": accounts.MODELS_SECRET}},),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "volume_mounts": ({"name": model, "mount_path": folder}, temporary, *mounted),
    }
    server = {
        "name": CONTAINER,
        "image": images.SERVE,
        "command": ("python", "-m", "cd4ml.serving.server"),
        "env": (
            {"name": "MODEL_FOLDER", "value": f"{folder}/{part}"},
            {"name": "MODEL_NAME", "value": name},
            {"name": "MODEL_VERSION", "value": str(version)},
            {"name": "MODEL_DIGEST", "value": digest},
            {"name": "PORT", "value": str(PORT)},
            {"name": "METRICS_PORT", "value": str(METRICS_PORT)},
            *([{"name": "CAPTURE_FOLDER", "value": capture}] if capture else []),
        ),
        **({"env_from": CAPTURES} if capture else {}),
        "ports": ({"name": "http", "container_port": PORT}, {"name": "metrics", "container_port": METRICS_PORT}),
        "startup_probe": _probe("/health/status", period=2, timeout=30, failures=150),
        "readiness_probe": _probe("/health/status", period=5, timeout=10, failures=3),
        "liveness_probe": _probe("/health/ping", period=10, timeout=10, failures=3),
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
        "volume_mounts": ({"name": model, "mount_path": folder, "read_only": True}, temporary, *mounted),
    }
    return {
        "priority_class_name": PRIORITY,
        "init_containers": (fetch,),
        "containers": (server,),
        "volumes": (
            {"name": model, "empty_dir": {"size_limit": LARGEST_MODEL}},
            {"name": "tmp", "empty_dir": {"size_limit": LARGEST_MODEL}},
            *([{**keys, "secret": {"secret_name": accounts.TRUSTED_SECRET}}] if trusts else []),
        ),
    }


def _probe(path: str, *, period: int, timeout: int, failures: int) -> dict[str, Any]:
    return {
        "http_get": {"path": path, "port": "http"},
        "period_seconds": period,
        "timeout_seconds": timeout,
        "failure_threshold": failures,
    }
