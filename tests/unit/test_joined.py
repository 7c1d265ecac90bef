"""Predicted rows beside their labels, held against an oracle that goes label by label."""

import dataclasses
import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.contracts.late_labels import LABELS
from cd4ml.contracts.window import ROWS
from cd4ml.monitoring import joined
from cd4ml.monitoring.joined import Bulk, Joined

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
CLASSES = ("false", "true")


def moment(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def answer(request: str, at: float = 0, rows: int = 1, **others: Any) -> dict[str, Any]:
    """An answer of the arm `old`."""
    return {
        "at": moment(at),
        "request_id": request,
        "arm": "old",
        "version": "1",
        "propensity": 1.0,
        "mirrored": False,
        "unit": None,
        "status": 200,
        "latency_ms": 2.0,
        "lookup_ms": None,
        "features": None,
        "outputs": ["probability"],
        "predictions": [0.25 + number for number in range(rows)],
        **others,
    }


def asked(*answers: dict[str, Any]) -> pa.Table:
    return joined.once(pa.Table.from_pylist(list(answers), REQUESTS)).table


def fed(*said: tuple[str, float, list[Any]]) -> pa.Table:
    """Feedback: the request, the minute, and the labels."""
    rows = [
        {"request_id": request, "at": moment(at), "labels": [json.dumps(label) for label in labels]}
        for request, at, labels in said
    ]
    return pa.Table.from_pylist(rows, FEEDBACK)


def brought(*said: tuple[str | list[str], int | None, str, float], key: Sequence[str] = ()) -> Bulk:
    """Labels in bulk: the request or the key, the row, the label, and the minute."""
    name = "key" if key else "request_id"
    rows = [{name: who, "row": row, "label": label, "at": moment(at)} for who, row, label, at in said]
    return Bulk(pa.Table.from_pylist(rows, LABELS), tuple(key))


def labels(found: Joined) -> dict[tuple[str, int], str | None]:
    return {(row["request_id"], row["row"]): row["label"] for row in found.rows.to_pylist()}


def kept_apart(found: Joined) -> dict[str, int]:
    return {why: count for why, count in found.counts.items() if count}


def test_each_row_of_a_request_has_its_prediction_and_its_label() -> None:
    found = joined.join(
        asked(answer("b", 1, rows=2), answer("a", 0)), classes=CLASSES, feedback=fed(("b", 5, ["true", False]))
    )

    assert found.rows.drop_columns(["features"]).schema.equals(ROWS)
    assert found.rows.select(["request_id", "row", "predictions", "label", "labelled_at"]).to_pylist() == [
        {"request_id": "a", "row": 1, "predictions": [0.25], "label": None, "labelled_at": None},
        {"request_id": "b", "row": 1, "predictions": [0.25], "label": "true", "labelled_at": moment(5)},
        {"request_id": "b", "row": 2, "predictions": [1.25], "label": "false", "labelled_at": moment(5)},
    ]
    assert kept_apart(found) == {}


def test_a_row_of_several_classes_has_the_probability_of_each() -> None:
    several = answer("a", outputs=["x", "y", "z"], predictions=[0.1, 0.2, 0.7, 0.3, 0.3, 0.4])

    found = joined.join(asked(several, answer("b", 1)), classes=("x", "y", "z"))

    assert found.rows["predictions"].to_pylist() == [[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.25]]
    assert found.rows["outputs"].to_pylist() == [["x", "y", "z"], ["x", "y", "z"], ["probability"]]


def test_what_is_said_twice_counts_once_from_when_it_was_known_first() -> None:
    bulk = brought(("a", 1, "true", 7), ("a", None, "true", 3))

    found = joined.join(asked(answer("a")), classes=CLASSES, feedback=fed(("a", 5, [True])), bulk=[bulk, bulk])

    assert found.rows["label"].to_pylist() == ["true"]
    assert found.rows["labelled_at"].to_pylist() == [moment(3)]
    assert kept_apart(found) == {"twice": 4}


def test_of_contradicting_labels_none_counts_and_all_are_kept_apart() -> None:
    found = joined.join(
        asked(answer("a"), answer("b")),
        classes=CLASSES,
        feedback=fed(("a", 5, [True]), ("b", 5, [True])),
        bulk=[brought(("a", None, "false", 6))],
    )

    assert labels(found) == {("a", 1): None, ("b", 1): "true"}
    assert found.apart.select(["why", "request_id", "label"]).to_pylist() == [
        {"why": "contradicting", "request_id": "a", "label": "true"},
        {"why": "contradicting", "request_id": "a", "label": "false"},
    ]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (("z", 5.0, [True]), "unknown"),
        (("a", -0.6, [True]), "early"),
        (("a", 5.0, [7]), "other_type"),
        (("a", 5.0, [None]), "other_type"),
        (("a", 5.0, [[True]]), "other_type"),
        (("a", 5.0, [True, True]), "other_row"),
    ],
)
def test_a_label_that_can_be_of_no_row_is_kept_apart_with_the_reason(
    said: tuple[str, float, list[Any]], why: str
) -> None:
    found = joined.join(asked(answer("a")), classes=CLASSES, feedback=fed(said))

    assert labels(found) == {("a", 1): None}
    assert set(kept_apart(found)) == {why}


