"""A strategy is named or written as steps; what it divides is analysed, and it ends as the analysis does."""

import contextlib
import re
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from captures import BEGIN, Arms, Right, captured, publish, write, write_labelled, write_mirrored
from development_page import shown
from steps_taken import Clock

from cd4ml.contracts.release import DatasetReference, Verification, Version
from cd4ml.deployment import rollout, steps, strategies, waiting
from cd4ml.deployment.steps import Rollout, judging
from cd4ml.deployment.steps.written import Verify
from cd4ml.deployment.strategies import Strategy
from cd4ml.deployment.targets import Release, Split
from cd4ml.errors import DeploymentError
from cd4ml.pipelines.deployment.arguments import Deployment
from cd4ml.registry import approvals, deployments
from cd4ml.storage.folder import FolderStore

names: dict[str, Any] = {}
exec(shown("A new target")["acme_shelf.py"], names)
LIMITS = {"error_rate": {"max_increase": 0.05, "slices": ["overall", "region=south"]}}


class Divided(names["Shelf"]):  # type: ignore[misc]
    """A shelf whose requests of a day, a second each, were captured before."""

    splits = True
    features: list[str] | None = None
    arms = Arms()

    def share(self, release: Release, weight: float, features: list[str]) -> Split | None:  # noqa: ARG002
        self.features = features
        if self.current() is None:
            return None
        arms = Arms(weight, self.arms.errors)
        folder = self.store.root.parent / f"capture-{weight:g}"
        return Split(write(folder, 20_000, arms) if not folder.exists() else folder, "old", "new")

    def mirror(self, release: Release, copied: float, features: list[str]) -> Split | None:  # noqa: ARG002
        self.features = features
        if self.current() is None:
            return None
        folder = self.store.root.parent / f"copies-{copied:g}"
        write_mirrored(folder, 20_000, self.arms, copied=copied)
        return Split(folder, "old", "new", mirrored=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(steps, "time", clock)
    monkeypatch.setattr(judging, "time", clock)
    monkeypatch.setattr(waiting, "time", clock)
    monkeypatch.setattr(steps, "LOOK_SECONDS", 500)
    monkeypatch.setattr(steps, "now", lambda: BEGIN + timedelta(seconds=clock.passed))
    monkeypatch.setattr(steps.verify, "wait_until_ready", lambda *_, **__: None)

    def verified(_: Verify, at: Rollout) -> str:
        at.verification = Verification(at.url, "sha256:m", 3, 0.0, p50_ms=1.0, p99_ms=2.0)
        return "as evaluated"

    monkeypatch.setattr(Verify, "take", verified)
    return clock


@pytest.fixture
def shelf(tmp_path: Path, clock: Clock) -> Divided:
    return Divided(FolderStore(tmp_path / "store"), "uptake")


def published(number: int) -> Version:
    dataset = DatasetReference("players", 0, "sha256:d")
    return Version("uptake", number, f"sha256:{number}", "2026-01-01", "run", "", dataset)


def deploy(shelf: Divided, way: Any, number: int = 1) -> None:
    strategy = strategies.parse(way)
    rollout.roll_out(shelf, strategy, version=published(number), run="run", port=0, log_file=Path("/no/such/log"))


def told(shelf: Divided) -> dict[str, str]:
    """What the last deployment says of its steps."""
    return {one.step: one.said for one in deployments.every(shelf.store, "uptake")[-1].events[1:-1]}


def test_a_release_gets_more_as_it_is_known_that_it_does_as_well(shelf: Divided, clock: Clock) -> None:
    deploy(shelf, "replace")

    deploy(
        shelf,
        [{"traffic": 10}, {"hold": "5 minutes"}, {"analyse": {**LIMITS, "within": "5 hours"}}, {"traffic": 50}],
        number=2,
    )

    said = told(shelf)
    assert list(said) == ["verify", "traffic 10", "hold", "analyse", "traffic 50", "route"]
    assert (said["traffic 10"], said["hold"]) == ("10% of the requests to version 2", "waited 5 minutes")
    assert re.search(r"error_rate on region=south: .*; at most 0.05 is kept", said["analyse"])
    assert 1000 < clock.passed < 20_000
    series = deployments.every(shelf.store, "uptake")[-1]
    assert (series.state, series.begun.strategy) == ("held", "traffic 10, hold, analyse, traffic 50")
    assert shelf.features == ["region"]


def test_a_release_that_does_worse_is_undone_as_soon_as_that_is_known(shelf: Divided, clock: Clock) -> None:
    deploy(shelf, "replace")
    shelf.arms = Arms(errors=(0.02, 0.5))

    with pytest.raises(DeploymentError, match=r"does not keep its limits: error_rate: .* at most 0.05 is broken"):
        deploy(shelf, [{"traffic": 50}, {"analyse": LIMITS}], number=2)

    assert clock.passed <= 1000
    assert shelf.current().number == 1


def test_what_is_not_known_in_time_is_undone(shelf: Divided, clock: Clock) -> None:
    deploy(shelf, "replace")

    with pytest.raises(DeploymentError) as refused:
        deploy(
            shelf,
            [{"traffic": 50}, {"analyse": {"error_rate": {"max_increase": 0.0001}, "within": "1 hour"}}],
            number=2,
        )

    assert str(refused.value).startswith("after 1:00:00 it is not known whether limits are kept: error_rate: ")
    assert "like these, tell whether at most 0.0001 is kept" in str(refused.value)
    assert 3600 <= clock.passed < 4200


def test_what_ends_meanwhile_is_told_at_the_next_look(shelf: Divided, clock: Clock) -> None:
    deploy(shelf, "replace")
    clock.sleep = lambda seconds: setattr(clock, "passed", clock.passed + seconds) or setattr(shelf, "top", None)  # type: ignore[method-assign, func-returns-value]

    with pytest.raises(DeploymentError, match="what was served before has ended, or the router has"):
        deploy(shelf, [{"traffic": 50}, {"hold": "1 hour"}], number=2)


def test_the_error_is_divided_among_the_analyses_of_a_rollout(shelf: Divided, clock: Clock) -> None:
    deploy(shelf, "replace")
    widths = []
    for count in (1, 3):
        clock.passed = 0.0
        analyses = [{"analyse": {"error_rate": {"max_increase": 0.2}}}] * count
        deploy(shelf, [{"traffic": 50}, {"hold": "1 hour"}, *analyses], number=2)
        said = told(shelf)["analyse"]
        assert "of 3,585 requests" in said  # whatever is younger than 15 seconds may lack an answer that is slow
        low, high = re.search(r"error_rate: \S+ \[([-+.\d]+), ([-+.\d]+)\]", said).groups()
        widths.append(float(high) - float(low))

    assert widths[1] > widths[0]


def test_the_error_is_divided_among_analyses_and_watches_together(shelf: Divided, clock: Clock) -> None:
    deploy(shelf, "replace")
    watching = [{"traffic": 50}, {"hold": "1 hour"}, {"watch": {"for": "1 hour", "error_rate": {"max": 0.2}}}]
    widths = []
    for more in ([], [{"traffic": 60}, {"analyse": {"error_rate": {"max_increase": 0.2}}}]):
        clock.passed = 0.0
        deploy(shelf, [*watching, *more], number=2)
        low, high = re.search(r"a share in \[([.\d]+), ([.\d]+)\]", told(shelf)["watch"]).groups()
        widths.append(float(high) - float(low))

    assert widths[1] > widths[0]


def test_a_release_whose_answers_are_lost_cannot_be_judged(shelf: Divided, tmp_path: Path) -> None:
    deploy(shelf, "replace")
    requests, _ = captured(20_000, Arms(), seed=0, unit=None)
    kept = np.random.default_rng(1).random(20_000) < np.where(requests["arm"].to_numpy() == "new", 0.5, 1)
    day = tmp_path / "capture-0.5" / "requests" / "2026-01-01"
    day.mkdir(parents=True)
    pq.write_table(requests.filter(kept), day / "0.parquet")

    with pytest.raises(DeploymentError, match=r"the release cannot be judged: sample_ratio: "):
        deploy(shelf, [{"traffic": 50}, {"analyse": LIMITS}], number=2)


def test_a_shadow_is_routed_once_it_is_known_to_answer_as_well_and_much_the_same(shelf: Divided, clock: Clock) -> None:
    deploy(shelf, "replace")

    deploy(shelf, "shadow", number=2)

    said = told(shelf)
    assert list(said) == ["verify", "mirror 100", "analyse", "route"]
    assert said["mirror 100"] == "copies of 100% of the requests to version 2"
    assert re.search(r"prediction_difference: .* that both answered; at most 0.1 is kept", said["analyse"])
    assert 500 < clock.passed < 6000
    assert shelf.current().number == 2


def test_a_shadow_that_answers_otherwise_is_undone(shelf: Divided) -> None:
    deploy(shelf, "replace")
    shelf.arms = Arms(predictions=(0.3, 0.6))

    with pytest.raises(DeploymentError, match=r"does not keep its limits: prediction_difference: .* 0.1 is broken"):
        deploy(shelf, [{"mirror": 20}, {"analyse": {"prediction_difference": {"max_mean": 0.1}}}], number=2)

    assert shelf.current().number == 1


def test_requests_count_once_their_copies_must_have_been_answered(shelf: Divided, clock: Clock) -> None:
    deploy(shelf, "replace")

    deploy(shelf, [{"mirror": 100}, {"hold": "1 hour"}, {"analyse": LIMITS}, {"traffic": 50}], number=2)

    assert "got 3,540 of 3,540 requests" in told(shelf)["analyse"]  # a copy may wait for others that hang


def watching(**limits: Any) -> list[Any]:
    return [{"traffic": 100}, {"watch": {"for": "1 hour", **limits}}]


def test_a_release_that_keeps_its_limits_as_long_as_it_is_watched_stays(shelf: Divided, clock: Clock) -> None:
    deploy(shelf, "replace")
    looked: list[int | None] = []
    shelf.current = lambda: looked.append(shelf.top and shelf.top.number) or shelf.top  # type: ignore[method-assign, func-returns-value]

    deploy(shelf, watching(error_rate={"max": 0.05}, latency_p95={"max": 10}), number=2)

    said = told(shelf)
    assert list(said) == ["verify", "traffic 100", "watch", "route"]
    assert re.fullmatch(
        r"error_rate: \d+ of 3,\d{3} requests failed, a share in \[.*\]; at most 0.05 is kept; "
        r"latency_p95: \d+ of 3,\d{3} requests took more than 10 ms, a share in \[.*\]; at most 0.05 is kept",
        said["watch"],
    )
    assert 3600 < clock.passed <= 4500
    assert looked[:-1] == [1] * len(looked[:-1])  # what was served before is there to go back to, until the end
    assert shelf.current().number == 2


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"error_rate": {"max": 0.05}}, "error_rate: .*requests failed, .*; at most 0.05 is broken"),
        ({"latency_p95": {"max": 4}}, "latency_p95: .* took more than 4 ms, .*; at most 0.05 is broken"),
    ],
)
def test_a_release_that_breaks_its_limits_while_it_is_watched_goes_back_at_once(
    shelf: Divided, clock: Clock, limits: dict[str, Any], said: str
) -> None:
    deploy(shelf, "replace")
    shelf.arms = Arms(errors=(0.02, 0.2))

    with pytest.raises(DeploymentError, match=f"the release does not keep its limits: {said}"):
        deploy(shelf, watching(**limits), number=2)

    assert clock.passed <= 500
    assert shelf.current().number == 1


