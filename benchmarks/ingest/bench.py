"""How long a CSV file takes to become a version of a dataset, against pandas' `read_csv` and `to_parquet`.

    make bench NAME=ingest

Each side is a process of its own, which has imported what it needs before the clock starts; the fastest of three. Ours
finds out how the file is written and what its columns hold, checks the key, computes the digest and writes the Delta
table; pandas is told the column of dates, and writes one Parquet file. Then ten times as many rows are taken, to see
that memory hardly grows with them, and the first file once more, which has not changed. The seconds of the processors
are those that each side used, whatever else the machine did.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from closing import at_least, at_most, close
from pyarrow import csv

ROWS, TIMES, REPEATS = int(os.environ.get("BENCH_ROWS", 1_000_000)), 10, 3
GOAL_ROWS_A_SECOND, GOAL_UNCHANGED, GOAL_GROWTH_MIB = 500_000, 1.0, 400
PANDAS = Path(".venvs/evaluate/bin/python")

OURS = """
import json, resource, sys, time
from cd4ml.data.ingest import ingest
file, store = sys.argv[1:]
imported = time.process_time()
began = time.perf_counter()
ingest(file, store=store, name="players", key="player", time_column="offered_at")
seconds, cpu = time.perf_counter() - began, time.process_time() - imported
began = time.perf_counter()
ingest(file, store=store, name="players", key="player", time_column="offered_at")
unchanged = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "cpu": cpu, "unchanged": unchanged, "mib": peak}))
"""
THEIRS = """
import json, resource, sys, time
import pandas, pyarrow.parquet
file, target = sys.argv[1:]
imported = time.process_time()
began = time.perf_counter()
pandas.read_csv(file, parse_dates=["offered_at"]).to_parquet(target)
seconds, cpu = time.perf_counter() - began, time.process_time() - imported
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "cpu": cpu, "mib": peak}))
"""


def main() -> None:
    """Measures, prints a table, and as the last line JSON."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        small, large = folder / "small.csv", folder / "large.csv"
        write(small, ROWS)
        write(large, ROWS * TIMES)
        python = Path(sys.executable)
        ours = fastest(python, OURS, lambda turn: [small, folder / f"store{turn}"])
        theirs = fastest(PANDAS, THEIRS, lambda _: [small, folder / "pandas.parquet"])
        many = run(python, OURS, [large, folder / "store"])

    rate = ROWS / ours["seconds"]
    growth = many["mib"] - ours["mib"]
    for name, found in (
        (f"cd4ml, {ROWS:,} rows", ours),
        (f"pandas, {ROWS:,} rows", theirs),
        (f"cd4ml, {ROWS * TIMES:,} rows", many),
    ):
        shown = f"{found['seconds']:.2f} s, {found['cpu']:.2f} s of the processors, {found['mib']:.0f} MiB"
        print(f"{name:<28} {shown}")  # noqa: T201
    print(f"{'cd4ml, unchanged':<28} {ours['unchanged']:.3f} s")  # noqa: T201
    goals = [
        at_least("rows a second", rate, GOAL_ROWS_A_SECOND, digits=0),
        at_most("seconds where nothing changed", ours["unchanged"], GOAL_UNCHANGED),
        at_most(f"MiB more for {TIMES} times the rows", growth, GOAL_GROWTH_MIB),
    ]
    close(
        "ingest",
        ratio=round(theirs["seconds"] / ours["seconds"], 2),
        seconds=round(ours["seconds"], 2),
        peer_seconds=round(theirs["seconds"], 2),
        peak_mib=round(many["mib"]),
        rows=ROWS,
        goals=goals,
    )


def write(file: Path, rows: int) -> None:
    """Writes 8 columns: a key, whole and other numbers, texts, moments, truth values."""
    random = np.random.default_rng(0)
    step = 1_000_000
    with file.open("wb") as target:
        for start in range(0, rows, step):
            count = min(step, rows - start)
            table = pa.table(
                {
                    "player": [f"p{number:09d}" for number in range(start, start + count)],
                    "age": random.integers(18, 80, count),
                    "spend": np.round(random.gamma(2, 30, count), 2),
                    "ratio": random.normal(size=count),
                    "country": random.choice(["DE", "FR", "NA", "US"], count),
                    "platform": random.choice(["ios", "android"], count),
                    "offered_at": pa.array(1_700_000_000 + random.integers(0, 3 * 10**7, count), pa.timestamp("s")),
                    "took": random.random(count) < 0.3,
                }
            )
            csv.write_csv(table, target, csv.WriteOptions(include_header=not start))


def fastest(python: Path, code: str, arguments: Any) -> dict[str, Any]:
    """The fastest of some runs."""
    return min((run(python, code, arguments(turn)) for turn in range(REPEATS)), key=lambda one: one["seconds"])


def run(python: Path, code: str, arguments: list[Path]) -> dict[str, Any]:
    """What a process measured."""
    told = subprocess.check_output([python, "-c", code, *arguments])  # noqa: S603 (our own)
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
