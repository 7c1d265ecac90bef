"""How far two arms differ, in intervals that may be looked at after every request (confidence sequences).

With a stated error such an interval holds the true value at all looks together, however often one looks and whenever
one stops. It is exact from the first request on, for any outcomes within [0, 1]: a failed request (0 or 1) as well as a
mean prediction.

**Means** are bet on (Waudby-Smith and Ramdas 2023). Chance, which is known, gave a request to one arm or the other; so
each outcome, divided by how likely its arm was to get it, is a guess of the difference that is right on average. Who
bets on those guesses against a difference that is true does not get rich: to reach `1 / error` of what one had has a
probability of at most `error`, ever. Differences against which a bettor gets so rich are out of the interval. So the
shares of the arms, and the outcomes of both, may change with the hour. Where both had each request, the guess is what
one came to less what the other did, and it is right on average where requests are independent.

**Quantiles**, and shares of one arm, are told by counting (Howard and Ramdas 2022): how many values lie below a
quantile is known but for chance. The evidence against a rank is how much likelier a mixture of all shares by Jeffreys'
prior makes the count.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Self

import numpy as np

_STAKES = 0.9 * 0.5 ** np.arange(9)
"""Of each bettor: the part of what it has that the worst outcome takes. One of them is near the best for any case."""
_ROUNDS = 20
"""Of bisection: a millionth of the range is left."""
_MANY = 2**16
"""Guesses that are bet on at once, so that those of millions take little memory."""


@dataclass(frozen=True)
class Guesses:
    """Of a difference within [-1, 1], one a request in the order in which they came; each is right on average."""

    values: np.ndarray
    """Float64 [..., requests]."""
    reach: float
    """How far from 0 one may be."""

    def against(self, difference: float, *, above: bool) -> np.ndarray:
        """The logarithm of what bettors make of the guesses who hold that the true difference is smaller, or larger.

        Args:
            difference: What they bet against.
            above: Whether they bet against it and all that are above it, or against it and all below.

        Returns:
            After each request (float64 [..., requests]).
        """
        return _together(np.cumsum(self._won(self.values, difference, above=above), axis=-1), axis=-2)

    def needed(self, difference: float, *, above: bool, error: float) -> float:
        """How many times these requests refute a difference, if they go on like this; infinite where they never do."""
        won = self._all_won(difference, above=above)
        return _first(lambda times: bool(_together(times * won, axis=-1) >= -math.log(error / 2)))

    def planned(self, chances: np.ndarray, *, error: float, power: float) -> float:
        """How many requests it takes until a difference of 0 is refuted by those that are larger.

        Infinite where a billion do not.

        Args:
            chances: How likely each of these guesses is (float64 [guesses]).
            error: How often 0 may be out of the interval at some look, though it is true.
            power: How likely it is refuted by then.
        """
        won = self._won(self.values, 0.0, above=False)
        mean = won @ chances
        spread = np.sqrt((won - mean[:, np.newaxis]) ** 2 @ chances)
        unlucky = NormalDist().inv_cdf(1 - power)

        def told(requests: float) -> bool:
            made = requests * mean + math.sqrt(requests) * unlucky * spread
            return bool(_together(made, axis=-1) >= -math.log(error / 2))

        return _first(told, most=1e9, to=0.001)

    def interval(self, error: float) -> tuple[float, float]:
        """Where the true difference lies; [-1, 1] where nothing tells."""
        low, high = (self.end(above=above, error=error / 2) for above in (False, True))
        return low, high

    def end(self, *, above: bool, error: float) -> float:
        """The true difference lies below this one, or above it; 1 and -1 where nothing tells.

        Args:
            above: Whether it is the upper one.
            error: How often it does not at some look.
        """
        end = 1.0 if above else -1.0

        if not self.refuted(end, above=above, error=error):
            return end
        held = -end  # what is refuted on one side is not refuted on the other
        for _ in range(_ROUNDS):
            middle = (held + end) / 2
            held, end = (held, middle) if self.refuted(middle, above=above, error=error) else (middle, end)
        return end

    def refuted(self, difference: float, *, above: bool, error: float) -> bool:
        """Whether all guesses together refute a difference, which is so of a true one with an error at some look."""
        return bool(_together(self._all_won(difference, above=above), axis=-1) >= -math.log(error))

    @cached_property
    def _counted(self) -> tuple[np.ndarray, np.ndarray]:
        """The values, each once, and how often each came; the order is nothing to what bettors have at the end."""
        return np.unique(self.values, return_counts=True)

    def _all_won(self, difference: float, *, above: bool) -> np.ndarray:
        """The logarithm of what each bettor makes of all guesses together (float64 [bettors])."""
        values, counts = self._counted
        won = np.zeros(len(_STAKES))
        for begin in range(0, len(values), _MANY):
            some = slice(begin, begin + _MANY)
            won += self._won(values[some], difference, above=above) @ counts[some]
        return won

    def _won(self, values: np.ndarray, difference: float, *, above: bool) -> np.ndarray:
        """The logarithm of what each bettor makes of each guess (float64 [..., bettors, requests])."""
        off = (difference - values if above else values - difference)[..., np.newaxis, :]
        return np.log1p(_STAKES[:, np.newaxis] / (self.reach + 1) * off)


def difference(
    outcomes: np.ndarray, challenged: np.ndarray, propensities: np.ndarray, *, rarest: float = 0.5
) -> Guesses:
    """Guesses of the challenger's mean less the champion's, where each request went to one of both.

    Args:
        outcomes: Within [0, 1], in the order in which they came to be known (float64 [..., requests]).
        challenged: Whether the challenger had the request (bool, likewise).
        propensities: How likely the challenger was to get it, strictly between 0 and 1 (float64, likewise).
        rarest: The least that either is ever to get, where shares follow outcomes: a bet must not tell what comes.
    """
    before = np.arange(outcomes.shape[-1])
    usual = (np.cumsum(outcomes, axis=-1) - outcomes) / np.maximum(before, 1)  # of both arms, by what came before
    off = outcomes - usual
    values = np.where(challenged, off / propensities, -off / (1 - propensities))
    least = np.minimum(propensities, 1 - propensities).min(initial=rarest)
    return Guesses(values, float(1 / least))


def paired(challenger: np.ndarray, champion: np.ndarray) -> Guesses:
    """Guesses of the same, where both had each request.

    Args:
        challenger: Its outcomes, within [0, 1] (float64 [requests]).
        champion: Its outcomes of the same requests.
    """
    return Guesses(challenger - champion, 1.0)


def between(values: np.ndarray, second: np.ndarray, reach: float) -> Guesses:
    """Guesses of the mean of one group of requests less that of another.

    A round lasts until both groups had a request: what those of the second came to in it less what those of the first
    did, on average, is a guess, whatever the hour does to both.

    Args:
        values: What requests came to, in order (float64 [requests]).
        second: Whether a request is of the second group (bool [requests]).
        reach: How far one may be from another; their means are at most 1 apart.
    """
    changes = np.flatnonzero(np.diff(second)) + 1
    blocks = np.flatnonzero(np.diff(changes, prepend=-1) > 1)  # of requests that change from one to the next
    within = np.arange(len(changes)) - np.repeat(blocks, np.diff(blocks, append=len(changes)))
    ends = changes[within % 2 == 0] + 1  # the first request of a round is no change
    rounds = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    values, second = values[: len(rounds)], second[: len(rounds)]
    means = [
        np.bincount(rounds[group], weights=values[group]) / np.bincount(rounds[group]) for group in (second, ~second)
    ]
    return Guesses(means[0] - means[1], reach)


def ratio(
    challenger: np.ndarray,
    champion: np.ndarray,
    *,
    quantile: float,
    error: float,
    times: float = 1.0,
    pairs: bool = False,
) -> tuple[float, float]:
    """Where the ratio of the challenger's quantile to the champion's lies.

    Args:
        challenger: Its values, positive and in any order (float64 [requests]).
        champion: Its values, likewise.
        quantile: Which, such as 0.99.
        error: How often the ratio may lie outside at some look.
        times: As if there were so many times these values.
        pairs: Whether both had the same requests, so that a value of one tells of that of the other.
    """
    one, other = (_Ranked.of(values, quantile, times) for values in (challenger, champion))
    enough = -math.log(error)
    if pairs:
        (low, high), (least, most) = (ranked.interval(enough + math.log(2)) for ranked in (one, other))
        return low / most, high / least if least else math.inf
    return 1 / _largest_ratio(other, one, enough), _largest_ratio(one, other, enough)


def ratio_needed(
    challenger: np.ndarray,
    champion: np.ndarray,
    *,
    quantile: float,
    error: float,
    limit: float,
    pairs: bool = False,
) -> float:
    """How many times these values tell whether the ratio keeps a limit, if they go on like this."""

    def told(times: float) -> bool:
        low, high = ratio(challenger, champion, quantile=quantile, error=error, times=times, pairs=pairs)
        return high <= limit or low > limit

    return _first(told)


def by_chance(challenged: np.ndarray, propensities: np.ndarray, error: float) -> bool:
    """Whether chance alone can have given the challenger so many of the requests, or so few.

    Args:
        challenged: Whether it had the request (bool [requests]).
        propensities: How likely it was to get it (float64 [requests]).
        error: How often chance alone may be told that it was not, at some look.
    """
    guesses = Guesses(challenged - propensities, 1.0)
    return not any(guesses.refuted(0.0, above=above, error=error / 2) for above in (False, True))


def _first(told: Callable[[float], bool], *, most: float = 1000, to: float = 0.05) -> float:
    """How many times the requests have to come for something to be told, to a part; infinite beyond the most."""
    low, high = 0.0, 1.0
    while not told(high):
        low, high = high, high * 2
        if high > most:
            return math.inf
    while high - low > high * to:
        middle = (low + high) / 2
        low, high = (low, middle) if told(middle) else (middle, high)
    return high


def _together(won: np.ndarray, axis: int) -> np.ndarray:
    """What bettors have together who began with equal parts (logarithms)."""
    together: np.ndarray = np.logaddexp.reduce(won, axis=axis) - math.log(len(_STAKES))
    return together


def share(part: int, count: int, *, error: float) -> tuple[float, float]:
    """Where a share lies.

    Args:
        part: How many of the requests have what it is the share of, each independently of the others.
        count: How many requests there are.
        error: How often the share may lie outside at some look.
    """
    if count == 0:
        return 0.0, 1.0
    usual, enough = part / count, -math.log(error)

    def end(refuted: float) -> float:
        held = usual
        for _ in range(_ROUNDS):
            middle = (held + refuted) / 2
            against = float(_against_share(np.array([part]), count, middle)[0])
            held, refuted = (held, middle) if against >= enough else (middle, refuted)
        return refuted

    return (end(0.0) if part else 0.0), (end(1.0) if part < count else 1.0)


@dataclass(frozen=True)
class _Ranked:
    """What a quantile may be."""

    values: np.ndarray
    """0, those that came, ascending, and infinity (float64 [values])."""
    against: np.ndarray
    """The logarithm of the evidence against each, which falls and then rises (float64 [values])."""

    @classmethod
    def of(cls, values: np.ndarray, quantile: float, times: float) -> Self:
        """Takes values in any order, as if there were so many times as many."""
        count = len(values) * times
        ends = np.arange(len(values) + 1) * times  # how many are below one value and the next
        usual = np.clip(quantile * count, ends[:-1], ends[1:])  # of these, what speaks least against the value
        return cls(
            np.concatenate(([0.0], np.sort(values), [np.inf])),
            _against_share(np.concatenate(([0.0], usual, [count])), count, quantile),
        )

    def interval(self, enough: float) -> tuple[float, float]:
        """The first and the last value that is not refuted by itself."""
        held = self.values[self.against < enough]
        return float(held[0]), float(held[-1])


def _largest_ratio(one: _Ranked, other: _Ranked, enough: float) -> float:
    """The largest ratio of two values that are not refuted together."""
    falling = other.against[: other.against.argmin() + 1]
    first = np.searchsorted(-falling, one.against - enough, side="right")  # the smallest that is not refuted beside
    held = first < len(falling)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.fmax.reduce(one.values[held] / other.values[first[held]]))


def _against_share(part: np.ndarray, count: float, share: float) -> np.ndarray:
    """The logarithm of the evidence against a share, of which so many came to be of a count (float64 [parts])."""
    mixture = _log_gamma(part + 0.5) + _log_gamma(count - part + 0.5) - math.lgamma(count + 1) - math.log(math.pi)
    evidence: np.ndarray = mixture - part * math.log(share) - (count - part) * math.log1p(-share)
    return evidence


_log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])
