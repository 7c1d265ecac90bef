"""What submitting and deploying need, checked one by one, each with its remedy."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import kubernetes
import urllib3
from minio import Minio
from minio.credentials import EnvAWSProvider
from minio.error import MinioException

from cd4ml import images
from cd4ml.cluster import accounts, indexed_job
from cd4ml.cluster.store_setup import STORE
from cd4ml.deployment.targets import kserve, seldon
from cd4ml.deployment.targets.cluster import needed
from cd4ml.errors import KubeflowError, StorageError
from cd4ml.kubeflow.connection import KFP_NAMESPACE, Address, connect, load_kubeconfig, loss_words, sdk_version
from cd4ml.storage import S3, probe, region
from cd4ml.storage.bucket import AMAZON, S3Store

SECONDS = 10
SECRETS = (
    accounts.STORE_SECRET,
    accounts.TRAINER_SECRET,
    accounts.PUBLISHER_SECRET,
    accounts.DEPLOYER_SECRET,
    accounts.MODELS_SECRET,
    accounts.ROUTER_SECRET,
    accounts.MONITORING_SECRET,
    accounts.ARTIFACTS_SECRET,
)
ARGO = "workflow-controller"
SIZE_OF_RUNS = "MAX_WORKFLOW_SIZE"
USUAL_SIZE = 2**20
GPU = "nvidia.com/gpu"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
LOOKING = (("list", "", "pods"), ("get", "", "pods/log"), ("list", "machinelearning.seldon.io", "seldondeployments"))
"""What a person does: verb, group, resource."""
DEPLOYING = tuple(
    (verb, group, f"{resource}/{subresource}".rstrip("/"))
    for (group, resource, subresource), verbs in needed(seldon.KIND).items()
    for verb in verbs
)
"""What the tasks that deploy do, as a ServiceAccount of their own."""

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    name: str
    state: State
    said: str
    remedy: str = ""


def examine(address: Address, store: str | None) -> list[Finding]:
    """Every check, in an order in which a later one stands on an earlier one.

    Args:
        address: Which KFP and cluster are asked.
        store: `s3://bucket/prefix`; where none is named, and the environment names an S3, that of the manifests.
    """
    return [*_kfp(address), *_cluster(address), *_store(store)]


def _kfp(address: Address) -> Iterable[Finding]:
    try:
        connection = connect(address)
        health = connection.health
    except KubeflowError as error:
        said, _, remedy = str(error).rpartition("; ")
        return [Finding("KFP's API", "failed", said or str(error), remedy)]
    findings = [Finding("KFP's API", "ok", connection.host), _version(health.version)]
    try:
        connection.check_namespace()
        connection.ask(connection.runs.run_service_list_runs, page_size=1, **connection.within)
    except KubeflowError as error:
        said, _, remedy = str(error).rpartition("; ")
        return [*findings, Finding("users", "failed", said or str(error), remedy)]
    whose = f"many; the namespace {address.namespace} is yours" if health.multi_user else "one; runs go to KFP's own"
    return [*findings, Finding("users", "ok", whose)]


def _version(version: str | None) -> Finding:
    ours = sdk_version()
    if version is None:
        return Finding("KFP's version", "warning", "not said by this build", f"make sure that it is KFP {ours}")
    theirs_parts, our_parts = version.split(".")[:2], ours.split(".")[:2]
    if theirs_parts[0] != our_parts[0]:
        return Finding("KFP's version", "failed", f"{version}, and cd4ml compiles for {ours}", "name another KFP")
    if int(theirs_parts[1]) < int(our_parts[1]):
        return Finding("KFP's version", "warning", f"{version}, older than the SDK {ours}", f"upgrade it to {ours}")
    return Finding("KFP's version", "ok", f"{version} (SDK {ours})")


def _cluster(address: Address) -> Iterable[Finding]:
    configuration = kubernetes.client.Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and not address.context:
            kubernetes.config.load_incluster_config(configuration)
            context = "the pod's own"
        else:
            context = load_kubeconfig(configuration, address.context)
    except (KubeflowError, kubernetes.config.ConfigException) as error:
        remedy = "name one with KUBECONFIG or --context to have the cluster checked"
        return [Finding("cluster", "warning", str(error).split("; ")[0], remedy)]
    configuration.retries = urllib3.Retry(connect=1, read=0)
    client = kubernetes.client.ApiClient(configuration)
    cluster = _Cluster(client, address.namespace or KFP_NAMESPACE)
    reached = cluster.check(
        "cluster", ask=cluster.version, remedy=f"start it, or name another context; this is {context!r}"
    )
    if reached.state == "failed":
        return [reached]
    return [
        Finding("cluster", "ok", f"context {context}, {reached.said}, namespace {cluster.namespace}"),
        *(
            cluster.check(f"Secret {name}", ask=partial(cluster.secret, name), remedy=cluster.wiring)
            for name in SECRETS
        ),
        cluster.check(f"ConfigMap {accounts.LAUNCHER_SETTINGS}", ask=cluster.config, remedy=cluster.wiring),
        cluster.check(
            "your rights", ask=cluster.rights, remedy="ask an admin for the Role cd4ml-engineer", at_worst="warning"
        ),
        cluster.check(
            f"rights of {accounts.DEPLOYER}",
            ask=partial(cluster.rights_of, accounts.DEPLOYER, DEPLOYING),
            remedy=cluster.wiring,
        ),
        cluster.check(
            f"rights of {accounts.RUNNER}",
            ask=partial(cluster.rights_of, accounts.RUNNER, indexed_job.NEEDED),
            remedy=f"{cluster.wiring}, or train with `workers: 1`",
            at_worst="warning",
        ),
        cluster.check(
            "Seldon or KServe",
            ask=cluster.serving,
            remedy="install Seldon Core 1.17.1 or KServe 0.20 (docs/admin.md)",
        ),
        cluster.check(
            "GPUs", ask=cluster.gpus, remedy="train with `gpus: 0`, or add a node with GPUs", at_worst="warning"
        ),
        cluster.check("Argo", ask=cluster.argo, remedy=f"set its {SIZE_OF_RUNS} (docs/admin.md)", at_worst="warning"),
        cluster.check("storage class", ask=cluster.storage_class, remedy="name a default one, or one in MinIO's claim"),
        cluster.check("images", ask=cluster.images, remedy="load them, or let the nodes pull them", at_worst="warning"),
    ]


class _LackingError(Exception):
    """What a check looks for is not there."""


class _Cluster:
    """What the checks ask a cluster; each gives its words, or raises."""

    def __init__(self, client: Any, namespace: str) -> None:
        self._client = client
        self._core = kubernetes.client.CoreV1Api(client)
        self._access = kubernetes.client.AuthorizationV1Api(client)
        self.namespace = namespace
        self.wiring = f"apply the manifests of cd4ml to the namespace {namespace}"

    def check(self, name: str, *, ask: Callable[[], str], remedy: str, at_worst: State = "failed") -> Finding:
        """Runs one check."""
        try:
            return Finding(name, "ok", ask())
        except _LackingError as error:
            return Finding(name, at_worst, str(error), remedy)
        except kubernetes.client.ApiException as error:
            if error.status == 401:
                return Finding(name, "failed", "the cluster refuses to know you (401)", "log in again: a token expired")
            if error.status == 403:
                return Finding(name, "warning", "you may not look (403)", "ask an admin to run `cd4ml doctor`")
            said = "not there" if error.status == 404 else f"{error.status} {error.reason}"
            return Finding(name, at_worst, said, remedy)
        except urllib3.exceptions.HTTPError as error:
            return Finding(name, "failed", loss_words(getattr(error, "reason", None) or error), remedy)

    def version(self) -> str:
        told = kubernetes.client.VersionApi(self._client).get_code(_request_timeout=SECONDS)
        return f"Kubernetes {told.git_version}"

    def secret(self, name: str) -> str:
        # Its metadata alone: the values never come to this machine.
        self._client.call_api(
            f"/api/v1/namespaces/{self.namespace}/secrets/{name}",
            "GET",
            header_params={"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"},
            auth_settings=["BearerToken"],
            response_type="object",
            _request_timeout=SECONDS,
        )
        return "there"

    def config(self) -> str:
        self._core.read_namespaced_config_map(accounts.LAUNCHER_SETTINGS, self.namespace, _request_timeout=SECONDS)
        return "there"

    def rights(self) -> str:
        """Asks for the rights of whoever asks."""
        create = self._access.create_self_subject_access_review
        body = kubernetes.client.V1SelfSubjectAccessReview
        spec = kubernetes.client.V1SelfSubjectAccessReviewSpec
        return self._rights(LOOKING, lambda asked: create(body(spec=spec(resource_attributes=asked))))

    def rights_of(self, account: str, needed: Sequence[tuple[str, str, str]]) -> str:
        """Asks for the rights of tasks, by their account, which only an admin may do."""
        self._core.read_namespaced_service_account(account, self.namespace, _request_timeout=SECONDS)
        user = f"system:serviceaccount:{self.namespace}:{account}"
        create = partial(self._access.create_namespaced_local_subject_access_review, self.namespace)
        body = kubernetes.client.V1LocalSubjectAccessReview
        spec = kubernetes.client.V1SubjectAccessReviewSpec
        return self._rights(needed, lambda asked: create(body(spec=spec(resource_attributes=asked, user=user))))

    def _rights(self, wanted: Sequence[tuple[str, str, str]], review: Callable[[Any], Any]) -> str:
        refused = []
        for verb, group, resource in wanted:
            name, _, subresource = resource.partition("/")
            asked = kubernetes.client.V1ResourceAttributes(
                namespace=self.namespace, verb=verb, group=group, resource=name, subresource=subresource or None
            )
            if not review(asked).status.allowed:
                refused.append(f"{verb} {resource}")
        if refused:
            raise _LackingError(f"missing: {', '.join(refused)}")
        return f"all {len(wanted)} that are needed"

    def serving(self) -> str:
        known = [kind.name for kind in (seldon.KIND, kserve.KIND) if self._knows(f"{kind.plural}.{kind.group}")]
        if not known:
            raise _LackingError("neither is installed")
        return f"{' and '.join(known)} known"

    def _knows(self, kind: str) -> bool:
        extensions = kubernetes.client.ApiextensionsV1Api(self._client)
        try:
            extensions.read_custom_resource_definition(kind, _request_timeout=SECONDS)
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise
            return False
        return True

    def gpus(self) -> str:
        counts = {one.metadata.name: int((one.status.allocatable or {}).get(GPU, 0)) for one in self._nodes()}
        having = {name: count for name, count in counts.items() if count}
        if not having:
            raise _LackingError(f"none on {len(counts)} node(s)")
        return ", ".join(f"{count} on {name}" for name, count in having.items())

    def argo(self) -> str:
        """Asks how much it keeps of a run as KFP can read it."""
        apps = kubernetes.client.AppsV1Api(self._client)
        found = apps.read_namespaced_deployment(ARGO, KFP_NAMESPACE, _request_timeout=SECONDS)
        variables = {one.name: one.value for one in found.spec.template.spec.containers[0].env or []}
        said = variables.get(SIZE_OF_RUNS) or ""
        size = int(said) if said.isdigit() else USUAL_SIZE
        if size <= USUAL_SIZE:
            raise _LackingError(
                f"compresses runs above {size:,} bytes, as training's, and KFP cannot read of their tasks"
            )
        return f"keeps runs of up to {size:,} bytes as KFP can read them"

    def storage_class(self) -> str:
        listed = kubernetes.client.StorageV1Api(self._client).list_storage_class(_request_timeout=SECONDS).items
        default = [one.metadata.name for one in listed if (one.metadata.annotations or {}).get(DEFAULT_CLASS) == "true"]
        if not default:
            raise _LackingError("none is the default")
        return f"{default[0]} is the default"

    def images(self) -> str:
        held = {name for node in self._nodes() for image in node.status.images or [] for name in image.names or []}
        wanted = (images.TOOLS, images.VALIDATE, images.TRAIN, images.EVALUATE, images.SERVE)
        missing = [one for one in wanted if not any(name == one or name.endswith(f"/{one}") for name in held)]
        if missing:
            raise _LackingError(f"no node holds {', '.join(missing)}")
        return f"all {len(wanted)} are on the nodes"

    def _nodes(self) -> list[Any]:
        listed: list[Any] = self._core.list_node(_request_timeout=SECONDS).items
        return listed


def _store(location: str | None) -> Iterable[Finding]:
    """The store, asked with this machine's own credentials; the usual one where the environment names an S3."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or AMAZON
    if not location and not os.environ.get("AWS_ENDPOINT_URL"):
        return []
    location = location or f"{S3}{STORE}"
    if not location.startswith(S3):
        said = f"{location}: lies on this machine, where no cluster sees it"
        return [Finding("store", "failed", said, f"name one in a bucket: --store {S3}{STORE}")]
    try:
        store = S3Store(location)
        bucket = location.removeprefix(S3).partition("/")[0]
        there = _client(endpoint).bucket_exists(bucket)
    except (MinioException, urllib3.exceptions.HTTPError, ValueError) as error:
        remedy = "see to AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        said = getattr(error, "message", None) or loss_words(getattr(error, "reason", None) or error)
        return [Finding("store", "failed", f"{endpoint}: {said}", remedy)]
    except StorageError as error:
        return [_failed("store", error)]
    if not there:
        remedy = "make it, or apply the manifests of cd4ml"
        return [Finding("store", "failed", f"{endpoint}: no bucket {bucket}", remedy)]
    return [Finding("store", "ok", f"{endpoint}, {location}"), _conditional_writes(store)]


def _client(endpoint: str) -> Minio:
    """A client that does not wait long."""
    address = urlsplit(endpoint)
    pool = urllib3.PoolManager(
        timeout=SECONDS, retries=urllib3.Retry(total=1), ca_certs=os.environ.get("SSL_CERT_FILE")
    )
    return Minio(
        address.netloc,
        credentials=EnvAWSProvider(),
        secure=address.scheme == "https",
        region=region(),
        http_client=pool,
    )


def _conditional_writes(store: S3Store) -> Finding:
    name = "conditional writes"
    try:
        return Finding(name, "ok", probe.check(store))
    except StorageError as error:
        if getattr(error.__cause__, "code", "") == "AccessDenied":
            return Finding(name, "warning", "you may not try them", "apply the manifests again, or ask an admin to try")
        return _failed(name, error)


def _failed(name: str, error: StorageError) -> Finding:
    said, _, remedy = str(error).rpartition("; ")
    return Finding(name, "failed", said or str(error), remedy)
