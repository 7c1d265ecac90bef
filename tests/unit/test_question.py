"""What a label asks for: found where it can be read in one way only, and asked for where not."""

import numpy as np
import pyarrow as pa
import pytest

from cd4ml.contracts import question
from cd4ml.errors import DataError


def ask(values, **said):
    return question.ask(pa.table({"y": values}), "y", **said)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([True, False], ("false", "true")),
        ([1, 0], ("0", "1")),
        ([1.0, 0.0, None], ("0", "1")),
        ([0.0, 1.0, float("nan")], ("0", "1")),
        ([0.0, 1.0, float("inf")], ("0", "1")),
        ([-1, 1], ("-1", "1")),
        (["Yes", "No"], ("No", "Yes")),
        (["y", "n"], ("n", "y")),
        (["positive", "negative"], ("negative", "positive")),
        (["oui", "non"], ("non", "oui")),
        (["yes", "no", "", " "], ("no", "yes")),
    ],
)
def test_two_values_that_read_in_one_way_are_classes(values, classes):
    found = ask(values)

    assert (found.problem.name, found.classes, found.positive) == ("binary", classes, classes[1])


@pytest.mark.parametrize(
    ("values", "said", "classes"),
    [
        (["won", "lost", "drawn", None], {}, ("drawn", "lost", "won")),
        (["won", "lost", "drawn", "", " "], {}, ("drawn", "lost", "won")),
        (["no", "yes", "maybe"], {"problem": "multiclass"}, ("maybe", "no", "yes")),
        ([3, 10, 4], {"problem": "multiclass"}, ("3", "4", "10")),
        (np.arange(200), {"problem": "multiclass"}, tuple(map(str, range(200)))),
    ],
)
def test_three_texts_and_more_are_as_many_classes_and_numbers_where_it_is_said(values, said, classes):
    found = ask(values, **said)

    assert (found.problem.name, found.classes, found.positive) == ("multiclass", classes, "")


def test_a_question_names_its_classes():
    assert str(ask(["b", "c", "a"])) == (
        "label 'y': multiclass classification of 3 classes ('a', 'b', 'c') (by its values)"
    )


@pytest.mark.parametrize(
    "values",
    [[0.5, 1.0, 2.0], np.linspace(0, 1, 300), np.arange(21), np.arange(21.0), [1.5, 2.5, 7.25, float("inf")]],
)
def test_numbers_with_fractions_or_many_whole_ones_are_numbers_to_predict(values):
    found = ask(values)

    assert (found.problem.name, found.classes, found.positive) == ("regression", (), "")
    assert str(found) == "label 'y': regression (by its values)"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["legit", "fraud"], "'fraud', 'legit' do not say which one is to be predicted; write `positive: legit` or"),
        ([1, 2], "'1', '2' do not say which one is to be predicted; write `positive: 2` or `positive: 1`"),
        (
            [3, 4, 5],
            "3 whole numbers (3, 4, 5) are numbers or the names of classes; write `problem: regression` to predict the",
        ),
        (np.arange(20), "20 whole numbers (0, 1, 2, 3, 4, ...) are numbers or the names of classes"),
        ([0.5, 0.7], "the numbers are 0.5, 0.7; write `problem: regression` where they are to be predicted"),
        (
            ["No", "yes", "n/a"],
            "'No' and 'yes' are two classes, but there are 3 values ('No', 'n/a', 'yes'); clean the",
        ),
        ([f"c{one}" for one in range(201)], "201 values ('c0', 'c1', 'c10', 'c100', 'c101', ...) where 200 classes"),
        (pa.array([0, 1], pa.timestamp("s")), "timestamp[s] cannot be a label"),
        (pa.nulls(2), "no row has one"),
    ],
)
def test_what_can_be_read_in_two_ways_is_asked_for(values, told):
    with pytest.raises(DataError) as refused:
        ask(values)

    assert told in str(refused.value)
    assert str(refused.value).startswith("label 'y': ")


@pytest.mark.parametrize(
    ("values", "positive", "classes"),
    [
        (["legit", "fraud"], "fraud", ("legit", "fraud")),
        (["legit", "fraud"], "legit", ("fraud", "legit")),
        ([True, False], "false", ("true", "false")),
        ([1, 2], "2", ("1", "2")),
        ([1.0, 2.0], "1", ("2", "1")),
    ],
)
def test_the_positive_class_can_be_named(values, positive, classes):
    found = ask(values, positive=positive)

    assert (found.problem.name, found.classes) == ("binary", classes)
    labels = found.problem.labels(pa.table({"y": values}), "y", classes)
    assert labels.tolist() == [str(value).lower().removesuffix(".0") == positive for value in values]


@pytest.mark.parametrize("values", [[3, 4, 5], [0, 1], [0.5, 0.7]])
def test_numbers_can_be_asked_for(values):
    found = ask(values, problem="regression")

    assert found.problem.name == "regression"
    assert str(found) == "label 'y': regression (as the arguments say)"


@pytest.mark.parametrize(
    ("values", "said", "told"),
    [
        (
            ["legit", "fraud"],
            {"positive": "froud"},
            "positive: 'froud' is no value of the label 'y'; there are 'fraud'",
        ),
        ([0.5, 1.5], {"problem": "regression", "positive": "1"}, "positive: the label 'y' is a number, and has no"),
        (["a", "b"], {"problem": "regression"}, "string cannot be a number to predict"),
        ([2.5, 2.5], {"problem": "regression"}, "every row is 2.5, so there is nothing to predict"),
        ([0.5, 1.5, 2.5], {"problem": "binary"}, "give 0 and 1, booleans, or two words"),
        (["a", "b", "c"], {"positive": "a"}, "3 values ('a', 'b', 'c') where two are needed; group them into two, or"),
        (["a", "b", "c"], {"problem": "multiclass", "positive": "a"}, "none of which counts as positive; leave it out"),
        (["a", "b"], {"problem": "multiclass"}, "two values ('a', 'b'), which are no multiclass"),
        (
            [0.5, 1.5],
            {"problem": "multilabel"},
            "no problem; write one of auto, binary, multiclass, ordinal, regression",
        ),
    ],
)
def test_what_is_asked_for_must_fit_the_label(values, said, told):
    with pytest.raises(DataError) as refused:
        ask(values, **said)

    assert told in str(refused.value)


def test_a_question_says_which_class_is_positive():
    assert str(ask([True, False])) == (
        "label 'y': binary classification, where 'true' counts as positive and 'false' as negative (by its values)"
    )


def test_a_problem_that_there_is_not_is_told():
    with pytest.raises(DataError, match="'regresion' is no problem; write one of auto, binary, multi"):
        question.check_problem("regresion")