def test_a_label_by_request_may_be_early_by_what_clocks_differ_and_counts_from_the_request_on() -> None:
    features = json.dumps({"player": [7]})
    answers = asked(*(answer(request, features=features) for request in "ab"), answer("c"))
    by_key = brought((["7"], None, "false", -0.4), key=["player"])

    found = joined.join(
        answers, classes=CLASSES, feedback=fed(("a", -0.4, [True])), bulk=[brought(("b", 1, "true", -0.4)), by_key]
    )

    assert labels(found) == {("a", 1): "true", ("b", 1): "true", ("c", 1): None}
    assert found.rows["labelled_at"].to_pylist() == [moment(0), moment(0), None]
    assert kept_apart(found) == {"early": 1}


def test_a_label_does_not_count_before_it_is_known() -> None:
    said = [brought(("a", 1, "true", 60)), brought(("b", 1, "true", 59), ("b", 1, "false", 61))]

    earlier, later = (
        joined.join(asked(answer("a"), answer("b")), classes=CLASSES, bulk=said, now=moment(at)) for at in (59, 61)
    )

    assert labels(earlier) == {("a", 1): None, ("b", 1): "true"}
    assert kept_apart(earlier) == {"ahead": 2}
    assert labels(later) == {("a", 1): "true", ("b", 1): None}


def test_a_label_in_bulk_is_of_the_row_that_it_names() -> None:
    bulk = brought(("a", 2, "true", 5), ("a", 3, "true", 5), ("a", None, "true", 5), ("b", None, "false", 5))

    found = joined.join(asked(answer("a", rows=2), answer("b")), classes=CLASSES, bulk=[bulk])

    assert labels(found) == {("a", 1): None, ("a", 2): "true", ("b", 1): "false"}
    assert kept_apart(found) == {"other_row": 2}


def test_a_label_by_key_is_of_each_row_with_these_features_that_was_predicted_before_it_was_known() -> None:
    features = [{"player": [7, 8], "day": ["mon", "mon"]}, {"player": [7.0], "day": ["mon"]}, {"player": [7]}]
    answers = [answer("a", 0, 2), answer("b", 9), answer("c", 0)]
    known = [{**one, "features": json.dumps(said)} for one, said in zip(answers, features, strict=True)]

    found = joined.join(
        asked(*known),
        classes=CLASSES,
        bulk=[brought((["7", "mon"], None, "true", 5), (["9", "mon"], None, "true", 5), key=("player", "day"))],
    )

    assert labels(found) == {("a", 1): "true", ("a", 2): None, ("b", 1): None, ("c", 1): None}
    assert kept_apart(found) == {"unknown": 1}


ALIKE = ["2026-02-28T09:30:00Z", "2026-02-28T09:30", "2026-02-28 15:00:00.000000+05:30", "2026-02-28 09:30:00.000000"]
MIDNIGHT = ["2026-02-28", "2026-02-28T00:00:00Z", "2026-02-27T23:00-01:00", "2026-02-28 00:00:00.000000Z"]


