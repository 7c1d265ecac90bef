"""Classes that have an order: numbered as it says, each value of the label named once."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cd4ml.contracts import question
from cd4ml.contracts.model import Contract, read_contract, write_contract
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.ordinal import ORDINAL
from cd4ml.errors import DataError
from cd4ml.training import search

SIZES = ["small", "middle", "large"]


def ask(values: Any, **said: Any) -> question.Question:
    return question.ask(pa.table({"y": values}), "y", **said)


@given(st.permutations(["b", "a", "10", "9", "C"]))
def test_classes_are_numbered_in_their_order_whatever_it_is(order: list[str]) -> None:
    table = pa.table({"y": ["9", "10", "C", "a", "b", "a"]})

    found = question.ask(table, "y", classes=order)

    assert (found.problem, found.classes) == (ORDINAL, tuple(order))
    numbers = found.problem.labels(table, "y", found.classes)
    assert [order[one] for one in numbers] == table.column("y").to_pylist()


@pytest.mark.parametrize("label", [[3, 1, 2, 1], [3.0, 1.0, 2.0, None]])
def test_whole_numbers_can_be_classes_that_have_an_order(label: list[float | None]) -> None:
    assert ask(label, classes=[3, 2, 1]).classes == ("3", "2", "1")
    assert ask(label, classes=[3.0, 2.0, 1.0]).classes == ("3", "2", "1")


def test_a_question_says_the_order() -> None:
    assert str(ask(SIZES, classes=SIZES)) == (
        "label 'y': ordinal classification of 3 classes ('small', 'middle', 'large') in this order (as the arguments "
        "say)"
    )


@pytest.mark.parametrize(
    ("values", "said", "told"),
    [
        (
            [*SIZES, "huge"],
            {"classes": SIZES},
            "each value of the label 'y' once, in their order, and they lack 'huge';",
        ),
        (["small", "large", "wide"], {"classes": SIZES}, "and they lack 'wide', and no row is 'middle'; correct them,"),
        (
            SIZES,
            {"problem": "ordinal"},
            "are not given; name the 3 values of the label 'y' ('large', 'middle', 'small'",
        ),
        (SIZES, {"problem": "multiclass", "classes": SIZES}, "write `problem: ordinal`, or leave it out"),
        (SIZES, {"positive": "large", "classes": SIZES}, "positive: of classes that have an order none counts as"),
        (
            ["no", "yes"],
            {"classes": ["no", "maybe", "yes"]},
            "two values ('no', 'yes'), whose order says nothing; leave",
        ),
        (["no", "yes"], {"classes": ["no", "maybe", "yes"]}, "leave them out, and write `positive: yes`"),
        (["a", "b"], {"problem": "binary", "classes": SIZES}, "of two classes; leave them out, and write `positive:`"),
        ([1.5, 2.5], {"problem": "regression", "classes": SIZES}, "the label 'y' is a number, and has none; leave the"),
        (["a", "a"], {"classes": SIZES}, "every row is 'a', so there is nothing to tell apart"),
    ],
)
def test_an_order_that_does_not_fit_the_label_is_told(values: list[Any], said: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError) as refused:
        ask(values, **said)

    assert told in str(refused.value)


def test_a_contract_keeps_that_its_classes_have_an_order(tmp_path: Path) -> None:
    write_contract(Contract("size", tuple(SIZES), (), {"model": "linear"}, ORDINAL), tmp_path)

    assert (read_contract(tmp_path).problem, read_contract(tmp_path).classes) == (ORDINAL, tuple(SIZES))


def test_what_is_measured_of_classes_without_an_order_is_measured_of_these_too() -> None:
    beside = {one.name for one in ORDINAL.metrics} - {one.name for one in MULTICLASS.metrics}

    assert beside == {"mean_class_error"}
    assert ORDINAL.score(np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.5]])) == pytest.approx(np.log(2))
    assert "mean class error" in ORDINAL.measured([0.5])


def test_how_far_a_class_is_from_the_true_one_is_a_headline_an_objective_and_compared_by_groups() -> None:
    assert "mean_class_error" in ORDINAL.headlines
    assert search.objectives("ordinal") == ("log_loss", "mean_class_error", "loss")
    assert "mean_class_error" not in search.objectives("multiclass")
    assert [one.name for one in ORDINAL.among_groups] == ["class_selection_rate", "class_recall", "mean_class_error"]
