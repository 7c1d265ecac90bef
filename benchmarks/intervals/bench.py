"""How often the 95% intervals of an evaluation hold the truth, in samples drawn from what is known.

    .venvs/evaluate/bin/python benchmarks/intervals/bench.py

Two models whose scores are normal, by class, are evaluated on many samples at once, as if each were a slice; so are two
that tell three classes apart, and two that predict a number. Of groups of known rates the gap is found in many samples.
It prints the share of the intervals that hold the truth; a dash stands for samples of which most are too small to have
one. The last line is JSON.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
from closing import close
from rich.console import Console
from rich.table import Table
from scipy import special

from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.evaluation import OVERALL, Slice, at, of_class
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.regression import REGRESSION
from cd4ml.evaluation import confidence, fairness, measure
from cd4ml.evaluation.estimates import Scored
from cd4ml.evaluation.rows import Slicing

ROWS = (30, 100, 300, 1_000, 3_000, 10_000)
RATES = (0.5, 0.1, 0.03, 0.01)
APART = {"fair": 1.0, "good": 2.0}
"""By name: how far apart the classes are, in standard deviations: an AUC of 0.76 and of 0.92."""
METRICS = ("auc", "auc_pr", "binary_cross_entropy", "calibration", "label_rate")
AT_THRESHOLD = ("accuracy", "precision", "true_positive_rate", "false_positive_rate", "selection_rate")
CHANCES = ("normal", "skewed")
"""What a label has beside what can be known of it."""
NUMBERS = tuple(one.name for one in REGRESSION.on_all if one.interval)
CLASSES = {"usual": 0.5, "seldom": 0.3, "rare": 0.2}
"""Of three: the share of each."""
OF_CLASSES = (
    *(one.name for one in MULTICLASS.on_all if one.interval),
    *(of_class(one.name, "rare") for one in MULTICLASS.by_class),
)
KNOWN = 4_000_000
"""Rows by which the truth is known."""


class Held(NamedTuple):
    """Of the samples: the share that has an interval, and of these the share that holds the truth."""

    given: float
    held: float


Samples = tuple[Scored, list[Slice], list[float]]
"""The rows, the slices of both models, and the thresholds of their rates."""


def samples(rows: int, *, rate: float, apart: float, count: int, seed: int) -> Samples:
    """Samples of one size, each a slice, with what TFMA finds of them.

    Args:
        rows: Of each sample.
        rate: Of positives.
        apart: How far apart the classes are.
        count: Of samples.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    labels = random.random(rows * count) < rate
    noise = random.normal(size=(2, rows * count))
    scores = {
        "candidate": apart * labels + noise[0],
        "baseline": 0.9 * apart * labels + 0.9 * noise[0] + np.sqrt(1 - 0.9**2) * noise[1],
    }
    reach = {"candidate": apart, "baseline": 0.9 * apart}
    predictions = {
        role: special.expit(special.logit(rate) + reach[role] * one - reach[role] ** 2 / 2).astype(np.float32)
        for role, one in scores.items()
    }
    names = [f"sample={place}" for place in range(count)]
    codes = np.repeat(np.arange(count), rows)
    scored = Scored(BINARY, labels, predictions, [Slicing(names, codes)])
    slices = [
        Slice(role, name, {}, rows, metrics, {})
        for role, one in predictions.items()
        for name, metrics in zip(
            names, _rates(labels, selected=one > np.float64(rate), rows=rows, threshold=rate), strict=True
        )
    ]
    return scored, slices, [rate]


