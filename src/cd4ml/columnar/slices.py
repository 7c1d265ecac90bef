"""Which slices each row is in, as TFMA has it: one code a row for each slicing spec."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.slicer import slicer_lib

from cd4ml.columnar.batch import Batch
from cd4ml.errors import EvaluationError

SliceKey = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Group:
    """Rows by slice: those of one slicing spec, which no two slices share.

    Attributes:
        slices: int [slices here], the number of each slice in the whole evaluation.
        codes: int [rows], where in `slices` a row's slice is; -1 where it has none.
        times: float [rows], how often each row counts; None for once.
    """

    slices: np.ndarray
    codes: np.ndarray
    times: np.ndarray | None = None

    @cached_property
    def present(self) -> np.ndarray:
        """Which rows are in a slice, bool [rows]."""
        return self.codes >= 0

    @cached_property
    def whole(self) -> bool:
        """Whether every row is in a slice."""
        return bool(self.present.all())

    def repeats(self, row: int) -> int:
        """How often a row counts."""
        return 1 if self.times is None else int(self.times[row])

    def weighted(self, values: np.ndarray | None, rows: np.ndarray | None = None) -> np.ndarray | None:
        """Values, float [pairs], as often as their rows count; None for one a pair."""
        if self.times is None:
            return values
        times = self.times if rows is None else self.times[rows]
        if values is None or np.isfinite(values).all():
            return times if values is None else values * times
        return np.where(times == 0, 0.0, values * times)


class Slicing:
    """The slices of an evaluation, numbered as they are met."""

    def __init__(self, config: config_pb2.EvalConfig) -> None:
        self.specs = _specs(config)
        self.keys: list[SliceKey] = []
        self.rows: Counter[SliceKey] = Counter()
        self._numbers: dict[SliceKey, int] = {}

    def groups(self, batch: Batch) -> list[Group]:
        """The groups of a batch; a slice that several specs name is in the first of them alone."""
        taken: set[SliceKey] = set()
        groups = []
        for spec in self.specs:
            codes, keys = _coded(spec, batch)
            new = np.array([key is not None and key not in taken for key in keys], bool)
            if not new.any():
                continue
            chosen: list[SliceKey] = [key for key in keys if key is not None and key not in taken]
            taken.update(chosen)
            places = np.where(new, np.cumsum(new) - 1, -1)
            codes = np.where(codes < 0, -1, places[codes])
            rows = np.bincount(codes[codes >= 0], minlength=len(chosen)).tolist()
            self.rows.update(dict(zip(chosen, rows, strict=True)))
            groups.append(Group(np.array([self._number(key) for key in chosen]), codes))
        return groups

    def _number(self, key: SliceKey) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(self.keys)
            self.keys.append(key)
        return self._numbers[key]


def _specs(config: config_pb2.EvalConfig) -> list[slicer_lib.SingleSliceSpec]:
    """The specs of the slices, and of what is compared across slices, each once; all rows where there is none."""
    protos = list(config.slicing_specs)
    for cross in config.cross_slicing_specs:
        protos += [cross.baseline_spec, *cross.slicing_specs]
    if any(proto.slice_keys_sql for proto in protos):
        raise EvaluationError("slice_keys_sql is for TFMA on Beam: name a runner, or slice by feature keys and values")
    specs = [slicer_lib.SingleSliceSpec(spec=proto) for proto in protos] or [slicer_lib.SingleSliceSpec()]
    return list(dict.fromkeys(specs))


def _coded(spec: slicer_lib.SingleSliceSpec, batch: Batch) -> tuple[np.ndarray, list[SliceKey | None]]:
    """Codes of the rows, int [rows], and what slice each code is; None where the spec does not apply."""
    columns = sorted({*spec._columns, *(name for name, _ in spec._features)})
    if not columns:
        return np.zeros(batch.rows, np.int64), [()]
    missing = [name for name in columns if name not in batch.columns]
    if missing:
        raise EvaluationError(
            f"there is no column {missing[0]!r} to slice by; the columns are {', '.join(sorted(batch.columns))}"
        )
    codes, values = _factorised(batch, columns[0])
    combinations = [(value,) for value in values]
    for name in columns[1:]:
        others, values = _factorised(batch, name)
        both = np.where((codes < 0) | (others < 0), -1, codes * max(len(values), 1) + others)
        present, codes = _compact(both)
        combinations = [(*combinations[one // len(values)], values[one % len(values)]) for one in present]
    return codes, [_key(spec, columns, combination) for combination in combinations]


def _compact(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The codes that occur, rising, and the rows' codes as places among them."""
    places, present = pd.factorize(codes, sort=True)
    nowhere = int(present[:1].sum() < 0)  # the code -1, of the rows that are in no slice
    return present[nowhere:], places - nowhere


def _factorised(batch: Batch, name: str) -> tuple[np.ndarray, np.ndarray]:
    if ("factorised", name) not in batch.cache:
        column = batch.columns[name]
        if column.ndim == 2 and column.shape[1] == 1:
            column = column[:, 0]
        if column.ndim != 1:
            raise EvaluationError(f"column {name!r} holds several values a row, and cannot make slices")
        codes, values = pd.factorize(column.astype(object) if column.dtype.kind in "US" else column)
        batch.cache["factorised", name] = codes, values
    codes, values = batch.cache["factorised", name]
    return codes, values


def _key(spec: slicer_lib.SingleSliceSpec, columns: Sequence[str], values: Sequence[Any]) -> SliceKey | None:
    """TFMA's own key of the slice that a row of these values is in."""
    features = {name: np.array([_stored(value)]) for name, value in zip(columns, values, strict=True)}
    found: Iterator[SliceKey] = iter(slicer_lib.get_slices_for_features_dicts([], features, [spec]))
    return next(found, None)


def _stored(value: Any) -> Any:
    """Text is bytes by the time TFMA slices by it."""
    return value.encode() if isinstance(value, str) else value
