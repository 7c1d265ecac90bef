"""What deployments changed: the data, the code, the settings and the quality of what is in production."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluated import a_summary, a_summary_of_numbers
from rich.console import Console

from cd4ml import cli
from cd4ml.contracts.deployment import Event, Held, StepTaken, Stopped, Undone
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.registry import deployments
from cd4ml.storage.folder import FolderStore

HELD = Held("http://127.0.0.1:1", "2026-11-29T12:00:00+00:00")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def publish(store: FolderStore, number: int, *, auc: float | None = None, **changed: Any) -> Version:
    version = Version(
        name="uptake",
        version=number,
        digest=f"sha256:{number}",
        published_at="2026-11-29T12:00:00+00:00",
        run=f"run-{number}",
        revision="abc",
        dataset=DatasetReference("players", 3, "sha256:d3"),
        locks={"train": "sha256:t"},
        arguments={"candidate": {"model": "dnn", "units": [64]}, "seed": 0},
    )
    version = replace(version, **changed)
    files = {"version.json": version.text}
    if auc is not None:
        summary = a_summary()
        candidate = replace(summary.models["candidate"], metrics={"auc": auc}, intervals={"auc": (auc - 0.1, auc)})
        files["summary.json"] = replace(summary, models={"candidate": candidate}).text
    store.add_folder(version.folder, files)
    return version


def deploy(store: FolderStore, version: Version, *events: Event) -> None:
    begun = deployments.begin(store, version, run=version.run, target="machine", strategy="replace")
    for event in events:
        deployments.add(store, begun, event)


def publish_number(store: FolderStore, number: int, error: float) -> Version:
    """Publishes a version that predicts a number."""
    version = publish(store, number)
    summary = a_summary_of_numbers()
    candidate = replace(summary.models["candidate"], metrics={"root_mean_squared_error": error})
    (store.path(version.folder) / "summary.json").write_text(replace(summary, models={"candidate": candidate}).text)
    return version


def asked(*words: str, store: FolderStore) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cd4ml", "deployments", *words, "--store", store.location])
        for module in ("deployments", "application"):
            patch.setattr(f"cd4ml.cli.{module}.console", Console(width=200, force_terminal=False))
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return str(ended.value.code or "")


def test_the_history_says_of_each_what_it_changed(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    first = publish(store, 1, auc=0.8)
    second = publish(
        store,
        2,
        auc=0.825,
        revision="def",
        dataset=DatasetReference("players", 4, "sha256:d4"),
        arguments={"candidate": {"model": "dnn", "units": [128]}, "seed": 0},
    )
    third = publish(store, 3, locks={"train": "sha256:u"}, revision="def", dataset=second.dataset)
    deploy(store, first, HELD)
    deploy(store, second, Undone("it predicts otherwise", "now"))
    deploy(store, second, HELD)
    deploy(store, third, HELD, Stopped("now"))
    deploy(store, third, HELD)
    deploy(store, first, HELD)

    assert asked("history", "uptake", store=store) == ""
    lines = [line.split(maxsplit=5) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [(number, version, state, changed.strip()) for number, version, _, _, state, changed in lines] == [
        ("6", "1", "held", "back to version 1, data 4 → 3, code, packages, auc 0.800"),
        ("5", "3", "held", "the same model again"),
        ("4", "3", "stopped", "packages, candidate.units"),
        ("3", "2", "held", "data 3 → 4, code, candidate.units, auc 0.800 → 0.825"),
        ("1", "1", "held", "the first, auc 0.800"),
    ]


def test_no_figure_of_a_class_is_held_against_one_of_a_number(
    store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(store, publish(store, 1, auc=0.8), HELD)
    deploy(store, publish_number(store, 2, 12_345.6), HELD)
    deploy(store, publish_number(store, 3, 11_000), HELD)

    assert asked("history", "uptake", store=store) == ""
    lines = [line.split(maxsplit=5)[5].strip() for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [
        "root_mean_squared_error 12,346 → 11,000",
        "root_mean_squared_error 12,346",
        "the first, auc 0.800",
    ]


def test_a_difference_shows_what_is_not_alike_and_nothing_else(
    store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    first = publish(store, 1, auc=0.8)
    second = publish(store, 2, auc=0.825, dataset=DatasetReference("players", 4, "sha256:d4"))
    deploy(store, first, StepTaken("verify", "100 rows as evaluated", "now"), HELD)
    deploy(store, second, StepTaken("verify", "100 rows as evaluated", "now"), HELD)

    assert asked("diff", "uptake", "1", "2", store=store) == ""
    rows = [line.removeprefix("≠").split() for line in capsys.readouterr().out.splitlines() if line.startswith("≠")]
    shown = {row[0]: row[1:] for row in rows}
    assert shown["auc"] == ["0.8", "[0.7,", "0.8]", "0.825", "[0.725,", "0.825]"]
    assert shown["run"] == ["run-1", "run-2"]
    assert {"dataset", "seed", "verify", "revision", "target"}.isdisjoint(shown)
    assert json.dumps(rows).count("sha256:d4") == 1


def test_a_step_that_was_taken_twice_differs_by_each_time(
    store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, early in enumerate(("0.1 is kept", "0.2 is kept"), start=1):
        deploy(store, publish(store, number), *(StepTaken("analyse", said, "now") for said in (early, "late")), HELD)

    assert asked("diff", "uptake", "1", "2", store=store) == ""

    shown = capsys.readouterr().out
    assert "0.1 is kept" in shown
    assert "late" not in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("diff", "uptake", "1", "7"), "uptake has no deployment 7"),
        (("history", "nobody"), "nobody was never in production"),
        (("diff", "uptake", "1", "2"), "no version 2 of the model uptake; published: 1"),
    ],
)
def test_what_is_not_there_is_told(
    store: FolderStore, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    deploy(store, publish(store, 1), HELD)
    deploy(store, Version(**{**vars(publish(store, 3)), "version": 2}), HELD)
    (store.path("models/uptake/3/version.json")).unlink()
    store.path("models/uptake/3").rmdir()

    assert asked(*words, store=store) == "1"
    assert said in capsys.readouterr().err
