"""The page of a model: what was shipped when, by whom and why, and what it changed."""

import html
import logging
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from evaluated import a_summary, a_summary_of_numbers
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts.approval import Approval
from cd4ml.contracts.catalogued import Catalogued
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.deployment import Answered, Event, Held, StepTaken, Stopped, Undone
from cd4ml.contracts.evaluation import Change
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.registry import catalogue, clock, deployments, model_page, numbers
from cd4ml.storage.folder import FolderStore

NOW = datetime.now(UTC)
BOTH = {"champion": Answered(9034, 0.0021, 1.31, 2.24), "challenger": Answered(1012, 0.0712, 1.28, 9.96)}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def at(minutes: float) -> str:
    return clock.written(NOW - timedelta(days=1) + timedelta(minutes=minutes))


def publish(store: FolderStore, number: int, *, auc: float = 0.8, **changed: Any) -> Version:
    version = Version(
        name="uptake",
        version=number,
        digest=f"sha256:{number}",
        published_at=at(60 * number - 10),
        run=f"run-{number}",
        revision="abc",
        dataset=DatasetReference("players", 3, "sha256:d3"),
        champion=f"sha256:{number - 1}",
    )
    version = replace(version, **changed)
    summary = a_summary()
    candidate = replace(summary.models["candidate"], metrics={"auc": auc}, intervals={"auc": (auc - 0.01, auc + 0.02)})
    changes = (Change("champion", "overall", "auc", 0.025, (0.02, 0.031)),)
    summary = replace(summary, models={"candidate": candidate}, changes=changes)
    store.add_folder(version.folder, {"version.json": version.text, "summary.json": summary.text})
    return version


def deploy(store: FolderStore, version: Version, *events: Event, begun: float = 0) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: at(begun))
        one = deployments.begin(store, version, run=version.run, target="machine", strategy="replace")
    for event in events:
        deployments.add(store, one, event)


def publish_number(store: FolderStore, number: int, error: float) -> Version:
    """Publishes a version that predicts a number, with less of an error than the champion."""
    version = publish(store, number)
    summary = a_summary_of_numbers()
    candidate = replace(summary.models["candidate"], metrics={"root_mean_squared_error": error}, intervals={})
    changes = (Change("champion", "overall", "root_mean_squared_error", -1345.6, (-2000.0, -700.0)),)
    summary = replace(summary, models={"candidate": candidate}, changes=changes)
    (store.path(version.folder) / "summary.json").write_text(summary.text)
    return version


def held(minutes: float, **verified: float) -> Held:
    return Held("http://127.0.0.1:9500/api", at(minutes), verified)


