"""The models that come with cd4ml, with their defaults, beside scikit-learn's with theirs, on rows unseen.

What is told is the AUC of classes, and the root mean squared error of numbers.

    make bench NAME=models

Each table is divided `BENCH_SPLITS` times at random: train 60%, eval 15%, test 25%. All are trained on the same train
rows and measured on the same test rows by scikit-learn; ours alone see eval, to know when to stop. What is told is the
mean over the divisions. `BENCH_TABLES` and `BENCH_MODELS` name some (`cancer,rain`).
"""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import astuple, dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for all alike: threads that wait sleep

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf
from closing import at_least, at_most, close
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tables import TABLES, Table

from cd4ml.contracts import model, problems
from cd4ml.contracts.model import Contract, inputs, kind_of
from cd4ml.training.job import TrainingJob
from cd4ml.training.statistics import Column, Number, Text
from cd4ml.training.trainers import parse

SPLITS = int(os.environ.get("BENCH_SPLITS", 3))
MODELS = os.environ.get("BENCH_MODELS", "linear,dnn,wide_and_deep,trees").split(",")
NAMES = os.environ.get("BENCH_TABLES", ",".join(TABLES)).split(",")
AHEAD = 0.5
"""The share of the tables on which ours is to be ahead."""
LABEL = "label"
Fitted = Callable[[pa.Table], np.ndarray]
"""What it predicts of each row."""


def boosting(table: pa.Table, *, classes: bool) -> Fitted:
    """Trees, texts as categories."""
    categories = {name: pd.CategoricalDtype(pc.unique(table[name].drop_null()).to_pylist()) for name in texts(table)}

    def frame(rows: pa.Table) -> pd.DataFrame:
        return features(rows).astype(categories)

    trees = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    fitted = trees(random_state=0).fit(frame(table), table[LABEL].to_numpy())
    return lambda rows: fitted.predict_proba(frame(rows))[:, 1] if classes else fitted.predict(frame(rows))


def linear(table: pa.Table, *, classes: bool) -> Fitted:
    """A linear model on standard scores and a column for each text; the median where a number is missing."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), texts(table)), remainder=numbers)
    fitted = make_pipeline(columns, LogisticRegression() if classes else Ridge())
    fitted.fit(features(table), table[LABEL].to_numpy())
    return lambda rows: fitted.predict_proba(features(rows))[:, 1] if classes else fitted.predict(features(rows))


@dataclass(frozen=True)
class Question:
    """A problem as it is measured here."""

    peers: dict[str, Callable[[pa.Table], Fitted]]
    score: Callable[[np.ndarray, np.ndarray], float]
    """From labels and predictions."""
    ahead: Callable[[list[float], list[float]], float]
    """From the scores of ours and of the peers, how far our best is ahead of theirs."""
    behind: float
    """How far below the better of the peers ours may be."""
    goal: str
    """That, in words."""


def _ahead_in_auc(ours: list[float], theirs: list[float]) -> float:
    return max(ours) - max(theirs)


def _ahead_in_error(ours: list[float], theirs: list[float]) -> float:
    return 1 - min(ours) / min(theirs)


QUESTIONS = {
    "binary": Question(
        {"HistGradientBoosting": partial(boosting, classes=True), "LogisticRegression": partial(linear, classes=True)},
        roc_auc_score,
        _ahead_in_auc,
        0.005,
        "the most that a peer is ahead in AUC",
    ),
    "regression": Question(
        {"HistGradientBoosting": partial(boosting, classes=False), "Ridge": partial(linear, classes=False)},
        root_mean_squared_error,
        _ahead_in_error,
        0.01,
        "the most that a peer is ahead, as a share of its error",
    ),
}
"""By the name of the problem."""


def features(table: pa.Table) -> pd.DataFrame:
    """What scikit-learn is given: truth values as numbers, for they may be missing."""
    frame = table.drop_columns([LABEL]).to_pandas()
    return frame.astype({name: float for name in frame.columns if name not in texts(table)})


def texts(table: pa.Table) -> list[str]:
    """The columns of texts."""
    return [one.name for one in table.schema if one.name != LABEL and kind_of(one.type) == "category"]


def ours(spec: dict[str, Any], job: TrainingJob) -> Fitted:
    """A model of cd4ml, asked as it is served."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(job.seed)
    with redirect_stdout(StringIO()):
        fitted = parse(spec).fit(job)
    return lambda rows: fitted.model([tf.constant(one) for one in model.features(rows, job.contract).values()]).numpy()


