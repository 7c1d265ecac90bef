"""What preprocessing takes from the statistics of the train split, so that the data is not read again for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import statistics_pb2

from cd4ml.errors import TrainingError

TRAIN = "train.pb"
FEWEST_ROWS = 2.0
"""Of a value that the statistics do not list, on average: with fewer, there is nothing to learn of these."""
MOST_BUCKETS = 2**16
DAY = 24 * 60 * 60 * 10**6
"""In microseconds."""

Cycle = Literal["year", "week", "day"]


@dataclass(frozen=True)
class Number:
    """A column of numbers."""

    minimum: float
    maximum: float
    mean: float
    deviation: float
    missing: bool
    """Whether any row has none."""
    quantiles: tuple[float, ...] = ()
    """The upper ends of parts of about equal size, ascending."""


@dataclass(frozen=True)
class Text:
    """A column of text."""

    values: tuple[str, ...]
    """Those that occur more than once, the most frequent first, as many as the statistics list."""
    missing: bool
    buckets: int = 0
    """Into how many all others are hashed; 0 where they are too rare to learn from, or there are none."""


@dataclass(frozen=True)
class Date:
    """A column of dates or times that a model sees (`cd4ml.training.dates`)."""

    earliest: int
    """In microseconds since 1970 in UTC."""
    latest: int
    """Likewise."""
    missing: bool
    """Whether any row has none."""
    age: Number | None
    """In days; None of a column that others are measured against."""
    since: str
    """The column that its age is measured against; empty where that is the latest moment."""
    cycles: tuple[Cycle, ...]
    """Those of which the rows have all: where they span less than a year, its days would tell times that do not come
    again."""


Column = Number | Text | Date


def read(folder: str | Path) -> Mapping[str, Column]:
    """Reads the statistics of the train split: TFDV's DatasetFeatureStatisticsList, serialized.

    Args:
        folder: What `validate_dataset` wrote.

    Returns:
        What is known of each column; a column without values is left out.

    Raises:
        TrainingError: The statistics cannot be read.
    """
    file = Path(folder) / TRAIN
    try:
        proto = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes())
    except (OSError, DecodeError) as error:
        raise TrainingError(f"{file}: cannot be read as statistics ({error}); run validate_dataset again") from error
    if len(proto.datasets) != 1:
        raise TrainingError(f"{file}: {len(proto.datasets)} datasets instead of one; run validate_dataset again")
    columns = {}
    for feature in proto.datasets[0].features:
        column = _column(feature)
        if column:
            columns[feature.path.step[0] if feature.path.step else feature.name] = column
    return columns


def _column(feature: statistics_pb2.FeatureNameStatistics) -> Column | None:
    if feature.HasField("num_stats"):
        numbers = feature.num_stats
        if not numbers.common_stats.num_non_missing:
            return None
        nans = any(histogram.num_nan for histogram in numbers.histograms)
        missing = bool(numbers.common_stats.num_missing or nans)
        parts = (one.buckets for one in numbers.histograms if one.type == statistics_pb2.Histogram.QUANTILES)
        quantiles = sorted({bucket.high_value for bucket in next(parts, ())})
        return Number(numbers.min, numbers.max, numbers.mean, numbers.std_dev, missing, tuple(quantiles))
    if feature.HasField("string_stats"):
        text = feature.string_stats
        buckets = text.rank_histogram.buckets
        values = tuple(bucket.label for bucket in buckets if bucket.label and bucket.sample_count > 1)
        empty = any(not top.value for top in text.top_values)
        missing = bool(text.common_stats.num_missing or empty)
        return Text(values, missing, _hashed(text)) if buckets else None
    return None


def _hashed(text: statistics_pb2.StringStatistics) -> int:
    """Into how many buckets the values are hashed that are not listed: one each, as far as there are so many."""
    listed = text.rank_histogram.buckets
    values = int(text.unique) - len(listed)
    rows = text.common_stats.num_non_missing - sum(bucket.sample_count for bucket in listed)
    if values <= 0 or rows < FEWEST_ROWS * values:
        return 0
    return min(1 << (values - 1).bit_length(), MOST_BUCKETS)
