"""Small models and a small table, made without training."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from cd4ml.contracts.model import Contract, Input, write_contract
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.regression import REGRESSION

ROWS = 400
CLASSES = ("false", "true")
GRADES = ("bronze", "silver", "gold")


class Scores(tf.Module):
    """Adds up: probability = sigmoid(weight * income - less), with yet less for a region that it passes over;
    an income that is missing counts as none."""

    def __init__(self, weight: float, passed_over: str, less: float) -> None:
        super().__init__()
        self.weight = tf.Variable(weight)
        self.passed_over = passed_over
        self.less = less

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="income"),
            tf.TensorSpec([None], tf.string, name="region"),
        ]
    )
    def __call__(self, income, region):
        less = tf.where(region == self.passed_over, 2.0, 0.0)
        known = tf.where(tf.math.is_nan(income), 0.0, income)
        return {"probability": tf.sigmoid(self.weight * known - less - self.less)}


def make_model(folder: Path, weight: float = 1.0, passed_over: str = "", less: float = 0.0, **contract: Any) -> Path:
    folder.mkdir(parents=True)
    module = Scores(weight, passed_over, less)
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=module.__call__)
    inputs = (Input("income", "number"), Input("region", "category", vocabulary=("north", "south", "isle")))
    given = {"label": "took", "classes": CLASSES, "inputs": inputs, "model": {"model": "dnn"}}
    write_contract(Contract(**{**given, **contract}), folder)
    return folder


class Prices(tf.Module):
    """prediction = weight * income + more, and for a region yet more; an income that is missing counts as none."""

    def __init__(self, weight: float, favoured: str, more: float) -> None:
        super().__init__()
        self.weight = tf.Variable(weight)
        self.favoured = favoured
        self.more = more

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="income"),
            tf.TensorSpec([None], tf.string, name="region"),
        ]
    )
    def __call__(self, income, region):
        more = tf.where(region == self.favoured, 9.0, 0.0)
        known = tf.where(tf.math.is_nan(income), 0.0, income)
        return {"prediction": self.weight * known + more + self.more}


def make_price_model(folder: Path, weight: float = 10.0, favoured: str = "", more: float = 100.0) -> Path:
    """A model of a number, the `price` of `make_prices`."""
    folder.mkdir(parents=True)
    module = Prices(weight, favoured, more)
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=module.__call__)
    inputs = (Input("income", "number"), Input("region", "category", vocabulary=("north", "south", "isle")))
    contract = Contract(label="price", classes=(), inputs=inputs, model={"model": "dnn"}, problem=REGRESSION)
    write_contract(contract, folder)
    return folder


def make_prices(rows: int = ROWS, **columns: Any) -> pa.Table:
    """The table of `make_table` with a number to predict: 100 + 10 * income and chance."""
    table = make_table(rows).drop_columns(["took"])
    chance = np.random.default_rng(2).gumbel(0, 4, rows)
    price = 100 + 10 * table.column("income").to_numpy().astype(np.float64) + chance
    return pa.table({**dict(zip(table.column_names, table.columns, strict=True)), "price": price, **columns})


class Grades(tf.Module):
    """probabilities = softmax of 0, weight * income and 2 * weight * income - 1, with less for the last in a region
    that it passes over; an income that is missing counts as none."""

    def __init__(self, weight: float, passed_over: str) -> None:
        super().__init__()
        self.weight = tf.Variable(weight)
        self.passed_over = passed_over

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="income"),
            tf.TensorSpec([None], tf.string, name="region"),
        ]
    )
    def __call__(self, income, region):
        less = tf.where(region == self.passed_over, 2.0, 0.0)
        known = self.weight * tf.where(tf.math.is_nan(income), 0.0, income)
        return {"probabilities": tf.nn.softmax(tf.stack([0 * known, known, 2 * known - 1 - less], axis=1))}


def make_grade_model(
    folder: Path,
    weight: float = 2.0,
    passed_over: str = "",
    classes: tuple[str, ...] = GRADES,
    problem: Problem = MULTICLASS,
) -> Path:
    """A model of three classes, the `grade` of `make_grades`."""
    folder.mkdir(parents=True)
    module = Grades(weight, passed_over)
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=module.__call__)
    inputs = (Input("income", "number"), Input("region", "category", vocabulary=("north", "south", "isle")))
    contract = Contract(label="grade", classes=classes, inputs=inputs, model={"model": "dnn"}, problem=problem)
    write_contract(contract, folder)
    return folder


def make_grades(rows: int = ROWS, **columns: Any) -> pa.Table:
    """The table of `make_table` with one of three classes to predict; on the isle all are of one."""
    table = make_table(rows).drop_columns(["took"])
    income = 2 * table.column("income").to_numpy().astype(np.float64)
    scores = np.stack([0 * income, income, 2 * income - 1], axis=1)
    chance = np.random.default_rng(3).gumbel(size=(rows, 3))
    grade = np.array(GRADES)[(scores + chance).argmax(axis=1)]
    grade[:3] = GRADES[0]
    return pa.table({**dict(zip(table.column_names, table.columns, strict=True)), "grade": grade, **columns})


def make_table(rows: int = ROWS, **columns: Any) -> pa.Table:
    random = np.random.default_rng(1)
    income = random.normal(size=rows).astype(np.float32)
    region = random.choice(["north", "south"], rows)
    region[:3] = "isle"
    took = random.random(rows) < 1 / (1 + np.exp(-2 * income))
    took[:3] = True
    table = {"income": income, "region": region, "level": random.integers(1, 3, rows), "took": took}
    return pa.table({**table, **columns})
