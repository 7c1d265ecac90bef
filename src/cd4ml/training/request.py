"""What is asked of a training, in one piece: a component fills it in, and every process that trains is given it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from cd4ml.contracts import question
from cd4ml.contracts.document import Document
from cd4ml.errors import TrainingError
from cd4ml.names import shown
from cd4ml.settings import MAX_SEED
from cd4ml.training.checkpoints import EVERY_SECONDS
from cd4ml.training.trainers import Accelerator

STATISTICS = "statistics/train.pb"
"""What is read of the statistics, by the name that it has in a folder of all that is read."""


@dataclass(frozen=True, kw_only=True)
class Request(Document, kind="cd4ml/TrainingRequest", remedy="ask for the training again"):
    """All that a training reads, and all that is asked of it.

    Raises:
        TrainingError: With every mistake, each on its line.
    """

    train: str
    """The train split, a Parquet file."""
    eval: str
    """The eval split, a Parquet file; says when to stop, and which epoch's weights to keep."""
    statistics: str
    """The folder that `validate_dataset` wrote; its `train.pb` is read."""
    schema: str
    """The file that `validate_dataset` wrote; the features are its columns."""
    label: str
    """The column to predict."""
    spec: Mapping[str, Any]
    """The model and its hyperparameters (`cd4ml.training.trainers`)."""
    seed: int
    """On one machine the same seed and data give the same weights."""
    exclude: Sequence[str] = ()
    """Columns that are no features."""
    problem: str = question.AUTO
    """What the label asks for, or `auto`, which finds it (`cd4ml.contracts.question`)."""
    positive: str = ""
    """The value of the label that counts as positive; found where it is empty."""
    classes: Sequence[object] = ()
    """The values of the label in their order; empty where they have none."""
    accelerator: str = "auto"
    """Whether GPUs are taken: where there are (`auto`), in any case (`gpu`), or not (`cpu`)."""
    gpus: int = 1
    """How many, at most; as many have to be there for `gpu`."""
    store: str | None = None
    """Keeps how far training is; one that was ended before goes on from that, and who asks is told."""
    start: str | None = None
    """A model's folder, whose weights this one begins with; a file where there is none, as of a first run."""
    warm_start: bool = True
    """Whether it does; else `start` is not looked at."""
    workers: int = 1
    """How many processes train one network, each on a part of every batch, each on so many GPUs."""
    checkpoint_seconds: float = EVERY_SECONDS
    """How long ago the last checkpoint may be."""

    @property
    def begins_with(self) -> Path | None:
        """The model whose weights this one begins with; None where it begins anew."""
        start = Path(self.start) if self.warm_start and self.start else None
        return start if start and start.is_dir() else None

    @property
    def files(self) -> Mapping[str, Path]:
        """All that is read, by the names that `within` knows."""
        start, found = self.begins_with, dict(self.learnt_from)
        found[STATISTICS] = found.pop("statistics")
        if start:
            found |= {f"start/{one.relative_to(start)}": one for one in start.rglob("*") if one.is_file()}
        return found

    @property
    def learnt_from(self) -> Mapping[str, Path]:
        """The files that say what is learnt, by what a lineage calls them."""
        return {
            "train": Path(self.train),
            "eval": Path(self.eval),
            "statistics": Path(self.statistics) / Path(STATISTICS).name,
            "schema": Path(self.schema),
        }

    def within(self, folder: Path) -> "Request":
        """The same, of files that have those names in a folder."""
        start = folder / "start"
        return replace(
            self,
            train=str(folder / "train"),
            eval=str(folder / "eval"),
            statistics=str((folder / STATISTICS).parent),
            schema=str(folder / "schema"),
            start=str(start) if start.is_dir() else None,
        )

    def __post_init__(self) -> None:
        for name in ("exclude", "classes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        wrong = list(self._mistakes())
        if wrong:
            raise TrainingError("\n  - ".join(["training: not as it should be", *wrong]) if wrong[1:] else wrong[0])

    def _mistakes(self) -> Iterator[str]:
        if not self.label:
            yield "label: empty; name the column to predict"
        if self.accelerator not in get_args(Accelerator):
            yield f"accelerator: {self.accelerator!r} is none; write auto, gpu or cpu"
        if type(self.gpus) is not int or self.gpus < 0:
            yield f"gpus: {shown(self.gpus)} is no number of GPUs; write a whole number"
        if type(self.workers) is not int or self.workers < 1:
            yield f"workers: {shown(self.workers)} is no number of them; write a whole number, 1 or more"
        if type(self.seed) is not int or not 0 <= self.seed <= MAX_SEED:
            yield f"seed: {shown(self.seed)} is none; write a whole number from 0 to {MAX_SEED:,}"


def wanted_gpus(accelerator: str, gpus: int) -> int:
    """How many GPUs a process takes, at most, where they are there."""
    return {"auto": gpus, "gpu": max(gpus, 1), "cpu": 0}[accelerator]
