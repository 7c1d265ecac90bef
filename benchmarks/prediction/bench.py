"""How fast a table is predicted offline, against the loop of pandas and TensorFlow that a user would write.

    make bench NAME=prediction

Each side is a process of its own, which has imported what it needs before the clock starts, and reads one Parquet file
of 12 columns. Ours makes a version of a Delta table, with counts of missing and unknown values; the loop reads the
file, asks the signature in batches and writes one Parquet file. The models are `linear` and `dnn` as the training
pipeline makes them, untrained, for that costs the same. The rows a second of a core come from the seconds that the
processors were used more for four times the rows, so that loading the model counts for nothing; memory is that of the
whole process.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from closing import at_least, at_most, close
from features import FLAGS, KINDS, NUMBERS, TEXTS, columns

from cd4ml.contracts.model import SAVED_MODEL, Contract, digest, inputs, write_contract
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.storage import open_store
from cd4ml.training import export, network, objective
from cd4ml.training.statistics import Column, Number, Text
from cd4ml.training.trainers import Network, parse

ROWS, TIMES = int(os.environ.get("BENCH_ROWS", 1_000_000)), 4
GOALS = {"linear": 500_000, "dnn": 200_000}
GOAL_GROWTH_MIB = 100
SAMPLE = 10_000
"""Rows whose predictions of both sides are compared."""

OURS = """
import json, resource, sys, time
import tensorflow
from cd4ml.prediction.batch import predict
file, store, model, output = sys.argv[1:]
imported, began = time.process_time(), time.perf_counter()
predict(f"{model}@1", source=file, store=store, key=["player"], output=output)
seconds, cpu = time.perf_counter() - began, time.process_time() - imported
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "cpu": cpu, "mib": peak}))
"""
THEIRS = """
import json, resource, sys, time
import numpy, pandas, pyarrow.parquet, tensorflow
file, store, model, output = sys.argv[1:]
folder = f"{store}/models/{model}/1/model"
imported, began = time.process_time(), time.perf_counter()
loaded = tensorflow.saved_model.load(f"{folder}/saved_model")
signature = loaded.signatures["serving_default"]
with open(f"{folder}/contract.json") as contract:
    inputs = {one["name"]: one["dtype"] for one in json.load(contract)["inputs"]}
table = pandas.read_parquet(file)
found = []
for start in range(0, len(table), 8192):
    rows = table.iloc[start : start + 8192]
    given = {
        name: tensorflow.constant(
            rows[name].fillna("").to_numpy() if dtype == "string" else rows[name].astype("float32").to_numpy()
        )
        for name, dtype in inputs.items()
    }
    found.append(signature(**given)["probability"].numpy())
