"""Nothing is deployed while it is frozen, but what goes back and what people let in; and when that is."""

import sys
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from development_page import shown
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from rich.console import Console
from steps_taken import Answers

from cd4ml import cli
from cd4ml.contracts.freeze import DAYS, Window
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.deployment import rollout
from cd4ml.deployment.steps.written import Route
from cd4ml.deployment.strategies import Strategy
from cd4ml.errors import DeploymentError, DocumentError, RegistryError
from cd4ml.registry import approvals, clock, deployments, freezes
from cd4ml.storage.folder import FolderStore

names: dict[str, Any] = {}
exec(shown("A new target")["acme_shelf.py"], names)
WEEKEND = "fri 16:00..mon 08:00 Europe/Berlin"
FRIDAY = datetime(2026, 11, 27, 9, tzinfo=UTC)
SATURDAY = datetime(2026, 11, 28, 9, tzinfo=UTC)
WEEK = 7 * 24 * 60

ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"])
TIMES = st.times(min_value=time(4)).map(lambda at: at.replace(second=0, microsecond=0))  # no clock is changed then
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))


def minute(day: int, at: time) -> int:
    """Of the week."""
    return (day * 24 + at.hour) * 60 + at.minute


@st.composite
def weekly(draw: st.DrawFn) -> tuple[str, int, int, ZoneInfo]:
    """A time of each week, and the minutes at which it begins and ends."""
    days, times, zone = (draw(st.tuples(one, one)) for one in (st.integers(0, 6), TIMES, ZONES))
    assume((days[0], times[0]) != (days[1], times[1]))
    ends = [f"{DAYS[day]} {at:%H:%M}" for day, at in zip(days, times, strict=True)]
    return f"{'..'.join(ends)} {zone[0]}", minute(days[0], times[0]), minute(days[1], times[1]), ZoneInfo(zone[0])


@given(written=weekly(), moment=MOMENTS)
def test_a_time_of_each_week_goes_by_the_clocks_of_its_zone(
    written: tuple[str, int, int, ZoneInfo], moment: datetime
) -> None:
    text, first, last, zone = written
    local = moment.astimezone(zone)
    within = (minute(local.weekday(), local.time()) - first) % WEEK < (last - first) % WEEK

    around = Window.parse(text).around(moment)

    assert (around is not None) == within
    if around:
        shown = [one.astimezone(zone) for one in around]
        assert [minute(one.weekday(), one.time()) for one in shown] == [first, last]
        assert timedelta() < around[1] - around[0] <= timedelta(days=7, hours=1)


@given(written=weekly(), moment=MOMENTS)
def test_a_time_begins_with_its_first_second_and_ends_before_its_last(
    written: tuple[str, int, int, ZoneInfo], moment: datetime
) -> None:
    window = Window.parse(written[0])
    around = window.around(moment)
    assume(around)

    begin, end = around
    assert window.around(begin) == window.around(end - timedelta(seconds=1)) == around
    assert window.around(begin - timedelta(seconds=1)) is None
    assert window.around(end) is None


