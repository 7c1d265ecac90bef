"""MinIO as a pod: set up by its Job, open to each role as far as its policy goes, and without loss when it falls."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest
import urllib3
from conftest import Cluster
from minio import Minio, S3Error
from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, NoncurrentVersionExpiration, Rule
from overlays import MANIFESTS, render

from cd4ml.images import TOOLS

KEYS = {
    "pipelines": ("cd4ml-store", "AWS_SECRET_ACCESS_KEY"),
    "trainer": ("cd4ml-trainer", "AWS_SECRET_ACCESS_KEY"),
    "publisher": ("cd4ml-publisher", "AWS_SECRET_ACCESS_KEY"),
    "deployer": ("cd4ml-deployer", "AWS_SECRET_ACCESS_KEY"),
    "artifacts": ("mlpipeline-minio-artifact", "secretkey"),
    "models": ("cd4ml-models", "AWS_SECRET_ACCESS_KEY"),
    "router": ("cd4ml-router", "AWS_SECRET_ACCESS_KEY"),
    "monitoring": ("cd4ml-monitoring", "AWS_SECRET_ACCESS_KEY"),
}
"""By user: the Secret that holds its key, and where."""
(
    SOURCE,
    DATASET,
    MODEL,
    ALIAS,
    DEPLOYMENT,
    TRAFFIC,
    CAPTURE,
    LABELS,
    WINDOW,
    MONITORED,
    ALERTS,
    RETRAINING,
    PREDICTION,
    JUDGEMENT,
    RUN,
    CHECKPOINT,
    PROGRESS,
    SWEEP,
    LEARNING,
    PROBE,
    OTHER,
    ARTIFACT,
) = OBJECTS = (
    "cd4ml/sources/a",
    "cd4ml/datasets/a",
    "cd4ml/models/a/1/model",
    "cd4ml/aliases/a",
    "cd4ml/deployments/a",
    "cd4ml/traffic/a",
    "cd4ml/captures/a",
    "cd4ml/labels/a/b/labels.json",
    "cd4ml/windows/a",
    "cd4ml/monitored/a/b/1/verdict.json",
    "cd4ml/alerts/a/1.json",
    "cd4ml/retrainings/a/1/decided.json",
    "cd4ml/predictions/a",
    "cd4ml/judgements/a",
    "cd4ml/runs/a",
    "cd4ml/checkpoints/a/0",
    "cd4ml/progress/a",
    "cd4ml/sweeps/a/sweep.json",
    "cd4ml/learning/a/b/1000",
    "cd4ml/probes/a",
    "cd4ml/other",
    "mlpipeline/v2/a",
)
MAY = {
    ("pipelines", "read"): (
        SOURCE,
        DATASET,
        MODEL,
        ALIAS,
        DEPLOYMENT,
        CAPTURE,
        LABELS,
        WINDOW,
        MONITORED,
        ALERTS,
        RETRAINING,
        PREDICTION,
        JUDGEMENT,
        RUN,
        PROGRESS,
        SWEEP,
        LEARNING,
        PROBE,
    ),
    ("pipelines", "write"): (DATASET, PREDICTION, JUDGEMENT, RUN, PROBE),
    ("trainer", "read"): (CHECKPOINT, SWEEP, LEARNING),
    ("trainer", "write"): (CHECKPOINT, PROGRESS, SWEEP, LEARNING),
    ("publisher", "read"): (MODEL, ALIAS, RUN),
    ("publisher", "write"): (MODEL, ALIAS, RUN),
    ("deployer", "read"): (MODEL, ALIAS, DEPLOYMENT, TRAFFIC, CAPTURE, LABELS, RUN),
    ("deployer", "write"): (DEPLOYMENT, TRAFFIC, RUN),
    ("artifacts", "read"): (ARTIFACT,),
    ("artifacts", "write"): (ARTIFACT,),
    ("models", "read"): (MODEL,),
    ("models", "write"): (CAPTURE,),
    ("router", "read"): (TRAFFIC,),
    ("router", "write"): (CAPTURE,),
    ("monitoring", "read"): (
        SOURCE,
        DATASET,
        MODEL,
        DEPLOYMENT,
        CAPTURE,
        LABELS,
        WINDOW,
        MONITORED,
        ALERTS,
        RETRAINING,
        RUN,
    ),
    ("monitoring", "write"): (LABELS, WINDOW, MONITORED, ALERTS, RETRAINING),
}
"""By user and verb: the objects. Nobody but the root user deletes."""


@dataclass(frozen=True)
class Store:
    """The MinIO of a namespace."""

    cluster: Cluster
    namespace: str

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments)

    @property
    def address(self) -> str:
        """Where this machine reaches it."""
        return self.kubectl("get", "service", "minio", "--output", "jsonpath={.spec.clusterIP}") + ":9000"

    def secret(self, name: str) -> dict[str, str]:
        data = json.loads(self.kubectl("get", "secret", name, "--output", "json"))["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def client(self, user: str) -> Minio:
        if user == "root":
            root = self.secret("minio-root")
            key, secret = root["MINIO_ROOT_USER"], root["MINIO_ROOT_PASSWORD"]
        else:
            name, entry = KEYS[user]
            key, secret = user, self.secret(name)[entry]
        return Minio(self.address, key, secret, secure=False)

    def set_up(self) -> str:
        """Runs the Job again; what it says."""
        self.kubectl("delete", "job", "minio-setup", "--ignore-not-found")
        self.cluster.kubectl("apply", "--filename", "-", input=render("standalone", self.namespace))
        self.kubectl("wait", "--for=condition=Complete", "job/minio-setup", "--timeout=240s")
        return self.kubectl("logs", "job/minio-setup")


@pytest.fixture(scope="module")
def store(shared_cluster: Cluster) -> Iterator[Store]:
    nodes = json.loads(shared_cluster.kubectl("get", "nodes", "--output", "json"))["items"]
    held = {name for node in nodes for image in node["status"].get("images", []) for name in image["names"] or []}
    if not any(name.endswith(TOOLS) for name in held):
        reason = f"no node of the cluster holds {TOOLS}: make images, and load it"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    store = Store(shared_cluster, shared_cluster.namespace())
    store.set_up()
    store.kubectl("rollout", "status", "statefulset/minio", "--timeout=120s")
    yield store
    claimed = store.kubectl("get", "pvc", "data-minio-0", "--output", "jsonpath={.spec.volumeName}")
    store.kubectl("delete", "statefulset/minio", "pvc/data-minio-0")
    _release(shared_cluster, claimed)


def _release(cluster: Cluster, volume: str) -> None:
    """Gives a volume back where the cluster has nobody who does."""
    phase = cluster.kubectl("get", "pv", volume, "--ignore-not-found", "--output", "jsonpath={.status.phase}")
    if phase:
        cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Released", f"pv/{volume}", "--timeout=60s")
        cluster.kubectl("patch", "pv", volume, "--type=json", "--patch", '[{"op": "remove", "path": "/spec/claimRef"}]')


def test_the_setup_can_be_run_again_and_changes_no_key(store: Store) -> None:
    before = {user: store.secret(name) for user, (name, _) in KEYS.items()}
    said = store.set_up()

    assert {user: store.secret(name) for user, (name, _) in KEYS.items()} == before
    assert "Secret cd4ml-store: is there" in said
    assert "bucket cd4ml: is there" in said
    assert store.client("pipelines").bucket_exists("cd4ml")


def test_the_keys_are_drawn_and_differ(store: Store) -> None:
    keys = [store.secret(name)[entry] for name, entry in KEYS.values()] + [
        store.secret("minio-root")["MINIO_ROOT_PASSWORD"]
    ]

    assert len(set(keys)) == 9
    assert min(map(len, keys)) >= 40


def test_both_buckets_keep_versions_and_artifacts_expire(store: Store) -> None:
    root = store.client("root")
    expirations = [rule.noncurrent_version_expiration for rule in root.get_bucket_lifecycle("mlpipeline").rules]

    assert {root.get_bucket_versioning(bucket).status for bucket in ("cd4ml", "mlpipeline")} == {"Enabled"}
    assert [expiration.noncurrent_days for expiration in expirations] == [30]


def test_what_the_layout_lets_pass_goes_after_a_time_and_a_rule_of_others_stays(store: Store) -> None:
    root = store.client("root")

    def days() -> dict[str, int]:
        rules = root.get_bucket_lifecycle("cd4ml").rules
        assert {rule.noncurrent_version_expiration.noncurrent_days for rule in rules} == {1}
        return {rule.rule_filter.prefix: rule.expiration.days for rule in rules}

    made = root.get_bucket_lifecycle("cd4ml")
    others = {"traffic/": 365, "checkpoints/": 30, "workers/": 3, "progress/": 30, "sweeps/": 90, "learning/": 90}
    assert days() == {"captures/": 90, **others}
    longer = [
        replace(rule, expiration=Expiration(days=400)) if rule.rule_filter.prefix == "captures/" else rule
        for rule in made.rules
    ]
    root.set_bucket_lifecycle("cd4ml", LifecycleConfig(longer))
    store.set_up()
    assert days() == {"captures/": 400, **others}

    overwritten = NoncurrentVersionExpiration(noncurrent_days=1)
    every = Rule(ENABLED, Filter(prefix=""), rule_id="every", noncurrent_version_expiration=overwritten)
    root.set_bucket_lifecycle("cd4ml", LifecycleConfig([every]))
    store.set_up()
    rules = root.get_bucket_lifecycle("cd4ml").rules
    assert {rule.rule_id for rule in rules} == {"every", "captures", *(prefix.rstrip("/") for prefix in others)}


@pytest.fixture(scope="module")
def filled(store: Store) -> Store:
    for name in OBJECTS:
        bucket, _, key = name.partition("/")
        store.client("root").put_object(bucket, key, io.BytesIO(b"x"), 1)
    return store


VERBS: dict[str, Callable[[Minio, str, str], object]] = {
    "read": lambda client, bucket, key: client.get_object(bucket, key).read(),
    "write": lambda client, bucket, key: client.put_object(bucket, key, io.BytesIO(b"x"), 1),
    "delete": lambda client, bucket, key: client.remove_object(bucket, key),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("user", KEYS)
def test_a_user_can_do_what_its_role_needs_and_nothing_else(filled: Store, user: str, verb: str) -> None:
    client = filled.client(user)

    assert tuple(name for name in OBJECTS if can(client, verb, name)) == MAY.get((user, verb), ())


def can(client: Minio, verb: str, name: str) -> bool:
    bucket, _, key = name.partition("/")
    try:
        VERBS[verb](client, bucket, key)
    except S3Error as error:
        if error.code != "AccessDenied":
            raise
        return False
    return True


def test_models_sees_no_names_but_those_of_models(filled: Store) -> None:
    client = filled.client("models")

    assert [found.object_name for found in client.list_objects("cd4ml", "models/a/1/")] == ["models/a/1/model"]
    with pytest.raises(S3Error, match="AccessDenied"):
        list(client.list_objects("cd4ml", "datasets/"))


def test_pipelines_can_version_a_dataset(store: Store) -> None:
    options = store.secret("cd4ml-store") | {
        "AWS_ENDPOINT_URL": f"http://{store.address}",
        "AWS_ALLOW_HTTP": "true",
    }
    for rows in (1, 2):
        table = pa.table({"key": list(range(rows))})
        deltalake.write_deltalake("s3://cd4ml/datasets/players", table, mode="append", storage_options=options)

    assert deltalake.DeltaTable("s3://cd4ml/datasets/players", storage_options=options).version() == 1


def test_who_has_no_key_reads_nothing(filled: Store) -> None:
    """So a pod of another namespace, whose accounts cannot read the Secrets of this one."""
    for path in ("cd4ml/", "cd4ml/datasets/a", "mlpipeline/v2/a", "minio/metrics/v3/cluster/health"):
        assert urllib3.request("GET", f"http://{filled.address}/{path}").status == 403


def test_the_network_policy_lets_in_the_own_namespace_kfp_and_prometheus(store: Store) -> None:
    """That the API server stores it and that it selects MinIO's pod; enforcing is the work of a network plugin."""
    spec = json.loads(store.kubectl("get", "networkpolicy", "minio", "--output", "json"))["spec"]
    labels = ",".join(f"{key}={value}" for key, value in spec["podSelector"]["matchLabels"].items())
    peers = spec["ingress"][0]["from"]

    assert store.kubectl("get", "pods", "--selector", labels, "--output", "name") == "pod/minio-0\n"
    assert peers[0] == {"podSelector": {}}
    assert [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in peers[1:]] == [
        "kubeflow",
        "monitoring",
    ]


