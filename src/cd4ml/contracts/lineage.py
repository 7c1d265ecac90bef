"""What a model was made of, so that it can be made again: what training read, by its digests, and where it ran."""

from collections.abc import Mapping
from dataclasses import dataclass

from cd4ml.contracts.document import Document

FILE = "lineage.json"
"""In a model's folder, beside what predicts."""


@dataclass(frozen=True)
class Environment:
    """Where training ran, as far as it can move the last digit of a weight."""

    cd4ml: str
    """The version of cd4ml."""
    code: str
    """The digest of its code."""
    model_code: str
    """The digest of the modules that the model's class is written in, which may be a team's own."""
    python: str
    packages: Mapping[str, str]
    """The version of each that computes."""
    cpu: str
    """The kind of the processor, as the kernel calls it."""
    cores: int
    """That training could use."""
    devices: tuple[str, ...]
    """The GPUs, as TensorFlow calls them."""
    deterministic: bool
    """Whether TensorFlow was told to compute the same each time, also on a GPU."""


@dataclass(frozen=True)
class Lineage(Document, kind="cd4ml/Lineage", remedy="put back what train_model wrote, or train the model again"):
    """What a model was trained from, and where."""

    seed: int
    inputs: Mapping[str, str]
    """The digest of each thing that training read: `train`, `eval`, `statistics`, `schema`."""
    environment: Environment
    started_from: str = ""
    """The digest of the model whose weights it began with; empty where it began anew."""
