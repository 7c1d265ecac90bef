"""Which of three or more classes that have an order, as `low`, `middle` and `high`."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from cd4ml.contracts.class_labels import distinct, shown
from cd4ml.contracts.multiclass import MOST_CLASSES, MULTICLASS, WORDS, Multiclass
from cd4ml.contracts.problem import Metric, every_row
from cd4ml.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

MEAN_CLASS_ERROR = "mean_class_error"


class Ordinal(Multiclass):
    """As `Multiclass`, with classes that are numbered from the lowest to the highest."""

    def measured(self, thresholds: Sequence[float]) -> str:
        """As `Problem` has it."""
        return (
            f"{super().measured(thresholds)} The classes have an order: the mean class error says how many places the "
            "predicted class is from the true one, in the mean of the rows; 0 at best."
        )

    def classes(
        self, table: "pa.Table", label: str, *, positive: str = "", order: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """The values of the label as text, as they are ordered.

        Raises:
            DataError: There is no order, or it does not name each value of the label once; the label is of a type that
                cannot be one; or a class is to be positive.
        """
        values = distinct(table, label, remedy=WORDS)
        if positive:
            raise DataError("positive: of classes that have an order none counts as positive; leave it out")
        if not order:
            raise DataError(
                f"classes: the problem is ordinal, and they are not given; name the {len(values):,} values of the "
                f"label {label!r} ({shown(values)}) in their order"
            )
        if len(values) == 2:
            highest = next((one for one in reversed(order) if one in values), values[1])
            raise DataError(
                f"classes: the label {label!r} has two values ({shown(values)}), whose order says nothing; leave them "
                f"out, and write `positive: {highest}`"
            )
        wrong = [
            said
            for said, names in (
                ("they lack {}", sorted(set(values) - set(order))),
                ("no row is {}", [one for one in order if one not in values]),
            )
            for said in ([said.format(shown(names))] if names else [])
        ]
        if wrong:
            raise DataError(
                f"classes: they are to name each value of the label {label!r} once, in their order, and "
                f"{', and '.join(wrong)}; correct them, or clean the source"
            )
        return tuple(order)


def check_classes(names: Sequence[object]) -> tuple[str, ...]:
    """The classes of an order, as text.

    Raises:
        DataError: They are no texts and whole numbers, each named once, three at least.
    """
    strange = [one for one in names if not _names_a_class(one)]
    if strange:
        raise DataError(f"{strange[0]!r} names no class; write a text, in quotes, or a whole number")
    told = as_text(names)
    twice = [one for place, one in enumerate(told) if one in told[:place]]
    if twice:
        raise DataError(f"{shown(twice)} more than once; name each class once")
    if len(told) in (1, 2):
        raise DataError(f"{len(told)} of three and more; of two classes write `positive: {told[-1]}`")
    if len(told) > MOST_CLASSES:
        raise DataError(f"{len(told):,} where {MOST_CLASSES} can be told apart at most; group the rare ones into one")
    return told


def as_text(names: Sequence[object]) -> tuple[str, ...]:
    """Classes as the label has them as text: whole numbers without a fraction."""
    return tuple(f"{one:.0f}" if isinstance(one, float) else str(one) for one in names)


def _names_a_class(one: object) -> bool:
    if isinstance(one, str):
        return bool(one.strip())
    return not isinstance(one, bool) and (isinstance(one, int) or (isinstance(one, float) and one.is_integer()))


ORDINAL = Ordinal(
    **{one.name: getattr(MULTICLASS, one.name) for one in fields(MULTICLASS)}
    | {
        "name": "ordinal",
        "task": "ordinal classification",
        "headlines": ("log_loss", "top_1_accuracy", MEAN_CLASS_ERROR, "macro_auc"),
        "rows": (
            *MULTICLASS.rows[:2],
            Metric(
                MEAN_CLASS_ERROR,
                top=None,
                better="lower",
                counted=every_row,
                interval="positive",
                place_among_groups=3,
            ),
            *MULTICLASS.rows[2:],
        ),
    }
)
