"""How many candidates a test split has judged."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cd4ml import model
from cd4ml.registry import judgements


@pytest.fixture
def candidate(tmp_path: Path) -> Callable[[str], str]:
    def make(weights: str) -> str:
        folder = tmp_path / weights
        (folder / "saved_model").mkdir(parents=True)
        (folder / "saved_model" / "weights").write_text(weights)
        contract = model.Contract("took", ("false", "true"), (model.Input("age", "number"),), {"model": "dnn"})
        model.write_contract(contract, folder)
        return str(folder)

    return make


def test_each_candidate_counts_once_for_each_test_split(tmp_path: Path, candidate: Callable[[str], str]) -> None:
    (tmp_path / "test").write_text("rows")
    (tmp_path / "fresh").write_text("other rows")
    first, second = candidate("first"), candidate("second")

    def count(folder: str, test: str = "test") -> int:
        return judgements.count(str(tmp_path / "store"), "uptake", str(tmp_path / test), folder)

    assert [count(first), count(second), count(first)] == [1, 2, 2]
    assert count(first, "fresh") == 1
