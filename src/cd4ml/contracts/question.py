"""Which question a label asks: the one rule by which its problem and its classes are found.

A label that can be read in two ways is not guessed: the arguments `problem` and `positive` are asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cd4ml.contracts import problems
from cd4ml.contracts.binary import PLAIN
from cd4ml.contracts.class_labels import shown as shown_classes
from cd4ml.contracts.class_labels import without_blanks
from cd4ml.contracts.columns import column, is_text
from cd4ml.contracts.ordinal import ORDINAL, as_text
from cd4ml.contracts.problem import Problem
from cd4ml.errors import DataError
from cd4ml.names import shown

if TYPE_CHECKING:
    import pyarrow as pa

AUTO = "auto"
"""The problem is found from the label."""
PROBLEMS = (AUTO, *problems.PROBLEMS)
"""What can be asked for."""
FEW = 20
"""So many whole numbers may be the names of classes as well as numbers."""


@dataclass(frozen=True)
class Question:
    """What a model is asked."""

    label: str
    problem: Problem
    classes: tuple[str, ...]
    """The values of the label as text, in the order of the problem; none where it is a number."""
    found: bool
    """Whether the problem was found from the label, and not named."""

    @property
    def positive(self) -> str:
        """The class that counts as positive; empty where there is none."""
        return self.classes[-1] if len(self.classes) == 2 else ""

    def __str__(self) -> str:
        said = f"label {self.label!r}: {self.problem.task}"
        if len(self.classes) > 2:
            order = " in this order" if self.problem is ORDINAL else ""
            said += f" of {len(self.classes)} classes ({shown_classes(self.classes)}){order}"
        if self.positive:
            said += f", where {self.classes[-1]!r} counts as positive and {self.classes[0]!r} as negative"
        return f"{said} ({'by its values' if self.found else 'as the arguments say'})"


def ask(
    table: "pa.Table", label: str, *, problem: str = AUTO, positive: str = "", classes: Sequence[object] = ()
) -> Question:
    """Finds what a label asks for.

    Args:
        table: Has each value of the label at least once.
        label: The column to predict.
        problem: Its name, or `auto`: booleans, two texts and two numbers are two classes, as is a label with a
            `positive`; more texts are as many classes; numbers of which one has a fraction, or more than `FEW` whole
            ones, are numbers to predict. With `classes` it is ordinal.
        positive: The value that counts as positive; where it is empty, that of `0` and `1`, `no` and `yes` and such.
        classes: The values from the lowest to the highest, where they have an order; texts, or whole numbers.

    Raises:
        DataError: The column is missing, is no label of the problem, or can be read in two ways.
    """
    name = named(problem, positive=positive, classes=classes)
    if name == AUTO:
        name = _found(column(table, label), label)
    if name not in problems.PROBLEMS:
        raise DataError(f"label {label!r}: {name!r} is no problem; write one of {', '.join(PROBLEMS)}")
    asked = problems.named(name)
    found = asked.classes(table, label, positive=positive, order=as_text(classes))
    return Question(label, asked, found, problem == AUTO and not classes)


def named(problem: str, *, positive: str = "", classes: Sequence[object] = ()) -> str:
    """The problem that arguments name by what they say of the classes; `auto` where only the label tells."""
    if problem != AUTO:
        return problem
    return ORDINAL.name if classes else "binary" if positive else AUTO


def _found(values: "pa.ChunkedArray", label: str) -> str:
    """The problem, by the values of a label."""
    import numpy as np
    import pyarrow as pa

    type_ = values.type
    if is_text(type_) and len(texts := without_blanks(values).drop_null().unique().to_pylist()) > 2:
        return _of_texts(sorted(texts), label)
    if pa.types.is_boolean(type_) or pa.types.is_null(type_) or is_text(type_):
        return "binary"
    if not (pa.types.is_integer(type_) or pa.types.is_floating(type_)):
        raise DataError(f"label {label!r}: {type_} cannot be a label; give numbers, booleans, or words")
    numbers = values.drop_null().cast(pa.float64(), safe=False).to_numpy()
    numbers = np.unique(numbers[np.isfinite(numbers)])
    whole = bool((numbers == np.floor(numbers)).all())
    some = ", ".join(f"{one:g}" for one in numbers[:5]) + (", ..." if len(numbers) > 5 else "")
    if len(numbers) == 2 and not whole:
        raise DataError(
            f"label {label!r}: the numbers are {some}; write `problem: regression` where they are to be predicted as "
            "numbers, or give 0 and 1 where they are two classes"
        )
    if len(numbers) <= 2:
        return "binary"
    if whole and len(numbers) <= FEW:
        raise DataError(
            f"label {label!r}: {len(numbers)} whole numbers ({some}) are numbers or the names of classes; write "
            "`problem: regression` to predict the number, or `problem: multiclass` to tell the classes apart"
        )
    return "regression"


def _of_texts(values: list[str], label: str) -> str:
    """Three texts and more are as many classes, unless two of them are such as `no` and `yes`."""
    by_word = {one.casefold(): one for one in values}
    for negative, positive in PLAIN:
        if negative in by_word and positive in by_word:
            raise DataError(
                f"label {label!r}: {by_word[negative]!r} and {by_word[positive]!r} are two classes, but there are "
                f"{len(values):,} values ({shown_classes(values)}); clean the others, or write `problem: multiclass` "
                "to tell all of them apart"
            )
    return "multiclass"


def check_problem(name: str) -> str:
    """Makes sure that a problem can be asked for.

    Raises:
        DataError: It cannot.
    """
    if name not in PROBLEMS:
        raise DataError(f"{shown(name)} is no problem; write one of {', '.join(PROBLEMS)}")
    return name
