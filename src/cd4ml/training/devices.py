"""What a training computes on: the GPUs of its machine, or its CPU."""

import math
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from cd4ml.errors import TrainingError
from cd4ml.names import counted
from cd4ml.training.request import wanted_gpus
from cd4ml.training.together import Alone, Together
from cd4ml.training.trainers import Precision
from cd4ml.training.workers import TF_CONFIG, Worker

SECONDS = 20
"""How long `nvidia-smi` may take."""
BFLOAT16 = (8, 0)
"""The first compute capability of NVIDIA whose GPUs compute in bfloat16: that of Ampere."""
NO_NVIDIA_SMI = "is not there"
_QUERY = "index,name,driver_version,memory.used,memory.total"


@dataclass(frozen=True)
class Devices:
    """What a training computes on."""

    names: tuple[str, ...] = ("CPU:0",)
    """As TensorFlow calls them; several take each batch in parts, one each."""
    models: tuple[str, ...] = ()
    """What each of them is, where they are GPUs."""
    bfloat16: bool = False
    """Whether all of them compute in bfloat16."""
    together: Alone = field(default_factory=Alone)
    """The workers of the training, each of which has as many."""

    def __str__(self) -> str:
        """For people: `2 CPU cores`, `1 × NVIDIA H200`."""
        gpus = ", ".join(f"{self.models.count(one)} × {one}" for one in dict.fromkeys(self.models))
        own = gpus or counted(cores(), "CPU core")
        return own if self.together.count == 1 else f"{self.together.count} workers, each on {own}"

    @cached_property
    def strategy(self) -> tf.distribute.Strategy:
        """How TensorFlow has them train one network: each holds all of it, and the gradients are added up on one.

        That way of adding up is the one that is right for any number of devices and for the gradients of embeddings,
        whose shape follows the rows (docs/decisions.md).
        """
        if self.together.strategy:
            return self.together.strategy
        if len(self.names) == 1:
            return tf.distribute.get_strategy()
        added_up = tf.distribute.ReductionToOneDevice()
        return tf.distribute.MirroredStrategy(list(self.names), cross_device_ops=added_up)

    @contextmanager
    def training_in(self, precision: Precision) -> Iterator[None]:
        """What is made of layers meanwhile is trained on these devices, in as much precision as was asked for."""
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16" if self._is_mixed(precision) else "float32")
        try:
            with self.strategy.scope():
                yield
        finally:
            keras.config.set_dtype_policy(before)

    def are_plain(self, precision: Precision) -> bool:
        """Whether what is trained on them is what is served: on one device, in float32."""
        return len(self.names) == self.together.count == 1 and not self._is_mixed(precision)

    def most_held(self) -> int | None:
        """The most bytes that this process has held of the GPUs' own memory; None without GPUs."""
        if not self.models:
            return None
        return sum(int(tf.config.experimental.get_memory_info(name)["peak"]) for name in self.names)

    def check(self) -> None:
        """Makes sure that each of them computes.

        Raises:
            TrainingError: One does not, as when another process has taken it.
        """
        for name in self.names:
            try:
                with tf.device(name):
                    used = tf.zeros([1]).device
            except (tf.errors.OpError, RuntimeError) as error:
                raise self._unusable(name, str(error).partition("\n")[0]) from error
            if not used.endswith(name):
                raise self._unusable(name, f"TensorFlow computes on {used.rpartition('device:')[2]} in its place")

    def memory(self) -> str:
        """What `nvidia-smi` says of the memory of the GPUs, for an error; empty without GPUs."""
        return f"; nvidia-smi: {nvidia_smi()}" if self.models else ""

    def _is_mixed(self, precision: str) -> bool:
        return precision == "mixed" and self.bfloat16

    def _unusable(self, name: str, why: str) -> TrainingError:
        return TrainingError(
            f"{name} cannot be used, as where another process has taken it: {why}; nvidia-smi: {nvidia_smi()}; wait "
            "until it is free, or train with `accelerator: cpu`"
        )


