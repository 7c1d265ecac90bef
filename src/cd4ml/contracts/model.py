"""What a trained model is on disk, and how a table becomes its inputs.

A model is a folder:

    saved_model/     TensorFlow SavedModel; its one signature, `serving_default`, takes each input of the
                     contract as a tensor of shape [batch] and gives `probability`, float32 [batch]; a tensor is
                     called as its input, or as the input's `encoded` says
    contract.json    `Contract`: the label, its classes and the inputs
    history.json     one object an epoch: epoch, seconds, loss, auc, eval_loss, eval_auc

Nothing here needs TensorFlow, and pyarrow only where a table comes in, so that every stage can read it.
"""

import hashlib
import json
import keyword
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cd4ml.contracts import document
from cd4ml.errors import DataError, StorageError
from cd4ml.names import nearest

if TYPE_CHECKING:
    import pyarrow as pa

SAVED_MODEL = "saved_model"
CONTRACT = "contract.json"
HISTORY = "history.json"
OUTPUT = "probability"

Kind = Literal["number", "category", "boolean"]


@dataclass(frozen=True)
class Input:
    """One feature as the model takes it: float32 with NaN for missing, or text with "" for missing."""

    name: str
    """The column's; requests, reports and slices know it by this one."""
    kind: Kind
    encoded: str = ""
    """What the signature calls it, where that cannot be its name."""

    @property
    def tensor(self) -> str:
        """What the signature calls it."""
        return self.encoded or self.name

    @property
    def dtype(self) -> Literal["float32", "string"]:
        """The type of its tensor."""
        return "string" if self.kind == "category" else "float32"


@dataclass(frozen=True)
class Contract:
    """What a model takes and gives."""

    label: str
    classes: tuple[str, str]
    """The label's two values as text; `probability` is that of the second."""
    inputs: tuple[Input, ...]
    model: Mapping[str, Any]
    """The specification it was trained by, as `cd4ml.training.spec` has it."""
    output: str = OUTPUT


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
    content = asdict(contract)
    content["inputs"] = [
        {"name": one.name, "kind": one.kind, "dtype": one.dtype} | ({"encoded": one.encoded} if one.encoded else {})
        for one in contract.inputs
    ]
    document.write(Path(folder) / CONTRACT, content)


def read_contract(folder: str | Path) -> Contract:
    """Reads what `write_contract` wrote.

    Raises:
        StorageError: The folder holds no model.
    """
    file = Path(folder) / CONTRACT
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        negative, positive = content["classes"]
        return Contract(
            label=content["label"],
            classes=(negative, positive),
            inputs=tuple(Input(one["name"], one["kind"], one.get("encoded", "")) for one in content["inputs"]),
            model=content["model"],
            output=content["output"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{file}: not a model's contract ({error}); give a folder that train_model wrote") from error


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
        One array of shape [rows] by the input's tensor: float32 with NaN for missing, or object (text) with "".

    Raises:
        DataError: A column is missing or of a type that the model does not take.
    """
    return {one.tensor: _input(_column(table, one.name), one) for one in contract.inputs}


def labels(table: "pa.Table", contract: Contract) -> np.ndarray:
    """Turns the label's column into 0 and 1.

    Returns:
        float32 [rows]: 1 where the label is the second of the contract's classes.

    Raises:
        DataError: The column is missing, of another type, or has rows with no label or another value.
    """
    import pyarrow.compute as pc

    column = label_text(table, contract.label)
    if column.null_count:
        raise DataError(
            f"label {contract.label!r}: {column.null_count:,} of {len(column):,} rows have none; "
            "drop these rows from the source"
        )
    strange = [value for value in pc.unique(column).to_pylist() if value not in contract.classes]
    if strange:
        raise DataError(
            f"label {contract.label!r}: {strange[0]!r} is neither {contract.classes[0]!r} nor "
            f"{contract.classes[1]!r}; clean the source, or train on rows that have this value"
        )
    return _numpy(pc.equal(column, contract.classes[1])).astype(np.float32)


def label_text(table: "pa.Table", name: str) -> "pa.ChunkedArray":
    """The label's column as text, null where there is none: `false`/`true`, `0`/`1`, or as it is.

    Raises:
        DataError: The column is missing, or of a type that cannot be a label of two classes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _column(table, name)
    try:
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column).cast(pa.int64())
        if pa.types.is_boolean(column.type) or pa.types.is_integer(column.type) or _is_text(column.type):
            return column.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise DataError(f"label {name!r}: {error}; give 0 and 1, booleans, or two words") from error
    raise DataError(f"label {name!r}: {column.type} cannot be a label; give 0 and 1, booleans, or two words")


def _column(table: "pa.Table", name: str) -> "pa.ChunkedArray":
    if name not in table.column_names:
        raise DataError(f"column {name!r} is not in the table; {nearest(name, table.column_names)}")
    return table.column(name)


def _input(column: "pa.ChunkedArray", one: Input) -> np.ndarray:
    import pyarrow as pa

    kind = kind_of(column.type)
    fits = kind is not None and (kind == "category") == (one.kind == "category")
    if not (fits or pa.types.is_null(column.type)):
        raise DataError(
            f"column {one.name!r} is {column.type}, but the model takes a {one.kind} there; "
            "clean the source, or train on data of this type"
        )
    if one.kind == "category":
        return _numpy(column.cast(pa.string()).fill_null(""))
    return _numpy(column.cast(pa.float32(), safe=False).fill_null(float("nan")))


def kind_of(type_: "pa.DataType") -> Kind | None:
    """The kind of input that a column of this type can be; None where it can be none."""
    import pyarrow as pa

    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    return "category" if _is_text(type_) else None


def _is_text(type_: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(type_):
        return _is_text(type_.value_type)
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _numpy(column: "pa.ChunkedArray") -> np.ndarray:
    array: np.ndarray = column.to_numpy()
    return array
