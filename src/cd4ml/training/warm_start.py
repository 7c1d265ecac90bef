"""The weights that a network begins with: those of a model that was trained before, where each means what it did."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import keras
import tensorflow as tf

from cd4ml.contracts import model
from cd4ml.contracts.class_labels import differing
from cd4ml.contracts.model import SAVED_MODEL, Contract, Input
from cd4ml.errors import TrainingError
from cd4ml.training.statistics import Column, Text

REMEDY = "leave warm_start out, and the model begins anew"
SHOWN = 3
"""Values of a vocabulary that are named."""


def in_its_order(known: Mapping[str, Column], folder: Path) -> Mapping[str, Column]:
    """Statistics with the values of a text in the model's order, where it has the same ones.

    They are listed by how frequent they are, which changes from version to version of a dataset, and what a weight
    means goes by the place in that list.
    """
    vocabularies = {one.name: one.vocabulary or () for one in model.read_contract(folder).inputs}

    def ordered(name: str, column: Column) -> Column:
        if isinstance(column, Text) and set(column.values) == set(vocabularies.get(name, ())):
            return replace(column, values=vocabularies.get(name, ()))
        return column

    return {name: ordered(name, column) for name, column in known.items()}


def check(contract: Contract, folder: Path) -> None:
    """Makes sure that a model is of the kind of one that is to begin with its weights.

    Raises:
        TrainingError: It is not, with every difference.
    """
    differences = list(_differences(model.read_contract(folder), contract))
    if differences:
        raise TrainingError(
            "warm_start: the champion's weights do not fit this model:\n  " + "\n  ".join(differences) + f"\n{REMEDY}"
        )


def begin(network: keras.Model, folder: Path, workspace: Path) -> None:
    """Gives a network the weights of a model.

    Args:
        network: The whole, from raw features to the answer, as it is to be exported.
        folder: That of the model.
        workspace: A folder for what is written meanwhile.

    Raises:
        TrainingError: Its network is another, or its files are damaged.
    """
    own, known = str(workspace / "begun"), str(folder / SAVED_MODEL / "variables" / "variables")
    checkpoint = tf.train.Checkpoint(served=network)
    checkpoint.write(own)
    try:
        before, now = _shapes(known), _shapes(own)
        if before != now:
            raise TrainingError(
                f"warm_start: the champion's network has weights of the shapes {_said(before, now)}, and this one of "
                f"{_said(now, before)}; take the layers and the columns that it has, or {REMEDY}"
            )
        checkpoint.restore(known).expect_partial()
    except (ValueError, tf.errors.OpError) as error:
        raise TrainingError(f"warm_start: {known}: cannot be read ({error}); publish the champion again") from error
    print("begins with the weights of the champion", flush=True)  # noqa: T201 (the task's log)


def _shapes(checkpoint: str) -> dict[str, list[int]]:
    """Of the network's weights, by their places in it."""
    shapes = tf.train.load_checkpoint(checkpoint).get_variable_to_shape_map()
    return {name: shape for name, shape in sorted(shapes.items()) if name.startswith("served/")}


def _said(shapes: Mapping[str, list[int]], others: Mapping[str, list[int]]) -> str:
    """Those that are not in the other network."""
    return ", ".join(str(shape) for name, shape in shapes.items() if others.get(name) != shape) or "others"


def _differences(before: Contract, now: Contract) -> Iterator[str]:
    then_and_now = {
        "label": (before.label, now.label),
        "problem": (before.problem.name, now.problem.name),
        "model": (before.model.get("model"), now.model.get("model")),
        "inputs": (_kinds(before), _kinds(now)),
    }
    yield from (f"{name}: {then}, and now {here}" for name, (then, here) in then_and_now.items() if then != here)
    if before.classes != now.classes:
        yield f"classes: the champion {differing(before.classes, now.classes)}"
    known = {one.name: one for one in before.inputs}
    yield from (said for one in now.inputs if one.name in known and (said := _values(known[one.name], one)))


def _kinds(contract: Contract) -> list[str]:
    return [f"{one.name} ({_kind(one)})" for one in contract.inputs]


def _kind(one: Input) -> str:
    """With what a model sees of a date: `date, its age at asked, its place in the year and the day`."""
    age = f", its age at {one.since}" if one.since else ""
    return one.kind + age + (f", its place in the {' and the '.join(one.cycles)}" if one.cycles else "")


def _values(before: Input, now: Input) -> str:
    """How the values of a text differ; empty where they do not."""
    if before.kind != "category" or now.kind != "category" or before.vocabulary == now.vocabulary:
        return ""
    if before.vocabulary is None:
        return f"{now.name}: the champion does not say which values it knows"
    new = [value for value in now.vocabulary or () if value not in before.vocabulary]
    gone = [value for value in before.vocabulary if value not in (now.vocabulary or ())]
    counts = ((new, "new"), (gone, "gone"))
    said = (f"{len(some):,} {what} ({', '.join(map(repr, some[:SHOWN]))})" for some, what in counts if some)
    return f"{now.name}: of its values {', '.join(said)}"
