"""The overlays of the manifests, in a namespace of the test's own and with the images that its cluster has."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from cd4ml.images import TOOLS

MANIFESTS = Path(__file__).parents[2] / "manifests"
MINIO_IMAGE = os.environ.get("CD4ML_TEST_MINIO_IMAGE", "localhost/minio:1")


def render(name: str, namespace: str, components: Sequence[str] = (), *, running: bool = True) -> str:
    """An overlay as YAML, as an admin would move it to another namespace.

    Args:
        name: The overlay.
        namespace: Where it goes.
        components: What is added to it.
        running: Whether its pods are to run; where only its objects are looked at, they need no volume.
    """
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), name, namespace, components, running=running)
        command = ["kubectl", "kustomize", folder]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def write(folder: Path, name: str, namespace: str, components: Sequence[str] = (), *, running: bool = True) -> None:
    """Writes that overlay's kustomization."""
    images = {"minio/minio": MINIO_IMAGE, "cd4ml/tools": TOOLS}
    patches = [] if running else [idle("StatefulSet", "replicas", 0), idle("Job", "suspend", True)]
    if name == "standalone":
        launcher = (MANIFESTS / "overlays" / name / "kfp-launcher.yaml").read_text()
        patches.append({"patch": launcher.replace("minio.cd4ml.svc", f"minio.{namespace}.svc")})
    overlay = {
        "namespace": namespace,
        "resources": [os.path.relpath(MANIFESTS / "overlays" / name, folder)],
        "components": [os.path.relpath(MANIFESTS / "components" / component, folder) for component in components],
        "images": [
            {"name": name, "newName": image, "newTag": tag}
            for name, (image, _, tag) in ((name, image.rpartition(":")) for name, image in images.items())
        ],
        "patches": patches,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))


def idle(kind: str, field: str, value: object) -> dict[str, object]:
    operation = {"op": "add", "path": f"/spec/{field}", "value": value}
    return {"target": {"kind": kind}, "patch": yaml.safe_dump([operation])}
