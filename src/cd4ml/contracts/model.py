"""What a trained model is on disk, and how a table becomes its inputs.

A model is a folder:

    saved_model/     TensorFlow SavedModel; its one signature, `serving_default`, takes each input of the
                     contract as a tensor of shape [batch] and gives the contract's output, such as `probability`,
                     float32 [batch], or `probabilities`, float32 [batch, classes]; a tensor is called as its input,
                     or as the input's `encoded` says
    contract.json    `Contract`: the problem, the label, its classes and the inputs
    history.json     one object an epoch: epoch, seconds, loss, eval_loss, and the primary metric as auc, eval_auc; and
                     input_seconds, step_seconds and eval_seconds, as far as they are known
    lineage.json     what it was trained from, and where (layout: `cd4ml.contracts.lineage`)
    learning.json    of one that has learnt online: from what, and how (layout: `cd4ml.contracts.learning`)

Nothing here needs TensorFlow, and pyarrow only where a table comes in, so that every stage can read it.
"""

import hashlib
import json
import keyword
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cd4ml.contracts import document, moments, problems
from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.calibrated import Calibration
from cd4ml.contracts.chosen import ChosenThreshold
from cd4ml.contracts.columns import column, is_text
from cd4ml.contracts.problem import Problem
from cd4ml.errors import DataError, StorageError

if TYPE_CHECKING:
    import pyarrow as pa

SAVED_MODEL = "saved_model"
CONTRACT = "contract.json"
HISTORY = "history.json"

Kind = Literal["number", "category", "boolean", "text", "date"]
"""What is text in a table is a `category`, known by its values, or a `text`, known by its words."""
Dtype = Literal["float32", "string", "int64"]
DTYPES: Mapping[Kind, Dtype] = {
    "number": "float32",
    "boolean": "float32",
    "category": "string",
    "text": "string",
    "date": "int64",
}
MISSING: Mapping[Dtype, float | str | int] = {"float32": math.nan, "string": "", "int64": moments.MISSING}
"""What stands for no value."""


@dataclass(frozen=True)
class Input:
    """One feature as the model takes it: float32 with NaN for missing, text with "", or a date or time.

    The latter is int64: microseconds since 1970 in UTC, the least int64 for missing (`cd4ml.contracts.moments`).
    """

    name: str
    """The column's; requests, reports and slices know it by this one."""
    kind: Kind
    encoded: str = ""
    """What the signature calls it, where that cannot be its name."""
    vocabulary: tuple[str, ...] | None = None
    """Of a category: the values that training knew; None of what is none, and where an older version trained it."""
    range: tuple[float, float] | None = None
    """Of a number or a date: the least and the greatest value that training saw; None likewise."""
    since: str = ""
    """Of a date: the column that its age is measured against; empty where that is the greatest value of its `range`."""
    cycles: tuple[str, ...] = ()
    """Of a date: the `year`, `week` and `day` in which the model sees where it stands."""
    personal: bool = False
    """Whether its values are personal data, as those that are hashed, so that nobody keeps them as they are."""

    @property
    def tensor(self) -> str:
        """What the signature calls it."""
        return self.encoded or self.name

    @property
    def dtype(self) -> Dtype:
        """The type of its tensor."""
        return DTYPES[self.kind]

    @property
    def missing(self) -> float | str | int:
        """What stands for no value."""
        return MISSING[self.dtype]

    @property
    def is_text(self) -> bool:
        """Whether its values are texts."""
        return self.kind in ("category", "text")


