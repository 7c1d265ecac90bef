"""The file of a year: who asks, when the traffic changes, when somebody looks, and how the model is trained."""

import importlib.util
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Self

from pydantic import Field, model_validator

from cd4ml import settings
from cd4ml.errors import ArgumentsError
from cd4ml.running import yaml_file
from cd4ml.settings import Seed, Strict, Whole

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "year.yaml"
KNOWN = "known_at"
"""The column of traffic that says when it was known what came of a row."""
AtLeastOne = Annotated[Whole, Field(ge=1)]


class Rows(Strict):
    """How many there are."""

    training: AtLeastOne
    """From which the first version learns."""
    week: AtLeastOne
    """That are asked for in a week."""


class YearFile(Strict):
    """A year in production."""

    traffic: str
    """A Python file with a function `rows` (`Traffic`), relative to this one."""
    seed: Seed
    rows: Rows
    weeks: AtLeastOne = 52
    """How long it is; the last one ends now."""
    drift: AtLeastOne
    """The week with which the traffic changes; the first is 0."""
    looks: tuple[AtLeastOne, ...] = Field(strict=False)
    """After how many weeks windows are judged, and it is decided whether the model is trained again."""
    training: Mapping[str, Any]
    """Arguments of the pipeline, without `source`, `store` and `port`."""
    retraining: Mapping[str, Any]
    """Rules, without `training`."""

    @model_validator(mode="after")
    def _looks_in_order(self) -> Self:
        if list(self.looks) != sorted(set(self.looks)) or not self.looks or self.looks[-1] != self.weeks:
            raise ValueError(f"looks: write weeks that rise, the last one {self.weeks}, with which the year ends")
        return self


class Traffic(Protocol):
    """What draws rows of the model's dataset as they come in."""

    def __call__(self, count: int, *, begin: datetime, until: datetime, drifted: bool, seed: int) -> "pa.Table":
        """Draws rows, the earliest first, each with when it was asked for (the time column) and `known_at`."""


def read(folder: Path) -> tuple[YearFile, Traffic]:
    """Reads the year of a folder, and loads who asks.

    Raises:
        ArgumentsError: The folder has none, or it says what cannot be.
    """
    file = folder / NAME
    year = settings.parse(YearFile, content=yaml_file.plain(file), name=str(file), error=ArgumentsError)
    return year, _traffic((folder / year.traffic).resolve())


def _traffic(file: Path) -> Traffic:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.exists():
        raise ArgumentsError(f"{file}: no such Python file; `traffic:` names one with a function `rows`")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))  # it may use its neighbours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    if not callable(getattr(module, "rows", None)):
        raise ArgumentsError(f"{file}: has no function `rows`; write one as docs/monitoring.md says")
    traffic: Traffic = module.rows
    return traffic
