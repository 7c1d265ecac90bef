"""In what two models differ: the files, the weights within them, and the answers for rows that are known."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from cd4ml.contracts import document, model, predictions
from cd4ml.contracts.model import CONTRACT, SAVED_MODEL
from cd4ml.contracts.reproduction import Answers, Differences, Tensor
from cd4ml.replies import reply

SAME = 0.1
"""Answers that differ by less of what a server's may are the same: a batch of another size rounds otherwise."""
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def between(published: Path, rebuilt: Path, known: Path) -> Differences:
    """Compares two models; code of neither runs but the rebuilt one's own signature.

    Args:
        published: The folder of the one (layout: `cd4ml.contracts.model`).
        rebuilt: That of the other.
        known: Rows, with what the first one answered (layout: `cd4ml.contracts.predictions`).

    Raises:
        StorageError: A folder holds no model, or the file no such rows.
    """
    return Differences(
        files=_files(published, rebuilt),
        tensors=tuple(_tensors(_checkpoint(published), _checkpoint(rebuilt))),
        answers=_answers(rebuilt, known),
    )


def _files(published: Path, rebuilt: Path) -> dict[str, str]:
    found = [_of(folder) for folder in (published, rebuilt)]
    names = sorted({*found[0], *found[1]})
    return {name: said for name in names if (said := _difference(*(files.get(name) for files in found)))}


def _of(folder: Path) -> dict[str, Path]:
    """The files that predict, by their names."""
    files = [folder / CONTRACT, *(file for file in (folder / SAVED_MODEL).rglob("*") if file.is_file())]
    return {file.relative_to(folder).as_posix(): file for file in files}


def _difference(published: Path | None, rebuilt: Path | None) -> str:
    if published is None or rebuilt is None:
        return "only in the published model" if rebuilt is None else "only in the rebuilt model"
    if document.digest(published) == document.digest(rebuilt):
        return ""
    sizes = [file.stat().st_size for file in (published, rebuilt)]
    return (
        f"{sizes[0]:,} bytes, of which some differ" if sizes[0] == sizes[1] else f"{sizes[0]:,} and {sizes[1]:,} bytes"
    )


def _checkpoint(folder: Path) -> dict[str, np.ndarray | None]:
    """What was saved beside the graph, by name; None where it is damaged. Nothing where all of it is."""
    try:
        reader = tf.train.load_checkpoint(str(folder / SAVED_MODEL / "variables" / "variables"))
    except (ValueError, tf.errors.OpError):
        return {}
    names = [name for name in reader.get_variable_to_shape_map() if name != _GRAPH]
    return {name.removesuffix(_VALUE): _read(reader, name) for name in sorted(names)}


def _read(reader: Any, name: str) -> np.ndarray | None:
    try:
        return np.asarray(reader.get_tensor(name))
    except (ValueError, tf.errors.OpError):
        return None


def _tensors(published: Mapping[str, np.ndarray | None], rebuilt: Mapping[str, np.ndarray | None]) -> Iterator[Tensor]:
    for name in sorted({*published, *rebuilt}):
        one, other = published.get(name), rebuilt.get(name)
        said = Tensor(name, _kind(name, published), _kind(name, rebuilt))
        if one is None or other is None or said.published != said.rebuilt:
            yield said
        elif values := int(np.count_nonzero(one != other)):
            yield replace(said, values=values, largest=_largest(one, other))


def _kind(name: str, tensors: Mapping[str, np.ndarray | None]) -> str:
    if name not in tensors:
        return ""
    tensor = tensors[name]
    return "damaged" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"


def _largest(one: np.ndarray, other: np.ndarray) -> float | None:
    """The largest difference; None where the values are no numbers, or not finite."""
    if one.dtype.kind not in "fiu":
        return None
    found = float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())
    return found if np.isfinite(found) else None


def _answers(rebuilt: Path, known: Path) -> Answers:
    contract, asked = model.read_contract(rebuilt), predictions.read(known)
    table = pa.table([pa.array(column) for column in zip(*asked.rows, strict=True)], asked.names)
    signature = tf.saved_model.load(str(rebuilt / SAVED_MODEL)).signatures["serving_default"]
    given = {name: tf.constant(values) for name, values in model.features(table, contract).items()}
    distances = np.abs(signature(**given)[contract.output].numpy() - asked.outputs)
    same = SAME * contract.problem.tolerance(asked.outputs)
    differ = (distances > same).any(axis=tuple(range(1, distances.ndim)))
    return Answers(len(asked.rows), int(differ.sum()), float(distances.max(initial=0)))


def main(published: str, rebuilt: str, known: str) -> int:
    """Prints the differences; the exit status."""
    wrong = OSError, ValueError, KeyError, tf.errors.OpError
    return reply(lambda: between(Path(published), Path(rebuilt), Path(known)).content, *wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