@pytest.mark.parametrize(
    ("asked_at", "told"),
    [pair for alike in (ALIKE, MIDNIGHT) for pair in itertools.product(alike, repeat=2)],
)
def test_dates_of_a_key_are_the_same_where_they_are_the_same_moment(asked_at: str, told: str) -> None:
    others = ["2026-02-28T09:30:01Z", "2026-02-29", "7", None]
    features = json.dumps({"player": [7] * 5, "asked_at": [*others, asked_at]})

    found = joined.join(
        asked(answer("a", rows=5, features=features)),
        classes=CLASSES,
        bulk=[brought((["7", told], None, "true", 5), key=("player", "asked_at"))],
    )

    assert found.rows["label"].to_pylist() == [None] * 4 + ["true"]
    assert found.rows["features"].to_pylist()[4]["asked_at"] == asked_at


def test_what_only_looks_like_a_date_is_compared_as_it_is() -> None:
    texts = ["2026-02-29", "2026-02-28-7", "9999-12-31T23:59-14:00", "20260228"]
    answered = answer("a", rows=4, features=json.dumps({"part": texts}))
    told = [([text], None, "true", 5) for text in (*texts[:3], "2026-02-28")]

    found = joined.join(asked(answered), classes=CLASSES, bulk=[brought(*told, key=["part"])])

    assert found.rows["label"].to_pylist() == ["true", "true", "true", None]
    assert kept_apart(found) == {"unknown": 1}


def test_a_key_that_was_not_captured_is_of_no_row() -> None:
    found = joined.join(asked(answer("a")), classes=CLASSES, bulk=[brought((["7"], None, "true", 5), key=["player"])])

    assert kept_apart(found) == {"unknown": 1}


def test_copies_have_the_label_of_their_request_and_are_kept_apart() -> None:
    copy = answer("a", arm="new", version="2", mirrored=True, propensity=0.5, predictions=[0.75])

    found = joined.join(asked(answer("a"), copy), classes=CLASSES, feedback=fed(("a", 5, [True])))

    assert found.rows.select(["arm", "mirrored", "label"]).to_pylist() == [
        {"arm": "old", "mirrored": False, "label": "true"}
    ]
    assert found.copies.select(["arm", "mirrored", "label"]).to_pylist() == [
        {"arm": "new", "mirrored": True, "label": "true"}
    ]
    assert kept_apart(found) == {}


def test_of_answers_with_one_id_the_first_counts_and_what_was_captured_twice_is_no_other_answer() -> None:
    first, later = answer("a", 0), answer("a", 3, predictions=[0.5])
    copies = [answer("a", 1, arm=arm, mirrored=True) for arm in ("new", "newer")]

    found = joined.once(pa.Table.from_pylist([later, first, first, *copies], REQUESTS))

    assert found.table.select(["at", "arm"]).to_pylist() == [
        {"at": moment(0), "arm": "old"},
        {"at": moment(1), "arm": "new"},
        {"at": moment(1), "arm": "newer"},
    ]
    assert found.repeated["predictions"].to_pylist() == [[0.5]]


def test_numbers_are_labels_of_a_model_that_predicts_them() -> None:
    found = joined.join(
        asked(*(answer(request) for request in "abcd")),
        classes=(),
        feedback=fed(("a", 5, [5]), ("b", 5, ["2.5"]), ("c", 5, [1.0]), ("d", 5, ["much"]), ("d", 5, [1e400])),
        bulk=[brought(("a", None, "5.0", 6))],
    )

    assert labels(found) == {("a", 1): "5", ("b", 1): "2.5", ("c", 1): "1", ("d", 1): None}
    assert kept_apart(found) == {"other_type": 2, "twice": 1}


@pytest.mark.parametrize(("said", "label"), [(1, "true"), (1.0, "true"), (0, "false"), ("0", "false")])
def test_one_and_zero_are_true_and_false_where_these_are_the_classes(said: float | str, label: str) -> None:
    answers = asked(answer("a"))

    by_word, by_place = (
        joined.join(answers, classes=classes, feedback=fed(("a", 5, [said]))) for classes in (CLASSES, ("no", "yes"))
    )

    assert labels(by_word) == {("a", 1): label}
    assert labels(by_place) == {("a", 1): None}


@pytest.mark.parametrize("said", [True, False, "true", "false"])
def test_a_truth_value_is_no_number(said: bool | str) -> None:
    found = joined.join(asked(answer("a")), classes=(), feedback=fed(("a", 5, [said])))

    assert labels(found) == {("a", 1): None}
    assert kept_apart(found) == {"other_type": 1}