def test_a_time_of_a_year_is_over_when_it_ends() -> None:
    window = Window.parse("2026-12-18 12:00..2027-01-04 08:00 Europe/Berlin")
    begin, end = datetime(2026, 12, 18, 11, tzinfo=UTC), datetime(2027, 1, 4, 7, tzinfo=UTC)

    assert window.around(begin) == window.around(end - timedelta(seconds=1)) == (begin, end)
    assert window.around(begin - timedelta(seconds=1)) is None
    assert (window.around(end), window.over(end), window.over(begin)) == (None, True, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("weekend", "'weekend' is no time of a week or year; write `fri 16:00..mon 08:00 Europe/Berlin` or"),
        ("fri 16:00..mon 08:00", "is no time of a week or year"),
        ("fre 16:00..mon 08:00 UTC", "Invalid isoformat string: 'fre'; write `fri"),
        ("fri 25:00..mon 08:00 UTC", "hour must be in 0..23; write `fri"),
        ("2026-02-30 16:00..2026-03-01 08:00 UTC", "day is out of range for month; write `fri"),
        ("fri 16:00..2099-01-01 08:00 UTC", "one end is of the week and the other of the calendar"),
        ("fri 16:00..mon 08:00 Europe", "Europe is no time zone; write one such as Europe/Berlin or UTC"),
        ("fri 16:00..fri 16:00 UTC", "ends before it begins"),
        ("2099-01-02 16:00..2099-01-01 08:00 UTC", "ends before it begins"),
        ("9999-12-31 00:00..9999-12-31 23:59 America/New_York", "date value out of range"),
        ("2026-01-01 00:00..2026-01-02 00:00 UTC", "2026-01-01 00:00..2026-01-02 00:00 UTC is over; write a time to"),
    ],
)
def test_what_is_no_time_to_freeze_is_told_and_not_stored(store: FolderStore, text: str, said: str) -> None:
    with pytest.raises(RegistryError) as refused:
        freezes.add(store, text, by="Ada", reason="nobody is here")

    assert said in str(refused.value)
    assert store.children("freezes") == []


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the time."""

    def set_time(moment: datetime) -> None:
        monkeypatch.setattr(clock, "moment", lambda: moment)
        monkeypatch.setattr(clock, "now", lambda: clock.written(moment))

    return set_time


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(weekly(), max_size=4), moment=MOMENTS)
def test_it_is_frozen_until_the_first_moment_at_which_no_freeze_is_on(
    tmp_path_factory: pytest.TempPathFactory, written: list[Any], moment: datetime
) -> None:
    store = FolderStore(tmp_path_factory.mktemp("store"))
    for text, *_ in written:
        freezes.add(store, text, by="Ada", reason="nobody is here")
    windows = [Window.parse(text) for text, *_ in written]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "moment", lambda: moment)
        frozen = freezes.now(store)

    def on(when: datetime) -> bool:
        return any(window.around(when) for window in windows)

    assert (frozen is not None) == on(moment)
    if frozen:
        assert frozen.since <= moment < frozen.until
        assert not on(frozen.until) or frozen.until > moment + timedelta(days=360)
        assert all(on(moment + part / 50 * (frozen.until - moment)) for part in range(50))


def version(number: int) -> Version:
    dataset = DatasetReference("players", 0, "sha256:d")
    return Version("uptake", number, f"sha256:{number}", "2026-01-01", "run", "", dataset)


def deploy(store: FolderStore, number: int, approvals: int = 0) -> list[str]:
    """Rolls a version out; what the history says of its steps."""
    shelf = names["Shelf"](store, "uptake")
    strategy, log = Strategy("replace", (Answers(), Route())), Path("/no/such/log")
    rollout.roll_out(shelf, strategy, version=version(number), run="run", port=0, log_file=log, approvals=approvals)
    return [f"{one.step}: {one.said}" for one in deployments.every(store, "uptake")[-1].events[1:-1]]


HEADLINE = f"nothing is deployed until 2026-11-30 08:00 Europe/Berlin ({WEEKEND}, Ada: nobody is here)"


def test_a_deployment_that_comes_while_it_is_frozen_is_refused_before_anything_is_changed(
    store: FolderStore, at: Any
) -> None:
    freezes.add(store, WEEKEND, by="Ada", reason="nobody is here")
    at(FRIDAY)
    deploy(store, 1)
    approvals.approve(store, version(2), by="Grace", reason="better in the south", despite_freeze=True)
    at(SATURDAY)
    approvals.approve(store, version(2), by="Linus", reason="better in the south")

    with pytest.raises(DeploymentError) as refused:  # though approved: as usual, and before the freeze began
        deploy(store, 2)

    assert str(refused.value) == (
        f"uptake version 2: {HEADLINE}; run this again then, or let it in all the same: cd4ml deployments approve "
        f"uptake 2 --despite-freeze --store {store.location} --reason WHY"
    )
    assert [series.begun.version for series in deployments.every(store, "uptake")] == [1]


def test_what_was_in_production_before_comes_back_while_it_is_frozen(store: FolderStore, at: Any) -> None:
    at(FRIDAY)
    deploy(store, 1)
    deploy(store, 2)
    freezes.add(store, WEEKEND, by="Ada", reason="nobody is here")
    at(SATURDAY)

    said = deploy(store, 1)

    assert said[0] == f"freeze: {HEADLINE}; it was in production before, and a way back is never frozen"


def test_what_was_undone_was_never_in_production(store: FolderStore, at: Any) -> None:
    at(FRIDAY)
    begun = deployments.begin(store, version(1), run="run", target="shelf", strategy="replace")
    deployments.add(store, begun, deployments.Held("http://shelf", clock.now()))
    deployments.add(store, begun, deployments.Undone("the store was away", clock.now()))
    freezes.add(store, WEEKEND, by="Ada", reason="nobody is here")
    at(SATURDAY)

    with pytest.raises(DeploymentError, match="nothing is deployed until"):
        deploy(store, 1)


def test_what_people_let_in_despite_a_freeze_is_deployed_and_the_history_says_so(store: FolderStore, at: Any) -> None:
    freezes.add(store, WEEKEND, by="Ada", reason="nobody is here")
    at(SATURDAY)
    approvals.approve(store, version(2), by="Grace", reason="the old one answers nobody", despite_freeze=True)
    at(SATURDAY + timedelta(days=1))

    said = deploy(store, 2)

    assert said[0] == (
        f"freeze: {HEADLINE}; let in all the same by Grace: the old one answers nobody (despite a freeze)"
    )


def test_who_lets_a_version_in_despite_a_freeze_may_approve_it_as_usual_too(store: FolderStore, at: Any) -> None:
    freezes.add(store, WEEKEND, by="Ada", reason="nobody is here")
    at(SATURDAY)
    approvals.approve(store, version(2), by="Grace", reason="the old one answers nobody", despite_freeze=True)
    approvals.approve(store, version(2), by="Grace", reason="back to it")

    assert deploy(store, 2)[0].startswith("freeze: ")


def test_what_was_let_in_at_one_weekend_is_not_at_the_next(store: FolderStore, at: Any) -> None:
    freezes.add(store, WEEKEND, by="Ada", reason="nobody is here")
    at(SATURDAY)
    approvals.approve(store, version(2), by="Grace", reason="the old one answers nobody", despite_freeze=True)
    at(SATURDAY + timedelta(days=6, hours=20))

    with pytest.raises(DeploymentError, match="nothing is deployed until 2026-12-07 08:00"):
        deploy(store, 2)


def test_nothing_is_frozen_before_and_after_nor_once_it_is_lifted(store: FolderStore, at: Any) -> None:
    number = freezes.add(store, WEEKEND, by="Ada", reason="nobody is here")
    at(FRIDAY)
    assert deploy(store, 1)[0].startswith("answers: ")
    at(SATURDAY)
    freezes.lift(store, number, by="Ada", reason="the new team works at weekends")

    assert deploy(store, 2)[0].startswith("answers: ")
    with pytest.raises(RegistryError, match="no freeze 1 stands; `cd4ml deployments freezes` has those that do"):
        freezes.lift(store, number, by="Ada", reason="again")


def test_a_freeze_that_cannot_be_read_lets_nothing_in(store: FolderStore) -> None:
    freezes.add(store, WEEKEND, by="Ada", reason="nobody is here")
    file = store.path("freezes/1.json")
    file.write_text(file.read_text().replace("fri", "fre"))

    with pytest.raises(DocumentError, match=r"freezes/1.json: not a cd4ml/Freeze .*'fre'"):
        deploy(store, 1)
    assert deployments.every(store, "uptake") == []


def asked(store: FolderStore, *words: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cd4ml", "deployments", *words, "--store", store.location])
        patch.setattr("cd4ml.cli.deployments.console", Console(width=200))
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return str(ended.value.code or "")


def test_people_freeze_and_lift_by_commands(store: FolderStore, at: Any, capsys: pytest.CaptureFixture[str]) -> None:
    at(SATURDAY)
    store.add_folder(version(2).folder, {"version.json": version(2).text})
    person = ("--by", "Ada", "--reason", "nobody is here")

    assert asked(store, "freeze", WEEKEND, *person) == ""
    assert asked(store, "freezes") == ""
    assert asked(store, "approve", "uptake", "2", *person) == ""
    assert asked(store, "approve", "uptake", "2", "--despite-freeze", *person) == ""
    assert asked(store, "unfreeze", "1", *person) == ""
    assert asked(store, "freezes") == ""
    assert asked(store, "freeze", "weekend", *person) == "1"

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        f"freeze 1: {WEEKEND}; {HEADLINE}",
        "number when by reason since (UTC)",
        f"1 {WEEKEND} Ada nobody is here 2026-11-28 09:00",
        HEADLINE,
        "Ada approves uptake version 2, sha256:2, until 2026-12-05T09:00:00+00:00; 1 person approves it now",
        f"{HEADLINE}; with --despite-freeze it is deployed before",
        "Ada approves uptake version 2, sha256:2, until 2026-12-05T09:00:00+00:00; 1 person approves it now",
        f"freeze 1 is lifted: {WEEKEND}, Ada: nobody is here",
        "number when by reason since (UTC)",
        "nothing is frozen now",
    ]


def test_what_two_people_have_to_approve_two_have_to_let_in_despite_a_freeze(store: FolderStore, at: Any) -> None:
    freezes.add(store, WEEKEND, by="Ada", reason="nobody is here")
    at(SATURDAY)
    approvals.approve(store, version(2), by="Linus", reason="as usual")
    for by in ("Grace", " grace "):
        approvals.approve(store, version(2), by=by, reason="the old one answers nobody", despite_freeze=True)

    with pytest.raises(
        DeploymentError, match="let it in all the same, which takes 2 people, of whom 1 are missing: cd4ml"
    ):
        deploy(store, 2, approvals=2)
    approvals.approve(store, version(2), by="Ada", reason="the old one answers nobody", despite_freeze=True)

    assert deploy(store, 2, approvals=2)[0].startswith("freeze: ")


def test_only_the_version_that_was_there_before_is_a_way_back(store: FolderStore, at: Any) -> None:
    at(FRIDAY)
    for number in (1, 2, 3):
        deploy(store, number)
    freezes.add(store, WEEKEND, by="Ada", reason="nobody is here")
    at(SATURDAY)

    with pytest.raises(DeploymentError, match="uptake version 1: nothing is deployed until"):
        deploy(store, 1)
    assert deploy(store, 3)[0].startswith("freeze: ")  # once more, where what served it was killed
    assert deploy(store, 2)[0].startswith("freeze: ")
    assert deploy(store, 1)[0].startswith("freeze: ")
