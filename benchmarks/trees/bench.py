"""Trees: what training costs beside LightGBM alone, and how fast plain TensorFlow operations ask them, on one core.

    make bench NAME=trees

LightGBM alone is given arrays that are encoded already; ours begins with the Parquet files. Both grow as many trees,
and measure the AUC on the eval split after every tenth. The predictions are those of the SavedModel, with one thread,
beside LightGBM's own with one thread, in processor time. `BENCH_ROWS` are those of both splits.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from closing import at_least, at_most, close

ROWS, TREES = int(os.environ.get("BENCH_ROWS", 500_000)), 100
BATCHES = (1, 64, 8192)
LABEL = "label"


def table(rows: int, seed: int) -> pa.Table:
    """Nine numbers, one of them with missing ones, texts of 5 and of 200 values, and a truth value."""
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(9, rows)).astype(np.float32)
    few, many, flag = random.integers(0, 5, rows), random.integers(0, 200, rows), random.random(rows) < 0.3
    score = numbers[1] * numbers[2] + np.sin(2 * numbers[3]) + np.sin(many * many) + (few == 2) + numbers[0] - 1
    columns = {f"n{place}": pa.array(one) for place, one in enumerate(numbers)}
    columns["n0"] = pa.array(numbers[0], mask=random.random(rows) < 0.05)
    texts = {"few": few, "many": many}
    columns |= {name: pa.array(np.char.add("v", one.astype(str)).tolist()) for name, one in texts.items()}
    return pa.table(columns | {"flag": pa.array(flag), LABEL: random.random(rows) < 1 / (1 + np.exp(-score))})


def job(folder: Path, rows: int) -> Any:
    """The splits, four fifths of the rows and one, and what is known of them."""
    from cd4ml.contracts.model import Contract, inputs
    from cd4ml.training.job import TrainingJob
    from cd4ml.training.statistics import Number, Text

    splits = {"train": table(rows * 4 // 5, seed=1), "eval": table(rows // 5, seed=2)}
    for name, one in splits.items():
        pq.write_table(one, folder / name)
    texts = {"few": 5, "many": 200}
    numbers = {f"n{place}": Number(-5, 5, 0, 1, missing=place == 0) for place in range(9)}
    known = numbers | {name: Text(tuple(f"v{one}" for one in range(size)), False) for name, size in texts.items()}
    known["flag"] = Number(0, 1, 0.3, 0.46, missing=False)
    kinds: Any = dict.fromkeys(numbers, "number") | dict.fromkeys(texts, "category") | {"flag": "boolean"}
    contract = Contract(LABEL, ("false", "true"), inputs(kinds), {"model": "trees"})
    return TrainingJob(
        train=folder / "train",
        eval=folder / "eval",
        contract=contract,
        statistics=known,
        weights=None,
        seed=0,
        workspace=folder,
    )


def seconds(work: Callable[[], Any], times: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """The fastest of some runs."""

    def one() -> float:
        start = clock()
        work()
        return clock() - start

    return min(one() for _ in range(times))


def trained(rows: int, trees: int) -> dict[str, Any]:
    """The seconds of both trainings, on the clock and of the processors, and the speed of both predictions."""
    from cd4ml.contracts import model
    from cd4ml.contracts.model import SAVED_MODEL
    from cd4ml.training import export
    from cd4ml.training.examples import Examples
    from cd4ml.training.trainers import Trees
    from cd4ml.training.trees import ROUNDS, encoder, library

    boosting = library()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        given = job(folder, rows)
        encoded = encoder(given.contract, given.statistics)
        arrays = {}
        for name in ("train", "eval"):
            read = Examples(folder / name, contract=given.contract, encoded=encoded)
            arrays[name] = np.concatenate([one for (one,) in read.in_order(65_536)]), read.labels
        spec = Trees(trees=trees, patience=1000)
        settings = {"objective": "binary", "metric": "auc", "deterministic": True, "force_col_wise": True}

        def alone() -> Any:
            data = boosting.Dataset(*arrays["train"], categorical_feature=[9, 10])
            held = boosting.Dataset(*arrays["eval"], reference=data)
            booster = boosting.Booster(settings | {"verbosity": -1}, data).add_valid(held, "eval")
            for grown in range(1, trees + 1):
                booster.update()
                if grown % ROUNDS == 0:
                    booster.eval_valid()
            return booster

        fitted: list[Any] = []
        times = {
            name: [seconds(work, 1), seconds(work, 2, time.process_time)]
            for name, work in {"ours": lambda: fitted.append(spec.fit(given)), "theirs": alone}.items()
        }
        export.save(folder / SAVED_MODEL, given.contract, fitted[0].model)
        raw = model.features(pq.read_table(folder / "eval"), given.contract)
        np.savez(folder / "raw.npz", **raw)  # type: ignore[arg-type]
        command = [sys.executable, __file__, "--ask", str(folder)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603
        peer, features = alone(), arrays["eval"][0][: max(BATCHES)]
        asked = seconds(lambda: peer.predict(features, num_threads=1), 5, time.process_time)
    return {**times, "peer_rows": len(features) / asked, "asked": found}


def asked(folder: Path) -> dict[str, float]:
    """The seconds of CPU that the SavedModel takes, by the rows of a batch."""
    import tensorflow as tf

    from cd4ml.contracts.model import SAVED_MODEL

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    signature = tf.saved_model.load(str(folder / SAVED_MODEL)).signatures["serving_default"]
    raw = np.load(folder / "raw.npz", allow_pickle=True)
    found = {}
    for size in BATCHES:
        batch = {name: tf.constant(raw[name][:size]) for name in raw}
        signature(**batch)
        found[str(size)] = seconds(partial(signature, **batch), 20, time.process_time)
    return found


def main() -> None:
    """Measures, and prints what came out."""
    if sys.argv[1:]:
        tell(json.dumps(asked(Path(sys.argv[2]))))
        return
    found = trained(ROWS, TREES)
    rates = {size: int(size) / one for size, one in found["asked"].items()}
    for name in ("ours", "theirs"):
        wall, processors = found[name]
        tell(f"training, {name}: {wall:.1f} s, {processors:.1f} s of the processors")
    for size, rate in rates.items():
        tell(f"{size} rows: {1000 * found['asked'][size]:.2f} ms, {rate:,.0f} rows a second of a core")
    tell(f"LightGBM's own: {found['peer_rows']:,.0f} rows a second of a core")
    (ours, _), (theirs, _) = found["ours"], found["theirs"]
    close(
        "trees",
        ratio=ours / theirs,
        seconds=ours,
        peer_seconds=theirs,
        rows=ROWS,
        goals=[
            at_most("training, by LightGBM alone", ours / theirs, 1.3),
            at_least("rows a second of a core", rates[str(max(BATCHES))], 500_000, digits=0),
        ],
    )


def tell(line: str) -> None:
    """Prints a line."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