@dataclass(frozen=True)
class Contract:
    """What a model takes and gives."""

    label: str
    classes: tuple[str, ...]
    """The label's values as text, in the order of its problem: `probability` is that of the second of two,
    `probabilities` are those of three and more as they stand here; none of a number."""
    inputs: tuple[Input, ...]
    model: Mapping[str, Any]
    """The specification it was trained by, as `cd4ml.training.trainers` has it."""
    problem: Problem = BINARY
    """What it is to predict."""
    label_quantiles: tuple[float, ...] = ()
    """Of a number: the values that parts of the rows that training saw do not exceed, ascending; none where it is not
    known, or the label is no number."""
    calibration: Calibration | None = None
    """Of its probabilities; None where they are as training left them."""
    threshold: ChosenThreshold | None = None
    """Above which a row counts as positive; None where training chose none."""

    @property
    def output(self) -> str:
        """What the signature calls what it gives."""
        return self.problem.output

    @property
    def shape(self) -> tuple[int, ...]:
        """Of that for one row: `()` of one number."""
        return self.problem.shape(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """What the numbers are called that it gives for one row: the classes, or the output of one number."""
        return self.classes if self.shape else (self.output,)

    @property
    def gives(self) -> str:
        """What that is, in words."""
        return self.problem.gives(self.label, self.classes)

    @property
    def buckets(self) -> tuple[float, ...]:
        """The upper bounds between which a server counts it; none where they are not known."""
        return self.problem.buckets or self.label_quantiles

    def labels(self, table: "pa.Table") -> np.ndarray:
        """The label's column as numbers.

        Raises:
            DataError: The column is missing, or holds something else.
        """
        return self.problem.labels(table, self.label, self.classes)


PLAIN = re.compile(r"(?!encoded_|self$)[a-z][a-z0-9_]{0,63}")
"""In lower case, as TensorFlow has them, the names that it takes for arguments, but for the keywords of Python."""


def inputs(kinds: Mapping[str, Kind]) -> tuple[Input, ...]:
    """The inputs of a signature: a name that it cannot have, or cannot tell from another, is encoded.

    Args:
        kinds: By column, in the order of the inputs.
    """
    alike = Counter(name.lower() for name in kinds)
    return tuple(
        Input(name, kind, "" if _is_plain(name) and alike[name.lower()] == 1 else f"encoded_{place}")
        for place, (name, kind) in enumerate(kinds.items())
    )


def _is_plain(name: str) -> bool:
    lower = name.lower()
    reserved = keyword.iskeyword(name) or keyword.iskeyword(lower)
    return name.isascii() and PLAIN.fullmatch(lower) is not None and not reserved


def write_contract(contract: Contract, folder: str | Path) -> None:
    """Writes the contract into a model's folder."""
    content: dict[str, Any] = {
        "problem": contract.problem.name,
        "label": contract.label,
        "classes": list(contract.classes),
        "inputs": [_written(one) for one in contract.inputs],
        "model": dict(contract.model),
        "output": contract.output,
    }
    if contract.label_quantiles:
        content["label_quantiles"] = list(contract.label_quantiles)
    if contract.calibration:
        content["calibration"] = contract.calibration.written
    if contract.threshold:
        content["threshold"] = contract.threshold.written
    document.write(Path(folder) / CONTRACT, content)


def _written(one: Input) -> dict[str, Any]:
    content: dict[str, Any] = {"name": one.name, "kind": one.kind, "dtype": one.dtype}
    if one.encoded:
        content["encoded"] = one.encoded
    if one.vocabulary is not None:
        content["vocabulary"] = list(one.vocabulary)
    if one.range is not None:
        content["range"] = list(one.range)
    if one.since:
        content["since"] = one.since
    if one.cycles:
        content["cycles"] = list(one.cycles)
    if one.personal:
        content["personal"] = True
    return content


def read_contract(folder: str | Path) -> Contract:
    """Reads what `write_contract` wrote.

    Raises:
        StorageError: The folder holds no model.
    """
    file = Path(folder) / CONTRACT
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _no_contract(file, error) from error
    return parse_contract(text, str(file))


def parse_contract(text: str, place: str) -> Contract:
    """Reads the content of such a file.

    Raises:
        StorageError: It is no contract.
    """
    try:
        content = json.loads(text)
        classes = tuple(content["classes"])
        problem = problems.named(content.get("problem", BINARY.name))
        if len(classes) not in problem.number_of_classes:
            raise ValueError(f"{len(classes)} classes of a label that is to be {problem.name}")
        return Contract(
            label=content["label"],
            classes=classes,
            inputs=tuple(_read(one) for one in content["inputs"]),
            model=content["model"],
            problem=problem,
            label_quantiles=tuple(content.get("label_quantiles", ())),
            calibration=Calibration.read(content["calibration"]) if "calibration" in content else None,
            threshold=ChosenThreshold.read(content["threshold"]) if "threshold" in content else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _no_contract(place, error) from error


def _no_contract(place: object, error: Exception) -> StorageError:
    return StorageError(f"{place}: not a model's contract ({error}); give a folder that train_model wrote")


def _read(content: Mapping[str, Any]) -> Input:
    vocabulary = tuple(content["vocabulary"]) if "vocabulary" in content else None
    low, high = content.get("range", (None, None))
    seen = None if low is None else (low, high)
    return Input(
        content["name"],
        content["kind"],
        encoded=content.get("encoded", ""),
        vocabulary=vocabulary,
        range=seen,
        since=content.get("since", ""),
        cycles=tuple(content.get("cycles", ())),
        personal=content.get("personal", False) is True,
    )


def digest(folder: str | Path) -> str:
    """Tells a model from every other: `sha256:` over the names and bytes of what predicts.

    Raises:
        StorageError: The folder holds no model.
    """
    root = Path(folder)
    files = [root / CONTRACT, *(file for file in (root / SAVED_MODEL).rglob("*") if file.is_file())]
    if len(files) == 1 or not files[0].is_file():
        raise StorageError(f"{root}: no model here; give a folder that train_model wrote")
    whole = hashlib.sha256()
    for name, file in sorted((file.relative_to(root).as_posix(), file) for file in files):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{name}\0{content}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def features(table: "pa.Table", contract: Contract) -> dict[str, np.ndarray]:
    """Turns the columns of a table into the inputs of the signature.

    Args:
        table: Holds at least the columns that the contract names, in any order.
        contract: Of the model that is to predict.

    Returns:
        One array of shape [rows] by the input's tensor, as `Input` has it; text is of the type object.

    Raises:
        DataError: A column is missing or of a type that the model does not take, or has a moment that is none.
    """
    return {name: one if isinstance(one, np.ndarray) else _numpy(one) for name, one in columns(table, contract).items()}


def columns(table: "pa.Table", contract: Contract) -> "dict[str, np.ndarray | pa.ChunkedArray]":
    """The same, but texts stay Arrow's, of type string: a text that is there often need not become many objects."""
    return {one.tensor: _input(column(table, one.name), one) for one in contract.inputs}


def _input(given: "pa.ChunkedArray", one: Input) -> "np.ndarray | pa.ChunkedArray":
    import pyarrow as pa

    if not (_fits(given.type, one) or pa.types.is_null(given.type)):
        raise DataError(
            f"column {one.name!r} is {given.type}, but the model takes a {one.kind} there; "
            "clean the source, or train on data of this type"
        )
    if one.is_text:
        return given.cast(pa.string()).fill_null("")
    if one.kind == "date":
        return moments.of_column(given, one.name)
    return _numpy(given.cast(pa.float32(), safe=False).fill_null(float("nan")))


def _fits(type_: "pa.DataType", one: Input) -> bool:
    if one.kind == "date":
        return moments.is_moment(type_) or is_text(type_)
    kind = kind_of(type_)
    return kind is not None and (kind == "category") == one.is_text


def kind_of(type_: "pa.DataType") -> Kind | None:
    """The kind of input that a column of this type is unless a model is told otherwise; None where it is none."""
    import pyarrow as pa

    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    return "category" if is_text(type_) else None


def _numpy(column: "pa.ChunkedArray") -> np.ndarray:
    array: np.ndarray = column.to_numpy()
    return array
