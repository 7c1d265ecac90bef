"""What two arms did with requests, whoever got them: the captured answers that are compared."""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import captured
from cd4ml.contracts.deployment import Answered
from cd4ml.contracts.slices import Pattern
from cd4ml.deployment.anytime import Guesses
from cd4ml.errors import DeploymentError
from cd4ml.storage import arrow


class UnreadableError(DeploymentError):
    """What was captured cannot be read now."""


@dataclass(frozen=True)
class Compared(ABC):
    """The answers of two arms, each one's in the order in which its requests came."""

    challenged: np.ndarray
    """Whether an answer is the challenger's (bool [answers])."""
    table: pa.Table
    """The answers, as `cd4ml.contracts.captured` has them."""
    pairs: ClassVar[bool] = False
    """Whether both have answered each request."""

    @property
    @abstractmethod
    def count(self) -> int:
        """The requests."""

    @property
    @abstractmethod
    def got(self) -> np.ndarray:
        """Of each request that the challenger had a chance to get, whether it did (bool [requests])."""

    @property
    @abstractmethod
    def chances(self) -> np.ndarray:
        """How likely it was to get it (float64 [requests])."""

    @property
    def dropped(self) -> int:
        """The copies that the challenger had no room for."""
        dropped: int = self.table["latency_ms"].null_count
        return dropped

    @property
    def failed(self) -> np.ndarray:
        """Whether the arm was at fault (float64 [answers]: 0 or 1)."""
        return (self._numbers("status") >= 500).astype(np.float64)

    @property
    def latencies(self) -> np.ndarray:
        """In milliseconds (float64 [answers]); NaN of a copy that was dropped."""
        return self._numbers("latency_ms")

    def answered(self) -> dict[str, Answered]:
        """How each arm answered: `champion`, `challenger`."""
        return {"champion": self._answered(~self.challenged), "challenger": self._answered(self.challenged)}

    @property
    def predictions(self) -> np.ndarray:
        """The mean prediction of each answer (float64 [answers]); NaN where it has none.

        Raises:
            DeploymentError: A row has more than one.
        """
        values, answer = self.predicted()
        counts = np.bincount(answer, minlength=len(self.table))
        with np.errstate(invalid="ignore"):
            mean: np.ndarray = np.bincount(answer, weights=values, minlength=len(self.table)) / counts
        return mean

    def predicted(self) -> tuple[np.ndarray, np.ndarray]:
        """The predictions, answer after answer (float64 [rows]), and the answer that each is of (int64 [rows]).

        Raises:
            DeploymentError: A row has more than one.
        """
        if pc.any(pc.greater(pc.list_value_length(self.table["outputs"]), 1)).as_py():
            raise DeploymentError("a row has more than one prediction, so that it has no mean to compare")
        lists = self.table["predictions"].combine_chunks()
        return pc.list_flatten(lists).to_numpy(), pc.list_parent_indices(lists).to_numpy()

    @abstractmethod
    def rewarded(self) -> tuple[Self, np.ndarray]:
        """The requests that have a reward, in the order in which it came, and the rewards (float64 [answers]).

        Raises:
            DeploymentError: None can have one.
        """

    @abstractmethod
    def differences(self, values: np.ndarray) -> Guesses:
        """Guesses of the challenger's mean less the champion's.

        Args:
            values: Within a range of the width 1 (float64 [answers]).
        """

    @abstractmethod
    def of(self, wanted: np.ndarray) -> Self:
        """Some of the requests.

        Args:
            wanted: Which answers (bool [answers]); of a request that both have answered, both must be.
        """

    def within(self, slice_: Pattern) -> np.ndarray:
        """Whether every row of an answer's request is one of a slice (bool [answers])."""
        encoded = self.table["features"].combine_chunks().dictionary_encode()
        has = [_has(text, slice_) for text in encoded.dictionary.to_pylist()]
        places = pc.fill_null(encoded.indices, len(has)).to_numpy()
        within: np.ndarray = np.asarray([*has, False])[places]
        return within

    def _answered(self, which: np.ndarray) -> Answered:
        failed, latencies = self.failed[which], self.latencies[which]
        known = latencies[~np.isnan(latencies)]
        p50, p95 = np.quantile(known, (0.5, 0.95)).tolist() if len(known) else (None, None)
        return Answered(len(failed), float(failed.mean()) if len(failed) else None, p50, p95)

    def _numbers(self, column: str) -> np.ndarray:
        numbers: np.ndarray = self.table[column].to_numpy()
        return numbers


def answers(folder: str | Path, asked: pc.Expression, *, since: datetime | None, until: datetime | None) -> pa.Table:
    """The captured answers, in the order in which their requests came.

    Args:
        folder: Of the capture, a path or `s3://bucket/prefix`.
        asked: Which.
        since: The first moment that counts.
        until: The moment that does not count any more.

    Raises:
        DeploymentError: What was captured cannot be read.
    """
    if since is not None:
        asked &= pc.field("at") >= since
    if until is not None:
        asked &= pc.field("at") < until
    try:
        return captured.requests(arrow.folder(folder), since).filter(asked).to_table().sort_by("at")
    except (OSError, pa.ArrowException) as error:
        raise unreadable(folder, error) from error


def unreadable(folder: str | Path, error: Exception) -> UnreadableError:
    """Says of a capture that it cannot be read."""
    return UnreadableError(f"{folder}: what was captured cannot be read: {error}")


def first_of_each(values: pa.ChunkedArray) -> np.ndarray:
    """The places where a value comes for the first time (int64 [values])."""
    codes = values.combine_chunks().dictionary_encode().indices.to_numpy()
    return np.sort(np.unique(codes, return_index=True)[1])


def first_of_each_caller(table: pa.Table) -> pa.Table:
    """The first answer of each caller; all where callers are not known."""
    return table.take(first_of_each(pc.coalesce(table["unit"], table["request_id"])))


def _has(features: str | None, slice_: Pattern) -> bool:
    """Whether captured features are those of rows of a slice alone."""
    by_name: dict[str, list[Any]] = json.loads(features) if features else {}
    return all(
        column in by_name and all(str(one) == value for one in by_name[column])
        for column, value in slice_.values.items()
    )
