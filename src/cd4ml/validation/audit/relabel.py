"""Labels that the other rows hold for wrong: those to look at first."""

from collections.abc import Iterator, Mapping

import numpy as np

from cd4ml.contracts.findings import Finding, percent
from cd4ml.contracts.shares import share_interval
from cd4ml.validation.audit.sample import Sample

KNOWING = 0.85
"""A model whose area is not surely above this knows too little to doubt a label."""
IMPROBABLE = 0.1
FEWEST = 5
NAMED = 10


def examine(sample: Sample, splits: Mapping[str, slice]) -> Iterator[Finding]:
    """Finds rows whose label is improbable by a model that has not seen them (confident learning).

    A row is doubted where the model is as sure of the other class as it is of those that have it.

    Args:
        sample: The features, and the label.
        splits: Where the rows of each are in the table.
    """
    small = sample.smaller()
    area, chances = small.together(sample.features.names)
    if area.low < KNOWING:
        return
    of_label = np.where(small.outcome, chances, 1 - chances)
    usual = {one: of_label[small.outcome == one].mean() for one in (True, False)}
    of_other = np.where(small.outcome, usual[False], usual[True])
    doubted = np.flatnonzero((1 - of_label >= of_other) & (of_label <= IMPROBABLE))
    if len(doubted) < FEWEST:
        return
    first = doubted[np.argsort(of_label[doubted], kind="stable")][:NAMED]
    share, rows = len(doubted) / len(of_label), len(of_label)
    message = (
        f"{len(doubted):,} of {rows:,} rows looked at, {percent(share)}, have a label that the others hold for "
        f"improbable (a model of AUC {area}); look at these first: {_named(small.rows[first], splits)}"
    )
    yield Finding("relabel", "note", "all", "", share, message, share_interval(share, rows))


def _named(rows: np.ndarray, splits: Mapping[str, slice]) -> str:
    """Where rows stand, counted from 1 within their split, for a key may tell who a person is."""
    said = []
    for split, place in splits.items():
        inside = rows[(rows >= place.start) & (rows < place.stop)] - place.start + 1
        if len(inside):
            said.append(f"{split} row{'s' * (len(inside) > 1)} {', '.join(map(str, inside))}")
    return "; ".join(said)
