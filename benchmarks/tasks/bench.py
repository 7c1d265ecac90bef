"""What a task costs beside its work: a pod of each image on a cluster, from its creation to the end of its imports.

    CD4ML_TEST_KUBECONFIG=FILE make bench NAME=tasks

`start` is the time from the pod's creation until its command runs, `import` what the image's main library takes. The
peer is the same import without bytecode: what an image gets whose packages are only installed, and whose root is
read-only.
"""

import json
import os
import sys
import time
import uuid
from statistics import median
from typing import Any

from closing import close
from kubernetes import client, config
from rich.console import Console
from rich.table import Table

from cd4ml import images

LIBRARIES = {
    images.TOOLS: "kfp.dsl.executor_main, cd4ml.data.ingest",
    images.VALIDATE: "tensorflow_data_validation",
    images.TRAIN: "tensorflow",
    images.EVALUATE: "tensorflow_model_analysis",
    images.SERVE: "uvicorn, tensorflow",
}
REPEATS = 3
SECONDS = 300
PROGRAM = """
import time; begun = time.time()
import resource, json, {libraries}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(dict(begun=begun, seconds=time.time() - begun, peak=peak)))
"""


def main() -> None:
    """Measures each image, prints a table, and as the last line JSON."""
    kubeconfig = os.environ.get("CD4ML_TEST_KUBECONFIG")
    if not kubeconfig:
        sys.exit("CD4ML_TEST_KUBECONFIG not set: no cluster to measure on (docs/development.md says how)")
    config.load_kube_config(kubeconfig)
    api = client.CoreV1Api()
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    api.create_namespace({"metadata": {"name": namespace}})
    table = Table("image", "start", "import", "import without bytecode", "peak")
    rows: list[tuple[float, float, float]] = []
    try:
        for image, libraries in LIBRARIES.items():
            runs = [
                _run(api, namespace=namespace, image=image, libraries=libraries, bytecode=True) for _ in range(REPEATS)
            ]
            slow = _run(api, namespace=namespace, image=image, libraries=libraries, bytecode=False)
            start, seconds, peak = (median(run[key] for run in runs) for key in ("start", "seconds", "peak"))
            rows.append((seconds, slow["seconds"], peak))
            table.add_row(image, *(f"{value:.1f} s" for value in (start, seconds, slow["seconds"])), f"{peak:.0f} MiB")
    finally:
        api.delete_namespace(namespace)
    Console().print(table)
    ours, peer = sum(row[0] for row in rows), sum(row[1] for row in rows)
    close(
        "tasks",
        ratio=round(peer / ours, 2),
        seconds=round(ours, 2),
        peer_seconds=round(peer, 2),
        peak_mib=round(max(row[2] for row in rows)),
        rows=0,
    )


def _run(api: client.CoreV1Api, *, namespace: str, image: str, libraries: str, bytecode: bool) -> dict[str, float]:
    environment = {"_KFP_RUNTIME": "true"} | ({} if bytecode else {"PYTHONPYCACHEPREFIX": "/tmp/none"})  # noqa: S108
    name = f"run-{uuid.uuid4().hex[:8]}"
    container = {
        "name": "task",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", PROGRAM.format(libraries=libraries)],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "securityContext": {"readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}]}
    created = time.time()
    api.create_namespaced_pod(namespace, {"metadata": {"name": name}, "spec": spec})
    _wait(api, namespace, name)
    log = api.read_namespaced_pod_log(name, namespace, _preload_content=False).data.decode()
    measured: dict[str, Any] = json.loads(log.splitlines()[-1])
    return {**measured, "start": measured["begun"] - created}


def _wait(api: client.CoreV1Api, namespace: str, name: str) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        phase = api.read_namespaced_pod(name, namespace).status.phase
        if phase == "Succeeded":
            return
        if phase == "Failed":
            raise RuntimeError(api.read_namespaced_pod_log(name, namespace))
        time.sleep(0.1)
    raise TimeoutError(f"{name} has not ended after {SECONDS} s")


if __name__ == "__main__":
    main()
