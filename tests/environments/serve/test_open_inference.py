"""A real model server speaks the Open Inference Protocol."""

from typing import Any

import pytest
from served import ROWS, Server, expected

from cd4ml.contracts.model import digest
from cd4ml.version import VERSION

INFER = "/v2/models/uptake/infer"


def tensor(name: str, datatype: str, data: list[Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data, **more}


def inputs(rows: list[list[Any]] = ROWS[:2]) -> list[dict[str, Any]]:
    age, region, subscribed = map(list, zip(*rows, strict=True))
    return [tensor("age", "FP32", age), tensor("region", "BYTES", region), tensor("subscribed", "BOOL", subscribed)]


@pytest.mark.parametrize("path", [INFER, "/v2/models/uptake/versions/7/infer"])
def test_every_row_gets_its_probability(server: Server, path: str) -> None:
    answer = server.ask(path, {"id": "r-1", "inputs": inputs()})

    assert answer.status == 200
    [output] = answer.content.pop("outputs")
    assert output["data"] == pytest.approx([expected(*row) for row in ROWS[:2]], abs=1e-6)
    assert (output["name"], output["datatype"], output["shape"]) == ("probability", "FP32", [2])
    assert answer.content == {
        "id": "r-1",
        "model_name": "uptake",
        "model_version": "7",
        "parameters": {"digest": digest(server.folder), "version": "7"},
    }


def test_missing_and_unknown_values_are_told_with_the_answer(server: Server) -> None:
    answer = server.ask(INFER, {"inputs": inputs(ROWS)})

    told = {"missing.age": 1, "missing.region": 2, "missing.subscribed": 1, "unknown.region": 1}
    assert told.items() <= answer.content["parameters"].items()


def test_a_tensor_may_have_a_second_dimension_of_one(server: Server) -> None:
    age, *others = inputs()
    flat, nested = {**age, "shape": [2, 1]}, {**age, "shape": [2, 1], "data": [[40], [25.5]]}
    answers = [server.ask(INFER, {"inputs": [one, *others]}).content["outputs"] for one in (age, flat, nested)]

    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ([], 'send {"inputs"'),
        ({}, 'send {"inputs"'),
        ({"inputs": []}, 'send {"inputs"'),
        ({"inputs": [1]}, 'send {"inputs"'),
        ({"inputs": [{}]}, "an input has no name"),
        ({"inputs": inputs()[:2]}, "feature 'subscribed' is not in inputs; there are age, region"),
        ({"inputs": [*inputs(), *inputs()]}, "inputs has 'age' more than once"),
        ({"inputs": [*inputs(), tensor("more", "FP32", [1])]}, "input 'age' has 2 rows and input 'more' 1"),
        ({"inputs": [*inputs(), tensor("more", "float", [1, 2])]}, "input 'more' has no datatype"),
        ({"inputs": [*inputs(), tensor("more", ["FP32"], [1, 2])]}, "input 'more' has no datatype"),
        ({"inputs": [*inputs(), tensor("more", "FP32", [1, 2], shape=[3])]}, "input 'more' has 2 values, so its shape"),
        ({"inputs": [*inputs(), tensor("more", "FP32", [1, 2], shape=None)]}, "input 'more' has no shape and data"),
        ({"inputs": [*inputs(), tensor("more", "FP32", [])]}, "input 'more' has no shape and data"),
        (
            {"inputs": inputs([["40", "south", True]])},
            "feature 'age' takes a finite number (float32) or null, not '40'",
        ),
        ({"inputs": inputs([[40, "south", 2]])}, "feature 'subscribed' takes a boolean or null, not 2"),
        ({"inputs": inputs(), "outputs": [{"name": "other"}]}, "the model has one output, 'probability'"),
        ({"inputs": inputs(), "outputs": "probability"}, "outputs is a list"),
    ],
)
def test_the_client_s_mistake_is_told(server: Server, message: Any, complaint: str) -> None:
    answer = server.ask(INFER, message)

    assert answer.status == 400
    assert answer.content["error"].startswith(complaint)


def test_too_many_rows_are_refused(server: Server) -> None:
    assert server.ask(INFER, {"inputs": inputs([ROWS[0]] * 10_001)}).status == 413


def test_the_server_says_what_it_is_and_that_its_model_is_ready(server: Server) -> None:
    assert server.ask("/v2").content == {"name": "cd4ml", "version": VERSION, "extensions": []}
    assert server.ask("/v2/health/live").content == {"live": True}
    for path in ("/v2/health/ready", "/v2/models/uptake/ready", "/v2/models/uptake/versions/7/ready"):
        assert server.ask(path).content == {"name": "uptake", "ready": True}


def test_a_model_says_what_it_takes_and_gives(server: Server) -> None:
    described = server.ask("/v2/models/uptake").content

    assert (described["name"], described["versions"]) == ("uptake", ["7"])
    assert [(one["name"], one["datatype"]) for one in described["inputs"] + described["outputs"]] == [
        ("age", "FP32"),
        ("region", "BYTES"),
        ("subscribed", "FP32"),
        ("probability", "FP32"),
    ]


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/uptake/versions/8", "/v2/models/other/infer", "/v2/"])
def test_another_model_or_version_is_not_there_and_told_in_the_protocol_s_form(server: Server, path: str) -> None:
    answer = server.ask(path)

    assert (answer.status, answer.content) == (404, {"error": "there is nothing at this path"})
