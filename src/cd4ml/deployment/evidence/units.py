"""Who asks, each with one outcome: what an experiment compares.

What comes of the requests of one caller is not independent, so a caller counts once, with all of them.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.deployment.evidence import divided, labelled
from cd4ml.deployment.evidence.compared import BY_CHANCE, callers, said_first
from cd4ml.deployment.evidence.designs import LABEL, Counted
from cd4ml.deployment.evidence.divided import Divided
from cd4ml.deployment.evidence.reading import Captured
from cd4ml.deployment.evidence.strange import outside, why_outside


@dataclass(frozen=True)
class Units:
    """Those who asked: a caller with all of its requests, or a request whose caller is not known."""

    compared: Divided
    """The first request of each, in order; what each came to is its reward."""
    ripe: np.ndarray
    """Whether the window of each is over (bool [units])."""
    torn: int
    """How many both arms have answered, which none should."""
    requests: int
    """Of all of them."""
    unnamed: int
    """Those of these requests that say nothing of their caller."""
    told: int
    """How many were given something in their window."""
    strange: np.ndarray
    """Who was given something that is left out, for no outcome is such (bool [units])."""
    why: str
    """It is left out; empty where nothing is."""

    @property
    def count(self) -> int:
        """How many there are."""
        return self.compared.count


def asked(champion: str, challenger: str) -> pc.Expression:
    """Which answers count: those of two arms that both had a chance."""
    return pc.field("arm").isin([champion, challenger]) & BY_CHANCE


def read(captured: Captured, counted: Counted, *, challenger: str, until: datetime) -> Units:
    """Reads what was captured of two arms.

    Args:
        captured: Of the answers those of both, as `asked` says, and not the first of each caller alone.
        counted: What an outcome is.
        challenger: The arm that is held against the other.
        until: The moment that does not count any more.

    Raises:
        DeploymentError: What was captured cannot be read.
    """
    requests, given = captured.requests(until), captured.feedback(until)
    return among(requests, given, counted, challenger=challenger, until=until)


def among(requests: pa.Table, given: pa.Table, counted: Counted, *, challenger: str, until: datetime) -> Units:
    """Those who asked.

    Args:
        requests: What two arms did, as `cd4ml.contracts.captured` has it, in order.
        given: The feedback, likewise; also of other requests.
        counted: What an outcome is.
        challenger: An arm.
        until: When both were looked at.
    """
    unit = callers(requests).combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.unique(unit, return_index=True)[1]
    began = requests["at"].to_numpy()[first]
    window = np.timedelta64(counted.window)
    ripe = began + window <= np.datetime64(until.replace(tzinfo=None))
    request, values, at = _given(given, requests["request_id"], counted.outcome)
    counts = (at < began[unit[request]] + window) & ripe[unit[request]]
    if counted.first:
        counts &= first[unit[request]] == request
    had, values = unit[request[counts]], values[counts]
    bad = np.isnan(values) | outside(values, counted.range)
    outcomes, strange = _means(had[~bad], values[~bad], units=len(first)), np.zeros(len(first), bool)
    strange[had[bad]] = True
    if counted.missing is not None:
        outcomes[ripe & ~strange & np.isnan(outcomes)] = counted.missing
    known = np.flatnonzero(~np.isnan(outcomes))
    asked = requests.take(first)
    feedback = pa.table({"request_id": asked["request_id"].take(known), "reward": outcomes[known]})
    got = np.bincount(unit, weights=pc.equal(requests["arm"], challenger).to_numpy(), minlength=len(first))
    return Units(
        compared=divided.among(asked, feedback, challenger=challenger),
        ripe=ripe,
        torn=0 if counted.first else int(((got > 0) & (got < np.bincount(unit))).sum()),
        requests=len(requests),
        unnamed=requests["unit"].null_count,
        told=len(np.unique(had)),
        strange=strange,
        why=_why(values[bad], counted) if bad.any() else "",
    )


def _given(given: pa.Table, requests: pa.ChunkedArray, outcome: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The request of each feedback by its place, what it was given, and when; the first of each request.

    What it was given is NaN where labels have no mean.
    """
    if outcome == LABEL:
        labels = given["labels"].combine_chunks()
        column = pa.chunked_array([pa.array(labelled.numbers(labels), mask=pc.is_null(labels).to_numpy(False))])
    else:
        column = given["reward"]
    said = said_first(requests, given.select(["request_id", "at"]).append_column("value", column))
    request, value, at = (said[name].to_numpy() for name in ("request", "value", "at"))
    return request, value, at


def _why(values: np.ndarray, counted: Counted) -> str:
    """What is strange of outcomes, such as the first of them is."""
    if np.isnan(values[0]):
        return "a label is no number, true or false, so that it has no mean; send a reward with it"
    return f"a {counted.outcome} of {why_outside(values[0], counted.range)}"


def _means(of: np.ndarray, values: np.ndarray, *, units: int) -> np.ndarray:
    """The mean of the values of each (float64 [units]); NaN where it has none."""
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.bincount(of, weights=values, minlength=units) / np.bincount(of, minlength=units)
    return means
