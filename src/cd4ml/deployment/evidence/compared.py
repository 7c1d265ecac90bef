"""What two arms did with requests, whoever got them: the captured answers that are compared."""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import class_labels
from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.deployment import Answered
from cd4ml.contracts.slices import Pattern
from cd4ml.deployment.evidence.anytime import Guesses
from cd4ml.errors import DeploymentError

BY_CHANCE = ~pc.field("mirrored") & (pc.field("propensity") > 0) & (pc.field("propensity") < 1)
"""Which answers are of requests that more than one arm might have got."""


SUM_TOLERANCE = 1e-4
"""How far the probabilities of a row may be from 1 together."""
NO_ROOM = 429
MANY = 2**20
"""Requests that are looked through at once."""


def at_fault(statuses: np.ndarray) -> np.ndarray:
    """Whether an arm failed a request: by a status of 500 or more, or 429, for want of room (bool [answers])."""
    failed: np.ndarray = (statuses >= 500) | (statuses == NO_ROOM)
    return failed


class UnreadableError(DeploymentError):
    """What was captured cannot be read now."""


@dataclass(frozen=True)
class Compared(ABC):
    """The answers of two arms, each one's in the order in which its requests came."""

    challenged: np.ndarray
    """Whether an answer is the challenger's (bool [answers])."""
    table: pa.Table
    """The answers, as `cd4ml.contracts.captured` has them."""
    feedback: pa.Table
    """Of these requests and of others, likewise, in the order in which it came."""
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
        return at_fault(self.numbers("status")).astype(np.float64)

    @property
    def latencies(self) -> np.ndarray:
        """In milliseconds (float64 [answers]); NaN of a copy that was dropped, and of what it had no room for."""
        return np.where(self.numbers("status") == NO_ROOM, np.nan, self.numbers("latency_ms"))

    def answered(self) -> dict[str, Answered]:
        """How each arm answered: `champion`, `challenger`."""
        return {"champion": self._answered(~self.challenged), "challenger": self._answered(self.challenged)}

    @property
    def predictions(self) -> np.ndarray:
        """The mean prediction of each answer (float64 [answers]); NaN where it has none.

        Raises:
            DeploymentError: A row has more than one.
        """
        return self.mean(self.predicted()[0])

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """The mean of the rows of each answer (float64 [answers]); NaN where it has none.

        Args:
            rows: A value each, as `given` has them.
        """
        answer = self.given()[1]
        counts = np.bincount(answer, minlength=len(self.table))
        with np.errstate(invalid="ignore"):
            mean: np.ndarray = np.bincount(answer, weights=rows, minlength=len(self.table)) / counts
        return mean

    def predicted(self) -> tuple[np.ndarray, np.ndarray]:
        """The predictions, answer after answer (float64 [rows]), and the answer that each is of (int64 [rows]).

        Raises:
            DeploymentError: A row has more than one.
        """
        if self.width > 1:
            raise DeploymentError("a row has more than one prediction, so that it has no mean to compare")
        values, answer = self.given()
        return values[:, 0], answer

    def probabilities(self) -> tuple[list[str], np.ndarray]:
        """The classes, and their probabilities for each row (float64 [rows, classes], as `given` has them).

        Raises:
            DeploymentError: They are none, or those of some answers are of other classes.
        """
        names = pc.list_flatten(self.table["outputs"].combine_chunks()).dictionary_encode()
        if (names.indices.to_numpy().reshape(-1, self.width) != np.arange(self.width)).any():
            raise DeploymentError("some answers are of other classes than others, or have them in another order")
        values = self.given()[0]
        if not (np.all((values >= 0) & (values <= 1)) and np.all(np.abs(values.sum(axis=1) - 1) <= SUM_TOLERANCE)):
            raise DeploymentError("a row has several predictions, and they are no probabilities that sum to 1")
        return names.dictionary.to_pylist(), values

    @property
    def width(self) -> int:
        """How many numbers are predicted for a row: one, or one a class where there are several.

        Raises:
            DeploymentError: Not as many in all answers.
        """
        widths = pc.unique(pc.list_value_length(self.table["outputs"])).drop_null().to_pylist()
        if len(widths) > 1:
            raise DeploymentError("some answers have more predictions for a row than others")
        return widths[0] if widths else 1

    @property
    def rows(self) -> pa.Array:
        """Of how many rows each answer is (int32 [answers]); null where nothing was predicted."""
        return pc.divide(pc.list_value_length(self.table["predictions"].combine_chunks()), self.width)

    def given(self) -> tuple[np.ndarray, np.ndarray]:
        """All that is predicted for each row, answer after answer (float64 [rows, width]), and the answer (int64).

        Raises:
            DeploymentError: Not as much in all answers.
        """
        lists, width = self.table["predictions"].combine_chunks(), self.width
        values, answer = pc.list_flatten(lists).to_numpy(), pc.list_parent_indices(lists).to_numpy()
        return values.reshape(-1, width), answer[::width]

    def told(self, column: str) -> Self:
        """The requests of which feedback says something, in the order in which it did.

        Args:
            column: What of the feedback, which the table of answers gets too; what it said first counts.

        Raises:
            DeploymentError: Of these requests none can.
        """
        said = said_first(self.table["request_id"].slice(0, self.count), self.feedback.select(["request_id", column]))
        found = self._taken(said["request"].to_numpy())
        by_answer = said[column].take(np.arange(len(found.table)) % max(found.count, 1))
        return replace(found, table=found.table.append_column(column, by_answer))

    def rewarded(self) -> tuple[Self, np.ndarray]:
        """The requests that have a reward, as `told` has them, and the rewards (float64 [answers])."""
        told = self.told("reward")
        return told, told.numbers("reward")

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

    @abstractmethod
    def _taken(self, places: np.ndarray) -> Self:
        """Requests by their places, in that order."""

    def _answered(self, which: np.ndarray) -> Answered:
        failed, latencies = self.failed[which], self.latencies[which]
        known = latencies[~np.isnan(latencies)]
        p50, p95 = np.quantile(known, (0.5, 0.95)).tolist() if len(known) else (None, None)
        return Answered(len(failed), float(failed.mean()) if len(failed) else None, p50, p95)

    def numbers(self, column: str) -> np.ndarray:
        """A column of the table (float64 [answers])."""
        numbers: np.ndarray = self.table[column].to_numpy()
        return numbers

    def within(self, slice_: Pattern) -> np.ndarray:
        """Whether every row of an answer's request is one of a slice (bool [answers]).

        Raises:
            DeploymentError: A feature of the slice is not captured.
        """
        within = np.ones(len(self.table), bool)
        for column, value in slice_.values.items():
            rows = self.feature(column)
            has = pc.fill_null(pc.equal(pc.list_flatten(rows), value), False).to_numpy(zero_copy_only=False)
            having = np.bincount(pc.list_parent_indices(rows), weights=has, minlength=len(rows))
            within &= having == pc.fill_null(pc.list_value_length(rows), -1).to_numpy()
        return within

    def feature(self, column: str) -> pa.ListArray:
        """What the rows of requests had of a feature, as text (list of string [answers]); null where that is not known.

        Raises:
            DeploymentError: It is known of none, and there are enough to tell.
        """
        encoded = self.table["features"].combine_chunks().dictionary_encode()
        by_text = [json.loads(text).get(column) for text in encoded.dictionary.to_pylist()]
        if len(self.table) >= FEWEST_ROWS and not any(by_text):
            raise DeploymentError(
                f"the feature {column!r} is captured of none of {self.count:,} requests; send it in each by this name, "
                "and name it in the router's `captured_features`, as a rollout does by itself"
            )
        as_text = [None if values is None else [class_labels.of_value(value) for value in values] for values in by_text]
        return pa.array(as_text, pa.list_(pa.string())).take(encoded.indices)


