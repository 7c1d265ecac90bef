"""Rows of one split that are in another too, and rows that are alike but for their label."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations

import numpy as np

from cd4ml.contracts.findings import Copies, Finding, percent
from cd4ml.contracts.shares import share_interval
from cd4ml.validation.audit.copies import Rows

FEWEST = 10
FEWEST_OF_ONE_KIND = 3
"""Copies that differ in the same column, or in none."""
BY_CHANCE = 0.05
"""Rows alike by chance, from which on a copy says nothing."""
SHARE = 0.005
"""Of the rows, from which on copies change what is measured."""
TIMES_CHANCE = 3
ENOUGH_PAIRS = 5
"""Fewer pairs that differ in two columns tell nothing."""
LOOKED_AT = 6
"""Columns in which rows that are else alike differ the most often."""
LARGEST_COST = 0.01
"""Of accuracy, from which on it is worth to be said."""


def measure(rows: Rows, splits: Mapping[str, slice]) -> Iterator[Copies]:
    """Counts the rows of eval and test that are in train too, all features alike or all but one, beyond chance.

    Args:
        rows: Of all splits.
        splits: Where the rows of each are, those of train first.
    """
    train = splits["train"]
    others = slice(train.stop, len(rows.whole))
    same = _copies(rows, (train, others))
    near = np.zeros(len(same), bool)
    together = rows.drawn == 1
    for column in range(len(rows.columns)) if together and len(rows.columns) > 1 else ():
        near |= _copies(rows, (train, others), column, passed_over=same)
    for split, place in splits.items():
        inside = slice(place.start - train.stop, place.stop - train.stop)
        if split != "train" and place.stop > place.start:
            yield Copies(
                split,
                rows=place.stop - place.start,
                some=rows.some,
                same=int(same[inside].sum()),
                near=int(near[inside].sum()) if together else None,
            )


def across(measured: Iterable[Copies]) -> Iterator[Finding]:
    """Finds the splits with so many copies that they change what is measured."""
    for one in measured:
        if one.found >= max(FEWEST, SHARE * one.rows):
            message = (
                f"{one.said}; a model that knows them is flattered: "
                "keep one of each, or split by what they have in common (`split: {by: group}`)"
            )
            yield Finding("duplicate", "warning", one.split, "", one.share, message, one.interval)


def conflicts(rows: Rows, outcome: np.ndarray) -> Iterator[Finding]:
    """Finds rows whose features are alike and whose labels differ, and what that costs.

    Args:
        rows: Of all splits.
        outcome: float64 [rows]: 1, 0, or NaN where there is no label.
    """
    labelled = ~np.isnan(outcome)
    _, group = np.unique(rows.whole[labelled], return_inverse=True)
    if not len(group) or not len(rows.columns):
        return
    positive = np.bincount(group, outcome[labelled])
    of_group = np.bincount(group)
    wrong = np.minimum(positive, of_group - positive)
    total, cost = int(labelled.sum()), float(wrong.sum() / labelled.sum())
    ceiling = (
        "rows that are alike in every feature differ in their label: "
        f"no model is right in more than {percent(1 - cost)} of the {total:,} rows{' looked at' * rows.some}"
    )
    everything = slice(0, len(labelled))
    copied = _copies(rows, (everything, everything))[labelled] & (wrong > 0)[group]
    if copied.sum() >= max(FEWEST, SHARE * total):
        message = (
            f"{int(copied.sum()):,} {ceiling}, and chance does not make them alike; "
            "find out which record is right, and keep one of each"
        )
        yield Finding("conflict", "warning", "all", "", cost, message, share_interval(cost, total))
    elif cost >= LARGEST_COST:
        message = f"{ceiling}, for the features tell few of them apart; a feature more may"
        yield Finding("conflict", "note", "all", "", cost, message, share_interval(cost, total))


def _copies(rows: Rows, pair: tuple[slice, slice], *columns: int, passed_over: np.ndarray | bool = False) -> np.ndarray:
    """Which rows of the second part are in the first one too, beyond chance; bool [rows of the second].

    Args:
        rows: Of all splits.
        pair: Where to look, and for which rows.
        columns: One that may differ, or none.
        passed_over: Rows that are known to be copies, bool [rows of the second].
    """
    first, second = pair
    itself = int(first == second)

    def alike(wanted: np.ndarray, *others: int) -> np.ndarray:
        """How many rows of the first part each of some rows of the second is like, but for some columns."""
        digests = rows.all_but(*columns, *others)
        there, asked = np.sort(digests[first]), digests[second][wanted]
        counts: np.ndarray = np.searchsorted(there, asked, "right") - np.searchsorted(there, asked) - itself
        return counts

    found: np.ndarray = (alike(np.ones(second.stop - second.start, bool)) > 0) & ~np.asarray(passed_over)
    if not found.any():
        return found
    chance = rows.chance.alike(*columns)[second]
    unlikely = chance <= BY_CHANCE
    found &= unlikely
    others = [column for column in range(len(rows.columns)) if column not in columns]
    if (
        found.sum() < FEWEST_OF_ONE_KIND
        or found.sum() < TIMES_CHANCE * chance[unlikely].sum()
        or alike(found).sum() < TIMES_CHANCE * _by_chance(partial(alike, unlikely), others) / rows.drawn
    ):
        found[:] = False
    return found


def _by_chance(alike: Callable[..., np.ndarray], others: Sequence[int]) -> float:
    """How many pairs of rows chance makes alike, for what the tree of the columns does not know.

    Pairs that are alike but for two columns, and differ in one of these, are no copies. They tell how often the other
    one is alike by chance, and so how many pairs are alike in both.
    """
    both_alike = float(alike().sum())
    differ = {column: float(alike(column).sum()) - both_alike for column in others}
    most = sorted(others, key=lambda column: -differ[column])[:LOOKED_AT]
    products, pairs, expected = 0.0, 0.0, 0.0
    for one, other in combinations(most, 2):
        both_differ = float(alike(one, other).sum()) - differ[one] - differ[other] - both_alike
        products, pairs = products + differ[one] * differ[other], pairs + both_differ
        if both_differ >= ENOUGH_PAIRS:
            expected = max(expected, differ[one] * differ[other] / both_differ)
    return max(expected, products / pairs) if pairs >= ENOUGH_PAIRS else expected