def words(page: str) -> str:
    """The page as it is read."""
    bare = re.sub("<style>.*?</style>|<script>.*?</script>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(bare).split())


def entries(page: str) -> list[str]:
    """The deployments of a page, as they are read."""
    return [words(one) for one in page.split("<section")[1:]]


def test_a_page_says_what_is_in_production_since_when_by_whom_and_why(store: FolderStore) -> None:
    first = publish(store, 1)
    approval = Approval("uptake", 1, first.digest, "Ada", "better in the south", at(-5), at(99))
    numbers.append(store, "approvals/uptake/1", approval.text)
    deploy(store, first, StepTaken("verify", "100 rows as evaluated", at(1)), held(2))

    page = model_page.text(store, "uptake")

    assert "Version 1 is in production at the target machine since" in words(page)
    assert "at http://127.0.0.1:9500/api , by replace, deployed by the run run-1 . Approved by Ada: better in" in words(
        page
    )
    (entry,) = entries(page)
    assert "took 2 minutes, to machine by replace" in entry
    assert "verify: 100 rows as evaluated" in entry
    assert "data players version 3, sha256:d3 code abc" in entry
    deploy(store, publish(store, 2), held(2))
    assert "No person was asked: its gates let it in." in words(model_page.text(store, "uptake"))


def test_what_a_deployment_changed_stands_beside_what_was_there_before(store: FolderStore) -> None:
    deploy(store, publish(store, 1, auc=0.8), held(2, p50_ms=1.26, p99_ms=3.0))
    deploy(
        store, publish(store, 2, auc=0.825), StepTaken("analyse", "kept", at(3), BOTH), held(4, p50_ms=1.5, p99_ms=2)
    )
    deploy(store, publish(store, 3, auc=0.9, champion="sha256:1"), Undone("it fails\nmore", at(9), BOTH), begun=7)

    undone, second, first = entries(model_page.text(store, "uptake"))

    assert "Changed: auc 0.800 → 0.825" in second
    assert "the change is on the same rows version 1 version 2 change AUC 0.800 [0.790, 0.820] 0.825" in second
    assert "+0.025 [+0.020, +0.031]" in second
    assert "when it was verified version 1 version 2 median 1.3 ms 1.5 ms 99% are below 3.0 ms 2.0 ms" in second
    assert "requests 9,034 1,012 failed 0.21% 7.12% median 1.3 ms 1.3 ms 95% are below 2.2 ms 10.0 ms" in second
    assert "Undone: it fails Changed:" in undone
    assert "7.12%" in undone
    assert "each on its own rows version 2 version 3 AUC 0.825" in undone
    assert "Changed: the first, auc 0.800" in first


def test_a_change_is_coloured_where_it_is_beyond_chance_alone(store: FolderStore) -> None:
    deploy(store, publish(store, 1), held(1))
    deploy(store, publish(store, 2), held(2))

    assert '<td class="number passed">+0.025<small>[+0.020, +0.031]' in model_page.text(store, "uptake")
    for found in store.path("models/uptake/2").glob("summary.json"):
        found.write_text(found.read_text().replace("0.02,", "-0.02,"))
    assert '<td class="number ">+0.025<small>[-0.020, +0.031]' in model_page.text(store, "uptake")


def test_of_a_number_less_is_better_and_the_picture_is_of_the_same_metric_alone(store: FolderStore) -> None:
    deploy(store, publish(store, 1, auc=0.8), held(2))
    deploy(store, publish_number(store, 2, 12_345.6), held(2))
    deploy(store, publish_number(store, 3, 11_000), held(2))

    page = model_page.text(store, "uptake")

    third, second, _ = entries(page)
    assert "version 2 version 3 change RMSE 12,346 11,000 -1,346 [-2,000, -700]" in third
    assert "AUC" not in second
    assert "RMSE of each, as evaluated" in words(page)
    assert re.findall('title="version ([^"]*)"', page) == ["2, deployment 2: 12,346", "3, deployment 3: 11,000"]


def test_how_often_how_fast_and_how_safely_is_told_of_what_is_known(store: FolderStore) -> None:
    about = DatasetVersion("players", "uri", 3, 9, "sha256:d3", arrived=at(-60))
    catalogue.keep(store, Catalogued(about, {}))
    first, second = publish(store, 1, published_at=at(-8)), publish(store, 2, published_at=at(-4))
    deploy(store, first, held(2))
    deploy(store, second, held(24), begun=20)
    deploy(store, second, Undone("it fails", at(40)), begun=30)
    deploy(store, first, held(52), begun=50)

    page = model_page.text(store, "uptake")

    figures = [words(one) for one in page.split('<div class="figure">')[1:]]
    assert [one.partition(" Of the")[0] for one in figures] == [
        "3 into production in the last 30 days",
        "19 minutes from published to served, median of 2",
        "1 hour 13 minutes from the data's arrival to served, median of 2",
        "25% did not hold: 1 of 4",
        "10 minutes until what did not hold was undone, median of 1",
        "2 minutes to go back to an earlier version, median of 1",
    ]
    assert "When its code was committed, and when somebody first saw that a version was bad, is not recorded" in words(
        page
    )


def test_a_model_that_was_never_deployed_has_a_page_that_says_so(store: FolderStore) -> None:
    assert "Nothing is in production It was never deployed." in words(model_page.text(store, "uptake"))


def test_what_was_stopped_or_only_begun_is_not_in_production(store: FolderStore) -> None:
    deploy(store, publish(store, 1), held(1), Stopped(at(2)))
    deploy(store, publish(store, 2))

    page = model_page.text(store, "uptake")

    assert "Nothing is in production What was deployed was undone or stopped." in words(page)
    begun, stopped = entries(page)
    assert "Version 2 under way, or killed" in begun
    assert "Version 1 stopped" in stopped


def test_where_the_last_was_stopped_nothing_is_in_production_and_where_it_was_undone_the_one_before(
    store: FolderStore,
) -> None:
    deploy(store, publish(store, 1), held(1))
    second = publish(store, 2)
    deploy(store, second, held(2), Undone("the store was away", at(3)))
    assert "Version 1 is in production" in words(model_page.text(store, "uptake"))

    deploy(store, second, held(4), Stopped(at(5)))

    assert "Nothing is in production" in words(model_page.text(store, "uptake"))


def test_what_others_wrote_stays_text(store: FolderStore) -> None:
    evil = '"><script>alert(1)</script>'
    version = publish(store, 1, run=evil, revision=evil, dataset=DatasetReference(evil, 3, evil))
    numbers.append(store, "approvals/uptake/1", Approval("uptake", 1, "sha256:1", evil, evil, at(-5), at(99)).text)
    deploy(store, version, StepTaken(evil, evil, evil), Held(evil, at(1)), Undone(evil, at(2)))

    assert "<script>alert" not in model_page.text(store, "uptake", root="../..")


def test_of_many_deployments_the_newest_are_shown_and_those_before_are_counted(store: FolderStore) -> None:
    version = publish(store, 1)
    for number in range(200):
        deploy(store, version, held(number))

    page = model_page.text(store, "uptake")

    assert len(entries(page)) == 50
    assert "And 150 older: cd4ml deployments list uptake" in words(page)
    assert "200 deployments since before" in words(page)


def test_a_version_that_is_gone_or_broken_leaves_its_deployment_on_the_page(store: FolderStore) -> None:
    deploy(store, publish(store, 1), held(1))
    deploy(store, publish(store, 2), held(2))
    store.path("models/uptake/1/summary.json").write_text("{}")

    second, first = entries(model_page.text(store, "uptake"))

    assert "models/uptake/1/summary.json: not a cd4ml/Summary" in first
    assert "Changed: the first, auc 0.800" in second


def test_the_command_makes_the_page_anew_in_the_store_or_elsewhere(store: FolderStore, tmp_path: Path) -> None:
    deploy(store, publish(store, 1), held(1))
    to_show = tmp_path / "uptake.html"

    for option in ([], ["--html", str(to_show)]):
        ended = CliRunner().invoke(app, ["deployments", "page", "uptake", *option, "--store", store.location])
        assert ended.exit_code == 0

    stored = store.path("catalogue/models/uptake.html").read_text()
    assert '<a href="../../models/uptake/1/card.html">' in stored
    assert "href" not in to_show.read_text().partition("<details>")[2]
    assert str(to_show) in ended.output.replace("\n", "")


def test_of_a_model_that_is_not_there_the_command_makes_no_page(store: FolderStore) -> None:
    publish(store, 1)

    ended = CliRunner().invoke(app, ["deployments", "page", "uptaek", "--store", store.location])

    assert "there is no model uptaek; `cd4ml models list` has all" in str(ended.exception)
    assert not store.children("catalogue")


def test_a_page_that_cannot_be_written_is_a_warning(store: FolderStore, caplog: pytest.LogCaptureFixture) -> None:
    deploy(store, publish(store, 1), held(1))
    store.path("catalogue").write_text("in the way")

    with caplog.at_level(logging.WARNING):
        model_page.refresh(store, "uptake")

    (said,) = caplog.messages
    assert said.startswith("the page of uptake could not be written (StorageError: ")
    assert said.endswith("`cd4ml deployments page uptake` makes it anew")
