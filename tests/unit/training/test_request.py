"""`cd4ml.training.request`: what is asked of a training is checked at once, and the same wherever it is read."""

from pathlib import Path
from typing import Any

import pytest

from cd4ml.errors import TrainingError
from cd4ml.training.request import Request

GIVEN = {name: name for name in ("train", "eval", "statistics", "schema")} | {"label": "took"}


def request(**changed: Any) -> Request:
    return Request(**{**GIVEN, "spec": {"model": "dnn", "hidden": [64, 32]}, "seed": 1, **changed})


def test_a_request_that_is_written_is_the_same_when_it_is_read(tmp_path: Path) -> None:
    asked = request(
        exclude=["key"], classes=["low", "high"], store="s3://bucket/prefix", start="champion", checkpoint_seconds=0.5
    )

    asked.write(tmp_path / "request.json")

    assert Request.read(tmp_path / "request.json") == asked


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"label": ""}, "label: empty; name the column to predict"),
        ({"accelerator": "tpu"}, "accelerator: 'tpu' is none; write auto, gpu or cpu"),
        ({"gpus": -1}, "gpus: -1 is no number of GPUs"),
        ({"gpus": 1.5}, "gpus: 1.5 is no number of GPUs"),
        ({"seed": -1}, "seed: -1 is none"),
        ({"workers": 0}, "workers: 0 is no number of them; write a whole number, 1 or more"),
    ],
)
def test_what_cannot_be_asked_is_told(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        request(**changed)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(TrainingError, match="(?s)label: empty.*accelerator: 'tpu'"):
        request(label="", accelerator="tpu")
