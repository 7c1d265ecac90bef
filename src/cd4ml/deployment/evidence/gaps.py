"""How far a rate differs between groups of requests, as the fairness of an evaluation has it, and whether more so now.

Requests are taken for independent of each other; of one, the rows of a group count as their mean. Which rows count is
told by their label, and never by what an arm predicts, so that both arms are held to the same.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, permutations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.shares import Interval
from cd4ml.deployment.evidence import anytime
from cd4ml.deployment.evidence.anytime import Guesses
from cd4ml.deployment.evidence.compared import Compared

RATES: Mapping[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "selection_rate": lambda predicted, _: (np.ones(len(predicted), bool), predicted == 1),
    "accuracy": lambda predicted, came: (np.ones(len(predicted), bool), predicted == came),
    "true_positive_rate": lambda predicted, came: (came == 1, predicted == 1),
    "false_positive_rate": lambda predicted, came: (came == 0, predicted == 1),
}
"""From the places of the classes that rows are predicted to be of, and are (int [rows]), where 1 is the positive of
two: which count, and which of these make the rate."""


MOST_TIMES = 1000
"""Beyond which nothing is known of how many."""


@dataclass(frozen=True)
class Stream:
    """What some requests came to, in the order in which they came."""

    places: np.ndarray
    """Int64 [requests]."""
    values: np.ndarray
    """Of which two means are at most 1 apart (float64 [requests])."""
    reach: float = 1.0
    """How far one may be from another."""


@dataclass(frozen=True)
class Group:
    """What the requests of one group came to, each by the rate of its rows of the group that count."""

    name: str
    champion: Stream
    challenger: Stream
    change: Stream
    """Half of what the challenger's rate is above the champion's, guessed by each request."""

    @property
    def is_known(self) -> bool:
        """Whether both arms had a request of it."""
        return bool(len(self.champion.values) and len(self.challenger.values) and len(self.change.values))


def grouped(
    compared: Compared, *, feature: str, groups: Sequence[str], counted: np.ndarray, made: np.ndarray
) -> list[Group]:
    """What the requests of each group came to.

    Args:
        compared: Requests that were answered.
        feature: That tells groups.
        groups: Its values.
        counted: Which rows count (bool [rows], as `given` has them).
        made: Which rows make the rate (bool, likewise).

    Raises:
        DeploymentError: The feature is not captured.
    """
    given, answer = compared.feature(feature), compared.given()[1]
    fits = pc.equal(pc.list_value_length(given), np.bincount(answer, minlength=len(given)))
    known = pc.fill_null(fits, False).to_numpy(zero_copy_only=False)  # has a value for each prediction
    values, of_known = pc.list_flatten(given.filter(known)), known[answer]
    found = []
    for name in groups:
        rows = counted.copy()
        rows[of_known] &= pc.fill_null(pc.equal(values, name), False).to_numpy(zero_copy_only=False)
        rows &= of_known
        counts, sums = (np.bincount(answer[rows], weights, minlength=len(given)) for weights in (None, made[rows]))
        with np.errstate(invalid="ignore"):
            found.append(_group(name, compared, sums / counts))
    return found


def _group(name: str, compared: Compared, rates: np.ndarray) -> Group:
    """One group, by the rate of each answer, which is not a number where no row counts."""
    known = ~np.isnan(rates)
    arms = (np.flatnonzero(known & (compared.challenged == arm)) for arm in (False, True))
    champion, challenger = (Stream(places, rates[places]) for places in arms)
    table = compared.table.append_column("place", pa.array(np.arange(len(rates))))
    both = replace(compared, table=table.append_column("rate", pa.array(rates))).of(known)
    guesses = both.differences(both.numbers("rate"))
    places = both.table["place"].to_numpy()[: both.count]
    return Group(name, champion, challenger, Stream(places, guesses.values / 2, guesses.reach))


@dataclass(frozen=True)
class Found:
    """What is known of a gap, or of its increase."""

    value: float
    interval: Interval
    limit: float

    @property
    def times(self) -> float:
        """How many times the requests it takes to tell whether the limit is kept, about; infinite where too many.

        An interval narrows as the root of the requests.
        """
        widest, room = max(abs(end - self.value) for end in self.interval), abs(self.limit - max(self.value, 0.0))
        times = (widest / room) ** 2 if room else math.inf
        return times if times < MOST_TIMES else math.inf


def gap(groups: Sequence[Group], limit: float, error: float) -> Found:
    """How far the challenger's rate of the highest group is above that of the lowest."""
    streams = [group.challenger for group in groups]
    low, highs = _ends(_pairs(streams), error)
    return Found(_apart(streams), (low, max(highs)), limit)


def increase(groups: Sequence[Group], limit: float, error: float) -> Found:
    """How far the challenger's gap is above the champion's.

    It is at most what changed between the two groups that are farthest apart with the challenger, and at least what
    changed between those that are with the champion; which these may be, both gaps tell. It is also between what these
    gaps are by themselves.
    """
    streams = [[group.challenger for group in groups], [group.champion for group in groups]]
    ours, theirs, changes = map(_pairs, (*streams, [group.change for group in groups]))
    (low, highs), (least, mosts) = (_ends(pairs, error / 4) for pairs in (ours, theirs))
    now, before = ([high >= end for high in ends] for ends, end in ((highs, low), (mosts, least)))
    most = max(2 * change.end(above=True, error=error / 4) for change in compress(changes, now))
    fewest = min(2 * change.end(above=False, error=error / 4) for change in compress(changes, before))
    interval = max(fewest, low - max(mosts)), min(most, max(highs) - least)
    return Found(_apart(streams[0]) - _apart(streams[1]), interval, limit)


def said(streams: Mapping[str, Stream]) -> str:
    """The rates of groups, by their names: `0.31 of 512 (female), 0.42 of 498 (male)`."""
    return ", ".join(f"{one.values.mean():.4g} of {len(one.values):,} ({name})" for name, one in streams.items())


def _apart(streams: Sequence[Stream]) -> float:
    means = [stream.values.mean() for stream in streams]
    return float(max(means) - min(means))


def _pairs(streams: Sequence[Stream]) -> list[Guesses]:
    """Of each two groups, each way: how far the one is above the other."""
    return [_between(one, other) for one, other in permutations(streams, 2)]


def _between(one: Stream, other: Stream) -> Guesses:
    order = np.argsort(np.concatenate((one.places, other.places)), kind="stable")
    second = (np.arange(len(order)) >= len(one.places))[order]
    return anytime.between(np.concatenate((one.values, other.values))[order], second, one.reach)


def _ends(pairs: Sequence[Guesses], error: float) -> tuple[float, list[float]]:
    """The low end of a gap, and the high ends of its pairs, of which the largest is that of the gap.

    Any pair may be the one that is farthest apart, so that it holds wherever that one does; of the low ends, all must.
    """
    low = max(pair.end(above=False, error=error / 2 / len(pairs)) for pair in pairs)
    return max(low, 0.0), [pair.end(above=True, error=error / 2) for pair in pairs]
