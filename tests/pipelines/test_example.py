"""The examples at their full size: of the first a run passes, one is refused, one makes up for it."""

import hashlib
from pathlib import Path

import pytest
from workplace import PORT, Outcome, Workplace, make_flats, make_parcels, make_players, make_tickets

from cd4ml.contracts.model import read_contract


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder: Path = tmp_path_factory.mktemp("example")
    make_players(folder / "players.parquet", rows=200_000)
    return Workplace(folder)


def pages(outcome: Outcome) -> str:
    """The page of a run, with that of each task that makes one."""
    page = (outcome.folder / "index.html").read_text()
    assert page.count("<iframe") == 5
    assert "Model card" in page
    assert 'src="http' not in page
    return page


def test_the_planted_bias_is_refused_under_a_strict_limit_and_made_up_for_by_reweighting(full: Workplace) -> None:
    passed = full.run("run", full.example("training.yaml", source="players.parquet", port=PORT))
    strict = full.run("run", full.example("training-strict.yaml", source="players.parquet", port=PORT))

    assert passed.code == 0, passed.output
    assert set(passed.states().values()) == {"passed"}
    assert passed.summary["dataset"]["rows"] == 200_000
    models = passed.summary["models"]
    assert models["candidate"]["metrics"]["auc"] > models["baseline"]["metrics"]["auc"] > 0.8
    assert "How good are the scores?" in pages(passed)
    assert strict.code == 1
    assert strict.states()["Train candidate"] == strict.states()["Evaluate model"] == "reused"
    assert strict.states()["Check model"] == "failed"
    assert strict.states()["Publish model"] == "skipped"
    assert "true_positive_rate between groups of region at 0.35" in strict.output
    assert "(south 0." in strict.summary["gates"][-1]["reason"]

    mitigated = full.run("run", full.example("training-mitigated.yaml", source="players.parquet", port=PORT))

    assert mitigated.code == 0, mitigated.output
    assert mitigated.summary["published"]["version"] == 2


def test_a_table_that_is_not_like_the_first_is_read_as_it_is(tmp_path: Path) -> None:
    make_parcels(tmp_path / "parcels")
    place = Workplace(tmp_path)

    passed = place.run("run", place.example("training.yaml", of="deliveries", source="parcels", port=PORT))

    assert passed.code == 0, passed.output
    assert set(passed.states().values()) == {"passed"}
    assert passed.summary["dataset"]["rows"] == 24_000
    shown = place.run("datasets", "show", "parcels").output
    for line in (
        "read ';' as the delimiter, cp1252 as the encoding, 12 columns",
        "dates as %d.%m.%Y in 'ordered on', 'promised on'",
        "',' as the decimal sign in 'weight (kg)', 'declared value', 'distance km'",
        "'-' is missing in 'weight (kg)'",
        "have leading zeros, as codes have",
    ):
        assert line in shown
    assert "late-parcels 1" in place.run("datasets", "history", "parcels").output
    assert "100 rows as evaluated" in passed.output
    assert "How good are the scores?" in pages(passed)
    contract = read_contract(tmp_path / "store" / "models" / "late-parcels" / "1" / "model")
    assert contract.model["code"] == f"sha256:{hashlib.sha256((tmp_path / 'models.py').read_bytes()).hexdigest()}"


def test_a_number_is_predicted_from_the_table_to_the_server(tmp_path: Path) -> None:
    make_flats(tmp_path / "flats.parquet")
    place = Workplace(tmp_path)

    passed = place.run("run", place.example("training.yaml", of="rents", source="flats.parquet", port=PORT))

    assert passed.code == 0, passed.output
    assert set(passed.states().values()) == {"passed"}
    assert passed.summary["problem"] == "regression"
    models = passed.summary["models"]
    error = "root_mean_squared_error"
    assert models["candidate"]["metrics"][error] < models["baseline"]["metrics"][error] < 250
    assert "How far is it off?" in pages(passed)
    assert "label 'rent': regression" in (passed.folder / "logs" / "validate-dataset.log").read_text()


def test_classes_are_told_apart_from_the_table_to_the_server(tmp_path: Path) -> None:
    make_tickets(tmp_path / "tickets.parquet")
    place = Workplace(tmp_path)

    passed = place.run("run", place.example("training.yaml", of="tickets", source="tickets.parquet", port=PORT))

    assert passed.code == 0, passed.output
    assert set(passed.states().values()) == {"passed"}
    assert passed.summary["problem"] == "multiclass"
    assert passed.summary["models"]["candidate"]["metrics"]["log_loss"] < 0.9
    assert "What does it take for what?" in pages(passed)
    assert (
        "of 4 classes ('account', 'billing', 'delivery', 'technical')"
        in (passed.folder / "logs" / "validate-dataset.log").read_text()
    )
    contract = read_contract(tmp_path / "store" / "models" / "ticket-routing" / "1" / "model")
    assert contract.classes == ("account", "billing", "delivery", "technical")