def test_a_release_that_is_asked_too_seldom_to_be_known_goes_back_when_the_time_is_over(
    shelf: Divided, clock: Clock
) -> None:
    deploy(shelf, "replace")

    with pytest.raises(DeploymentError) as refused:
        deploy(shelf, watching(error_rate={"max": 0.022}), number=2)

    assert str(refused.value).startswith("after 1:00:00 it is not known whether limits are kept: error_rate: ")
    assert "whether at most 0.022 is kept cannot be told yet" in str(refused.value)
    assert 3600 < clock.passed <= 4500
    assert shelf.current().number == 1


def approve(shelf: Divided, by: str) -> None:
    approvals.approve(shelf.store, published(2), by=by, reason="better in the south")


def test_a_verified_release_waits_for_people_and_only_what_they_say_then_counts(shelf: Divided, clock: Clock) -> None:
    deploy(shelf, "replace")
    approve(shelf, "Ada")
    seen: list[tuple[list[str], int, int]] = []

    def meanwhile() -> None:
        seen.append((list(told_so_far(shelf)), shelf.current().number, shelf.unfinished().number))
        if clock.passed > 3600:
            approve(shelf, "Grace")

    clock.meanwhile = meanwhile
    deploy(shelf, [{"traffic": 10}, {"approve": {}}, {"traffic": 50}, {"approve": {"within": "2 hours"}}], number=2)

    assert told(shelf) == {
        "verify": "as evaluated",
        "traffic 10": "10% of the requests to version 2",
        "approve": "Grace: better in the south",
        "traffic 50": "50% of the requests to version 2",
        "route": "all requests to http://shelf",
    }
    assert seen[0] == (["verify", "traffic 10"], 1, 2)
    assert [len(steps) for steps, *_ in seen].count(4) == 1  # whoever let it go on once is asked again
    assert shelf.current().number == 2