def samples_of_numbers(rows: int, *, chance: str, count: int, seed: int) -> Samples:
    """Samples of one size of a number, and of two models that predict it, both a little too high.

    Args:
        rows: Of each sample.
        chance: What the label has beside its part that can be known: one of `CHANCES`.
        count: Of samples.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    part, noise, other = random.normal(size=(3, rows * count))
    labels = 20 + 3 * part + (noise if chance == "normal" else random.lognormal(0, 0.7, rows * count))
    given = {"candidate": 20.4 + 3 * part, "baseline": 20.4 + 2.7 * part + 0.5 * other}
    names = [f"sample={place}" for place in range(count)]
    codes = np.repeat(np.arange(count), rows)
    predictions = {role: one.astype(np.float32) for role, one in given.items()}
    scored = Scored(REGRESSION, labels, predictions, [Slicing(names, codes)])
    slices = [Slice(role, name, {}, rows, {"example_count": float(rows)}, {}) for role in given for name in names]
    return scored, slices, []


def samples_of_classes(rows: int, *, apart: float, count: int, seed: int) -> Samples:
    """Samples of one size of three classes, and of two models that tell them apart.

    Args:
        rows: Of each sample.
        apart: How far a class is from the others by its own score, in standard deviations.
        count: Of samples.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    shares = np.array([*CLASSES.values()])
    labels = random.choice(len(shares), rows * count, p=shares)
    own = np.eye(len(shares))[labels]
    noise = random.normal(size=(2, *own.shape))
    mixed = 0.9 * noise[0] + np.sqrt(1 - 0.9**2) * noise[1]
    scores = {"candidate": (apart, apart * own + noise[0]), "baseline": (0.9 * apart, 0.9 * apart * own + mixed)}
    predictions = {
        role: special.softmax(np.log(shares) + reach * one, axis=1).astype(np.float32)
        for role, (reach, one) in scores.items()
    }
    names = [f"sample={place}" for place in range(count)]
    scored = Scored(MULTICLASS, labels, predictions, [Slicing(names, np.repeat(np.arange(count), rows))], [*CLASSES])
    slices = [Slice(role, name, {}, rows, {"example_count": float(rows)}, {}) for role in scores for name in names]
    return scored, slices, []


def _rates(
    labels: np.ndarray, *, selected: np.ndarray, rows: int, threshold: float
) -> Iterator[dict[str, float | None]]:
    """The rates of each sample; None where it is of no rows."""
    labels, selected = labels.reshape(-1, rows), selected.reshape(-1, rows)
    counts = {
        "accuracy": (labels == selected, np.ones_like(labels)),
        "precision": (labels, selected),
        "recall": (selected, labels),
        "true_positive_rate": (selected, labels),
        "false_positive_rate": (selected, ~labels),
        "true_negative_rate": (~selected, ~labels),
        "false_negative_rate": (~selected, labels),
        "selection_rate": (selected, np.ones_like(labels)),
    }
    shares = {}
    for name, (found, of) in counts.items():
        with np.errstate(invalid="ignore"):
            shares[at(name, threshold)] = (found & of).sum(axis=1) / of.sum(axis=1)
    for place, label_rate in enumerate(labels.mean(axis=1).tolist()):
        of_sample = {name: None if np.isnan(one[place]) else float(one[place]) for name, one in shares.items()}
        yield {"example_count": float(rows), "label_rate": label_rate, **of_sample}


@cache
def known(rate: float, apart: float) -> dict[str, float]:
    """The metrics and the changes on so many rows that chance is little."""
    return _true(samples(KNOWN, rate=rate, apart=apart, count=1, seed=1))


@cache
def known_of_numbers(chance: str) -> dict[str, float]:
    """The same of a number."""
    return _true(samples_of_numbers(KNOWN, chance=chance, count=1, seed=1))


@cache
def known_of_classes(apart: float) -> dict[str, float]:
    """The same of three classes."""
    return _true(samples_of_classes(KNOWN, apart=apart, count=1, seed=1))


def _true(drawn: Samples) -> dict[str, float]:
    found, changes = measure.complete(*drawn)
    truth = {name: value for name, value in found[0].metrics.items() if value is not None}
    return truth | {f"change of {one.metric}": one.value for one in changes}


def coverage(rows: int, *, rate: float, apart: float, count: int, seed: int = 0) -> dict[str, Held]:
    """How often the intervals of metrics and of changes (`change of auc`) hold the truth, by what they are of."""
    drawn = samples(rows, rate=rate, apart=apart, count=count, seed=seed)
    names = [*METRICS, *(at(metric, rate) for metric in AT_THRESHOLD)]
    return _held(drawn, known(rate, apart), names=names, count=count)


def coverage_of_numbers(rows: int, *, chance: str, count: int, seed: int = 0) -> dict[str, Held]:
    """The same of a number."""
    drawn = samples_of_numbers(rows, chance=chance, count=count, seed=seed)
    return _held(drawn, known_of_numbers(chance), names=NUMBERS, count=count)


def coverage_of_classes(rows: int, *, apart: float, count: int, seed: int = 0) -> dict[str, Held]:
    """The same of three classes; of the metrics of each class those of the rarest."""
    drawn = samples_of_classes(rows, apart=apart, count=count, seed=seed)
    return _held(drawn, known_of_classes(apart), names=OF_CLASSES, count=count)


