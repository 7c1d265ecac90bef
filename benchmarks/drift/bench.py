"""How often tables that do not differ raise an alarm, beside a fixed limit, and how often planted drift is found.

    make bench NAME=drift

`BENCH_PAIRS` draws fewer pairs of each size than 1,000. A fixed limit of 0.1 on the Jensen-Shannon distance of each
column is what most tools do by default; it is held against the same pairs.
"""

import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from closing import close

from cd4ml.contracts.dataset import Origin
from cd4ml.contracts.drift import FALSE_ALARMS, LARGE, Comparison
from cd4ml.validation.drift import reference
from cd4ml.validation.drift.compare import compare_samples
from cd4ml.validation.drift.effect import divergence
from cd4ml.validation.drift.pair import pair

PAIRS = int(os.environ.get("BENCH_PAIRS", "1000"))
ROWS = (100, 1000, 20_000)
COLUMNS = (5, 50)
UNEQUAL = ((20_000, 100), (20_000, 1000))
"""Rows of pairs whose sizes differ much; half of their columns are rare flags."""
MOST = FALSE_ALARMS + 3 * np.sqrt(FALSE_ALARMS * (1 - FALSE_ALARMS) / PAIRS)
"""The share of alarms up to which a stated rate is kept: so many are no surprise at that rate."""
PLANTED = 100
"""Times that each drift is planted at each size."""
CATEGORIES = 2000
Table = dict[str, pa.Array]


def clean(random: np.random.Generator, rows: int, columns: int) -> Table:
    """Columns of ten kinds in turn: long tails, ties, rare values, missing ones, constants."""
    return {f"column_{place}": KINDS[place % len(KINDS)](random, rows) for place in range(columns)}


