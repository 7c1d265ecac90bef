"""How long a day of 1,000,000 answers takes to be joined with 1,000,000 labels, against pandas' `merge`.

    make bench NAME=monitoring

The capture has a file an hour, as a router leaves it in a folder, with 20 features as JSON; half of the labels come as
feedback, half in bulk, and one in twenty of them twice. Ours is timed twice: the join alone, of tables in memory to
rows with labels (`joined`), and the whole of `collect`: files found and read, joined, written to the Delta table with
the window's document. pandas reads the same files, parses the features by `json`, puts the labels one below the other,
drops those that are there twice, and merges: it finds neither contradicting labels nor any that are of no row. Each
side is a process of its own, which has imported what it needs before the clock starts; the fastest of three. The
seconds of the processors are those that each side used, whatever else the machine did.
"""

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from closing import at_most, close

from cd4ml.contracts import model
from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.monitoring import taking
from cd4ml.storage.folder import FolderStore

ROWS, REPEATS = int(os.environ.get("BENCH_ROWS", 1_000_000)), 3
GOAL_JOIN, GOAL_MIB = 20.0, 3 * 1024
PANDAS = Path(".venvs/evaluate/bin/python")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = 24

JOIN = """
import json, sys, time
from datetime import UTC, datetime, timedelta
from cd4ml.monitoring import joined
from cd4ml.registry import labels_taken
from cd4ml.monitoring.capture_files import CaptureFiles
from cd4ml.storage import open_store
import pyarrow as pa
capture, store = sys.argv[1:3]
begin = datetime(2026, 1, 1, tzinfo=UTC)
files = CaptureFiles(capture)
requests, feedback = files.requests(begin, begin + timedelta(days=1)), pa.concat_tables(files.labels(begin))
opened = open_store(store)
bulk = [joined.Bulk(labels_taken.read(opened, one), one.key) for one in labels_taken.every(opened, "uptake")]
imported, began = time.process_time(), time.perf_counter()
found = joined.join(joined.once(requests).table, classes=("false", "true"), feedback=feedback, bulk=bulk)
seconds, cpu = time.perf_counter() - began, time.process_time() - imported
print(json.dumps({"seconds": seconds, "cpu": cpu, "labelled": len(found.rows) - found.rows["label"].null_count}))
"""
COLLECT = """
import json, resource, sys, time
from datetime import UTC, datetime, timedelta
from cd4ml.monitoring import windows
capture, store = sys.argv[1:3]
begin = datetime(2026, 1, 1, tzinfo=UTC)
imported, began = time.process_time(), time.perf_counter()
found = windows.collect(store, "uptake", windows.Span(begin, begin + timedelta(days=1)), capture=capture)
seconds, cpu = time.perf_counter() - began, time.process_time() - imported
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "cpu": cpu, "labelled": found.labelled, "mib": peak}))
"""
THEIRS = """
import json, resource, sys, time
import pandas
capture, store = sys.argv[1:3]
imported, began = time.process_time(), time.perf_counter()
requests = pandas.read_parquet(f"{capture}/requests")
features = pandas.DataFrame([{name: one[0] for name, one in json.loads(text).items()} for text in requests.features])
rows = pandas.concat([requests.drop(columns="features"), features], axis=1)
told = pandas.read_parquet(f"{capture}/feedback", columns=["request_id", "at", "labels"]).explode("labels")
told = told.rename(columns={"labels": "label"})
bulk = pandas.read_parquet(next(__import__("pathlib").Path(store).glob("labels/*/*/labels.parquet")))
labels = pandas.concat([told, bulk[["request_id", "label", "at"]]]).sort_values("at").drop_duplicates("request_id")
found = rows.merge(labels, on="request_id", how="left", suffixes=("", "_label"))
seconds, cpu = time.perf_counter() - began, time.process_time() - imported
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "cpu": cpu, "labelled": int(found.label.notna().sum()), "mib": peak}))
"""


