"""The captured requests of which chance gave each to one of two arms."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts import captured
from cd4ml.contracts.slices import Pattern
from cd4ml.errors import DeploymentError


@dataclass(frozen=True)
class Compared:
    """What both arms did with requests, in the order in which these came."""

    challenged: np.ndarray
    """Whether the challenger had the request (bool [requests])."""
    propensities: np.ndarray
    """How likely the challenger was to get it, strictly between 0 and 1 (float64 [requests])."""
    table: pa.Table
    """The requests, as `cd4ml.contracts.captured` has them."""
    rewards: pa.Table
    """Of `request`, the place of a request above, and its `reward`, in the order in which these came."""

    @property
    def count(self) -> int:
        """The requests."""
        return len(self.challenged)

    @property
    def failed(self) -> np.ndarray:
        """Whether the arm was at fault (float64 [requests]: 0 or 1)."""
        return (self._numbers("status") >= 500).astype(np.float64)

    @property
    def latencies(self) -> np.ndarray:
        """In milliseconds (float64 [requests])."""
        return self._numbers("latency_ms")

    @property
    def predictions(self) -> np.ndarray:
        """The mean prediction of each request (float64 [requests]); NaN where it has none.

        Raises:
            DeploymentError: A row has more than one.
        """
        several = pc.any(pc.greater(pc.list_value_length(self.table["outputs"]), 1)).as_py()
        if several:
            raise DeploymentError("a row has more than one prediction, so that it has no mean to compare")
        lists = self.table["predictions"].combine_chunks()
        request, values = pc.list_parent_indices(lists).to_numpy(), pc.list_flatten(lists).to_numpy()
        counts = np.bincount(request, minlength=self.count)
        with np.errstate(invalid="ignore"):
            mean: np.ndarray = np.bincount(request, weights=values, minlength=self.count) / counts
        return mean

    def rewarded(self) -> tuple["Compared", np.ndarray]:
        """The requests that have a reward, in the order in which it came, and the rewards (float64 [requests])."""
        return self._taken(self.rewards["request"].to_numpy()), self.rewards["reward"].to_numpy()

    def first(self, count: int) -> Self:
        """So many of the requests."""
        return self._taken(np.arange(min(count, self.count)))

    def of(self, wanted: np.ndarray) -> Self:
        """Some of the requests.

        Args:
            wanted: Which (bool [requests]).
        """
        return self._taken(np.flatnonzero(wanted))

    def within(self, slice_: Pattern) -> np.ndarray:
        """Whether every row of a request is one of a slice (bool [requests])."""
        encoded = self.table["features"].combine_chunks().dictionary_encode()
        has = [_has(text, slice_) for text in encoded.dictionary.to_pylist()]
        places = pc.fill_null(encoded.indices, len(has)).to_numpy()
        within: np.ndarray = np.asarray([*has, False])[places]
        return within

    def _numbers(self, column: str) -> np.ndarray:
        numbers: np.ndarray = self.table[column].to_numpy()
        return numbers

    def _taken(self, places: np.ndarray) -> Self:
        where = pc.index_in(self.rewards["request"], value_set=pa.array(places))
        rewards = self.rewards.set_column(0, "request", where).filter(pc.is_valid(where))
        return type(self)(self.challenged[places], self.propensities[places], self.table.take(places), rewards)


def read(
    folder: Path,
    *,
    champion: str,
    challenger: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Compared:
    """Reads what was captured of two arms.

    Of the requests of one caller the first alone counts, for a caller always has the same arm. Requests that one of
    both was sure to get do not count.

    Args:
        folder: Of the capture.
        champion: An arm.
        challenger: The arm that is held against it.
        since: The first moment that counts.
        until: The moment that does not count any more.

    Raises:
        DeploymentError: A third arm answered too, or what was captured cannot be read.
    """
    try:
        requests = captured.requests(folder, since).filter(_answered(since, until)).to_table().sort_by("at")
        feedback = captured.feedback(folder, since).to_table().sort_by("at")
    except (OSError, pa.ArrowException) as error:
        raise DeploymentError(f"{folder}: what was captured cannot be read: {error}") from error
    others = set(requests["arm"].unique().to_pylist()) - {champion, challenger}
    if others:
        raise DeploymentError(
            f"{folder}: {', '.join(sorted(others))} answered too, and two arms are compared; name those of one rollout"
        )
    return among(requests, feedback, challenger=challenger)


def among(requests: pa.Table, feedback: pa.Table, *, challenger: str) -> Compared:
    """What two arms did.

    Args:
        requests: Those that either had a chance to get, as `cd4ml.contracts.captured` has them, in order.
        feedback: Likewise, of these and of others.
        challenger: An arm.
    """
    requests = requests.take(_first_of_each(pc.coalesce(requests["unit"], requests["request_id"])))
    challenged = pc.equal(requests["arm"], challenger).to_numpy()
    own = requests["propensity"].to_numpy()
    return Compared(
        challenged, np.where(challenged, own, 1 - own), requests, _rewards(feedback, requests["request_id"])
    )


def _answered(since: datetime | None, until: datetime | None) -> pc.Expression:
    asked = ~pc.field("mirrored") & (pc.field("propensity") > 0) & (pc.field("propensity") < 1)
    if since is not None:
        asked &= pc.field("at") >= since
    if until is not None:
        asked &= pc.field("at") < until
    return asked


def _rewards(feedback: pa.Table, requests: pa.ChunkedArray) -> pa.Table:
    """The first reward of each request, as `Compared` has them."""
    table = pa.table(
        {
            "request": pc.index_in(feedback["request_id"], value_set=requests.combine_chunks()),
            "reward": feedback["reward"],
        }
    ).drop_null()
    return table.take(_first_of_each(table["request"]))


def _first_of_each(values: pa.ChunkedArray) -> np.ndarray:
    """The places where a value comes for the first time (int64 [values])."""
    codes = values.combine_chunks().dictionary_encode().indices.to_numpy()
    return np.sort(np.unique(codes, return_index=True)[1])


def _has(features: str | None, slice_: Pattern) -> bool:
    """Whether captured features are those of rows of a slice alone."""
    by_name: dict[str, list[Any]] = json.loads(features) if features else {}
    return all(
        column in by_name and all(str(one) == value for one in by_name[column])
        for column, value in slice_.values.items()
    )
