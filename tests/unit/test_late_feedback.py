"""A rollout takes labels that come in bulk as the feedback that callers would have sent: each request counts once."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import captures
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from captures import BEGIN, Arms, check, with_column

from cd4ml.contracts.captured import FEEDBACK
from cd4ml.contracts.late_labels import TABLE
from cd4ml.deployment.evidence import analysis, compared, divided, limits, replay, units
from cd4ml.deployment.evidence.compared import UnreadableError
from cd4ml.deployment.evidence.designs import Bandit
from cd4ml.deployment.evidence.late import Late
from cd4ml.deployment.evidence.reading import Captured
from cd4ml.deployment.evidence.units import Units
from cd4ml.storage.folder import FolderStore

COUNT = 10_000
BANDIT = Bandit.model_validate({"outcome": "label", "window": "61 minutes", "every": "20 minutes"})
BY_PLAYER = BANDIT.model_copy(update={"key": ("player",)})
LATER = BEGIN + timedelta(days=1)


def write(folder: Path, requests: pa.Table, feedback: pa.Table) -> Path:
    for name, table in (("requests", requests), ("feedback", feedback)):
        (folder / name / "2026-01-01").mkdir(parents=True)
        pq.write_table(table, folder / name / "2026-01-01" / "0.parquet")
    return folder


def asked(rewards: tuple[float, float] = (0.3, 0.6)) -> tuple[pa.Table, pa.Table]:
    """Requests, and the feedback of every second one with its label an hour later."""
    requests, feedback = captures.captured(COUNT, Arms(rewards=rewards), seed=0, unit=None)
    labels = [["true" if one else "false"] for one in feedback["reward"].to_pylist()]
    given = with_column(with_column(feedback, "labels", labels), "reward", [None] * len(feedback))
    players = [json.dumps({"player": [number]}) for number in range(COUNT)]
    return with_column(requests, "features", players), given


def take(store: Path, feedback: pa.Table, *, taken_at: datetime = BEGIN, key: bool = False, name: str = "1") -> Path:
    """Takes what feedback says in bulk, known when that came."""
    ids = feedback["request_id"].to_pylist()
    texts = [json.loads(one[0]) for one in feedback["labels"].to_pylist()]
    return captures.take_labels(
        store,
        ids=[None] * len(ids) if key else ids,
        keys=[[one.partition("-")[2]] for one in ids] if key else [None] * len(ids),
        labels=[str(one).lower() for one in texts],
        at=feedback["at"].to_pylist(),
        about={"taken_at": taken_at.isoformat(), "key": ("player",) if key else (), "digest": name},
    )


def seen(folder: Path, store: Path | None, bandit: Bandit = BANDIT, until: datetime = LATER) -> Units:
    late = Late(FolderStore(store), "uptake", bandit.key, BEGIN) if store else None
    captured = Captured(folder, units.asked("old", "new"), needed=bandit.needed, first=False, late=late)
    return units.read(captured, bandit.counted, challenger="new", until=until)


def came(found: Units) -> list[tuple[Any, ...]]:
    """Whose outcome is known, with the arm, its chance and the outcome."""
    known, outcomes = found.compared.rewarded()
    table = known.table
    return list(zip(table["at"].to_pylist(), table["arm"].to_pylist(), known.propensities, outcomes, strict=True))


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[tuple[Any, ...]]]:
    """A capture with feedback, the same without, and what a bandit learns from the first."""
    folder = tmp_path_factory.mktemp("captures")
    requests, feedback = asked()
    at_once = write(folder / "said", requests, feedback)
    silent = write(folder / "silent", requests, FEEDBACK.empty_table())
    return at_once, silent, came(seen(at_once, None))


@pytest.mark.parametrize(("key", "bandit"), [(False, BANDIT), (True, BY_PLAYER)])
def test_labels_in_bulk_are_the_same_as_feedback_with_them(
    said: tuple[Path, Path, list[Any]], tmp_path: Path, key: bool, bandit: Bandit
) -> None:
    at_once, silent, expected = said
    store = take(tmp_path / "store", asked()[1], key=key)

    assert len(expected) == COUNT / 2
    assert came(seen(silent, store, bandit)) == expected
    assert came(seen(at_once, store, bandit)) == expected  # both came, and each request counts once
    assert came(seen(silent, store, BANDIT)) == ([] if key else expected)  # a key that nobody named joins nothing


def test_a_policy_is_replayed_on_labels_in_bulk_as_on_feedback(
    said: tuple[Path, Path, list[Any]], tmp_path: Path
) -> None:
    at_once, silent, _ = said
    late = Late(FolderStore(take(tmp_path / "store", asked()[1])), "uptake")

    found, expected = (
        replay.read(BANDIT, folder, until=LATER, champion="old", challenger="new", late=one)
        for folder, one in ((silent, late), (at_once, None))
    )

    assert found == expected


def test_a_label_counts_from_when_it_was_here_so_that_no_look_sees_another_past(
    said: tuple[Path, Path, list[Any]], tmp_path: Path
) -> None:
    _, silent, _ = said
    taken_at = BEGIN + timedelta(minutes=80)
    store = take(tmp_path / "store", asked()[1], taken_at=taken_at)
    earliest = min(at for at, *_ in came(seen(silent, store)))

    assert earliest > taken_at - BANDIT.window
    assert came(seen(silent, store, until=taken_at)) == []


@pytest.mark.parametrize(("key", "known"), [(False, COUNT / 2), (True, 0)])
def test_labels_by_request_may_be_a_little_before_it_and_those_by_key_may_not(
    said: tuple[Path, Path, list[Any]], tmp_path: Path, key: bool, known: float
) -> None:
    requests, feedback = asked()
    asked_at = dict(zip(requests["request_id"].to_pylist(), requests["at"].to_pylist(), strict=True))
    before = [asked_at[one] - timedelta(seconds=30) for one in feedback["request_id"].to_pylist()]
    store = take(tmp_path / "store", with_column(feedback, "at", before), key=key)

    assert len(came(seen(said[1], store, BY_PLAYER if key else BANDIT))) == known


def test_labels_of_no_row_tell_nothing(said: tuple[Path, Path, list[Any]], tmp_path: Path) -> None:
    store = take(tmp_path / "store", asked()[1][:0])

    assert came(seen(said[1], store)) == []


def test_what_was_said_first_of_a_request_counts(said: tuple[Path, Path, list[Any]], tmp_path: Path) -> None:
    at_once, silent, expected = said
    feedback = asked()[1]
    other = with_column(feedback, "labels", [["true"]] * len(feedback))
    later = with_column(other, "at", pc.add(feedback["at"], timedelta(seconds=1)))

    late_first = take(tmp_path / "first", other)
    late_second = take(tmp_path / "second", later)

    assert came(seen(at_once, late_second)) == expected
    assert {one[3] for one in came(seen(silent, late_first))} == {1.0}
    take(tmp_path / "second", feedback, name="2")
    assert came(seen(silent, late_second)) == expected


def test_a_request_of_several_rows_is_known_once_all_of_them_are(tmp_path: Path) -> None:
    requests, _ = asked()
    requests = with_column(requests[:1], "predictions", [[0.1, 0.2]])
    silent = write(tmp_path / "capture", requests, FEEDBACK.empty_table())
    (only,) = requests["request_id"].to_pylist()
    minute = {"taken_at": BEGIN.isoformat(), "digest": "1"}
    at = [BEGIN + timedelta(minutes=1)]
    store = captures.take_labels(tmp_path / "store", ids=[only], rows=[2], labels=["true"], at=at, about=minute)

    before = came(seen(silent, store))
    minute = {"taken_at": BEGIN.isoformat(), "digest": "2"}
    captures.take_labels(
        store,
        ids=[only, only, "of another"],
        rows=[1, 3, 1],
        labels=["false"] * 3,
        at=[BEGIN + timedelta(minutes=2)] * 3,
        about=minute,
    )

    assert before == []
    assert [one[3] for one in came(seen(silent, store))] == [0.5]


def test_limits_by_labels_take_them_too(tmp_path: Path) -> None:
    requests, feedback = captures.labelled(2000)
    silent = write(tmp_path / "silent", requests, FEEDBACK.empty_table())
    at_once = write(tmp_path / "said", requests, feedback)
    store = take(tmp_path / "store", feedback)
    wanted = limits.parse({"accuracy": {"min_change": -0.2}})

    def judged(folder: Path, late: Late | None) -> Any:
        captured = Captured(folder, compared.BY_CHANCE, needed=wanted.needed, late=late)
        found = divided.read(captured, champion="old", challenger="new", until=LATER)
        return check(analysis.analyse(found, wanted, about={}, classes=["false", "true"]), "accuracy")

    expected = judged(at_once, None)
    assert expected.value is not None
    assert judged(silent, Late(FolderStore(store), "uptake")) == expected


def test_labels_that_cannot_be_read_now_are_asked_for_again(said: tuple[Path, Path, list[Any]], tmp_path: Path) -> None:
    store = take(tmp_path / "store", asked()[1])
    file = next(store.glob(f"labels/uptake/*/{TABLE}"))
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    late = Late(FolderStore(store), "uptake", (), BEGIN)
    captured = Captured(said[1], units.asked("old", "new"), needed=BANDIT.needed, first=False, late=late)

    with pytest.raises(UnreadableError, match="store"):
        units.read(captured, BANDIT.counted, challenger="new", until=LATER)
    file.write_bytes(whole)

    assert len(came(units.read(captured, BANDIT.counted, challenger="new", until=LATER))) == COUNT / 2