def main() -> None:
    """Measures, prints a table, and as the last line JSON."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write(folder)
        python = Path(sys.executable)
        joins = fastest(python, JOIN, folder)
        whole = fastest(python, COLLECT, folder)
        theirs = fastest(PANDAS, THEIRS, folder)
    for name, found in (("join", joins), ("collect", whole), ("pandas", theirs)):
        memory = f", {found['mib']:.0f} MiB" if "mib" in found else ""
        times = f"{found['seconds']:.2f} s, {found['cpu']:.2f} s of the processors"
        print(f"{name:<10} {times}{memory}, {found['labelled']:,} rows labelled")  # noqa: T201
    goals = [
        at_most(f"seconds to join {ROWS:,} labels", joins["seconds"], GOAL_JOIN),
        at_most("MiB to collect the day", whole["mib"], GOAL_MIB, digits=0),
    ]
    close(
        "monitoring",
        ratio=round(theirs["seconds"] / whole["seconds"], 2),
        seconds=round(whole["seconds"], 2),
        peer_seconds=round(theirs["seconds"], 2),
        peak_mib=round(whole["mib"]),
        rows=ROWS,
        cpu_seconds=round(whole["cpu"], 2),
        peer_cpu_seconds=round(theirs["cpu"], 2),
        join_cpu_seconds=round(joins["cpu"], 2),
        join_seconds=round(joins["seconds"], 2),
        goals=goals,
    )


def fastest(python: Path, code: str, folder: Path) -> dict[str, Any]:
    """The fastest of some runs, each with windows of its own."""
    return min((run(python, code, folder) for _ in range(REPEATS)), key=lambda one: one["seconds"])


def run(python: Path, code: str, folder: Path) -> dict[str, Any]:
    """What one side measured."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        store = Path(made) / "store"
        store.mkdir()
        for name in ("models", "labels"):
            (store / name).symlink_to(folder / "store" / name)
        done = subprocess.run([python, "-c", code, folder / "capture", store], check=True, capture_output=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write(folder: Path) -> None:
    """Writes the capture, a model and the labels in bulk."""
    random = np.random.default_rng(0)
    ids = np.array([f"{high:016x}{low:016x}" for high, low in random.integers(0, 2**62, (ROWS, 2))])
    labels = np.where(random.random(ROWS) < 0.3, "true", "false")
    by_feedback = random.random(ROWS) < 0.5
    for hour, own in enumerate(np.array_split(np.arange(ROWS), HOURS)):
        told = own[by_feedback[own]]
        tables = {"requests": requests(ids[own], hour, random), "feedback": feedback(ids[told], labels[told], random)}
        for name, table in tables.items():
            file = folder / f"capture/{name}/2026-01-01/{hour:02}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, file, compression="zstd")
    publish(folder)
    late = np.flatnonzero(~by_feedback)
    late = np.concatenate([late, random.choice(late, len(late) // 20)])
    pq.write_table(pa.table({"request_id": ids[late], "took": labels[late]}), folder / "late.parquet")
    taking.take("uptake@1", source=str(folder / "late.parquet"), store=str(folder / "store"))


def requests(ids: np.ndarray, hour: int, random: np.random.Generator) -> pa.Table:
    """Those of an hour."""
    count = len(ids)
    numbers = np.round(random.normal(size=(count, 15)), 3)
    texts = random.choice(["north", "south", "east", "west"], (count, 5))
    names = [f"x{place}" for place in range(15)] + [f"c{place}" for place in range(5)]
    rows = ([*some, *words] for some, words in zip(numbers.tolist(), texts.tolist(), strict=True))
    features = [json.dumps({name: [one] for name, one in zip(names, row, strict=True)}) for row in rows]
    seconds = hour * 3600 + np.sort(random.random(count)) * 3600
    columns = [
        pa.array(((BEGIN.timestamp() + seconds) * 1e6).astype(np.int64)).cast(REQUESTS.field("at").type),
        ids,
        ["champion"] * count,
        ["1"] * count,
        np.ones(count),
        np.zeros(count, bool),
        pa.nulls(count, pa.string()),
        np.full(count, 200, np.int16),
        random.lognormal(1, 0.4, count),
        pa.nulls(count, pa.float64()),
        features,
        [["probability"]] * count,
        random.random((count, 1)).tolist(),
    ]
    return pa.table(columns, schema=REQUESTS)


def feedback(ids: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> pa.Table:
    """On some requests, one in twenty of them twice."""
    places = np.arange(len(ids))
    places = np.concatenate([places, random.choice(places, len(places) // 20)])
    later = ((BEGIN.timestamp() + 2 * 86_400 + random.random(len(places)) * 86_400) * 1e6).astype(np.int64)
    columns = [
        pa.array(later).cast(FEEDBACK.field("at").type),
        ids[places],
        pa.nulls(len(places), pa.float64()),
        [[one] for one in labels[places]],
    ]
    return pa.table(columns, schema=FEEDBACK)


def publish(folder: Path) -> None:
    """Publishes a model whose label is `false` or `true`."""
    model.write_contract(model.Contract("took", ("false", "true"), (), {}), folder / "model")
    data = DatasetReference("players", 0, "sha256:d")
    version = Version("uptake", 1, "sha256:1", "2026-01-01", "run", "", data)
    FolderStore(folder / "store").add_folder(version.folder, {"model": folder / "model", "version.json": version.text})


if __name__ == "__main__":
    main()