pandas.DataFrame({"player": table["player"], "probability": numpy.concatenate(found)}).to_parquet(output)
seconds, cpu = time.perf_counter() - began, time.process_time() - imported
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "cpu": cpu, "mib": peak}))
"""


def main() -> None:
    """Measures, prints a table, and as the last line JSON."""
    goals, ratios = [], {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        files = {rows: folder / f"{rows}.parquet" for rows in (ROWS, ROWS * TIMES)}
        for rows, file in files.items():
            write(file, rows)
        store = folder / "store"
        for model in GOALS:
            publish(store, model)
            ours, theirs = measured(files, store=store, model=model, folder=folder)
            rates = {"cd4ml": rate(ours), "pandas": rate(theirs)}
            for name, found in (("cd4ml", ours), ("pandas", theirs)):
                for rows, one in found.items():
                    shown = f"{one['seconds']:.2f} s, {one['cpu']:.2f} s of the processors, {one['mib']:.0f} MiB"
                    print(f"{model}, {name}, {rows:,} rows: {shown}")  # noqa: T201
                print(f"{model}, {name}: {rates[name]:,.0f} rows a second of a core")  # noqa: T201
            ratios[model] = rates["cd4ml"] / rates["pandas"]
            growth = ours[ROWS * TIMES]["mib"] - ours[ROWS]["mib"]
            goals += [
                at_least(f"{model}: rows a second of a core", rates["cd4ml"], GOALS[model], digits=0),
                at_most(f"{model}: MiB more for {TIMES} times the rows", growth, GOAL_GROWTH_MIB, digits=0),
            ]
    close(
        "prediction",
        ratio=round(ratios["dnn"], 2),
        seconds=round(ours[ROWS * TIMES]["seconds"], 2),
        peer_seconds=round(theirs[ROWS * TIMES]["seconds"], 2),
        peak_mib=round(ours[ROWS * TIMES]["mib"]),
        rows=ROWS * TIMES,
        goals=goals,
    )


def measured(files: dict[int, Path], *, store: Path, model: str, folder: Path) -> tuple[Any, Any]:
    """By rows what each side took, whose predictions are the same."""
    ours, theirs = {}, {}
    for rows, file in files.items():
        output = f"predicted{rows}"
        ours[rows] = run(OURS, file, store, model, output)
        theirs[rows] = run(THEIRS, file, store, model, folder / output)
    first = min(files)
    loop = pq.read_table(folder / f"predicted{first}").slice(0, SAMPLE)
    parts = sorted((store / f"predictions/{model}/predicted{first}").glob("*.parquet"))
    table = pa.concat_tables([pq.read_table(one, columns=["player", "probability"]) for one in parts])
    mine = table.sort_by("player").slice(0, SAMPLE)
    assert mine["player"].to_pylist() == loop["player"].to_pylist()
    np.testing.assert_allclose(mine["probability"], loop["probability"], atol=1e-6)
    return ours, theirs


def rate(found: dict[int, Any]) -> float:
    """Rows a second of a core, without what comes once."""
    return ROWS * (TIMES - 1) / float(found[ROWS * TIMES]["cpu"] - found[ROWS]["cpu"])


def write(file: Path, rows: int) -> None:
    """Writes a key and features."""
    random = np.random.default_rng(0)
    step = 500_000
    writer = None
    for start in range(0, rows, step):
        count = min(step, rows - start)
        players = [f"p{number:09d}" for number in range(start, start + count)]
        table = pa.table({"player": players, **columns(random, count)})
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
    assert writer
    writer.close()


def publish(store: Path, name: str) -> None:
    """Publishes a model that the training pipeline could have made, but for its weights."""
    statistics: dict[str, Column] = {text: Text(tuple(values), missing=True) for text, values in TEXTS.items()}
    statistics |= {number: Number(0.0, 250.0, mean=60.0, deviation=42.0, missing=True) for number in (*NUMBERS, *FLAGS)}
    contract = Contract("took", ("false", "true"), inputs(KINDS), {"model": name})
    spec = parse({"model": name})
    assert isinstance(spec, Network)
    keras.utils.set_random_seed(1)
    encoded = network.encoder(contract, statistics)
    trained = network.head(contract, statistics=statistics, encoded=encoded, spec=spec)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "model"
        learnt = objective.of(contract, np.array([0.0, 1.0], np.float32))
        served = network.served(contract, encoded=encoded, trained=trained, learnt=learnt)
        export.save(folder / SAVED_MODEL, contract, served)
        write_contract(contract, folder)
        version = Version(
            name=name,
            version=1,
            digest=digest(folder),
            published_at="",
            run="",
            revision="",
            dataset=DatasetReference("players", 0, ""),
            arguments={"thresholds": [0.5]},
        )
        open_store(store).add_folder(version.folder, {"model": folder, "version.json": version.text})


def run(code: str, *arguments: Path | str) -> dict[str, Any]:
    """What a process measured."""
    told = subprocess.check_output([sys.executable, "-c", code, *arguments], stderr=subprocess.DEVNULL)  # noqa: S603
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