def unreadable(folder: str | Path, error: Exception) -> UnreadableError:
    """Says of a capture that it cannot be read."""
    return UnreadableError(f"{folder}: what was captured cannot be read: {error}")


def said_first(requests: pa.ChunkedArray, feedback: pa.Table) -> pa.Table:
    """What feedback says first of each request, in the order in which it did.

    Args:
        requests: Their ids.
        feedback: With a `request_id`, also those of others; a row counts that says something in each column.

    Returns:
        The place of the `request` in place of its id, and the other columns.
    """
    places = places_in(requests, feedback["request_id"])
    said = feedback.drop_columns("request_id").append_column("request", places).drop_null()
    return said.take(first_of_each(said["request"]))


def places_in(requests: pa.ChunkedArray, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which request each id is of: the first that has it, or null (int32 [ids]).

    Requests are looked through some at a time, for a table of the ids of millions takes much memory.
    """
    places = pa.chunked_array([pa.nulls(len(ids), pa.int32())])
    for begin in range(0, len(requests), MANY):
        found = pc.index_in(ids, value_set=requests.slice(begin, MANY).combine_chunks())
        places = pc.coalesce(places, pc.add(found, pa.scalar(begin, pa.int32())))
    return places


def first_of_each(values: pa.ChunkedArray) -> np.ndarray:
    """The places where a value comes for the first time (int64 [values])."""
    codes = values.combine_chunks().dictionary_encode().indices.to_numpy()
    return np.sort(np.unique(codes, return_index=True)[1])


def first_of_each_caller(table: pa.Table) -> pa.Table:
    """The first answer of each caller; all where callers are not known."""
    return table.take(first_of_each(callers(table)))


def callers(table: pa.Table) -> pa.ChunkedArray:
    """Who asked: a caller, or a request alone where its caller is not known."""
    return pc.coalesce(table["unit"], table["request_id"])
