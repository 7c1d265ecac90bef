"""What a training computes on, and how much of its memory it has held."""

import tensorflow as tf

from cd4ml.names import counted
from cd4ml.training.trees import cores


def device() -> str:
    """What is computed on, for people: `2 CPU cores`, `1 × NVIDIA H200`."""
    names = gpus()
    if not names:
        return counted(cores(), "CPU core")
    return ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))


def gpus() -> list[str]:
    """What TensorFlow calls the GPUs."""
    found = tf.config.list_physical_devices("GPU")
    return [str(tf.config.experimental.get_device_details(one).get("device_name", "GPU")) for one in found]


def most_held() -> int | None:
    """The most bytes that this process has held of the GPUs' own memory; None without GPUs."""
    if not tf.config.list_physical_devices("GPU"):
        return None
    there = tf.config.list_logical_devices("GPU")
    return sum(int(tf.config.experimental.get_memory_info(f"GPU:{place}")["peak"]) for place in range(len(there)))