def test_features_are_texts_by_row_whatever_their_kinds() -> None:
    said = [
        {"age": [30, 31.5], "day": ["2026-01-01", None]},
        {"age": [7], "in": [True]},
        {"age": [1, 2]},
        {"age": ["old"]},
    ]
    answers = [answer(str(number), number, rows=2 if not number else 1) for number in range(len(said))]
    table = asked(*({**one, "features": json.dumps(of)} for one, of in zip(answers, said, strict=True)))

    for part in (table, table.slice(0, 3)):
        found = joined.join(part, classes=CLASSES).rows["features"].to_pylist()

        assert found[:4] == [
            {"age": "30", "day": "2026-01-01", "in": None},
            {"age": "31.5", "day": None, "in": None},
            {"age": "7", "day": None, "in": "true"},
            {"age": None, "day": None, "in": None},  # of two rows, where one was predicted
        ]
    assert joined.join(table, classes=CLASSES).rows["features"][4].as_py()["age"] == "old"


@pytest.mark.parametrize("beside", ["", "true", '"x"', "5"])
def test_a_whole_number_of_more_than_64_bits_is_a_text_as_it_was_sent(beside: str) -> None:
    great = "18446744073709551615"
    said = [f'{{"age": [{great}]}}', *([f'{{"age": [{beside}]}}'] if beside else [])]
    table = asked(*({**answer(str(number), number), "features": one} for number, one in enumerate(said)))

    found = joined.join(table, classes=CLASSES).rows["features"].to_pylist()

    assert [one["age"] for one in found] == [great, *([beside.strip('"')] if beside else [])]


@pytest.mark.parametrize("beside", [None, 7.5, 7.0, 1e300, -0.25])
@given(ids=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5))
@example(ids=[12345678901])
@example(ids=[12345678901234567, 12345678901234568, 12345678901234569])
@example(ids=[2**53 - 1, 2**53, 2**53 + 1])
@settings(max_examples=20, deadline=None)
def test_a_whole_number_is_the_text_that_its_digits_are_whatever_others_send(
    beside: float | None, ids: list[int]
) -> None:
    said = [{"customer": [one]} for one in ids] + ([{"customer": [beside]}] if beside is not None else [])
    table = asked(*({**answer(str(number), number), "features": json.dumps(one)} for number, one in enumerate(said)))

    found = joined.join(table, classes=CLASSES).rows["features"].to_pylist()

    assert [one["customer"] for one in found][: len(ids)] == [str(one) for one in ids]


@given(st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1, max_size=5))
@settings(max_examples=20, deadline=None)
def test_a_whole_number_that_is_sent_with_a_fraction_of_zeros_is_the_same_text(ids: list[int]) -> None:
    rows = [{**answer(str(number), number), "features": f'{{"customer": [{one}.0]}}'} for number, one in enumerate(ids)]

    found = joined.join(asked(*rows), classes=CLASSES).rows["features"].to_pylist()

    assert [one["customer"] for one in found] == [str(one) for one in ids]


def test_a_text_of_many_digits_beside_numbers_that_are_rounded_stays_as_it_is() -> None:
    said = ['{"name": ["[1234567890123456789012, 1]"], "size": [1e300]}', '{"name": ["b"], "size": [0.5]}']
    table = asked(*({**answer(str(number), number), "features": one} for number, one in enumerate(said)))

    found = joined.join(table, classes=CLASSES).rows["features"].to_pylist()

    assert found == [{"name": "[1234567890123456789012, 1]", "size": "1e+300"}, {"name": "b", "size": "0.5"}]


@pytest.mark.parametrize(
    "text", ["[1,2]", "5", "{nope", "", "{}", '{"age": 5}', "[" * 100_000, '{"age": [1%s]}' % ("0" * 5000)]
)
def test_what_is_no_json_of_features_is_as_nothing(text: str) -> None:
    given = answer("0", 0), answer("1", 1)
    table = asked({**given[0], "features": text}, {**given[1], "features": '{"age": [7]}'})

    assert joined.join(table, classes=CLASSES).rows["features"].to_pylist() == [{"age": None}, {"age": "7"}]


