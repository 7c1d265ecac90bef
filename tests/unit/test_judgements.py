"""How many candidates a test split has judged."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cd4ml.contracts import model
from cd4ml.registry import judgements
from cd4ml.storage.folder import FolderStore


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


@pytest.fixture
def number(tmp_path: Path, candidate: Callable[[str], str]) -> Callable[..., int]:
    made: dict[str, str] = {}

    def number(weights: str, version: int = 0, **split: object) -> int:
        folder = made.get(weights) or made.setdefault(weights, candidate(weights))
        return judgements.number(FolderStore(tmp_path / "store"), "uptake", folder, "players", version, split)

    return number


def test_each_candidate_has_a_number_and_keeps_it(number: Callable[..., int]) -> None:
    assert [number("a"), number("b"), number("a"), number("c")] == [1, 2, 1, 3]


def test_a_split_by_key_is_the_same_in_the_next_version_and_another_seed_draws_a_fresh_one(
    number: Callable[..., int],
) -> None:
    assert number("a", seed=1) == 1
    assert number("b", version=1, seed=1) == 2
    assert number("c", version=1, seed=2) == 1


def test_a_split_by_time_is_fresh_in_the_next_version(number: Callable[..., int]) -> None:
    assert number("a", version=0, by="time") == 1
    assert number("b", version=0, by="time") == 2
    assert number("c", version=1, by="time") == 1
