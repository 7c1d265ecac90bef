"""The history of what was deployed: events that never change, of which the last that held and still stands counts."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console

from cd4ml import cli
from cd4ml.contracts import model
from cd4ml.contracts import verdict as gates
from cd4ml.contracts.deployment import Begun, Event, Held, StepTaken, Stopped, Undone
from cd4ml.contracts.regression import REGRESSION
from cd4ml.contracts.release import DatasetReference, Deployment, Version
from cd4ml.deployment import release
from cd4ml.errors import DeploymentError, DocumentError, RegistryError
from cd4ml.registry import deployments
from cd4ml.storage import Store, open_store
from cd4ml.storage.folder import FolderStore

HELD, UNDONE, STOPPED = Held("http://127.0.0.1:1", "now"), Undone("why", "now"), Stopped("now")
STEP = StepTaken("route", "all requests", "now")


def that_count(store: Store) -> list[Deployment]:
    """The deployments that count, the oldest first."""
    return [one.deployment for one in deployments.every(store, "uptake") if one.deployment]


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path)
    request.getfixturevalue("s3")
    return open_store("s3://cd4ml/team")


def begin(store: Store, version: int = 1, *, name: str = "uptake", target: str = "machine") -> Begun:
    dataset = DatasetReference("players", 0, "sha256:d")
    published = Version(name, version, f"sha256:{version}", "2026-01-01", "run", "", dataset)
    return deployments.begin(store, published, run="run", target=target, strategy="replace")


def deploy(store: Store, *events: Event) -> int:
    begun = begin(store)
    for event in events:
        deployments.add(store, begun, event)
    return begun.number


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "begun"),
        ([STEP], "begun"),
        ([STEP, HELD], "held"),
        ([STEP, UNDONE], "undone"),
        ([HELD, UNDONE], "undone"),
        ([UNDONE, HELD], "undone"),
        ([HELD, STOPPED], "stopped"),
    ],
)
def test_only_what_held_and_was_neither_undone_nor_stopped_counts(
    store: Store, events: list[Event], state: str
) -> None:
    before = deploy(store, HELD)
    number = deploy(store, *events)

    assert deployments.find(store, "uptake", number).state == state
    counting = [before, number] if state == "held" else [before]
    assert [one.number for one in that_count(store)] == counting
    assert deployments.latest(store, "uptake").number == counting[-1]


def test_the_champion_is_the_last_by_number(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    numbers = [deploy(store, HELD) for _ in range(11)]

    assert deployments.latest(store, "uptake").number == numbers[-1] == 11
    assert [one.begun.number for one in deployments.every(store, "uptake")] == numbers


def test_of_many_that_begin_at_once_each_has_its_number(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda version: begin(store, version).number, range(1, 17)))

    assert sorted(numbers) == list(range(1, 17))
    assert len(list(deployments.newest_first(store, "uptake"))) == 16


def test_of_many_that_tell_of_one_deployment_at_once_all_are_heard(store: Store) -> None:
    begun = begin(store)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda step: deployments.add(store, begun, StepTaken(str(step), "", "now")), range(8)))

    told = deployments.find(store, "uptake", 1).events[1:]
    assert sorted(one.step for one in told) == [str(step) for step in range(8)]


def test_events_that_only_a_newer_cd4ml_knows_are_passed_over(store: Store) -> None:
    number = deploy(store, HELD)
    store.add(f"deployments/uptake/{number}/9.json", '{"kind": "cd4ml/DeploymentAnalysed", "schema_version": 3}')

    assert [type(event) for event in deployments.find(store, "uptake", number).events] == [Begun, Held]


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "cd4ml/Version"}', '{"kind": ["cd4ml/Deployment"]}'])
def test_what_is_no_event_is_told_by_name(store: Store, text: str) -> None:
    number = deploy(store, HELD)
    file = f"deployments/uptake/{number}/3.json"
    store.add(file, text)

    with pytest.raises(DocumentError, match=f"^{store.uri(file)}: not a cd4ml/Deployment"):
        that_count(store)


def test_a_number_that_was_taken_and_never_written_is_no_deployment(tmp_path: Path) -> None:
    """As a writer leaves it that is killed between the folder and its first event."""
    (tmp_path / "deployments" / "uptake" / "1").mkdir(parents=True)

    assert that_count(FolderStore(tmp_path)) == []
    assert begin(FolderStore(tmp_path)).number == 2


@pytest.mark.parametrize(
    ("gate", "digest", "outcome", "told"),
    [
        ("check_model", "sha256:1", "failed", "about sha256:1, and did not pass"),
        ("check_model", "sha256:2", "passed", "about sha256:2, and passed"),
        ("check_dataset", "sha256:1", "passed", "is check_dataset's"),
    ],
)
def test_without_a_passed_verdict_of_its_own_no_version_is_deployed(
    tmp_path: Path, gate: str, digest: str, outcome: str, told: str
) -> None:
    files = {name: str(tmp_path / name) for name in ("version", "verdict", "store", "result")}
    dataset = DatasetReference("players", 0, "sha256:d")
    Version("uptake", 1, "sha256:1", "2026-01-01", "run", "", dataset).write(files["version"])
    check = gates.Check("auc on overall", "at least 0.7", 0.8, gates.Outcome(outcome), "auc on overall is 0.8")
    gates.Verdict(gate, {"model": digest}, (check,)).write(files["verdict"])

    with pytest.raises(DeploymentError, match=f"has no passed verdict of check_model: .*{told}"):
        release.deploy(
            files["store"],
            published_file=files["version"],
            verdict_file=files["verdict"],
            target="machine",
            port=1,
            run="run",
            folder=files["result"],
        )

    assert that_count(open_store(files["store"])) == []


def test_a_strategy_whose_limits_do_not_fit_what_the_model_gives_is_told_before_anything_is_changed(
    tmp_path: Path,
) -> None:
    (tmp_path / "model").mkdir()
    model.write_contract(model.Contract("price", (), (), {}, REGRESSION), tmp_path / "model")
    version = Version("prices", 1, "sha256:1", "2026-01-01", "run", "", DatasetReference("houses", 0, "sha256:d"))
    version.write(tmp_path / "version.json")
    store = open_store(str(tmp_path / "store"))
    store.add_folder(version.folder, {"model": tmp_path / "model", "version.json": version.text})
    check = gates.Check("r_squared on overall", "at least 0.7", 0.8, gates.Outcome.PASSED, "it is 0.8")
    gates.Verdict("check_model", {"model": "sha256:1"}, (check,)).write(tmp_path / "verdict")

    with pytest.raises(DeploymentError, match="prediction_difference: has no `range`, and the model gives price, a n"):
        release.deploy(
            store.location,
            published_file=str(tmp_path / "version.json"),
            verdict_file=str(tmp_path / "verdict"),
            target="machine",
            port=1,
            run="run",
            folder=str(tmp_path / "result"),
            strategy="shadow",
        )

    assert store.children("deployments/prices") == []


def test_what_was_stopped_is_not_verified(store: Store) -> None:
    deploy(store, HELD, STOPPED)

    with pytest.raises(DeploymentError, match="uptake was never deployed, or no deployment still stands"):
        release.verify_latest(store.location, "uptake")


def test_the_command_line_lists_the_history_and_shows_each_event(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(store, STEP, HELD)
    deploy(store, Undone("http://x predicts [something] else", "now"))
    deploy(store, HELD, STOPPED)
    deploy(store)

    listed = asked("list", "uptake", store, monkeypatch, capsys)
    assert [line.split()[:4] for line in listed[1:]] == [
        ["4", "1", "machine", "begun"],
        ["3", "1", "machine", "stopped"],
        ["2", "1", "machine", "undone"],
        ["1", "1", "machine", "held"],
    ]
    shown = asked("show", "uptake", store, monkeypatch, capsys, "2")
    assert shown[1].split(maxsplit=3)[2:] == ["begun", "version 1 to machine by replace, for run run"]
    assert shown[2].split(maxsplit=2) == ["now", "undone", "http://x predicts [something] else"]


def test_of_a_model_it_is_said_what_is_served_at_each_target_and_of_no_other_that_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for target, ends in (("machine", [HELD]), ("cluster", [HELD]), ("machine", [HELD]), ("machine", [UNDONE])):
        begun = begin(store, target=target)
        for event in ends:
            deployments.add(store, begun, event)

    listed = asked("list", "uptake", store, monkeypatch, capsys)

    assert [" ".join(line.split()[2:5]) for line in listed[1:]] == [
        "machine undone run",
        "machine in production",
        "cluster in production",
        "machine held run",
    ]


def test_without_a_name_it_is_listed_what_is_in_production_of_all_models_at_each_target(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for begun, events in (
        (begin(store), [HELD]),
        (begin(store, target="cluster"), [Held("http://uptake.team.svc:8000", "later")]),
        (begin(store, 2), [HELD]),
        (begin(store, 3), [UNDONE]),
        (begin(store, 4), []),
        (begin(store, name="churn"), [HELD]),
        (begin(store, 2, name="churn"), [HELD, STOPPED]),
        (begin(store, name="risk"), [HELD]),
    ):
        for event in events:
            deployments.add(store, begun, event)

    assert [line.split() for line in asked("list", None, store, monkeypatch, capsys)] == [
        ["model", "number", "version", "target", "since", "(UTC)", "endpoint"],
        ["risk", "1", "1", "machine", "now", "http://127.0.0.1:1"],
        ["uptake", "3", "2", "machine", "now", "http://127.0.0.1:1"],
        ["uptake", "2", "1", "cluster", "later", "http://uptake.team.svc:8000"],
    ]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("list", "nobody"), "nobody was never deployed"),
        (("show", "uptake", "7"), "uptake has no deployment 7; `cd4ml deployments list uptake` has all"),
        (("list", "../x"), "cannot be a name"),
    ],
)
def test_what_was_never_deployed_is_told(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    said: str,
) -> None:
    deploy(store, HELD)
    monkeypatch.setattr(sys, "argv", ["cd4ml", "deployments", *command, "--store", store.location])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 1
    assert said in capsys.readouterr().err


def asked(
    command: str,
    name: str | None,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *words: str,
) -> list[str]:
    """The lines that `cd4ml deployments` prints."""
    monkeypatch.setattr(
        sys, "argv", ["cd4ml", "deployments", command, *filter(None, [name]), *words, "--store", store.location]
    )
    monkeypatch.setattr("cd4ml.cli.deployments.console", Console(width=200))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_deployment_that_lies_in_the_place_of_another_is_told_with_its_folder(store: Store) -> None:
    deploy(store, HELD)
    for event in ("1.json", "2.json"):
        store.add(f"deployments/uptake/7/{event}", store.read(f"deployments/uptake/1/{event}"))

    for ask in (deployments.latest, deployments.every, lambda *of: deployments.find(*of, 7)):
        with pytest.raises(RegistryError, match="deployments/uptake/7: holds deployment 1 of the model uptake; put"):
            ask(store, "uptake")


def test_the_way_back_leads_to_what_was_there_before_also_where_that_was_stopped(store: Store) -> None:
    def way_back() -> int | None:
        before = deployments.before(deployments.every(store, "uptake"))
        return before.version if before else None

    assert way_back() is None
    for number in (1, 2, 3):
        deployments.add(store, begin(store, number), HELD)
    assert way_back() == 2
    deployments.add(store, begin(store, 2), HELD)
    assert way_back() == 1
    begun = begin(store, 4)
    deployments.add(store, begun, HELD)
    assert way_back() == 2
    deployments.add(store, begun, STOPPED)
    assert way_back() == 2
    last = deployments.last(deployments.every(store, "uptake"))
    assert last
    assert (last.version, last.endpoint) == (4, HELD.endpoint)


def test_as_many_people_are_asked_as_the_newest_version_in_production_took(store: Store) -> None:
    dataset = DatasetReference("players", 0, "sha256:d")
    assert deployments.persons(deployments.every(store, "uptake")) == 0
    for number, persons, event in ((1, 3, HELD), (2, 2, HELD), (3, 4, UNDONE), (1, 0, HELD), (2, 0, HELD)):
        version = Version("uptake", number, f"sha256:{number}", "2026-01-01", "run", "", dataset)
        begun = deployments.begin(store, version, run="r", target="machine", strategy="replace", persons=persons)
        deployments.add(store, begun, event)

    assert deployments.persons(deployments.every(store, "uptake")) == 2
