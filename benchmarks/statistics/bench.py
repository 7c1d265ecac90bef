"""How long the statistics of a table take, against `tfdv.generate_statistics_from_csv` on the same rows.

    make bench NAME=statistics

Ours reads the Parquet file that cd4ml keeps, TFDV the same rows as CSV; what is imported is imported on both sides.
Every number of both is compared: what is counted must be equal, means and deviations to rounding, and quantiles lie
within TFDV's own error by rank. Then ten times as many rows are read by a process of its own, whose memory that it
shares with none (USS) is asked every fifth of a second. Processor time says more where the machine has other work.
`BENCH_PEER_ROWS` asks TFDV for fewer rows.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from closing import at_least, at_most, close
from pyarrow import csv

from cd4ml.validation import statistics
from cd4ml.validation.quiet_tfdv import tfdv

ROWS, PARTS = 2_000_000, 10
PEER_ROWS = int(os.environ.get("BENCH_PEER_ROWS", ROWS))
GOAL_RATIO, GOAL_MIB = 30, 3 * 1024
VALUES = {"country": 4, "platform": 30, "city": 800, "campaign": 5_000}
NUMBERS = 8
"""Columns of whole numbers, and as many of others."""
ERROR = 0.01
"""TFDV's own, of a quantile by rank."""
TIGHT = 1e-9