def job(folder: Path, train: pa.Table, *, evaluation: pa.Table, seed: int, problem: str) -> TrainingJob:
    """What `train_model` makes of two splits."""
    for name, rows in {"train": train, "eval": evaluation}.items():
        pq.write_table(rows, folder / name)
    known = {one.name: column(train[one.name]) for one in train.schema if one.name != LABEL}
    kinds = {name: kind for name in known if (kind := kind_of(train.schema.field(name).type))}
    classes = ("false", "true") if problem == "binary" else ()
    contract = Contract(LABEL, classes, inputs(kinds), {}, problems.named(problem))
    return TrainingJob(
        train=folder / "train",
        eval=folder / "eval",
        contract=contract,
        statistics=known,
        weights=None,
        seed=seed,
        workspace=folder,
    )


def column(values: pa.ChunkedArray) -> Column:
    """What the statistics tell training of a column."""
    missing = values.null_count > 0
    if kind_of(values.type) == "category":
        counts = sorted(pc.value_counts(values.drop_null()).to_pylist(), key=lambda one: -one["counts"])
        return Text(tuple(one["values"] for one in counts if one["counts"] > 1), missing)
    numbers = values.cast(pa.float64(), safe=False).drop_null().to_numpy()
    quantiles = tuple(np.unique(np.quantile(numbers, np.linspace(0, 1, 11), method="inverted_cdf")).tolist())
    return Number(numbers.min(), numbers.max(), numbers.mean(), numbers.std(), missing, quantiles)


def divided(table: Table, seed: int) -> list[pa.Table]:
    """Train, eval and test, drawn at random."""
    rows = table.arrow
    order = np.random.default_rng(seed).permutation(len(rows))
    places = np.split(order, [int(0.6 * len(rows)), int(0.75 * len(rows))])
    return [rows.take(np.sort(one)) for one in places]


@dataclass(frozen=True)
class Measured:
    """A model on a table, the mean over the divisions."""

    score: float
    seconds: float


def measured(table: Table) -> dict[str, Measured]:
    """Each model, ours and the peers."""
    found: dict[str, list[Measured]] = {}
    for seed in range(SPLITS):
        train, evaluation, test = divided(table, seed)
        with tempfile.TemporaryDirectory() as made:
            given = job(Path(made), train, evaluation=evaluation, seed=seed, problem=table.problem)
            trainings = {name: partial(ours, {"model": name}, given) for name in MODELS}
            trainings |= {name: partial(peer, train) for name, peer in QUESTIONS[table.problem].peers.items()}
            for name, training in trainings.items():
                start = time.monotonic()
                score = QUESTIONS[table.problem].score(test[LABEL].to_numpy(), training()(test))
                found.setdefault(name, []).append(Measured(float(score), time.monotonic() - start))
    return {
        name: Measured(*(float(np.mean(one)) for one in zip(*map(astuple, of), strict=True)))
        for name, of in found.items()
    }


def main() -> None:
    """Measures, and prints what came out."""
    tf.get_logger().setLevel("ERROR")
    ahead: dict[str, dict[str, float]] = {}
    scores, seconds = {}, {"ours": 0.0, "theirs": 0.0}
    for name in NAMES:
        table = TABLES[name]()
        found, question = measured(table), QUESTIONS[table.problem]
        ours, theirs = (
            [one.score for side, one in found.items() if (side in MODELS) == mine] for mine in (True, False)
        )
        gained = ahead.setdefault(table.problem, {})[name] = question.ahead(ours, theirs)
        scores[name] = {one: round(of.score, 4) for one, of in found.items()}
        for model_, of in found.items():
            seconds["ours" if model_ in MODELS else "theirs"] += of.seconds
        each = (f"{one} {of.score:.4f} ({of.seconds:.1f} s)" for one, of in found.items())
        tell(f"{name}: {gained:+.4f}; {', '.join(each)}")
    every = [gained for tables in ahead.values() for gained in tables.values()]
    behind = [
        at_most(question.goal, -min(ahead[problem].values()), question.behind, digits=4)
        for problem, question in QUESTIONS.items()
        if problem in ahead
    ]
    share = float(np.mean([one >= 0 for one in every]))
    close(
        "models",
        seconds=round(seconds["ours"], 1),
        peer_seconds=round(seconds["theirs"], 1),
        scores=scores,
        goals=[*behind, at_least("share of the tables on which ours is ahead", share, AHEAD)],
    )


def tell(line: str) -> None:
    """Prints a line."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