def test_half_a_character_in_a_text_is_a_question_mark() -> None:
    table = asked({**answer("0", 0), "features": json.dumps({"name": ["a\ud800"]})})

    assert joined.join(table, classes=CLASSES).rows["features"].to_pylist() == [{"name": "a?"}]


def test_requests_without_features_or_predictions_and_none_at_all() -> None:
    failed = answer("a", status=503, outputs=None, predictions=None)

    found = joined.join(asked(failed), classes=CLASSES, feedback=fed(("a", 5, [True])))
    nothing = joined.join(asked(), classes=CLASSES)

    assert (len(found.rows), kept_apart(found)) == (0, {"other_row": 1})
    assert (len(nothing.rows), nothing.rows.schema.names) == (0, [*ROWS.names, "features"])


@dataclasses.dataclass(frozen=True)
class Label:
    request: int
    row: int | None
    label: str
    at: int
    by: str


REQUEST, MINUTE = st.integers(0, 5), st.integers(0, 9)
SAID = st.builds(
    Label, REQUEST, st.none() | st.integers(1, 3), st.sampled_from(["true", "false", "maybe"]), MINUTE,
    st.sampled_from(["feedback", "bulk", "key"]),
)  # fmt: skip
ANSWERED = st.lists(st.tuples(MINUTE, st.integers(0, 2)), min_size=1, max_size=4)
"""By request: the minute, and how many rows it has."""


def expected(answered: list[tuple[int, int]], said: list[Label]) -> dict[tuple[str, int], tuple[str, datetime] | None]:
    """The label of each row and when it was known, as one finds them label by label."""
    given: dict[tuple[int, int], list[Label]] = defaultdict(list)
    for one in said:
        for request, (minute, rows) in enumerate(answered):
            if one.by == "key":
                places = range(1, rows + 1) if request % 2 == one.request else ()
            elif request != one.request:
                places = ()
            elif one.by == "feedback":
                places = [1] if rows == 1 else []
            else:
                number = one.row or (1 if rows == 1 else 0)
                places = [number] if 1 <= number <= rows else []
            for place in places:
                if one.at >= minute and one.label in CLASSES:
                    given[request, place].append(one)
    rows = [(request, place + 1) for request, (_, count) in enumerate(answered) for place in range(count)]
    return {
        (str(request), place): (found[0].label, moment(min(one.at for one in found)))
        if (found := given[request, place]) and len({one.label for one in found}) == 1
        else None
        for request, place in rows
    }


def in_bulk(said: list[Label]) -> list[Bulk]:
    """Those that are not fed back: by request, and by key."""
    by_request = [(str(one.request), one.row, one.label, one.at) for one in said if one.by == "bulk"]
    by_key = [([str(one.request)], None, one.label, one.at) for one in said if one.by == "key"]
    return [brought(*by_request), brought(*by_key, key=["parity"])]


@settings(max_examples=200, deadline=None)
@given(ANSWERED, st.lists(SAID, max_size=12), st.randoms(use_true_random=False), st.integers(1, 4))
def test_rows_are_the_same_in_whatever_order_files_and_number_labels_come(
    answered: list[tuple[int, int]], said: list[Label], random: Any, files: int
) -> None:
    answers = [
        answer(str(request), minute, rows, features=json.dumps({"parity": [request % 2] * rows}))
        for request, (minute, rows) in enumerate(answered)
    ]
    wanted = expected(answered, said)

    for _ in range(2):
        told = said + random.choices(said, k=len(said)) if said else []
        random.shuffle(told)
        random.shuffle(answers)
        found = joined.join(
            asked(*answers, *answers[:2]),
            classes=CLASSES,
            feedback=fed(*((str(one.request), one.at, [one.label]) for one in told if one.by == "feedback")),
            bulk=[bulk for place in range(files) for bulk in in_bulk(told[place::files])],
        )

        rows = found.rows.to_pylist()
        assert [(row["at"], row["request_id"], row["row"]) for row in rows] == sorted(
            (moment(minute), str(request), place + 1)
            for request, (minute, count) in enumerate(answered)
            for place in range(count)
        )
        assert {
            (row["request_id"], row["row"]): (row["label"], row["labelled_at"]) if row["label"] else None
            for row in rows
        } == wanted
