"""A function is tried on few rows: those that are given, or rows of every kind that are made up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import players
from development_page import BLOCK

from cd4ml.errors import TrainingError
from cd4ml.training import code, trial

PAGE = Path(__file__).parents[3] / "docs" / "your-model.md"
_, OWN = (content for language, _, content in BLOCK.findall(PAGE.read_text()) if language == "python")
CONSTANT = """
def constant(job):
    import keras
    from keras import ops
    print("epoch" * job.settings["words"])
    encoder = job.encoder()
    return keras.Model(encoder.inputs, 0 * ops.sigmoid(encoder.outputs[0][:, 0]) + 0.25)
"""


@pytest.fixture
def tried(tmp_path: Path) -> Callable[..., dict[str, str]]:
    def run(source: str, name: str, words: int = 1, **asked: Any) -> dict[str, str]:
        (tmp_path / "models.py").write_text(source)
        function = f"models:{name}"
        spec = {"function": function, "source": code.beside(function, tmp_path), "settings": {"words": words}}
        (tmp_path / "asked.json").write_text(json.dumps({"spec": spec, **asked}))
        return trial.main(tmp_path)

    return run


def test_rows_of_every_kind_are_made_up_where_none_are_given(tried, capsys):
    found = tried(OWN, "own")

    assert list(found) == ["trained", "gives", "saved", "answers"]
    assert found["trained"].startswith("on 512 rows, 6 features, in ")
    assert found["gives"].startswith("probability, float32 [256], from 0.")
    assert capsys.readouterr().out == ""


def test_the_rows_that_are_given_are_learnt_from(tried, tmp_path):
    pq.write_table(players(300, seed=1), tmp_path / "rows.parquet")

    found = tried(CONSTANT, "constant", label="took", exclude=["key", "city"])

    assert found["trained"].startswith("on 200 rows, 4 features, in ")
    assert found["gives"] == "probability, float32 [100], from 0.25 to 0.25"


def test_a_number_may_be_what_is_asked_for(tried, tmp_path):
    table = players(300, seed=1)
    pq.write_table(table.drop_columns(["took"]), tmp_path / "rows.parquet")

    found = tried(CONSTANT, "constant", label="spend_90d", exclude=["key"], problem="regression")

    assert found["trained"].startswith("on 200 rows, 4 features, in ")
    assert found["gives"] == "prediction, float32 [100], from 0.25 to 0.25"


def test_a_function_that_prints_without_end_is_told(tried):
    with pytest.raises(TrainingError, match="models:constant: prints 100,[0-9]* characters .* print less"):
        tried(CONSTANT, "constant", words=20_000)
