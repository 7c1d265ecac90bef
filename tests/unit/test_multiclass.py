"""The label of three or more classes, and what its problem knows of outputs and metrics."""

import numpy as np
import pyarrow as pa
import pytest

from cd4ml.contracts import problems
from cd4ml.contracts.model import Contract, parse_contract, write_contract
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.errors import DataError, StorageError

CLASSES = ("drawn", "lost", "won")
FOUND = {"class_rate@drawn": 0.2, "class_rate@lost": 0.0, "class_rate@won": 0.8, "class_selection_rate@won": 0.5}


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["won", "lost", "drawn", "won"], CLASSES),
        ([10, 2, 1], ("1", "2", "10")),
        ([3.0, -1.0, 2.0, float("nan")], ("-1", "2", "3")),
        (["10", "2", "b"], ("10", "2", "b")),
    ],
)
def test_classes_stand_by_the_alphabet_or_as_numbers_by_their_size(values, classes):
    assert MULTICLASS.classes(pa.table({"y": values}), "y") == classes


def test_labels_are_the_places_of_their_classes():
    labels = MULTICLASS.labels(pa.table({"y": ["won", "drawn", "won", "lost"]}), "y", CLASSES)

    assert (labels.tolist(), labels.dtype) == ([2, 0, 2, 1], "int64")


@pytest.mark.parametrize(
    ("values", "positive", "told"),
    [
        (["a", "b"], "", "two values ('a', 'b'), which are no multiclass; write `problem: binary`"),
        (["a", "a"], "", "every row is 'a', so there is nothing to tell apart"),
        (pa.nulls(2, pa.string()), "", "no row has one"),
        ([f"c{one}" for one in range(201)], "", "201 values ('c0', 'c1', 'c10', 'c100', 'c101', ...) where 200"),
        ([f"c{one}" for one in range(10_000)], "", "10,000 values"),
        (["a", "b", "c"], "b", "positive: the label 'y' has 3 values, none of which counts as positive"),
        ([0.5, 1.0, 2.0], "", "give words, or whole numbers that name classes"),
    ],
)
def test_what_is_no_label_of_several_classes_is_told(values, positive, told):
    with pytest.raises(DataError) as refused:
        MULTICLASS.classes(pa.table({"y": values}), "y", positive=positive)

    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["won", None], "1 of 2 rows have none; drop these rows"),
        (["won", "tied"], "'tied' is none of 'drawn', 'lost', 'won'; clean the source, or train on rows that have it"),
        ([0.0, float("nan"), float("inf")], "2 of 3 rows have none that is finite"),
    ],
)
def test_a_row_of_no_class_is_told(values, told):
    with pytest.raises(DataError) as refused:
        MULTICLASS.labels(pa.table({"y": values}), "y", CLASSES)

    assert told.replace("that have it", "that have this value") in str(refused.value)


def test_200_classes_are_as_many_as_there_can_be():
    assert len(MULTICLASS.classes(pa.table({"y": [f"c{one}" for one in range(200)]}), "y")) == 200


def test_the_score_is_the_log_loss_whatever_the_order_of_the_classes():
    labels = np.array([0, 2, 1])
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.5, 0, 0.5]], np.float32)

    assert MULTICLASS.score(labels, probabilities) == pytest.approx(
        -(np.log(0.5) + np.log(0.8) + np.log(np.finfo(np.float32).eps)) / 3
    )
    assert MULTICLASS.lower_is_better


def test_outputs_that_are_no_probabilities_of_all_classes_are_wrong():
    outputs = np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.4], [-0.1, 0.6, 0.5], [np.nan, 0.5, 0.5]], np.float32)

    assert MULTICLASS.wrong(outputs).tolist() == [False, True, True, True]
    assert MULTICLASS.tolerance(outputs).shape == (4, 3)


def test_a_metric_of_a_class_is_over_the_rows_of_that_class():
    assert MULTICLASS.counted("class_recall@drawn", 100, FOUND) == 20
    assert MULTICLASS.counted("class_auc@won", 100, FOUND) == 20
    assert MULTICLASS.counted("class_precision@won", 100, FOUND) == 50
    assert MULTICLASS.counted("balanced_accuracy", 100, FOUND) == 20
    assert MULTICLASS.counted("log_loss", 100, FOUND) == 100
    assert MULTICLASS.title("class_recall@drawn") == "recall of drawn"
    assert MULTICLASS.labelled(FOUND) == "80.0 % of them are of the class 'won', the most frequent"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("class_recall@lost", "none of the 100 rows is of the class 'lost'"),
        ("class_auc@lost", "none of the 100 rows is of the class 'lost'"),
        ("class_precision@lost", "none of the 100 rows is predicted to be of the class 'lost'"),
        ("macro_auc", "it is not defined on 100 rows that are all of one class"),
        ("log_loss", "it is not a finite number"),
    ],
)
def test_why_a_metric_cannot_be_computed_is_told(name, why):
    assert MULTICLASS.why_undefined(name, 100, FOUND) == why


def test_a_contract_gives_a_probability_a_class(tmp_path):
    contract = Contract("result", CLASSES, (), {"model": "linear"}, MULTICLASS)
    write_contract(contract, tmp_path)

    read = parse_contract((tmp_path / "contract.json").read_text(), "contract.json")
    assert (read, read.shape, read.output) == (contract, (3,), "probabilities")
    assert read.gives == "the probabilities that result is drawn, lost or won"


@pytest.mark.parametrize("classes", [("a", "b"), tuple(map(str, range(201)))])
def test_a_contract_of_too_few_or_too_many_classes_is_none(tmp_path, classes):
    write_contract(Contract("result", classes, (), {}, MULTICLASS), tmp_path)

    with pytest.raises(StorageError, match=f"{len(classes)} classes of a label that is to be multiclass"):
        parse_contract((tmp_path / "contract.json").read_text(), "contract.json")


def test_a_problem_says_whether_its_label_has_classes_and_what_it_gives_for_a_row():
    found = {name: (one.has_classes, one.shape(("a", "b", "c"))) for name, one in problems.PROBLEMS.items()}

    assert found == {
        "binary": (True, ()),
        "multiclass": (True, (3,)),
        "ordinal": (True, (3,)),
        "regression": (False, ()),
    }