def told_so_far(shelf: Divided) -> list[str]:
    return [one.step for one in deployments.every(shelf.store, "uptake")[-1].events[1:]]


def test_a_release_that_nobody_approves_in_time_is_undone(shelf: Divided, clock: Clock) -> None:
    deploy(shelf, "replace")

    with pytest.raises(DeploymentError, match="uptake version 2 was not approved in 24 hours: 2 of 2 approvals"):
        deploy(shelf, [{"approve": {"approvals": 2, "within": "1 day"}}], number=2)

    assert 86_400 < clock.passed < 86_500
    assert [series.state for series in deployments.every(shelf.store, "uptake")] == ["held", "undone"]
    assert shelf.current().number == 1


def decide(shelf: Divided, what: Any, by: str) -> None:
    approvals.decide(shelf.store, "uptake", 2, what=what, by=by, reason="forgets the south")


@pytest.mark.parametrize("way", ["manual", "blue-green"])
def test_a_person_sends_back_a_release_that_waits_or_is_watched(shelf: Divided, clock: Clock, way: str) -> None:
    deploy(shelf, "replace")
    clock.meanwhile = lambda: decide(shelf, "aborted", "Ada")

    with pytest.raises(DeploymentError, match="^aborted by Ada: forgets the south\n"):
        deploy(shelf, way, number=2)

    assert clock.passed <= 500
    assert shelf.current().number == 1


