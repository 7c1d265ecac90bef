"""How long 200 runs take to be set side by side by their records, in a folder and in a bucket.

    CD4ML_BENCH_STORE=s3://BUCKET/PREFIX make bench NAME=records

The bucket is that of the environment (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`); where no store
is named, the folder alone is measured. The time is that of `cd4ml runs compare`, from its start to its end, by the
names of the runs and by their ids; each record has 22 arguments, 16 metrics of three models, and 25 slices.
"""

import os
import subprocess
import sys
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import psutil
from closing import at_most, close
from rich.console import Console
from rich.table import Table

from cd4ml.contracts.record import Judgement, RunRecord, SliceScore
from cd4ml.registry import records
from cd4ml.storage import Store, open_store

RUNS = 200
REPEATS = 3
GOAL_SECONDS = 3.0
METRICS = {f"metric_{number}": 0.8 for number in range(15)}
SLICES = {f"region={number}": SliceScore(rows=1_000, value=0.8) for number in range(25)}
ARGUMENTS = {f"argument_{number}": {"of": "a run", "number": number} for number in range(22)}


def main() -> None:
    """Measures each store, prints a table, and as the last line JSON."""
    run_ids = [str(uuid.uuid4()) for _ in range(RUNS)]
    names = [f"training-{number}" for number in range(RUNS)]
    table = Table("store", "by name", "by id", "peak")
    seconds, peak = {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        bucket = os.environ.get("CD4ML_BENCH_STORE")
        stores = {"folder": f"{folder}/store"} | ({"bucket": f"{bucket}/{uuid.uuid4().hex}"} if bucket else {})
        for kind, location in stores.items():
            _fill(open_store(location), run_ids, names)
            found = {
                by: [_compare(location, which, Path(folder)) for _ in range(REPEATS)]
                for by, which in (("name", names), ("id", run_ids))
            }
            for by, measured in found.items():
                seconds[f"{kind}, by {by}"] = median(one[0] for one in measured)
            peak = max(peak, *(one[1] for measured in found.values() for one in measured))
            table.add_row(kind, *(f"{seconds[f'{kind}, by {by}']:.2f} s" for by in found), f"{peak:.0f} MiB")
    Console().print(table)
    goals = [at_most(f"{RUNS} runs compared, {what}", value, GOAL_SECONDS, digits=2) for what, value in seconds.items()]
    close(
        "records",
        seconds=round(max(seconds.values()), 2),
        peak_mib=round(peak),
        rows=RUNS,
        goals=goals,
    )


def _fill(store: Store, run_ids: list[str], names: list[str]) -> None:
    """Writes what runs that have ended leave: each of the three parts of a record."""
    began = datetime(2026, 1, 1, tzinfo=UTC)

    def write(number: int) -> None:
        record = RunRecord(
            pipeline="training",
            run_id=run_ids[number],
            name=names[number],
            status="passed",
            started_at=f"{began + timedelta(hours=number):%Y-%m-%dT%H:%M:%S+00:00}",
            ended_at=f"{began + timedelta(hours=number, minutes=5):%Y-%m-%dT%H:%M:%S+00:00}",
            arguments=ARGUMENTS,
            models={role: {**METRICS, "auc": number / RUNS} for role in ("candidate", "baseline", "champion")},
            slices=SLICES,
            gates=(Judgement("check_dataset", True, "7 of 7 limits kept"), Judgement("check_model", True, "all kept")),
            published=number + 1,
        )
        for part in (records.BEGUN, records.PUBLISHED, records.SUMMARY):
            store.add(f"{records.FOLDER}/training/{run_ids[number]}/{part}", record.text)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(RUNS)))


def _compare(location: str, runs: list[str], folder: Path) -> tuple[float, float]:
    """The seconds and the MiB that one command takes."""
    program = str(Path(sys.prefix) / "bin" / "cd4ml")
    page = folder / "compared.html"
    command = [program, "runs", "compare", *runs, "--store", location, "--html", str(page)]
    page.unlink(missing_ok=True)
    started = datetime.now(UTC)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603 (our own)
        peak = _peak(psutil.Process(process.pid))
    if process.returncode or not page.is_file():
        sys.exit(f"`cd4ml runs compare` failed in {location}")
    return (datetime.now(UTC) - started).total_seconds(), peak


def _peak(process: psutil.Process) -> float:
    """The MiB that a process held at most, asked until it ends."""
    peak = 0.0
    while True:
        try:
            peak = max(peak, float(process.memory_info().rss) / 2**20)
            process.wait(timeout=0.05)
        except psutil.TimeoutExpired:
            continue
        except psutil.NoSuchProcess:
            return peak
        return peak


if __name__ == "__main__":
    main()
