"""Each image runs as the restricted pod security standard demands, and does what it is for."""

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from conftest import Cluster

from cd4ml import images

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
SECONDS = 300

SURROUNDINGS = """
import grp, importlib.util, os, pathlib, pwd, shutil, sys
assert (os.getuid(), os.getgid()) == (10001, 10001), (os.getuid(), os.getgid())
assert (pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name) == ("cd4ml", "cd4ml")
for folder in ("/", "/opt/cd4ml", "/usr/local/lib", "/home"):
    try:
        pathlib.Path(folder, "written").touch()
    except OSError:
        continue
    raise AssertionError(folder + " can be written")
found = [name for name in ("cc", "gcc", "g++", "clang", "make", "pip", "pip3", "uv") if shutil.which(name)]
found += [name for name in ("pip", "ensurepip") if importlib.util.find_spec(name)]
assert not found, found
import cd4ml.images, json.decoder, numpy
for module in (cd4ml.images, json.decoder, numpy):
    assert pathlib.Path(module.__cached__).exists(), module.__cached__ + ": not compiled"
"""

WORK = {
    "tools": """
import kubernetes.client, minio, pyarrow as pa, deltalake
import kfp.dsl.executor_main
import cd4ml.validation.gate
deltalake.write_deltalake("/tmp/table", pa.table({"age": [31, 47]}))
found = deltalake.QueryBuilder().register("data", deltalake.DeltaTable("/tmp/table")).execute("select age from data")
assert pa.table(found).column("age").to_pylist() == [31, 47]
""",
    "validate": """
import cd4ml.validation.quiet_tfdv, kfp.dsl.executor_main, pandas
import tensorflow_data_validation as tfdv
statistics = tfdv.generate_statistics_from_dataframe(pandas.DataFrame({"age": [31.0, 47.0]}))
assert statistics.datasets[0].num_examples == 2
""",
    "train": """
import kfp.dsl.executor_main, pyarrow, keras, numpy
network = keras.Sequential([keras.layers.Dense(1, activation="sigmoid")])
network.compile("adam", "binary_crossentropy")
history = network.fit(numpy.ones((8, 2)), numpy.ones(8), verbose=0)
assert history.history["loss"][0] > 0
network.export("/tmp/model", verbose=False)
""",
    "evaluate": """
import kfp.dsl.executor_main, pandas
import tensorflow_model_analysis as tfma
from google.protobuf import text_format
config = text_format.Parse(
    'model_specs { label_key: "label" prediction_key: "score" } slicing_specs {} '
    'metrics_specs { metrics { class_name: "ExampleCount" } }',
    tfma.proto.config_pb2.EvalConfig(),
)
rows = pandas.DataFrame({"label": [0.0, 1.0], "score": [0.2, 0.9]})
result = tfma.analyze_raw_data(rows, config, output_path="/tmp/evaluation")
assert result.get_metrics_for_all_slices()[()]["example_count"]["doubleValue"] == 2
""",
    "serve": """
import tensorflow as tf
from cd4ml.contracts.model import Contract, Input, write_contract
module = tf.Module()
@tf.function(input_signature=[{"age": tf.TensorSpec([None], tf.float32, name="age")}])
def predict(raw):
    return {"probability": tf.sigmoid(tf.where(tf.math.is_nan(raw["age"]), 0.0, raw["age"]))}
tf.saved_model.save(module, "/mnt/models/saved_model", signatures=predict)
write_contract(Contract("took", ("false", "true"), (Input("age", "number"),), {"model": "linear"}), "/mnt/models")
""",
}

TASK = """
cat >/tmp/task.py <<END
from kfp.dsl import *

def task():
    import time
    print("reached", time.time())
END
for attempt in 1 2 3; do
    echo started $(date +%s.%N)
    _KFP_RUNTIME=true python3 -m kfp.dsl.executor_main --component_module_path /tmp/task.py \\
        --function_to_execute task --executor_input '{"inputs": {}, "outputs": {"outputFile": "/tmp/outputs.json"}}'
done
"""


@pytest.mark.parametrize("environment", ["tools", "validate", "train", "evaluate"])
def test_an_image_does_its_work_as_a_restricted_pod(cluster: Cluster, environment: str) -> None:
    namespace = cluster.namespace(RESTRICTED)
    work = container(environment, ["python3", "-c", SURROUNDINGS + WORK[environment] + "print('done')"])

    run(cluster, namespace, pod([work]))

    assert wait(cluster, namespace, "Succeeded").splitlines()[-1] == "done"


def test_the_serve_image_answers_by_its_own_command_as_a_restricted_pod(cluster: Cluster) -> None:
    namespace = cluster.namespace(RESTRICTED)
    probe = {"httpGet": {"path": "/health/status", "port": 9000}, "periodSeconds": 2, "timeoutSeconds": 5}
    environment = [{"name": "MODEL_VERSION", "value": "7"}]
    server = container("serve") | {"env": environment, "readinessProbe": probe}

    run(cluster, namespace, pod([server], [container("serve", ["python3", "-c", SURROUNDINGS + WORK["serve"]])]))
    wait(cluster, namespace, "Ready")

    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9000/metadata').read().decode())"
    answer = json.loads(cluster.kubectl("exec", "image", "-n", namespace, "-c", "main", "--", "python3", "-c", ask))
    assert answer["versions"] == ["7"]


def test_a_tools_task_reaches_its_first_line_within_a_second_and_a_half(cluster: Cluster) -> None:
    namespace = cluster.namespace(RESTRICTED)
    run(cluster, namespace, pod([container("tools", ["sh", "-ec", TASK])]))

    printed = wait(cluster, namespace, "Succeeded").splitlines()
    started, reached = (
        [float(line.split()[-1]) for line in printed if line.startswith(word)] for word in ("started", "reached")
    )
    seconds = [end - start for start, end in zip(started, reached, strict=True)]
    assert min(seconds) <= 1.5, seconds
    print(f"start to first line: {min(seconds):.2f} s")  # noqa: T201


def container(environment: str, command: list[str] | None = None) -> dict[str, Any]:
    return {
        "name": "main" if command is None else "work",
        "image": getattr(images, environment.upper()),
        "imagePullPolicy": "IfNotPresent",
        **({"command": command} if command else {}),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "3Gi"}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "models", "mountPath": "/mnt/models"}],
    }


def pod(containers: list[dict[str, Any]], before: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "image"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": list(before),
            "containers": containers,
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "models", "emptyDir": {}}],
        },
    }


def run(cluster: Cluster, namespace: str, pod: dict[str, Any]) -> None:
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(pod))


def wait(cluster: Cluster, namespace: str, goal: str) -> str:
    """What the pod printed, once it is Ready or has Succeeded."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        status = json.loads(cluster.kubectl("get", "pod", "image", "-n", namespace, "-o", "json"))["status"]
        true = {one["type"] for one in status.get("conditions", []) if one["status"] == "True"}
        if goal in true or status["phase"] in ("Succeeded", "Failed"):
            printed = cluster.kubectl("logs", "image", "-n", namespace, "--all-containers")
            assert goal in {*true, status["phase"]}, printed
            return printed
        time.sleep(1)
    raise AssertionError(f"the pod has not ended within {SECONDS} s: {status}")