def _held(drawn: Samples, truth: dict[str, float], *, names: Sequence[str], count: int) -> dict[str, Held]:
    found, changes = measure.complete(*drawn)
    intervals = [
        (name, interval) for one in found if one.model == "candidate" for name, interval in one.intervals.items()
    ]
    intervals += [(f"change of {one.metric}", one.interval) for one in changes if one.interval]
    held: dict[str, list[bool]] = {}
    for name, (low, high) in intervals:
        held.setdefault(name, []).append(low <= truth[name] <= high)
    return {
        kind + metric.partition("@")[0]: Held(len(of) / count, float(np.mean(of)) if of else np.nan)
        for metric in names
        for kind in ("", "change of ")
        if (of := held.get(kind + metric, [])) is not None and kind + metric in truth
    }


def coverage_of_gaps(rates: list[float], *, rows: int, count: int, seed: int = 0) -> dict[str, Held]:
    """How often the intervals of the gap and of the ratio between groups of known rates hold the truth."""
    random = np.random.default_rng(seed)
    name = at("selection_rate", 0.5)
    found = random.binomial(rows, rates, (count, len(rates))) / rows
    lows, highs = confidence.proportion(found, np.full(found.shape, rows))
    truth = {"gap": max(rates) - min(rates), "ratio": min(rates) / max(rates)}
    held: dict[str, list[bool]] = {"gap": [], "ratio": []}
    empty = {at(one.name, 0.5): None for one in BINARY.among_groups} | {"calibration": None, "label_rate": 0.5}
    for sample, low, high in zip(found.tolist(), lows.tolist(), highs.tolist(), strict=True):
        groups = [
            Slice("candidate", f"group={place}", {"group": str(place)}, rows, {**empty, name: rate}, {name: ends})
            for place, (rate, ends) in enumerate(zip(sample, zip(low, high, strict=True), strict=True))
        ]
        overall = replace(groups[0], slice=OVERALL, values={})
        one = fairness.compare(BINARY, slices=[overall, *groups], columns=[["group"]], thresholds=[0.5])[0]
        for what, interval in (("gap", one.gap_interval), ("ratio", one.ratio_interval)):
            if interval:
                held[what].append(interval[0] <= truth[what] <= interval[1])
    return {what: Held(len(of) / count, float(np.mean(of)) if of else np.nan) for what, of in held.items()}


def _count(rows: int) -> int:
    return min(1_000, 5_000_000 // rows)


def _table(title: str, cells: Sequence[dict[str, Held]], told: list[float]) -> Table:
    """The shares that hold the truth, one column a size; they are added to those told before."""
    table = Table(title, *(f"{rows:,} rows" for rows in ROWS))
    for metric in cells[0]:
        row = [of_rows[metric] for of_rows in cells]
        table.add_row(metric, *(f"{100 * one.held:.1f}" if one.given > 0.5 else "–" for one in row))
        told += [one.held for one in row if one.given > 0.5]
    return table


def main() -> None:
    """Prints a table for each kind of sample and for gaps, and as the last line JSON."""
    console = Console(width=120)
    told: list[float] = []
    for quality, apart in APART.items():
        for rate in RATES:
            cells = [coverage(rows, rate=rate, apart=apart, count=_count(rows)) for rows in ROWS]
            console.print(_table(f"{quality} model, rate {rate:g}", cells, told))
    for quality, apart in APART.items():
        cells = [coverage_of_classes(rows, apart=apart, count=_count(rows)) for rows in ROWS]
        console.print(_table(f"{quality} model of three classes", cells, told))
    for chance in CHANCES:
        cells = [coverage_of_numbers(rows, chance=chance, count=_count(rows)) for rows in ROWS]
        console.print(_table(f"a number, {chance}", cells, told))
    table = Table("groups", "rows of each", "gap", "ratio")
    for rates in ([0.3] * 2, [0.3, 0.4], [0.1, 0.2], [0.3] * 5, [0.3, 0.3, 0.3, 0.3, 0.5], [0.3] * 10, [0.02] * 3):
        for rows in (100, 1_000):
            found = coverage_of_gaps(rates, rows=rows, count=1_000)
            table.add_row(", ".join(map(str, rates)), f"{rows:,}", *(f"{100 * one.held:.1f}" for one in found.values()))
    console.print(table)
    close("intervals", least=round(min(told), 3), most=round(max(told), 3))


if __name__ == "__main__":
    main()
