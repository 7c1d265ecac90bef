"""`cd4ml predict` and the arguments of its pipeline: what cannot be meant is told before anything runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.errors import ArgumentsError
from cd4ml.pipelines.batch_prediction.arguments import BatchPrediction
from cd4ml.prediction import given
from cd4ml.running.arguments import check
from cd4ml.running.run_file import RunFile

ASKED = {"model": "uptake", "source": "players.csv", "store": "store"}


def checked(in_a_cluster: bool = False, **changes: Any) -> BatchPrediction:
    file = RunFile(Path("run.yaml"), "batch_prediction", {**ASKED, **changes})
    found = check(file, BatchPrediction, in_a_cluster=in_a_cluster)
    assert isinstance(found, BatchPrediction)
    return found


@pytest.mark.parametrize("words", [[], ["players.csv", "--dataset", "players"]])
def test_the_rows_are_named_once(words: list[str]) -> None:
    ended = CliRunner().invoke(app, ["predict", "uptake", *words])

    assert isinstance(ended.exception, ArgumentsError)
    assert str(ended.exception) == "name one of SOURCE and --dataset: what is to be predicted"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "up/take"}, "model: 'up/take' cannot be a name"),
        ({"model": "uptake@latest"}, "model: 'uptake@latest': 'latest' is no version; write NAME@NUMBER"),
        ({"model": "uptake@"}, "model: 'uptake@': '' is no version"),
        ({"source": {"dataset": "play/ers"}}, "source.dataset: 'play/ers' cannot be a name"),
        ({"source": {"dataset": "players", "version": 3}}, "source.version: unknown; there are dataset"),
        ({"source": ""}, "source: is empty; write a text"),
        (
            {"source": {"file": ["a.csv", "b.csv"]}},
            "does not tell what its predictions are to be called",
        ),
        ({"source": {"http": "https://shop/?day=1"}}, "output: the source does not tell"),
        ({"output": "a/b"}, "'a/b' cannot be a name"),
        ({"key": [1]}, "key: 1 is no name of a column"),
    ],
)
def test_what_cannot_be_meant_is_told(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentsError) as told:
        checked(**changes)

    assert said in str(told.value)


def test_a_cluster_predicts_no_file_of_this_machine() -> None:
    with pytest.raises(ArgumentsError, match="source: 'players.csv' lies on this machine"):
        checked(in_a_cluster=True, store="s3://cd4ml")

    assert checked(in_a_cluster=True, store="s3://cd4ml", source={"dataset": "players@3"})


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ({"file": "exports/players.csv.gz"}, "players"),
        ({"file": "s3://lake/players/"}, "players"),
        ({"dataset": "players@3"}, "players"),
        ({"http": "https://shop/players.csv?region=north/east"}, "players"),
    ],
)
def test_predictions_are_called_as_what_was_predicted(source: dict[str, str], name: str) -> None:
    assert given.output("", json.dumps(source)) == name
