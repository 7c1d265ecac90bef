"""Requests that two arms both answered: the champion to callers, and the challenger, a mirror, to nobody."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.deployment.evidence import anytime
from cd4ml.deployment.evidence.compared import Compared, first_of_each, first_of_each_caller
from cd4ml.deployment.evidence.reading import Captured
from cd4ml.errors import DeploymentError


@dataclass(frozen=True)
class Paired(Compared):
    """Two answers a request: first all of the champion, and then those of the challenger to the same requests."""

    copied: np.ndarray
    """Of each request of the champion, whether the challenger got a copy (bool [requests])."""
    shares: np.ndarray
    """How likely that was (float64 [requests])."""

    pairs = True

    @property
    def count(self) -> int:  # noqa: D102
        return len(self.table) // 2

    @property
    def got(self) -> np.ndarray:  # noqa: D102
        return self.copied

    @property
    def chances(self) -> np.ndarray:  # noqa: D102
        return self.shares

    def told(self, column: str) -> Self:  # noqa: D102
        if column == "reward":
            raise DeploymentError("nobody sees what a mirror answers, so that no reward is for it")
        return super().told(column)

    def differences(self, values: np.ndarray) -> anytime.Guesses:  # noqa: D102
        return anytime.paired(values[self.challenged], values[~self.challenged])

    def apart(self) -> np.ndarray:
        """How far the predictions for the rows of a request are apart, on average (float64 [requests]).

        Of several classes that is the probability that goes from some to others, the half of all differences.

        Raises:
            DeploymentError: A row has several predictions that are no probabilities of the same classes with both, or
                an answer has other rows than the champion's.
        """
        values, answer = self.given()
        count = self.count
        theirs = answer < count
        if not np.array_equal(answer[theirs], answer[~theirs] - count):
            raise DeploymentError("the challenger predicts for another number of rows than the champion")
        apart = np.abs(values[~theirs] - values[theirs]).sum(axis=1)
        if self.width > 1:
            self.probabilities()
            apart = np.minimum(apart / 2, 1.0)  # beyond it by what rounding makes of a sum
        mean: np.ndarray = np.bincount(answer[theirs], weights=apart, minlength=count) / np.bincount(
            answer[theirs], minlength=count
        )
        return mean

    def of(self, wanted: np.ndarray) -> Self:  # noqa: D102
        return self._taken(np.flatnonzero(wanted[: self.count] & wanted[self.count :]))

    def _taken(self, places: np.ndarray) -> Self:
        both = np.concatenate((places, places + self.count))
        return replace(self, challenged=self.challenged[both], table=self.table.take(both))


def asked(champion: str, challenger: str) -> pc.Expression:
    """Which answers count: those of an arm to callers, and those of its mirror to copies."""
    arm, mirrored = pc.field("arm"), pc.field("mirrored")
    return ((arm == champion) & ~mirrored) | ((arm == challenger) & mirrored)


def read(captured: Captured, *, until: datetime | None = None) -> Paired:
    """Reads what was captured of an arm and of its mirror.

    Of the requests of one caller the first alone counts, for those of one are not independent.

    Args:
        captured: Of the answers those of both, as `asked` says.
        until: The moment that does not count any more.

    Raises:
        DeploymentError: What was captured cannot be read.
    """
    answers = captured.requests(until)
    copies = answers["mirrored"]
    return among(answers.filter(pc.invert(copies)), answers.filter(copies), captured.feedback())


def among(asked: pa.Table, copies: pa.Table, feedback: pa.Table) -> Paired:
    """What two arms did.

    Args:
        asked: The champion's answers, as `cd4ml.contracts.captured` has them, in order.
        copies: The challenger's, likewise.
        feedback: Likewise, of these and of others.
    """
    asked, copies = first_of_each_caller(asked), copies.take(first_of_each(copies["request_id"]))
    places = pc.index_in(asked["request_id"], value_set=copies["request_id"].combine_chunks())
    got = pc.is_valid(places).to_numpy()
    share = copies["propensity"][0].as_py() if len(copies) else 0.0  # which nothing tells before the first copy
    table = pa.concat_tables([asked.filter(got), copies.take(places.drop_null())])
    count = len(table) // 2
    return Paired(np.arange(2 * count) >= count, table, feedback, got, np.full(len(asked), share))
