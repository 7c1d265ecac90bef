"""Which rows get a label: all alike, or such as the model's own answer chose.

Whoever gives a loan to those that a model calls safe learns of these alone whether they pay it back: what labelled rows
say is then of them, and of nobody else. So it is tested whether the share of rows with a label goes by what was
predicted, within each arm, of one row a caller, for a caller's rows get their labels together. Where it does, labels
count of an arm in which it does not, as one that explores: there the rows are those of all requests, each as likely as
the router's propensity says. Rows that were likelier to come to that arm than others are left out by chance as much as
they were likelier, so that what remains are requests as they came.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from cd4ml.contracts.bounds import FEWEST_ROWS
from cd4ml.contracts.verdict import Outcome
from cd4ml.contracts.window_quality import Labelling
from cd4ml.monitoring import callers
from cd4ml.monitoring.answered import Answers
from cd4ml.names import counted

ERROR = 0.001
"""How often chance alone is taken for labels that go by the prediction, in one window of one version."""
ALIKE = 0.8
"""Shares of which the least is this part of the greatest, or more, are no selection that matters."""
PARTS = 10
"""Of as many requests each, by what was predicted, where labels are many."""
FEWEST_IN_PART, FEWEST_EXPECTED = 8, 5.0
"""Callers of a part with a label, and without one: as parts are made, and as the test needs them."""


@dataclass(frozen=True)
class Sample:
    """The labelled rows that stand for all."""

    places: np.ndarray
    """int [rows], among the answers; none where there is no such sample."""
    labelling: Labelling


@dataclass(frozen=True)
class _Arm:
    """How the labels of one arm go by what was predicted."""

    name: str
    p_value: float
    least: float
    greatest: float
    share: float

    def is_selective(self, error: float) -> bool:
        """Whether it is more than chance, and matters."""
        return self.p_value < error and self.least < ALIKE * self.greatest

    @property
    def explores(self) -> bool:
        """Whether it has labels of rows whatever was predicted of them, also where they are few."""
        return self.share > 0 and self.least >= self.greatest / 2


def sample(answers: Answers, *, seed: int = 0) -> Sample:
    """The labelled rows that stand for all rows of a version, once its labels are ripe.

    Args:
        answers: Of the version, with at least one label.
        seed: Of what is left out by chance.
    """
    names = answers.rows["arm"].to_numpy(zero_copy_only=False).astype(str)
    owns = {str(name): names == name for name in np.unique(names)}
    alone = {name: callers.one_each(answers.rows, np.flatnonzero(own), seed=seed) for name, own in owns.items()}
    arms = [_arm(answers, name, own=own, alone=alone[name]) for name, own in owns.items()]
    error = ERROR / (len(arms) + (len(arms) > 1))
    shares = {one.name: (one.least, one.greatest) for one in arms}
    p_value = min(one.p_value for one in arms)
    chosen = [one for one in arms if one.is_selective(error)]
    every = np.flatnonzero(answers.labelled)
    if not chosen and _alike(answers, alone, error=error):
        reason = (
            f"{counted(len(every), 'row')} of {len(answers.labelled):,} have a label, whatever was predicted of them"
        )
        return Sample(every, Labelling(Outcome.PASSED, len(every), reason, p_value, shares))
    said = "; ".join(_said(one) for one in chosen) or "the arms differ in how many of their rows have a label"
    open_ = [one.name for one in arms if one not in chosen and one.explores]
    places = np.flatnonzero(answers.labelled & np.isin(names, open_))
    propensity = pc.fill_null(answers.rows["propensity"], np.nan).to_numpy()[places]
    if len(places) < FEWEST_ROWS or not ((propensity > 0) & (propensity <= 1)).all():
        reason = (
            f"{said}: so labelled rows do not stand for all, and how right the model is is unknown; let some "
            "requests get a label whatever is predicted of them, as an arm of their own"
        )
        return Sample(every[:0], Labelling(Outcome.INCONCLUSIVE, 0, reason, p_value, shares))
    kept = places[np.random.default_rng(seed).random(len(places)) * propensity < propensity.min()]
    reason = (
        f"{said}; so {counted(len(kept), 'labelled row')} of {' and '.join(open_)}, where labels do not go by that, "
        "stand for all, each as likely as the others to have come there"
    )
    return Sample(kept, Labelling(Outcome.PASSED, len(kept), reason, p_value, shares))


def _arm(answers: Answers, name: str, *, own: np.ndarray, alone: np.ndarray) -> _Arm:
    labelled = answers.labelled[alone]
    rarer = min(int(labelled.sum()), int((~labelled).sum()))
    parts = _parts(answers.outputs[alone], max(2, min(PARTS, rarer // FEWEST_IN_PART)))
    table = np.stack([np.bincount(parts, kind) for kind in (labelled, ~labelled)]) if len(parts) else np.zeros((2, 1))
    table = _merged(table)
    rows = table.sum(axis=0)
    shares = table[0] / np.maximum(rows, 1)
    share = float(answers.labelled[own].mean())
    return _Arm(name, _by_chance(table), float(shares.min()), float(shares.max()), share)


def _parts(outputs: np.ndarray, most: int) -> np.ndarray:
    """The part of each row by what was predicted (int [rows]): the number, or the class and how sure it is.

    Args:
        outputs: float [rows] or [rows, classes].
        most: How many parts.
    """
    scores = outputs if outputs.ndim == 1 else outputs.max(axis=1)
    parts = most if outputs.ndim == 1 else max(most // outputs.shape[1], 1)
    edges = np.unique(np.quantile(scores, np.arange(1, parts) / parts)) if len(scores) else np.zeros(0)
    of_score = np.searchsorted(edges, scores, side="right")
    found: np.ndarray = of_score if outputs.ndim == 1 else outputs.argmax(axis=1) * parts + of_score
    return found


def _merged(table: np.ndarray) -> np.ndarray:
    """Leaves out empty parts, and puts those together that are too small for the test, int [2, parts]."""
    table = table[:, table.sum(axis=0) > 0]
    total = table.sum()
    if not total:
        return np.zeros((2, 1))
    expected = table.sum(axis=0) * min(table.sum(axis=1)) / total
    small = expected < FEWEST_EXPECTED
    rest = table[:, small].sum(axis=1, keepdims=True)
    return np.hstack([table[:, ~small], rest]) if small.any() else table


def _by_chance(table: np.ndarray) -> float:
    """The p-value of Pearson's test that the shares of all parts are one; [2, parts]."""
    from scipy import special

    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / max(table.sum(), 1)
    if table.shape[1] < 2 or expected.min() == 0:
        return 1.0
    return float(special.chdtrc(table.shape[1] - 1, ((table - expected) ** 2 / expected).sum()))


def _alike(answers: Answers, alone: Mapping[str, np.ndarray], *, error: float) -> bool:
    """Whether the arms have as many labels, each by its callers."""
    if len(alone) < 2:
        return True
    labelled = [answers.labelled[places] for places in alone.values()]
    table = np.array([[one.sum() for one in labelled], [(~one).sum() for one in labelled]])
    shares = table[0] / np.maximum(table.sum(axis=0), 1)
    return bool(_by_chance(table) >= error or shares.min() >= ALIKE * shares.max())


def _said(one: _Arm) -> str:
    return (
        f"whether a row of {one.name} has a label goes by what was predicted of it: from {one.least:.0%} to "
        f"{one.greatest:.0%} of the rows have one"
    )
