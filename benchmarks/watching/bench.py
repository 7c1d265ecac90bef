"""How long a day of 1,000,000 answers takes from capture files to verdicts and the page, beside Evidently's data drift.

    make bench NAME=watching

A model of 20 features is trained and published by `cd4ml run`, on rows of a known truth. The capture has a file an hour
of rows of the same truth with the true probability as the answer; a label came for each within an hour. Ours is the
command that a schedule calls, `cd4ml monitor run`, and then `cd4ml monitor page`: whole processes, the start of each
environment included. Drift alone is held against Evidently's `DataDriftPreset` with its defaults, on the same day
against the same reference of the model: each in a process that has imported what it needs and opened the files before
the clock starts, ours with the features as the capture's texts, Evidently's as typed columns, and each until its
document (a page, of Evidently) is written.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from closing import at_least, at_most, close

from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.deployment.targets import servers
from cd4ml.monitoring import collecting

ROWS = int(os.environ.get("BENCH_ROWS", 1_000_000))
TRAINED = 50_000
NUMBERS, TEXTS = [f"x{place}" for place in range(14)], [f"c{place}" for place in range(6)]
BEGIN = datetime.combine(datetime.now(UTC).date() - timedelta(days=3), datetime.min.time(), UTC)
HOURS = 24
GOAL_SECONDS, GOAL_MIB, GOAL_TIMES = 120.0, 3 * 1024, 10.0
VALIDATE, EVIDENTLY = Path(".venvs/validate/bin/python"), Path(".venvs/watching/bin/python")

RUN = """
pipeline: training
arguments:
  name: watched
  source: {folder}/rows.parquet
  dataset: rows
  key: id
  label: took
  positive: "true"
  store: {folder}/store
  port: {port}
  baseline: {{model: linear}}
  candidate: {{model: linear}}
  slices: [c0, c1]
  model_limits: {{auc: {{min: 0.5, slices: [overall, "c0=*"]}}}}
"""
OURS = """
import json, sys, time
import sklearn.ensemble
from cd4ml.monitoring.drift import compare_each
handed, store, output = sys.argv[1:4]
began = time.perf_counter()
found = compare_each(handed, store=store, output=output)
print(json.dumps({"seconds": time.perf_counter() - began}))
"""
THEIRS = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas
from evidently import Report
from evidently.presets import DataDriftPreset
day, reference, output = sys.argv[1:4]
names = sys.argv[4].split(",")
current, before = pandas.read_parquet(day, columns=names), pandas.read_parquet(reference, columns=names)
began = time.perf_counter()
Report([DataDriftPreset()]).run(current, before).save_html(output)
print(json.dumps({"seconds": time.perf_counter() - began}))
"""


def main() -> None:
    """Measures, and as the last line prints JSON."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        random = np.random.default_rng(0)
        train(folder, random)
        write_capture(folder, random)
        whole, mib = watched(folder)
        ours, theirs = drift(folder)
    print(f"capture to verdicts and page {whole:.1f} s; drift alone {ours:.2f} s, Evidently {theirs:.1f} s")  # noqa: T201
    close(
        "watching",
        ratio=round(theirs / ours, 1),
        seconds=round(whole, 1),
        peer_seconds=round(theirs, 1),
        peak_mib=round(mib),
        rows=ROWS,
        drift_seconds=round(ours, 2),
        goals=[
            at_most("seconds from capture files to verdicts and page", whole, GOAL_SECONDS, digits=1),
            at_most("MiB of the largest process", mib, GOAL_MIB, digits=0),
            at_least("times as fast as Evidently's data drift", theirs / ours, GOAL_TIMES, digits=1),
        ],
    )


def rows(count: int, random: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features, and how likely each row is to be true."""
    features = {name: np.round(random.normal(size=count), 3) for name in NUMBERS}
    features |= {name: random.choice(["north", "south", "east", "west"], count) for name in TEXTS}
    odds = features["x0"] - 0.5 * features["x1"] + 0.5 * (features["c0"] == "north") - 0.5
    return features, 1 / (1 + np.exp(-odds))


