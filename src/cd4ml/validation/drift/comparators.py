"""The comparators of a curated schema: how far a column may be from what it was, as TFDV's schema says it."""

from collections.abc import Iterator, Sequence
from typing import Any

from cd4ml.contracts.drift import Comparison, Uncompared
from cd4ml.contracts.findings import Finding

MEASURES = {"infinity_norm": ("infinity_norm", 1), "jensen_shannon_divergence": ("jensen_shannon", 2)}
"""By TFDV's name of a measure ours, and the power that makes TFDV's of it: a divergence is the square of a distance."""
OF_ALL_ROWS = ("num_examples_drift_comparator", "num_examples_version_comparator")


def findings(
    schema: Any, comparisons: Sequence[Comparison], uncompared: Sequence[Uncompared] = ()
) -> Iterator[Finding]:
    """What does not keep the comparators: an error each, also where one could not be computed.

    `drift_comparator` is held against train and the rows of the last model, `skew_comparator` against eval and test,
    each with train.

    Args:
        schema: A `tensorflow_metadata.proto.v0.schema_pb2.Schema`.
        comparisons: Of the splits.
        uncompared: The splits that were not compared; where train has nothing to be compared with, its comparators are
            held against nothing.
    """
    for one in comparisons:
        for column, kind, comparator in _asked(schema, one.split):
            yield from _of_feature(column, comparator, kind=kind, comparison=one)
    for other in uncompared:
        for column, kind, _ in _asked(schema, other.split) if other.too_few else ():
            said = f"{other.split}: column {column!r}: the {kind} could not be computed: {other.reason}"
            yield _finding(said, other.split, column)
    for kind in OF_ALL_ROWS:
        if schema.HasField("dataset_constraints") and schema.dataset_constraints.HasField(kind):
            yield _finding(f"{kind}: the number of rows is not compared", "all")


def _asked(schema: Any, split: str) -> Iterator[tuple[str, str, Any]]:
    """The columns of which a split is held against something, and the comparators with their kind."""
    kind = "drift_comparator" if split == "train" else "skew_comparator"
    for feature in schema.feature:
        if feature.HasField(kind):
            yield feature.name, kind, getattr(feature, kind)


def _of_feature(column: str, comparator: Any, *, kind: str, comparison: Comparison) -> Iterator[Finding]:
    measured = {change.column: change.measures for change in comparison.changes if change.measures}.get(column, {})
    for field, bounds in comparator.ListFields():
        asked = f"{comparison.name}: column {column!r}: {field.name}"
        measure, power = MEASURES.get(field.name, ("", 1))
        value = measured[measure] ** power if measure in measured else None
        if value is None:
            reason = comparison.left_out.get(column, "") or (
                f"a column has {', '.join(sorted(measured))}" if measured else "the column is not in both"
            )
            yield _finding(f"{asked} of the {kind} could not be computed: {reason}", comparison.split, column)
        elif value > bounds.threshold:
            said = f"{asked} is {value:.3g}, and the {kind} allows {bounds.threshold:g}"
            yield _finding(said, comparison.split, column, value=value)


def _finding(said: str, split: str, column: str = "", *, value: float | None = None) -> Finding:
    return Finding("anomaly", "error", split, column, value, f"{said}; find out why, or change the curated_schema")