def find(accelerator: str, gpus: int, worker: Worker | None = None) -> Devices:
    """Chooses what to compute on, before TensorFlow computes anything in this process.

    Args:
        accelerator: `auto` takes the GPUs that there are, `gpu` fails where there are too few, `cpu` takes none.
        gpus: How many to take, at most.
        worker: Which of several workers this process is; it waits for the others.

    Raises:
        TrainingError: Too few are there, or one that is there cannot be used.
    """
    os.environ.pop(TF_CONFIG, None)  # else TensorFlow takes this process for a worker, where it is none
    check(accelerator, gpus)
    there = tf.config.list_physical_devices("GPU")
    used = there[: wanted_gpus(accelerator, gpus)]
    if there:
        _settle(used)
    together = Together(worker) if worker else Alone()
    devices = _of(used) if used else Devices(("CPU:0",) if worker else _processors())
    devices = replace(devices, together=together)
    devices.check()
    if used:
        print(f"computes on {devices}{devices.memory()}", flush=True)  # noqa: T201 (the task's log)
    return devices


def count() -> int:
    """How many GPUs TensorFlow sees; none is taken."""
    return len(tf.config.list_physical_devices("GPU"))


def check(accelerator: str, gpus: int) -> None:
    """Makes sure that as many are there as were asked for, and takes none.

    Args:
        accelerator: As `find` has it.
        gpus: How many to take, at most.

    Raises:
        TrainingError: Too few are there.
    """
    there, wanted = count(), wanted_gpus(accelerator, gpus)
    if there < wanted:
        _tell(accelerator, wanted=wanted, there=there)


def nvidia_smi() -> str:
    """What NVIDIA's driver sees: number, name, driver, used and whole memory of each GPU; or why it says nothing."""
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    except OSError:
        return NO_NVIDIA_SMI
    except subprocess.TimeoutExpired:
        return f"gave no answer within {SECONDS} s"
    said = done.stdout.splitlines() or done.stderr.splitlines() or ["sees none"]
    return "; ".join(said)


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The processors that this process may use, also where its container may use less than it sees.

    Args:
        quota: Where the kernel says how many microseconds of how many it may compute.
    """
    seen = len(os.sched_getaffinity(0))
    try:
        used, period = (int(one) for one in quota.read_text().split())
    except (OSError, ValueError):  # there is no such limit
        return seen
    return max(1, min(seen, math.ceil(used / period)))


def _tell(accelerator: str, *, wanted: int, there: int) -> None:
    """Says that fewer GPUs are there than were asked for, where they had to be or the driver sees some."""
    driver = nvidia_smi()
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    said = (
        f"{counted(wanted, 'GPU')} asked for, and TensorFlow sees {counted(there, 'GPU')}"
        f"{'' if hidden is None else f' (CUDA_VISIBLE_DEVICES={hidden})'}; nvidia-smi: {driver}"
    )
    if accelerator == "gpu":
        raise TrainingError(
            f"accelerator: gpu: {said}; where the driver sees more than TensorFlow, it lacks the libraries of CUDA, "
            "which the train image has (images/train/cuda.txt); else ask for as many as there are (`gpus`), or train "
            "with `accelerator: cpu`"
        )
    if driver != NO_NVIDIA_SMI:
        print(said, flush=True)  # noqa: T201 (the task's log)


def _settle(used: Sequence[Any]) -> None:
    """Hides the other GPUs, and takes the memory of these as it is needed."""
    try:
        tf.config.set_visible_devices(list(used), "GPU")
        for one in used:
            tf.config.experimental.set_memory_growth(one, True)
    except RuntimeError as error:
        raise TrainingError(
            f"the GPUs of this process are chosen already ({error}); train before TensorFlow computes anything in it"
        ) from error


def _of(gpus: Sequence[Any]) -> Devices:
    details = [tf.config.experimental.get_device_details(one) for one in gpus]
    return Devices(
        names=tuple(f"GPU:{place}" for place in range(len(gpus))),
        models=tuple(one.get("device_name", "GPU") for one in details),
        bfloat16=all(one.get("compute_capability", (0, 0)) >= BFLOAT16 for one in details),
    )


def _processors() -> tuple[str, ...]:
    """`CPU:0`, and more where TensorFlow was told to make more of it."""
    return tuple(str(one.name).removeprefix("/device:") for one in tf.config.list_logical_devices("CPU"))
