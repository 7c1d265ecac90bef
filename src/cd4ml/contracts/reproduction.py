"""What came of rebuilding a published version: whether it is the same, and in what it is not."""

from collections.abc import Mapping
from dataclasses import dataclass

from cd4ml.contracts.document import Document

REMEDY = "reproduce the version again"


@dataclass(frozen=True)
class Tensor:
    """A weight that two models do not share, or a table or count that was saved beside the weights."""

    name: str
    published: str
    """Its type and shape, or that it is damaged; empty where there is none of the name."""
    rebuilt: str
    values: int = 0
    """How many of its values differ, where both have the same shape."""
    largest: float | None = None
    """The largest difference between two of them; None where they are no numbers, or not finite."""


@dataclass(frozen=True)
class Answers:
    """What the rebuilt model says of rows whose answers were kept with the published one."""

    rows: int
    differing: int
    largest: float
    """The largest difference of a prediction."""


@dataclass(frozen=True)
class Differences(Document, kind="cd4ml/ModelDifferences", remedy=REMEDY):
    """In what the files of two models differ."""

    files: Mapping[str, str]
    """By file how it differs."""
    tensors: tuple[Tensor, ...]
    answers: Answers


@dataclass(frozen=True)
class Reproduction(Document, kind="cd4ml/Reproduction", remedy=REMEDY):
    """A published version that was rebuilt."""

    name: str
    version: int
    published: str
    """The digest that the version says."""
    stored: str
    """The digest of the files that lie in the store as this version."""
    rebuilt: str
    """The digest of what the same data and settings made here."""
    differences: Differences | None
    """Of the stored files and the rebuilt ones; None where they are the same."""
    settings: Mapping[str, tuple[str, str]]
    """What differs of the model's contract, of what training read and of where it ran: then, and now."""

    @property
    def same(self) -> bool:
        """Whether what is stored is what was published, and what was made again."""
        return self.published == self.stored == self.rebuilt

    @property
    def headline(self) -> str:
        """Whether it is the same."""
        return "the same" if self.same else "differs"