def main() -> None:
    """Measures, prints a table, and as the last line JSON."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        files = [folder / f"{part}.parquet" for part in range(PARTS)]
        for part, file in enumerate(files):
            pq.write_table(rows(part), file)
        whole = pq.read_table(files[0])
        csv.write_csv(whole.slice(0, PEER_ROWS), folder / "rows.csv")

        seconds, cpu_seconds, found = min((ours(files[:1]) for _ in range(3)), key=lambda one: one[0])
        peer_seconds, peer_cpu_seconds, theirs = peer(folder / "rows.csv")
        compared = found if PEER_ROWS == ROWS else statistics.compute(whole.slice(0, PEER_ROWS), "rows")
        differing = [*differences(compared, theirs, whole.slice(0, PEER_ROWS))]
        del whole
        command = [sys.executable, __file__, *map(str, files)]
        large = json.loads(subprocess.check_output(command).splitlines()[-1])  # noqa: S603 (our own)

    ratio = peer_seconds / PEER_ROWS * ROWS / seconds
    for name, shown in (
        (f"cd4ml, {ROWS:,} rows", f"{seconds:.2f} s, {cpu_seconds:.1f} s of processor time"),
        (f"TFDV from CSV, {PEER_ROWS:,} rows", f"{peer_seconds:.1f} s, {peer_cpu_seconds:.1f} s of processor time"),
        ("times as fast, row by row", f"{ratio:.0f}"),
        ("numbers that differ", f"{len(differing)} {differing[:5]}"),
        (f"cd4ml, {ROWS * PARTS:,} rows", f"{large['seconds']:.1f} s, {large['mib']:.0f} MiB"),
        ("of that once imported", f"{large['imported_mib']:.0f} MiB"),
    ):
        print(f"{name:<40} {shown}")  # noqa: T201
    close(
        "statistics",
        ratio=round(ratio, 1),
        seconds=round(seconds, 2),
        peer_seconds=round(peer_seconds, 2),
        peak_mib=round(large["mib"]),
        rows=PEER_ROWS,
        goals=[
            at_least("times as fast", ratio, GOAL_RATIO, digits=1),
            at_most("MiB", large["mib"], GOAL_MIB, digits=0),
            at_most("numbers that differ", len(differing), 0),
        ],
        cpu_seconds={"cd4ml": round(cpu_seconds, 1), "peer": round(peer_cpu_seconds, 1)},
        load_before=round(os.getloadavg()[0], 1),
    )
    if differing:
        raise SystemExit(1)


def rows(part: int) -> pa.Table:
    """A part of the rows: 20 columns, 4 of them text; a tenth of some is missing.

    Other numbers are as float32 has them, for TFDV reads no others from CSV.
    """
    random = np.random.default_rng(part)
    columns = {}
    for name, count in VALUES.items():
        values = pa.array([f"{name} {number}" for number in range(count)])
        columns[name] = values.take(pa.array((random.random(ROWS) ** 2 * count).astype(np.int64)))
    for place in range(NUMBERS):
        columns[f"whole_{place}"] = pa.array(random.integers(0, 10 ** (place + 1), ROWS), mask=missing(place, random))
        other = random.gamma(2, 10, ROWS).astype(np.float32).astype(np.float64)
        columns[f"other_{place}"] = pa.array(other, mask=missing(place, random))
    return pa.table(columns)


def missing(place: int, random: np.random.Generator) -> np.ndarray | None:
    """Every second column has rows without a value."""
    return random.random(ROWS) < 0.1 if place % 2 else None


def ours(files: list[Path]) -> tuple[float, float, Any]:
    """Seconds, seconds of processor time, and the statistics."""
    return _timed(lambda: statistics.of_files(files, "rows"))


def peer(file: Path) -> tuple[float, float, Any]:
    """Seconds, seconds of processor time, and the statistics."""
    options = tfdv.StatsOptions(num_histogram_buckets=100)
    return _timed(lambda: tfdv.generate_statistics_from_csv(str(file), stats_options=options))


def _timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    started, before = time.perf_counter(), time.process_time()
    found = work()
    return time.perf_counter() - started, time.process_time() - before, found


def differences(one: Any, other: Any, table: pa.Table) -> Iterator[str]:
    """The columns, and what in them is not the same."""
    theirs = {feature.path.step[0]: feature for feature in other.datasets[0].features}
    if one.datasets[0].num_examples != other.datasets[0].num_examples:
        yield "rows"
    for feature in one.datasets[0].features:
        name = feature.path.step[0]
        if feature.HasField("string_stats"):
            yield from (f"{name}: {what}" for what in _different(feature.string_stats, theirs[name].string_stats))
            continue
        numbers, others = feature.num_stats, theirs[name].num_stats
        for what in ("mean", "std_dev"):
            if not math.isclose(getattr(numbers, what), getattr(others, what), rel_tol=TIGHT):
                yield f"{name}: {what}"
        there = np.sort(table[name].drop_null().to_numpy())
        yield from (f"{name}: {what}" for what in _far(numbers, there))
        yield from (f"{name}: {what}" for what in _different(numbers, others))


def _far(numbers: Any, there: np.ndarray) -> Iterator[str]:
    """What lies farther from its rank than TFDV's error allows."""
    (quantiles,) = [one for one in numbers.histograms if one.type == one.QUANTILES]
    wanted = np.linspace(0, 1, len(quantiles.buckets) + 1)[1:]
    found = {"median": [(numbers.median, 0.5)]} | {
        "quantiles": [(bucket.high_value, share) for bucket, share in zip(quantiles.buckets, wanted, strict=True)]
    }
    for what, values in found.items():
        for value, share in values:
            low, high = (np.searchsorted(there, value, side) / len(there) for side in ("left", "right"))
            if not low - ERROR <= share <= high + ERROR:
                yield what


def _different(one: Any, other: Any) -> Iterator[str]:
    """The fields that are not equal, but for means and quantiles."""
    one, other = type(one).FromString(one.SerializeToString()), type(other).FromString(other.SerializeToString())
    for stats in (one, other):
        stats.common_stats.ClearField("num_values_histogram")
        for field in ("mean", "std_dev", "median", "histograms"):
            if field in stats.DESCRIPTOR.fields_by_name:
                stats.ClearField(field)
    for field in one.DESCRIPTOR.fields:
        if getattr(one, field.name) != getattr(other, field.name):
            yield field.name


def many(files: list[Path]) -> None:
    """Prints what the statistics of all files take, as JSON."""
    before, peak, ended = _uss_mib(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.2):
            peak = max(peak, _uss_mib())

    watching = threading.Thread(target=watch)
    watching.start()
    seconds, _, found = ours(files)
    ended.set()
    watching.join()
    if found.datasets[0].num_examples != ROWS * PARTS:
        raise SystemExit("rows are lost")
    print(json.dumps({"seconds": seconds, "mib": peak, "imported_mib": before}))  # noqa: T201


def _uss_mib() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        many([Path(file) for file in sys.argv[1:]])
    else:
        main()
