"""How many candidates a test split has judged."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cd4ml.contracts import model
from cd4ml.data.split import meaning
from cd4ml.errors import RegistryError
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
        return judgements.claim(
            FolderStore(tmp_path / "store"),
            name="uptake",
            candidate_folder=folder,
            dataset="players",
            version=version,
            split=split,
        )

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


def test_candidates_that_are_judged_at_once_get_a_number_each(number: Callable[..., int]) -> None:
    names = "abcdefgh"
    start = threading.Barrier(len(names))

    def judged(weights: str) -> int:
        start.wait()
        return number(weights)

    with ThreadPoolExecutor(len(names)) as pool:
        assert sorted(pool.map(judged, names)) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_splits_that_mean_the_same_are_one(number: Callable[..., int]) -> None:
    same = ({}, {"by": "key"}, {"seed": 0}, {"eval": 0.1, "test": 0.1}, {"by": "key", "seed": 0.0})
    numbers = [number(weights, **meaning(dict(split))) for weights, split in zip("abcde", same, strict=True)]

    assert numbers == [1, 2, 3, 4, 5]
    assert number("f", **meaning({"seed": 1})) == 1


def test_what_a_store_of_before_counted_goes_on(tmp_path: Path, number: Callable[..., int]) -> None:
    first = number("a")
    (folder,) = (tmp_path / "store" / "judgements" / "uptake").iterdir()
    (folder / "1").rename(folder / (folder / "1").read_text())
    next(folder.iterdir()).write_text("1\n")

    assert [first, number("b"), number("a"), number("c")] == [1, 2, 1, 3]


def test_a_number_of_before_that_is_none_is_told_with_its_file(number: Callable[..., int], tmp_path: Path) -> None:
    number("a")
    (folder,) = (tmp_path / "store" / "judgements" / "uptake").iterdir()
    of_before = (folder / "1").rename(folder / (folder / "1").read_text())
    of_before.write_text("first")

    with pytest.raises(RegistryError, match=f"^{of_before}: is 'first', not the number of a candidate; remove"):
        number("a")