def test_who_promotes_what_several_people_are_to_see_are_as_many(
    shelf: Divided, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    deploy(shelf, "replace")
    people = ["Ada", "Grace"]
    clock.meanwhile = lambda: decide(shelf, "promoted", people.pop(0))

    deploy(shelf, [{"approve": {"approvals": 2}}, {"traffic": 50}, {"hold": "1 day"}], number=2)

    assert told(shelf) == {
        "verify": "as evaluated",
        "approve": "promoted by Ada: forgets the south; Grace: forgets the south",
        "route": "all requests to http://shelf",
    }
    [question] = [said for said in caplog.messages if "waits for 2 of 2 approvals; to approve it: cd4ml" in said]
    assert (
        f"to have it undone: cd4ml deployments abort uptake 2 --store {shelf.store.location} --reason WHY" in question
    )


@pytest.mark.parametrize(("accuracies", "outcome"), [((0.8, 0.8), "held"), ((0.8, 0.6), "undone")])
def test_a_release_is_judged_by_labels_and_by_groups(
    shelf: Divided, tmp_path: Path, accuracies: tuple[float, float], outcome: str
) -> None:
    deploy(shelf, "replace")
    publish(shelf.store.root)
    write_labelled(tmp_path / "capture-0.5", 20_000, Right(accuracies, came=(0.5, 0.5)))
    groups = {"groups": ["female", "male"], "equal_opportunity": {"max_gap": 0.2}}
    limits = {"accuracy": {"min_change": -0.05}, "fairness": {"gender": groups}, "within": "5 hours"}

    with suppress(DeploymentError):
        deploy(shelf, [{"traffic": 50}, {"analyse": limits}], number=2)

    last = deployments.every(shelf.store, "uptake")[-1]
    assert last.state == outcome
    assert shelf.features == ["gender"]
    said = told(shelf)["analyse"] if outcome == "held" else str(last.events[-1].headline)
    assert re.search(r"accuracy: .*; at least -0.05 is (kept|broken)", said)


@pytest.mark.parametrize("way", ["canary", "shadow"])
def test_a_first_version_has_nobody_to_be_compared_with(shelf: Divided, way: str) -> None:
    deploy(shelf, way)

    assert told(shelf)["analyse"] == "nothing was served before, so there is nothing to compare with"
    assert shelf.current().number == 1


def test_a_first_version_has_nobody_to_go_back_to(shelf: Divided) -> None:
    deploy(shelf, "blue-green")

    assert told(shelf)["watch"] == "nothing was served before, so there is nothing to go back to"
    assert shelf.current().number == 1


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("canry", "'canry' is no strategy; did you mean 'canary'?"),
        ("ab-test", "'ab-test' is a step, and no strategy; write a list of steps (docs/comparing.md)"),
        ([], "strategy: not as it should be\n  - Tuple should have at least 1 item"),
        ("[{", "is no JSON (Expecting property name"),
        ("[" * 100_000, "is no JSON (maximum recursion depth exceeded"),
        ([{"trafic": 10}], "0: 'trafic' is no step; did you mean 'traffic'?"),
        ([{"traffic": 10, "hold": "1 hour"}], "0: write a step with one name, such as {traffic: 10}, not {"),
        ([{"traffic": 101}], "0.traffic: Input should be less than or equal to 100, not 101"),
        ([{"traffic": 100}, {"traffic": 50}], "1: traffic comes after {traffic: 100}, which gives the release all"),
        ([{"traffic": 100}, {"mirror": 50}], "1: mirror comes after {traffic: 100}, which gives the release all"),
        (
            [{"traffic": 100}, {"analyse": LIMITS}],
            "1: analyse has nothing to compare with after {traffic: 100}; write it before, or {watch: ...} here",
        ),
        (
            [{"mirror": 9}, {"watch": {"for": "1 hour", "error_rate": {"max": 0.1}}}],
            "1: watch comes where the release answers nobody; write {traffic: 100} before it",
        ),
        ([{"traffic": 9}, {"watch": {"error_rate": {"max": 0.1}}}], "1.watch.for: missing"),
        ([{"traffic": 9}, {"watch": {"for": "1 hour"}}], "1.watch: names no limit, so that every release would pass"),
        ([{"hold": "soon"}], "0.hold: 'soon' is no span of time; write one such as `7 days`, `5 minutes` or P7D"),
        ([{"hold": "1 hour"}, {"traffic": 9}], "0: hold comes before any traffic; write {traffic: 10} or"),
        ([{"analyse": LIMITS}], "0: analyse comes before any traffic; write {traffic: 10} or {mirror: 100} before it"),
        (
            [{"bandit": {}}, {"analyse": LIMITS}],
            "1: analyse comes after a bandit, whose shares follow what comes of requests; write `limits` within it",
        ),
        ([{"mirror": 0}], "0.mirror: Input should be greater than 0, not 0"),
        (
            [{"traffic": 9}, {"mirror": 9}, {"analyse": {"reward": {"min_change": -0.1}}}],
            "2: reward: nobody sees what a mirror answers; ask for it after a traffic, not a mirror",
        ),
        (
            [{"mirror": 9}, {"traffic": 9}, {"analyse": {"prediction_difference": {"max_mean": 0.1}}}],
            "2: prediction_difference: takes requests that both answered; write {mirror: 100}, not a traffic, before",
        ),
        ([{"approve": {"approvals": 0}}], "0.approve.approvals: Input should be greater than or equal to 1, not 0"),
        ([{"approve": {"within": "4 days"}}], "0.approve.within: nobody is waited for longer than 3 days; write"),
        ([{"approve": {"by": "Ada"}}], "0.approve.by: unknown; there are approvals, within"),
        ([{"traffic": 9}, {"analyse": {}}], "1.analyse: names no limit, so that every challenger would pass"),
        ([{"traffic": 9}, {"analyse": {"eror": 1}}], "1.analyse.eror: unknown; did you mean 'error'?"),
    ],
)
def test_what_is_no_strategy_is_told_with_its_place(way: Any, said: str) -> None:
    with pytest.raises(DeploymentError) as refused:
        strategies.parse(way)

    assert said in str(refused.value)