def test_minio_has_every_metric_that_the_rules_and_the_dashboard_ask_for(filled: Store) -> None:
    texts = [(MANIFESTS / "components/monitoring" / name).read_text() for name in ("rules.yaml", "cd4ml.json")]
    asked = set(re.findall(r"minio_[a-z_0-9]+", " ".join(texts)))
    headers = {"Authorization": f"Bearer {filled.secret('cd4ml-monitoring')['token']}"}
    told = ""
    for path in re.findall(r"/minio/metrics/\S+", (MANIFESTS / "components/monitoring/monitors.yaml").read_text()):
        answer = urllib3.request("GET", f"http://{filled.address}{path}", headers=headers)
        assert answer.status == 200
        told += answer.data.decode()

    only_on_failure = {"minio_api_requests_5xx_errors_total"}
    assert asked - only_on_failure <= set(re.findall(r"^minio_[a-z_0-9]+", told, re.MULTILINE))


def test_deleting_the_pod_loses_nothing(filled: Store) -> None:
    filled.kubectl("delete", "pod", "minio-0")
    filled.kubectl("rollout", "status", "statefulset/minio", "--timeout=120s")
    filled.kubectl("wait", "--for=condition=Ready", "pod/minio-0", "--timeout=120s")

    assert filled.client("pipelines").get_object("cd4ml", "datasets/a").read() == b"x"


