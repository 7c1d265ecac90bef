"""Where a training runs, for the model's lineage."""

import platform
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tensorflow.python.framework import config

from cd4ml import revision
from cd4ml.contracts.lineage import Environment
from cd4ml.training.devices import Devices, cores
from cd4ml.version import VERSION

PACKAGES = ("tensorflow", "keras", "numpy", "lightgbm", "pyarrow")
"""Those that compute."""


def here(model_code: Collection[Path], devices: Devices) -> Environment:
    """What this process runs in.

    Args:
        model_code: The files that the model's class is written in.
        devices: What the model was trained on.
    """
    return Environment(
        cd4ml=VERSION,
        code=revision.of_library(),
        model_code=revision.of_files(sorted(model_code)),
        python=platform.python_version(),
        packages={name: found for name in PACKAGES if (found := _version(name))},
        cpu=_cpu(),
        cores=cores(),
        devices=devices.models * devices.together.count,
        deterministic=config.is_op_determinism_enabled(),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cpu(told: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = told.read_text().splitlines()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
