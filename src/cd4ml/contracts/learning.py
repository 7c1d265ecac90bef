"""Learning online: what a model is to learn from, and what it has learnt.

The folder of a lesson:

    lesson.json        `Lesson`
    rows.parquet       the rows by when they were asked: the columns that the model takes, as it takes them, further
                       features that were captured, and the label
    moments.parquet    of each row, when it was `asked` and when its label was `known` (timestamps, UTC)
    model/             the published model (layout: `cd4ml.contracts.model`)

The folder of what was learnt:

    learning.json      `Learning`
    model/             the model as it is after the last row; beside what predicts also the same `learning.json`
    rows.parquet       the rows that were predicted by what had learnt something, as in the lesson
    predicted.parquet  of each of them what was predicted before it taught, `candidate`, and what the published model
                       predicts, `champion`: float32, or a list of them, one a class
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from cd4ml.contracts.document import Document
from cd4ml.contracts.lineage import Lineage
from cd4ml.names import amount, counted

ABOUT, ROWS, MOMENTS, MODEL = "lesson.json", "rows.parquet", "moments.parquet", "model"
LEARNT, PREDICTED = "learning.json", "predicted.parquet"
MOMENT = pa.timestamp("us", "UTC")
OF_WINDOW = "window "
"""What stands before a window's key in the lineage of a model that has learnt from it."""


@dataclass(frozen=True)
class TaughtBy:
    """A window whose rows teach."""

    window: str
    """Its key."""
    number: int
    """Of its document."""
    digest: str
    """Of its rows."""
    rows: int
    """That teach."""


@dataclass(frozen=True)
class Lesson(Document, kind="cd4ml/Lesson", remedy="gather the rows to learn from again"):
    """What a published model is to learn from: the labelled rows of windows whose labels are ripe."""

    model: str
    version: int
    """Whose weights are learnt on."""
    digest: str
    """Of its files."""
    windows: tuple[TaughtBy, ...]
    """The earliest first."""
    passed_over: Mapping[str, int]
    """Rows that teach nothing, by reason."""
    ripe_after: float
    """Seconds after which labels are ripe."""
    steadiness: str = ""
    """How much changes meanwhile, in words."""
    table_version: int | None = None
    """Of the table of windows, a Delta table, that the rows were read of; None as a cd4ml of before wrote it."""

    @property
    def rows(self) -> int:
        """That teach."""
        return sum(one.rows for one in self.windows)

    @property
    def headline(self) -> str:
        """How many rows of how many windows."""
        return f"{counted(self.rows, 'row')} of {counted(len(self.windows), 'window')}"


@dataclass(frozen=True)
class Checkpoint:
    """How far learning was after some rows."""

    rows: int
    """That had taught."""
    judged: int
    """Rows that were predicted since the checkpoint before, by what had learnt something."""
    loss: float | None
    """Of these, the mean loss of what was predicted before each taught; None of none."""
    served_loss: float | None
    """That of the published model, on the same rows."""


@dataclass(frozen=True)
class Learning(Document, kind="cd4ml/Learning", remedy="learn again"):
    """What was learnt online."""

    model: str
    version: int
    """Whose weights were learnt on."""
    started_from: str
    """Its digest."""
    digest: str
    """Of the model that came of it."""
    key: str
    """Tells the learning from all others; its checkpoints lie at `learning/MODEL/KEY` in the store."""
    learning_rate: float
    batch: int
    """Rows that are predicted, and then teach, at once."""
    rows: int
    """That taught."""
    checkpoints: tuple[Checkpoint, ...]
    passed_over: Mapping[str, int]
    """Rows that taught nothing, by reason."""
    windows: tuple[TaughtBy, ...] = ()
    """That it was to learn from, the earliest first."""
    table_version: int | None = None
    """Of the table of windows that the rows were read of, as the lesson has it."""

    @classmethod
    def windows_of(cls, lineage: Lineage) -> list[str]:
        """The keys of the windows that a model has learnt from online, the earliest first."""
        return sorted(name.removeprefix(OF_WINDOW) for name in lineage.inputs if name.startswith(OF_WINDOW))

    @property
    def judged(self) -> int:
        """Rows that were predicted by what had learnt something."""
        return sum(one.judged for one in self.checkpoints)

    @property
    def losses(self) -> tuple[float | None, float | None]:
        """The mean loss of what was predicted before each row taught, and that of the published model."""
        if not self.judged:
            return None, None
        own, served = (
            sum((getattr(one, name) or 0.0) * one.judged for one in self.checkpoints) / self.judged
            for name in ("loss", "served_loss")
        )
        return own, served

    @property
    def headline(self) -> str:
        """How good it was on rows that it had not learnt from, beside the published model."""
        own, served = self.losses
        if own is None or served is None:
            return f"{counted(self.rows, 'row')}, none of them predicted after others had taught"
        return f"loss {amount(own)} before each row taught, {amount(served)} of version {self.version}"