def test_a_user_s_key_is_rotated_by_deleting_its_secret(store: Store) -> None:
    old = store.client("models")
    store.kubectl("delete", "secret", "cd4ml-models")
    said = store.set_up()

    assert "Secret cd4ml-models: made" in said
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        list(old.list_objects("cd4ml", "models/"))
    list(store.client("models").list_objects("cd4ml", "models/"))


def test_the_root_key_is_rotated_by_deleting_its_secret_and_restarting_minio(store: Store, kubeconfig: str) -> None:
    old = store.client("root")
    store.kubectl("delete", "secret", "minio-root")
    refused = run_setup(store, kubeconfig)
    store.kubectl("rollout", "restart", "statefulset/minio")
    store.kubectl("rollout", "status", "statefulset/minio", "--timeout=120s")
    store.set_up()

    assert refused.returncode == 1
    assert refused.stdout.splitlines()[-1].endswith("it starts: kubectl rollout restart statefulset/minio")
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        old.bucket_exists("cd4ml")
    assert store.client("root").bucket_exists("cd4ml")


def test_a_secret_without_its_key_is_named(store: Store, kubeconfig: str) -> None:
    store.kubectl("delete", "secret", "cd4ml-models")
    store.kubectl("create", "secret", "generic", "cd4ml-models", "--from-literal=other=value")
    refused = run_setup(store, kubeconfig)
    store.kubectl("delete", "secret", "cd4ml-models")

    assert refused.returncode == 1
    assert refused.stdout.splitlines()[-1] == (
        "error: the Secret cd4ml-models has no AWS_SECRET_ACCESS_KEY; delete it, and it is made anew"
    )


def run_setup(store: Store, kubeconfig: str) -> subprocess.CompletedProcess[str]:
    """The Job's command, from this machine."""
    environment = os.environ | {
        "KUBECONFIG": kubeconfig,
        "NAMESPACE": store.namespace,
        "MINIO_ENDPOINT": f"http://{store.address}",
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
    }
    command = [sys.executable, "-m", "cd4ml.cluster.store_setup"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
