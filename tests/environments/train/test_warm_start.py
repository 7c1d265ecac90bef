"""A network that begins with the weights of the champion, and what does not fit it."""

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import Inputs, players, requested

from cd4ml.contracts import model
from cd4ml.contracts.lineage import FILE, Lineage
from cd4ml.errors import TrainingError
from cd4ml.training.train import train

DNN = {"model": "dnn", "epochs": 3, "batch_size": 256, "hidden": [8]}
Prepare = Callable[..., Inputs]


def run(inputs: Inputs, folder: Path, start: Path | None = None, **changes: Any) -> None:
    train(requested(inputs, spec=DNN | changes, seed=1, start=start), folder=folder)


def cities(table: pa.Table, change: Callable[[str], str]) -> pa.Table:
    place = table.column_names.index("city")
    return table.set_column(place, "city", pa.array([change(one) for one in table.column("city").to_pylist()]))


@pytest.fixture(scope="module")
def champion(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("champion") / "model"
    run(inputs, folder)
    return folder


@pytest.fixture(scope="module")
def trained(champion: Path, later: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is trained for an epoch on other rows, `anew` and `warm`."""
    folder: Path = tmp_path_factory.mktemp("trained")
    run(later, folder / "anew", epochs=1)
    run(later, folder / "warm", champion, epochs=1)
    return folder


@pytest.fixture(scope="module")
def later(prepare: Prepare) -> Inputs:
    """Other rows, whose texts are frequent in another order."""
    return prepare(players(4000, seed=5), players(1000, seed=6))


def test_the_first_epoch_goes_on_from_what_the_champion_knew(champion: Path, trained: Path) -> None:
    before, anew, warm = (
        json.loads((one / "history.json").read_text())[-1] for one in (champion, trained / "anew", trained / "warm")
    )

    assert warm["loss"] < before["loss"] < anew["loss"]
    assert warm["eval_auc"] > before["eval_auc"] - 0.03 > anew["eval_auc"]
    assert Lineage.read(trained / "warm" / FILE).started_from == model.digest(champion)
    assert Lineage.read(trained / "anew" / FILE).started_from == ""


def test_a_text_keeps_the_places_that_its_values_have_in_the_champion(champion: Path, trained: Path) -> None:
    champions, anew, warm = (
        next(one.vocabulary for one in model.read_contract(folder).inputs if one.name == "city")
        for folder in (champion, trained / "anew", trained / "warm")
    )

    assert warm == champions != anew


def test_without_a_champion_it_begins_anew(later: Inputs, tmp_path: Path) -> None:
    (tmp_path / "none").write_bytes(b"")

    run(later, tmp_path / "model", tmp_path / "none", epochs=1)

    assert Lineage.read(tmp_path / "model" / FILE).started_from == ""


def test_other_layers_are_told_with_their_shapes(champion: Path, later: Inputs, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"weights of the shapes \[8, 1\], \[1\], and this one of \[8, 4\], \[4\]"):
        run(later, tmp_path / "model", champion, hidden=[8, 4])
    assert not (tmp_path / "model").exists()


def test_all_that_does_not_fit_is_told_at_once(champion: Path, prepare: Prepare, tmp_path: Path) -> None:
    other = [cities(players(1000, seed), lambda one: "c7x" if one == "c7" else one) for seed in (5, 6)]
    with_less = prepare(*other, exclude=("key", "age"))

    with pytest.raises(TrainingError) as told:
        train(requested(with_less, spec={"model": "linear"}, seed=1, start=champion), folder=tmp_path / "model")

    said = str(told.value)
    assert "model: dnn, and now linear" in said
    assert "inputs: ['age (number)'," in said
    assert "city: of its values 1 new ('c7x'), 1 gone ('c7')" in said
    assert said.endswith("leave warm_start out, and the model begins anew")


def test_a_label_that_has_other_classes_is_told(champion: Path, prepare: Prepare, tmp_path: Path) -> None:
    def words(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index("took"), "took", pc.if_else(table.column("took"), "yes", "no"))

    with pytest.raises(TrainingError, match="classes: the champion has also 'false', 'true' and lacks 'no', 'yes'"):
        run(prepare(*map(words, (players(1000, 5), players(300, 6)))), tmp_path / "model", champion)


def dated(prepare: Prepare, *, step: timedelta, of: timedelta) -> Inputs:
    """Both dates go through some time in steps; between them lies an age."""
    moments = [datetime(2024, 1, 1) + number * step % of for number in range(400)]
    table = pa.table(
        {
            "bought": pa.array(moments, pa.timestamp("us")),
            "asked": pa.array([one + timedelta(days=30) for one in moments], pa.timestamp("us")),
            "took": [number % 3 == 0 for number in range(400)],
        }
    )
    return prepare(table, table, exclude=())


def test_a_date_of_which_the_model_sees_something_else_is_told(prepare: Prepare, tmp_path: Path) -> None:
    by_week = dated(prepare, step=timedelta(days=1), of=timedelta(days=100))
    by_day = dated(prepare, step=timedelta(minutes=7), of=timedelta(days=3))
    run(by_week, tmp_path / "champion", dates={"columns": ["bought", "asked"], "since": "asked"}, epochs=1)

    with pytest.raises(TrainingError, match="bought .date, its age at asked, its place in the week.*now.*in the day"):
        run(by_day, tmp_path / "day", tmp_path / "champion", dates={"columns": ["bought", "asked"], "since": "asked"})
    with pytest.raises(TrainingError, match="now .'bought .date, its place in the week.', 'asked .date, its age at b"):
        run(by_week, tmp_path / "at", tmp_path / "champion", dates={"columns": ["bought", "asked"], "since": "bought"})


def test_trees_begin_anew_each_time(champion: Path, later: Inputs, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="'trees' begins anew each time; leave warm_start out"):
        train(requested(later, spec={"model": "trees"}, seed=1, start=champion), folder=tmp_path / "model")


def test_damaged_weights_of_the_champion_are_told(champion: Path, later: Inputs, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(champion, tmp_path / "damaged"))
    file = damaged / "saved_model/variables/variables.data-00000-of-00001"
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])

    with pytest.raises(TrainingError, match="cannot be read .*publish the champion again"):
        run(later, tmp_path / "model", damaged)