def test_a_target_that_gives_all_requests_to_one_version_takes_no_strategy_that_divides_them(documented: Any) -> None:
    shelf = documented("A new target")["target"]

    for strategy in (strategies.CANARY, strategies.SHADOW):
        with pytest.raises(DeploymentError, match=f"{strategy.name}': the target 'shelf' gives all requests to one"):
            strategies.check_together(strategy, shelf, approvals=0)
    strategies.check_together(strategies.REPLACE, shelf, approvals=0)
    for target in ("machine", "cluster"):
        strategies.check_together(strategies.CANARY, target, approvals=0)


def test_a_strategy_of_another_package_is_named_like_the_others(documented: Any) -> None:
    named = documented("A new strategy")["strategy"]

    found = strategies.parse(named)

    assert isinstance(found, Strategy)
    assert [step.name for step in found.steps] == ["verify", "traffic 1", "hold", "route"]


def test_the_documented_strategies_are_those_that_there_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text()
    found = re.findall(r"^```yaml\nstrategy:(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    canary, shadow, own, blue_green, seen, experiment, bandit = found

    assert strategies.parse(yaml.safe_load(canary)).steps == strategies.CANARY.steps
    assert strategies.parse(yaml.safe_load(shadow)).steps == strategies.SHADOW.steps
    assert strategies.parse(yaml.safe_load(own)).splits
    assert strategies.parse(yaml.safe_load(blue_green)).steps == strategies.BLUE_GREEN.steps
    assert [step.name for step in strategies.parse(yaml.safe_load(seen)).steps] == [
        "verify",
        "traffic 10",
        "hold",
        "approve",
        "route",
    ]
    assert [step.name for step in strategies.MANUAL.steps] == ["verify", "approve", "route"]
    assert strategies.parse(yaml.safe_load(experiment)).splits
    assert [step.name for step in strategies.parse(yaml.safe_load(bandit)).steps][1:-1] == [
        "traffic 20",
        "hold",
        "bandit",
    ]


@pytest.mark.parametrize(("looks", "state"), [(2, "held"), (50, "undone")])
def test_a_capture_that_cannot_be_read_is_asked_again_for_some_time(
    shelf: Divided, clock: Clock, tmp_path: Path, *, looks: int, state: str
) -> None:
    deploy(shelf, "replace")
    capture = write(tmp_path / "capture-0.5", 20_000, Arms(0.5))
    bad = capture / "requests" / "2026-01-01" / "9.parquet"
    bad.write_bytes(b"half")
    left = iter(range(looks - 1))
    clock.meanwhile = lambda: next(left, None) is None and bad.unlink(missing_ok=True)

    with contextlib.suppress(DeploymentError):
        deploy(shelf, [{"traffic": 50}, {"analyse": {**LIMITS, "within": "5 hours"}}], 2)

    assert [series.state for series in deployments.every(shelf.store, "uptake")] == ["held", state]


@pytest.mark.parametrize(
    ("approvals", "days", "fits"), [(0, 20, True), (0, 22, False), (2, 17, True), (2, 18, True), (2, 19, False)]
)
def test_what_may_wait_longer_than_a_task_of_a_cluster_lives_is_told_before_it_begins(
    approvals: int, days: int, fits: bool
) -> None:
    written = [
        {"traffic": 10},
        {"hold": f"{days} days"},
        {"analyse": {"error_rate": {"max_increase": 0.02}, "within": "1 day"}},
        {"approve": {"within": "2 days"}},
    ]
    given = {"name": "uptake", "version": 3, "store": "s3://cd4ml", "strategy": written, "approvals": approvals}

    def mistakes(target: str) -> list[str]:
        return list(Deployment.model_construct(**given, target=target, port=9500).mistakes_together())

    assert mistakes("machine") == []
    before = ", and people before it 3 days" if approvals else ""
    told = (
        f"strategy 'traffic 10, hold, analyse, approve': its steps may take {days + 3} days{before}; a task of KFP "
        "deploys for 24 days at most, so write shorter spans (`hold`, `within`, `for`)"
    )
    assert mistakes("cluster") == mistakes("kserve") == ([] if fits else [told])