def train(folder: Path, random: np.random.Generator) -> None:
    """Trains and publishes the model."""
    features, likely = rows(TRAINED, random)
    ids, took = [f"r{place}" for place in range(TRAINED)], random.random(TRAINED) < likely
    pq.write_table(pa.table({"id": ids, **features, "took": took}), folder / "rows.parquet")
    (folder / "training.yaml").write_text(RUN.format(folder=folder, port=servers.free_port()))
    cd4ml("run", folder / "training.yaml", "--runs", folder / "runs")


def write_capture(folder: Path, random: np.random.Generator) -> None:
    """A file an hour of requests, and of the labels that callers sent; and the day as typed columns."""
    days = []
    for hour, count in enumerate(np.diff(np.linspace(0, ROWS, HOURS + 1).astype(int))):
        features, likely = rows(count, random)
        at = BEGIN + timedelta(hours=hour)
        ids = [f"{hour}-{place}" for place in range(count)]
        moments = (np.sort(random.random(count)) * 3.6e9).astype(np.int64) + int(at.timestamp() * 1e6)
        texts = [json.dumps({name: [one] for name, one in row.items()}) for row in pa.table(features).to_pylist()]
        tables = {
            "requests": pa.table(
                [
                    pa.array(moments).cast(REQUESTS.field("at").type),
                    ids,
                    ["version-1"] * count,
                    ["1"] * count,
                    np.ones(count),
                    np.zeros(count, bool),
                    pa.nulls(count, pa.string()),
                    np.full(count, 200, np.int16),
                    random.lognormal(1, 0.4, count),
                    pa.nulls(count, pa.float64()),
                    texts,
                    [["probability"]] * count,
                    likely[:, np.newaxis].tolist(),
                ],
                schema=REQUESTS,
            ),
            "feedback": pa.table(
                [
                    pa.array(moments + int(3.6e9)).cast(FEEDBACK.field("at").type),
                    ids,
                    pa.nulls(count, pa.float64()),
                    [["true"] if one else ["false"] for one in random.random(count) < likely],
                ],
                schema=FEEDBACK,
            ),
        }
        for name, table in tables.items():
            file = folder / f"capture/{name}/{BEGIN:%Y-%m-%d}/{hour:02}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, file, compression="zstd")
        days.append(pa.table(features))
    pq.write_table(pa.concat_tables(days), folder / "day.parquet")


def watched(folder: Path) -> tuple[float, float]:
    """The seconds from the capture to the page, and the MiB of the largest process."""
    began = time.perf_counter()
    store = ("--store", folder / "store")
    until = BEGIN + timedelta(days=1)
    span = ("--every", "1 day", "--since", BEGIN.isoformat(), "--until", until.isoformat())
    cd4ml("monitor", "run", "watched", *span, "--capture", folder / "capture", "--runs", folder / "runs", *store)
    cd4ml("monitor", "page", "watched", "--html", folder / "page.html", *store)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def drift(folder: Path) -> tuple[float, float]:
    """The seconds that drift of the day alone takes ours, and Evidently."""
    store, handed = folder / "store", folder / "handed"
    span = {"since": BEGIN.isoformat(), "until": (BEGIN + timedelta(days=1)).isoformat()}
    collecting.collect(str(store), "watched", every="1 day", output=handed, capture=str(folder / "capture"), **span)
    names = ",".join([*NUMBERS, *TEXTS])
    ours = seconds(VALIDATE, OURS, handed, store, folder / "drift")
    theirs = seconds(
        EVIDENTLY,
        THEIRS,
        folder / "day.parquet",
        store / "models/watched/1/reference.parquet",
        folder / "theirs.html",
        names,
    )
    return ours, theirs


def seconds(python: Path, code: str, *words: object) -> float:
    """Those that a side measured."""
    done = subprocess.run([python, "-c", code, *map(str, words)], check=True, capture_output=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return float(found["seconds"])


def cd4ml(*words: object) -> None:
    """Runs a command of cd4ml, whose output is shown where it fails."""
    command = [str(Path(sys.executable).with_name("cd4ml")), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"cd4ml {' '.join(map(str, words))}: ended with {done.returncode}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