def with_flags(random: np.random.Generator, rows: int, columns: int) -> Table:
    """The same, half of it flags that one row in 2,000 has."""
    flags = {f"flag_{place}": pa.array((random.random(rows) < 0.0005).astype(int)) for place in range(columns // 2)}
    return clean(random, rows, columns - len(flags)) | flags


def times(random: np.random.Generator, rows: int, hour: float = 12) -> pa.Array:
    """Moments of thirty days, most around one hour of the day."""
    seconds = random.normal(hour, 3, rows) % 24 * 3600 + 86_400 * random.integers(0, 30, rows)
    return pa.array((seconds * 1e6).astype(np.int64), pa.timestamp("us"))


def _choice(random: np.random.Generator, rows: int, *, texts: list[str], shares: np.ndarray) -> pa.Array:
    codes = random.choice(len(texts), rows, p=np.asarray(shares) / np.sum(shares))
    return pa.DictionaryArray.from_arrays(codes.astype(np.int32), texts).cast(pa.string())


TEXTS = [f"v{number}" for number in range(CATEGORIES)]
LONG_TAIL = 1 / np.arange(1, CATEGORIES + 1) ** 1.1
KINDS: tuple[Callable[[np.random.Generator, int], pa.Array], ...] = (
    lambda random, rows: pa.array(random.normal(size=rows)),
    lambda random, rows: pa.array(random.lognormal(0, 2, rows), mask=random.random(rows) < 0.02),
    lambda random, rows: pa.array(np.where(random.random(rows) < 0.95, 0.0, random.exponential(size=rows))),
    lambda random, rows: pa.array(random.poisson(0.3, rows)),
    lambda random, rows: _choice(random, rows, texts=[*"abcde"], shares=np.array([0.6, 0.3, 0.05, 0.04, 0.01])),
    lambda random, rows: _choice(random, rows, texts=TEXTS, shares=LONG_TAIL),
    lambda random, rows: pa.array(random.random(rows) < 0.02),
    times,
    lambda random, rows: pa.array(random.integers(0, 80, rows), mask=random.random(rows) < 0.01),
    lambda _random, rows: pa.array(np.ones(rows)),
)
SLICE = "column_4"


def compared(before: Table, after: Table) -> Comparison:
    """Compares two tables as two versions of a dataset are compared."""
    first = reference.take(pa.table(before), origin=Origin("players", 1, ""), split="train", without={})
    about = reference.about(first)
    second = reference.take(pa.table(after), origin=Origin("players", 2, ""), split="train", without={}, like=about)
    return compare_samples(first, second, slices=[SLICE])


def smallest_rate(found: Comparison) -> float:
    """The smallest rate of false alarms at which this comparison is an alarm."""
    told = [found.told_apart.false_alarm_rate] if found.told_apart else []
    return min([change.false_alarm_rate for change in found.changes] + told)


@dataclass(frozen=True)
class Drift:
    """One drift, planted into one column of a table that is clean otherwise."""

    what: str
    column: str
    planted: Callable[[Table, np.random.Generator, int], pa.Array]
    """The column with as much of it as 100, 1,000 or 20,000 rows show."""
    said: str


def _by_rows(rows: int, *sizes: float) -> float:
    return sizes[ROWS.index(rows)]


def _new(table: Table, random: np.random.Generator, rows: int) -> pa.Array:
    is_new = random.random(rows) < _by_rows(rows, 0.25, 0.04, 0.003)
    return pa.array(np.where(is_new, "BRL", table["column_4"].to_numpy(zero_copy_only=False)))


def _missing(table: Table, random: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(
        table["column_0"].to_numpy(zero_copy_only=False), mask=random.random(rows) < _by_rows(rows, 0.3, 0.05, 0.005)
    )


def _shifted(table: Table, _random: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(table["column_0"].to_numpy(zero_copy_only=False) + _by_rows(rows, 1.0, 0.35, 0.1))


def _one_slice(table: Table, _random: np.random.Generator, rows: int) -> pa.Array:
    in_slice = table[SLICE].to_numpy(zero_copy_only=False) == "b"
    return pa.array(table["column_0"].to_numpy(zero_copy_only=False) + in_slice * _by_rows(rows, 4, 0.9, 0.2))


DRIFTS = (
    Drift("mean moved by 1 / 0.35 / 0.1 standard deviations", "column_0", _shifted, "the mean is"),
    Drift(
        "times 100",
        "column_1",
        lambda table, *_: pa.array(table["column_1"].to_numpy(zero_copy_only=False) * 100),
        "cents instead of",
    ),
    Drift("new category of 25 / 4 / 0.3 % of the rows", "column_4", _new, "BRL"),
    Drift("missing in 30 / 5 / 0.5 % of the rows", "column_0", _missing, "is missing in"),
    Drift("two hours later", "column_7", lambda _, random, rows: times(random, rows, 14), "hours later"),
    Drift("mean moved by 4 / 0.9 / 0.2 in a slice of 30 %", "column_0", _one_slice, f"only where {SLICE}=b"),
)


def main() -> None:
    """Draws pairs of each size, prints two tables, and as the last line JSON."""
    started = time.monotonic()
    goals = []
    print(f"{PAIRS} pairs without drift: the share of alarms at a false-alarm rate of")  # noqa: T201
    sizes = [(rows, rows, columns, clean) for rows in ROWS for columns in COLUMNS]
    sizes += [(rows, others, 10, with_flags) for rows, others in UNEQUAL]
    for rows, others, columns, drawn in sizes:
        alarms, fixed = _false_alarms(rows, others, columns=columns, drawn=drawn)
        shown = ", ".join(f"{rate}: {share:.3f}" for rate, share in alarms.items())
        print(f"{rows:>7,} and {others:,} rows, {columns:>2} columns: {shown}; fixed limit: {fixed:.3f}")  # noqa: T201
        name = f"false alarms, {rows} and {others} rows, {columns} columns"
        share = alarms[FALSE_ALARMS]
        goals.append({"goal": name, "value": share, "limit": FALSE_ALARMS, "met": bool(share <= MOST)})
    print(f"planted in one of 10 columns, {PLANTED} times: found / named")  # noqa: T201
    for drift in DRIFTS:
        found = {rows: _found(drift, rows) for rows in ROWS}
        shown = ", ".join(f"{rows:,} rows: {one[0]:.2f} / {one[1]:.2f}" for rows, one in found.items())
        print(f"{drift.what}: {shown}")  # noqa: T201
    close(
        "drift",
        seconds=round(time.monotonic() - started),
        peak_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        rows=max(ROWS),
        goals=goals,
    )
    sys.exit(not all(goal["met"] for goal in goals))


def _false_alarms(
    rows: int, others: int, *, columns: int, drawn: Callable[[np.random.Generator, int, int], Table]
) -> tuple[dict[float, float], float]:
    """By stated rate the share of pairs with an alarm, and that of a fixed limit."""
    random = np.random.default_rng(others + columns)
    rates, distances = [], []
    for _ in range(PAIRS):
        before, after = drawn(random, rows, columns), drawn(random, others, columns)
        rates.append(smallest_rate(compared(before, after)))
        distances.append(max(_distance(before[name], after[name]) for name in before))
    shares = {rate: float(np.mean(np.array(rates) <= rate)) for rate in (0.1, 0.05, FALSE_ALARMS)}
    return shares, float(np.mean(np.array(distances) > LARGE))


def _distance(before: pa.Array, after: pa.Array) -> float:
    """Jensen and Shannon's, with what chance makes of it."""
    both = pair("", pa.chunked_array([before]), pa.chunked_array([after]))
    return float(np.sqrt(divergence(*both.cells.shares))) if both else 0.0


def _found(drift: Drift, rows: int) -> tuple[float, float]:
    """How often it is found beyond chance, and how often it is named."""
    random = np.random.default_rng(rows)
    found, named = 0, 0
    for _ in range(PLANTED):
        after = clean(random, rows, 10)
        after[drift.column] = drift.planted(after, random, rows)
        changes = {one.column: one.said for one in compared(clean(random, rows, 10), after).beyond_chance()}
        found += drift.column in changes
        named += drift.said in changes.get(drift.column, "")
    return found / PLANTED, named / PLANTED


if __name__ == "__main__":
    main()
