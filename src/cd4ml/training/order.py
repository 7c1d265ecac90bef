"""The order in which an epoch takes the rows of a file: row groups at random, then rows at random within a buffer."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Piece:
    """Rows of one row group that lie side by side."""

    group: int
    start: int
    """The first, counted from the beginning of the row group."""
    stop: int

    @property
    def rows(self) -> int:
        """How many they are."""
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True)
class Order:
    """A pure function of its fields: nothing else, neither memory nor time, changes which row comes when.

    The row groups of the file, in an order of the epoch's own, are one long line. Each worker takes an equal part of
    it, a row group at a border being divided; what cannot be divided equally, fewer rows than there are workers, is
    left out of the epoch. The part is cut into buffers, and the rows of each are shuffled.
    """

    groups: Sequence[int]
    """The rows of each row group."""
    seed: int
    epoch: int
    worker: int = 0
    """From 0 to `workers` - 1."""
    workers: int = 1
    buffer: int
    """Rows that are shuffled together."""

    @property
    def rows(self) -> int:
        """That the worker takes."""
        return sum(self.groups) // self.workers

    def buffers(self, first: int = 0) -> Iterator[list[Piece]]:
        """The pieces of each buffer, in the order in which they lie in it.

        Args:
            first: The buffer to begin with.
        """
        line = self._random(0).permutation(len(self.groups))
        ends = np.cumsum(np.asarray(self.groups)[line])
        begin = self.worker * self.rows
        for start in range(begin + first * self.buffer, begin + self.rows, self.buffer):
            stop = min(start + self.buffer, begin + self.rows)
            yield _pieces(line, ends, start=start, stop=stop)

    def shuffled(self, buffer: int) -> np.ndarray:
        """The places of a buffer's rows in it, int64 [rows], in the order in which they are taken."""
        return self._random(1 + buffer).permutation(min(self.buffer, self.rows - buffer * self.buffer))

    def _random(self, what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch, self.worker if what else 0, what])


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The same rows in the same order, in as few pieces as can be."""
    found: list[Piece] = []
    for one in pieces:
        if found and found[-1].group == one.group and found[-1].stop == one.start:
            one = Piece(one.group, found.pop().start, one.stop)
        found.append(one)
    return found


def _pieces(line: np.ndarray, ends: np.ndarray, *, start: int, stop: int) -> list[Piece]:
    """What lies between two places of the line."""
    pieces = []
    for place in range(int(np.searchsorted(ends, start, side="right")), len(line)):
        begin = int(ends[place - 1]) if place else 0
        if begin >= stop:
            break
        piece = Piece(int(line[place]), max(start - begin, 0), min(stop, int(ends[place])) - begin)
        if piece.stop > piece.start:
            pieces.append(piece)
    return pieces
