"""Which columns of dates and times a model sees, and what preprocessing takes of them from the train split.

TFDV's statistics have the least and the greatest moment, and know nothing of an age; so the columns that a
specification names are read once more for it.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from cd4ml.contracts import moments
from cd4ml.contracts.columns import column
from cd4ml.contracts.moments import MISSING
from cd4ml.errors import TrainingError
from cd4ml.names import nearest
from cd4ml.training.split import opened, readable, told
from cd4ml.training.statistics import DAY, Column, Cycle, Date, Number
from cd4ml.training.trainers import Dates

TENTHS = np.linspace(0.1, 1, 10)


def measured(known: Mapping[str, Column], split: Path, dates: Dates | None) -> Mapping[str, Column]:
    """Statistics in which the columns that a specification names as dates are such.

    Args:
        known: Of the train split.
        split: The train split, a Parquet file.
        dates: What the specification says of dates; None where it names none.

    Raises:
        TrainingError: A column that is named has no dates, or the split cannot be read.
    """
    if not dates:
        return known
    with opened(split) as file:
        for name in dates.named:
            _check(name, file.schema_arrow, known)
    return {**known, **{name: _date(name, split, dates) for name in dates.named}}


def _check(name: str, columns: pa.Schema, known: Mapping[str, Column]) -> None:
    if name not in columns.names:
        there = [field.name for field in columns if moments.is_moment(field.type)]
        raise TrainingError(f"dates: column {name!r} is not in the train split; {nearest(name, there)}")
    type_ = columns.field(name).type
    if not moments.is_moment(type_):
        raise TrainingError(
            f"dates: column {name!r} holds {type_}, and no dates or times; leave it out, or have ingestion read it as "
            "such (docs/data.md)"
        )
    if name not in known:
        raise TrainingError(
            f"dates: the statistics have no values of column {name!r}: it is empty or holds personal data; leave it "
            "out, or waive the finding personal_data (docs/audit.md)"
        )


def _date(name: str, split: Path, dates: Dates) -> Date:
    values = _moments(name, split)
    known = values != MISSING
    missing = not known.all()
    earliest, latest = int(values[known].min()), int(values[known].max())
    seen, since = name in dates.columns, dates.since if dates.since != name else None
    times = values[known] % DAY if seen else np.zeros(1)
    whole: dict[Cycle, bool] = {
        "year": latest - earliest >= 365 * DAY,
        "week": latest - earliest >= 7 * DAY,
        "day": bool(times.min() < times.max()),
    }
    if since:
        references = _moments(since, split)
        known &= references != MISSING
        if not known.any():
            raise TrainingError(f"dates: no row has both {name!r} and {since!r}; name another column as `since`")
        ages = (references - values)[known]
    else:
        ages = latest - values[known]
    return Date(
        earliest=earliest,
        latest=latest,
        missing=missing,
        age=_number(ages / DAY, missing=not known.all()) if seen and dates.since != name else None,
        since=since or "",
        cycles=tuple(cycle for cycle, is_whole in whole.items() if seen and is_whole),
    )


def _moments(name: str, split: Path) -> np.ndarray:
    """A column of the split, int64 [rows]."""
    with opened(split) as file, readable(split, f"the column {name!r}"), told(split):
        return moments.of_column(column(file.read(columns=[name]), name), name)


def _number(values: np.ndarray, *, missing: bool) -> Number:
    tenths = np.quantile(values, TENTHS, method="inverted_cdf")
    return Number(
        minimum=float(values.min()),
        maximum=float(values.max()),
        mean=float(values.mean()),
        deviation=float(values.std()),
        missing=missing,
        quantiles=tuple(sorted({*tenths.tolist()})),
    )
