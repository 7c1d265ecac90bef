"""Whether a model is trained again: rules of a team, what its windows say, and what speaks against it."""

import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import captures
import pyarrow as pa
import pytest
import yaml
from measured import VERSION
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.cli import retrain as cli
from cd4ml.contracts.deployment import Held, StepTaken, Undone
from cd4ml.contracts.progress import Progress
from cd4ml.contracts.record import RunRecord
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.retraining import Gain
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.contracts.window import Part, Window
from cd4ml.contracts.window_drift import ERRORS, FLOOD, WindowDrift, in_version
from cd4ml.contracts.window_quality import Labelling, VersionQuality, WindowQuality
from cd4ml.errors import DataError
from cd4ml.monitoring import monitored, retraining, windows
from cd4ml.monitoring.monitored import Judged
from cd4ml.monitoring.retraining import Rules
from cd4ml.registry import clock, deployments, records, retrainings
from cd4ml.registry.retrainings import Retraining
from cd4ml.running import local
from cd4ml.settings import parse
from cd4ml.storage import open_store

ROOT = Path(__file__).parents[2]
DAY = timedelta(days=1)
NOW = captures.BEGIN + 30 * DAY
BETTER = Gain("log_loss", 0.5, 0.02, (0.01, 0.03), 3000, 1000)
WORSE = Gain("log_loss", 0.5, -0.02, (-0.03, -0.01), 3000, 1000)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """With `uptake`, of which version 1 is in production, thirty days later."""
    captures.publish(tmp_path / "store")
    at(monkeypatch, NOW)
    deploy(str(tmp_path / "store"), 1)
    return str(tmp_path / "store")


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(clock, "moment", lambda: moment)
    monkeypatch.setattr(clock, "now", lambda: clock.written(moment))


def deploy(store: str, number: int) -> None:

    data = DatasetReference("players", 0, "sha256:d")
    version = Version("uptake", number, f"sha256:{number}", "2026-01-01T00:00:00+00:00", "run", "", data)
    begun = deployments.begin(open_store(store), version, run="run", target="machine", strategy="direct")
    deployments.add(open_store(store), begun, Held("http://localhost", clock.now()))


def judge(store: str, day: int, *, drifts: bool, version: str = "1", name: str = "", **labels: bool) -> None:
    """Keeps the judgement of the window of a day: of its drift, or where `ripe` is said of its quality."""
    begin, until = (clock.written(captures.BEGIN + (day + end) * DAY) for end in (0, 1))
    part = Part("blue", version, labels.get("mirrored", False), 10, begin, begin, {"200": 10}, {}, 10, 10)
    window = Window("uptake", begin, until, 1, "sha256:w", (part,), {}, 0, at=clock.now())
    outcome = Outcome.FAILED if drifts else Outcome.PASSED
    check = Check(name or f"drift of age{in_version(version)}", "as in training", 0.3, outcome, "age drifts", "")
    drift = WindowDrift("uptake", window.key, 1, 0.01, (), () if "ripe" in labels else (check,))
    quality = quality_of(window, version, check=check, ripe=labels["ripe"]) if "ripe" in labels else None
    monitored.keep(open_store(store), Judged(window, Verdict("check_window", {}, (check,)), drift, quality))


def quality_of(window: Window, *versions: str, check: Check, ripe: bool, used: int = 500) -> WindowQuality:
    labelling = Labelling(Outcome.PASSED if ripe and used else Outcome.INCONCLUSIVE, used, "as they came")
    found = tuple(version_quality(version, check, labelling) for version in versions)
    return WindowQuality("uptake", window.key, window.number, ripe, "", 0.05, found)


def version_quality(version: str, check: Check, labelling: Labelling) -> VersionQuality:
    return replace(
        VERSION,
        version=version,
        digest=f"sha256:{version}",
        arms=("blue",),
        labelled=500,
        labelling=labelling,
        checks=(check,),
    )


def rules(**asked: Any) -> Rules:
    return parse(Rules, content={"training": "training.yaml", **asked}, name="rules", error=DataError)


def decide(store: str, asked: Rules, backtest: Callable[[pa.Table], Gain | None] = lambda _: None) -> Retraining:
    return retraining.decide(open_store(store), "uptake", asked, backtest=backtest)


DRIFT = rules(when={"drift": {"windows": 2}})


def test_a_model_whose_last_windows_all_drift_is_trained_again(store: str) -> None:
    for day, drifts in enumerate([False, True, True]):
        judge(store, day, drifts=drifts)

    one = decide(store, DRIFT)

    assert one.decided.retrain
    assert one.decided.headline == (
        "yes: drift failed in the last 2 windows that could be judged, and 2 are wanted; in the last one age drifts"
    )


@pytest.mark.parametrize("labels", [{}, {"ripe": True}], ids=["drift", "quality"])
def test_windows_of_a_version_that_was_replaced_ask_for_nothing(store: str, labels: dict[str, bool]) -> None:
    asked = rules(when={"drift": {"windows": 2}, "quality": {"windows": 2}})
    for day in range(3):
        judge(store, day, drifts=True, **labels)
    assert decide(store, asked).decided.retrain
    deploy(store, 2)
    assert not any(one.asks for one in decide(store, asked).decided.reasons)

    judge(store, 3, drifts=True, version="2", **labels)
    assert not any(one.asks for one in decide(store, asked).decided.reasons)
    judge(store, 4, drifts=True, version="2", **labels)
    assert any(one.asks for one in decide(store, asked).decided.reasons)


def test_quality_counts_by_ripe_labels_alone(store: str) -> None:
    for day in range(3):
        judge(store, day, drifts=True, ripe=False)

    assert not decide(store, rules(when={"quality": {"windows": 1}})).decided.retrain


@pytest.mark.parametrize("name", [f"{ERRORS}{in_version('1')}", FLOOD])
def test_errors_and_floods_are_no_drift(store: str, name: str) -> None:
    for day in range(2):
        judge(store, day, drifts=True, name=name)

    assert not decide(store, DRIFT).decided.retrain


def test_a_no_is_kept_with_its_reasons_and_once(store: str) -> None:
    judge(store, 0, drifts=True)
    judge(store, 1, drifts=False)

    first, again = decide(store, DRIFT), decide(store, DRIFT)

    assert again == first == retrainings.every(open_store(store), "uptake")[0]
    assert (first.decided.retrain, first.decided.headline) == (False, "no: no rule asks for it")
    assert [one.said for one in first.decided.reasons] == [
        "drift failed in the last 0 windows that could be judged, and 2 are wanted"
    ]
    judge(store, 2, drifts=False)
    assert decide(store, DRIFT).number == 2


def ask_always() -> Rules:
    return rules(when={"age": "1 day"}, cool_down="2 days", a_month=3)


def test_two_who_decide_at_once_begin_one_retraining(store: str) -> None:
    both, found = threading.Barrier(2), []

    def one() -> None:
        both.wait()
        found.append(decide(store, ask_always()))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(one.decided.retrain for one in found) == [False, True]
    assert sum(one.decided.retrain for one in retrainings.every(open_store(store), "uptake")) == 1


def test_one_goes_on_at_a_time(store: str) -> None:
    first = decide(store, ask_always())
    retrainings.start(open_store(store), first, "training-1")

    assert decide(store, ask_always()).decided.against == ("retraining 1 goes on (runs as training-1)",)


def end(store: str, run: str, **found: Any) -> None:
    record = RunRecord(pipeline="training", run_id=run, name=run, status="passed", started_at=clock.now())
    open_store(store).add(f"runs/training/{run}/summary.json", replace(record, **found).text)


def retrain(store: str, asked: Rules, run: str, **found: Any) -> Retraining:
    one = decide(store, asked)
    assert one.decided.retrain, one.decided.headline
    retrainings.start(open_store(store), one, run)
    end(store, run, **found)
    return one


def test_the_next_waits_until_it_is_cool_and_longer_after_each_failure(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrain(store, ask_always(), "training-1", status="failed", failure="the gate: auc")
    at(monkeypatch, NOW + 3 * DAY)

    waits = decide(store, ask_always()).decided

    assert waits.against == (
        "retraining 1 began at 2026-01-31T00:00:00+00:00, and the next may at 2026-02-04T00:00:00+00:00, for the last "
        "1 retraining failed",
    )
    assert retrainings.every(open_store(store), "uptake")[0].state == "failed: the gate: auc"
    at(monkeypatch, NOW + 4 * DAY)
    assert decide(store, ask_always()).decided.retrain


@pytest.mark.parametrize("when", [{"new_rows": 100}, {"every": "30 days"}], ids=["new_rows", "every"])
def test_a_retraining_that_failed_does_not_use_up_its_reason(
    store: str, monkeypatch: pytest.MonkeyPatch, when: dict[str, Any]
) -> None:
    with_labels(store)
    asked = rules(when=when, cool_down="1 hour")
    retrain(store, asked, "training-1", status="failed", failure="port 9500 is in use")
    at(monkeypatch, NOW + DAY)
    assert decide(store, asked).decided.retrain

    end_last(store, "training-2", published=2)
    deploy(store, 2)
    at(monkeypatch, NOW + 2 * DAY)
    assert not any(one.asks for one in decide(store, asked).decided.reasons)


def end_last(store: str, run: str, **found: Any) -> None:
    """Begins the last retraining and ends it."""
    retrainings.start(open_store(store), retrainings.every(open_store(store), "uptake")[-1], run)
    end(store, run, **found)


def test_a_month_has_so_many_and_no_more(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = rules(when={"age": "1 day"}, cool_down="1 hour", a_month=2)
    for number in range(2):
        at(monkeypatch, NOW + number * DAY)
        retrain(store, asked, f"training-{number}", status="failed", failure="x")
    at(monkeypatch, NOW + 3 * DAY)

    assert decide(store, asked).decided.against == ("there were 2 retrainings within 30 days, and 2 may be",)


def test_what_was_just_trained_is_not_trained_again_before_it_was_seen(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = rules(when={"age": "1 day"}, cool_down="1 hour")
    retrain(store, asked, "training-1", published=2)
    deploy(store, 2)
    at(monkeypatch, NOW + DAY)

    assert decide(store, asked).decided.against == (
        "version 2, of retraining 1, is in production, and no window of it is judged yet",
    )


@pytest.mark.parametrize("mirrored", [True, False])
def test_it_is_not_seen_while_it_answers_nobody(store: str, monkeypatch: pytest.MonkeyPatch, mirrored: bool) -> None:
    retrain(store, ask_always(), "training-1", published=2)
    deploy(store, 2)
    at(monkeypatch, NOW + 3 * DAY)
    judge(store, 0, drifts=False, version="2", mirrored=mirrored)

    unseen = "version 2, of retraining 1, is in production, and no window of it is judged yet"
    assert (unseen in decide(store, ask_always()).decided.against) == mirrored


def published_and_not_deployed(store: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], bool]:
    """Retrains version 2; whether after so many days it is said that it is not in production yet."""
    retrain(store, ask_always(), "training-1", published=2)

    def waits(days: int) -> bool:
        at(monkeypatch, NOW + days * DAY)
        return "version 2, of retraining 1, is not in production yet" in decide(store, ask_always()).decided.against

    return waits


def test_while_a_retrained_version_waits_nothing_is_trained_but_not_for_ever(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = published_and_not_deployed(store, monkeypatch)

    assert [waits(days) for days in (3, 32, 34)] == [True, True, False]


def test_a_retrained_version_that_was_undone_does_not_stand_in_the_way(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = published_and_not_deployed(store, monkeypatch)
    data = DatasetReference("players", 0, "sha256:d")
    version = Version("uptake", 2, "sha256:2", "2026-01-01T00:00:00+00:00", "run", "", data)
    begun = deployments.begin(open_store(store), version, run="run", target="machine", strategy="direct")

    assert waits(3)
    deployments.add(open_store(store), begun, Undone("too many errors", clock.now()))
    assert not waits(4)


def test_a_run_that_nothing_is_heard_of_counts_as_failed(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(store, ask_always())
    at(monkeypatch, NOW + 3 * DAY)

    found = decide(store, ask_always())

    assert not found.decided.retrain
    assert found.decided.headline.endswith("for the last 1 retraining failed")
    assert states(store) == ["failed: it was decided on, and never begun for 3 days", "no"]


def states(store: str) -> list[str]:
    """What came of all decisions, as far as is known now."""
    opened = open_store(store)
    return [retrainings.settle(opened, one, clock.moment()).state for one in retrainings.every(opened, "uptake")]


def record(store: str, part: str, **found: Any) -> None:
    """Keeps a part of the record of the run `training-1`."""
    one = RunRecord(pipeline="training", run_id="training-1", name="training-1", started_at=clock.written(NOW))
    open_store(store).add(f"runs/training/training-1/{part}.json", replace(one, **found).text)


def test_one_goes_on_while_its_version_is_rolled_out(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_store(store)
    retrainings.start(opened, decide(store, ask_always()), "training-1")
    record(store, "begun")
    record(store, "published", published=2)

    def goes_on(days: int) -> bool:
        at(monkeypatch, NOW + days * DAY)
        return "retraining 1 goes on (runs as training-1)" in decide(store, ask_always()).decided.against

    assert goes_on(4)  # it waits for an approval
    begun = deployments.begin(opened, version_two(), run="training-1", target="machine", strategy="trial")
    assert goes_on(20)
    deployments.add(opened, begun, StepTaken("analyse", "as good", clock.now()))
    assert [goes_on(days) for days in (49, 50)] == [True, False]
    assert states(store)[0] == "failed: the run training-1 has not ended for 30 days"

    record(store, "summary", published=2, status="passed")
    assert states(store)[0] == retrainings.every(opened, "uptake")[0].state == "version 2"


def test_one_whose_rollout_has_ended_is_not_waited_for_long(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_store(store)
    retrainings.start(opened, decide(store, ask_always()), "training-1")
    record(store, "published", published=2)
    begun = deployments.begin(opened, version_two(), run="training-1", target="machine", strategy="trial")
    deployments.add(opened, begun, Undone("its process was killed", clock.now()))
    at(monkeypatch, NOW + 3 * DAY)

    assert states(store) == ["failed: the run training-1 has not ended for 3 days"]


def test_one_that_trains_for_days_goes_on_while_it_says_how_far_it_is(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrainings.start(open_store(store), decide(store, ask_always()), "training-1")
    record(store, "begun")
    at(monkeypatch, NOW + 4 * DAY)
    assert states(store) == ["failed: the run training-1 has not ended for 3 days"]

    said = Progress("train-candidate", "dnn", clock.written(NOW), seen_at=clock.now())
    open_store(store).replace("progress/training/training-1/train-candidate-1.json", said.text)

    assert decide(store, ask_always()).decided.against == ("retraining 1 goes on (runs as training-1)",)
    at(monkeypatch, NOW + 7 * DAY)
    assert states(store)[0] == "failed: the run training-1 has not ended for 3 days"


def version_two() -> Version:
    data = DatasetReference("players", 0, "sha256:d")
    return Version("uptake", 2, "sha256:2", "2026-01-01T00:00:00+00:00", "training-1", "", data)


def test_a_run_whose_task_failed_and_passed_when_tried_again_has_not_failed(store: str) -> None:
    retrainings.start(open_store(store), decide(store, ask_always()), "training-1")
    record(store, "failed", status="failed", failure="the store was away")
    assert states(store)[0] == "failed: the store was away"

    record(store, "published", published=2)
    assert states(store)[0] == "runs as training-1"
    record(store, "summary", published=2, status="passed")
    assert states(store)[0] == "version 2"


def test_a_no_for_another_reason_is_another_decision(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    retrainings.start(open_store(store), decide(store, ask_always()), "training-1")
    assert decide(store, ask_always()).number == 2

    end(store, "training-1", status="failed", failure="the gate: auc")
    at(monkeypatch, NOW + DAY)
    backs_off = decide(store, ask_always())
    at(monkeypatch, NOW + 2 * DAY)

    assert backs_off.number == decide(store, ask_always()).number == 3
    assert backs_off.decided.headline.endswith("for the last 1 retraining failed")


def test_a_no_that_was_kept_before_is_told_in_the_words_of_now(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = decide(store, ask_always())
    assert decide(store, ask_always()).decided.against == ("retraining 1 goes on (begins)",)
    retrainings.start(open_store(store), first, "training-1")
    at(monkeypatch, NOW + DAY)

    now = decide(store, ask_always())

    assert (now.number, now.decided.against) == (2, ("retraining 1 goes on (runs as training-1)",))


def with_labels(store: str, *, used: int | None = 500) -> None:
    """Collects two hours with labels and judges them: of so many labelled rows it is known what they stand for."""
    folder = captures.write_labelled(Path(store).parent / "capture", 7200)
    for span in captures.spans(captures.BEGIN, captures.BEGIN + timedelta(hours=2), timedelta(hours=1)):
        window = windows.collect(store, "uptake", span, capture=str(folder))
        check = Check("auc", "at least 0.7", 0.8, Outcome.PASSED, "auc is 0.8")
        quality = None if used is None else quality_of(window, "1", "2", check=check, ripe=True, used=used)
        monitored.keep(open_store(store), Judged(window, Verdict("check_window", {}, (check,)), quality=quality))


@pytest.mark.parametrize("used", [0, 100, None], ids=["of none", "of an arm", "not judged"])
def test_labels_that_do_not_stand_for_all_rows_ask_for_nothing_and_are_no_backtest(
    store: str, used: int | None
) -> None:
    with_labels(store, used=used)

    rows = decide(store, rules(when={"new_rows": 100})).decided.reasons[0]
    other = decide(store, ask_always(), lambda _: WORSE).decided

    assert not rows.asks
    assert rows.said.startswith("0 rows with ripe labels came since the first window, and 100 are wanted; ")
    assert rows.said.endswith("do not stand for all rows, or nobody has judged that (`cd4ml monitor run` does)")
    assert (other.retrain, other.gain) == (True, None)
    assert other.gain_unknown.startswith("the labels of version 1 do not stand for all rows")


@pytest.mark.parametrize(("gain", "trains"), [(BETTER, True), (WORSE, False), (None, True)])
def test_what_is_surely_not_worth_it_is_not_begun(store: str, gain: Gain | None, trains: bool) -> None:
    with_labels(store)
    seen: list[pa.Table] = []

    def backtest(rows: pa.Table) -> Gain | None:
        seen.append(rows)
        return gain

    found = decide(store, rules(when={"new_rows": 100}), backtest).decided

    assert found.retrain == trains
    assert found.gain == gain
    ripe = retraining._ripe(open_store(store), "uptake")
    own = sum(part.labelled for one in ripe for part in one.parts if part.version == "1")
    assert len(seen[0]) == own < sum(one.labelled for one in ripe)
    if gain is WORSE:
        assert found.headline.startswith("no: it is not worth it: log_loss would have been -0.02 [-0.03, -0.01] better")


def test_rules_that_are_none_are_told() -> None:
    with pytest.raises(DataError, match=r"when.quality.windows"):
        rules(when={"quality": {"windows": 0}})
    with pytest.raises(DataError, match="when"):
        rules()


RULES = "training: training.yaml\nwhen: {age: 1 day}\n"


def retrain_by_command(folder: Path, text: str) -> Any:
    (folder / "retraining.yaml").write_text(text)
    return CliRunner().invoke(app, ["monitor", "retrain", str(folder / "retraining.yaml")])


def test_a_no_is_told_with_what_speaks_against_it(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "players.csv").write_text("player,took\n1,true\n")
    (tmp_path / "training.yaml").write_text(
        f"pipeline: training\narguments: {{name: uptake, source: {tmp_path}/players.csv, dataset: players, "
        f"key: player, label: took, store: {store}}}\n"
    )
    first = decide(store, rules(when={"age": "1 day"}))
    retrainings.start(open_store(store), first, "training-1")

    done = retrain_by_command(tmp_path, RULES)

    assert (done.exit_code, done.exception) == (0, None)
    assert "asks for it: version 1 is 30 days old, and may be 1 day" in done.output
    assert "no: retraining 1 goes on (runs as training-1)" in done.output
    listed = CliRunner().invoke(app, ["monitor", "retrainings", "uptake", "--store", store]).output
    assert ["1" in listed, "runs as training-1" in listed, "no: retraining 1 goes on" in listed] == [True] * 3


def test_whoever_may_only_read_is_told_what_came_of_a_run(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    opened = open_store(store)
    retrainings.start(opened, decide(store, rules(when={"age": "1 day"})), "training-1")
    at(monkeypatch, NOW + 4 * DAY)
    before = opened.below("retrainings")

    listed = CliRunner().invoke(app, ["monitor", "retrainings", "uptake", "--store", store]).output

    assert "failed: the run training-1 has no record for 3 days" in listed
    assert opened.below("retrainings") == before


def test_without_a_ripe_window_the_run_file_is_run_as_it_is_and_again_when_it_is_time(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli._learning(store, "uptake", ask_always(), until="") == {}
    assert cli._learning(store, "uptake", ask_always(), until="2026-01-02")["source"]["until"] == "2026-01-02"
    retrain(store, ask_always(), "training-1", published=2)
    deploy(store, 2)
    judge(store, 0, drifts=False, version="2")
    at(monkeypatch, NOW + 9 * DAY)

    assert decide(store, ask_always()).decided.retrain


def test_a_yes_that_could_not_begin_is_not_kept(store: str, tmp_path: Path) -> None:
    (tmp_path / "players.csv").write_text("player,took\n1,true\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "training.yaml").write_text(
            f"pipeline: training\narguments: {{name: uptake, source: {tmp_path}/players.csv, dataset: players, "
            f"key: player, label: took, store: {store}, port: {port}}}\n"
        )

        refused = retrain_by_command(tmp_path, RULES)

    assert f"port {port}" in str(refused.exception)
    assert retrainings.every(open_store(store), "uptake") == []


def test_what_cannot_be_begun_ends_at_once_with_the_reason(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "players.csv").write_text("player,took\n1,true\n")
    (tmp_path / "training.yaml").write_text(
        f"pipeline: training\narguments: {{name: uptake, source: {tmp_path}/players.csv, dataset: players, "
        f"key: player, label: took, store: {store}}}\n"
    )

    def full(*_: object) -> Path:
        raise DataError("no space left")

    monkeypatch.setattr(cli.here, "check_ready", lambda _: None)
    monkeypatch.setattr(cli.here, "new_folder", full)

    refused = retrain_by_command(tmp_path, RULES)

    assert "no space left" in str(refused.exception)
    (one,) = retrainings.every(open_store(store), "uptake")
    assert one.state == "failed: no space left"


@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_that_a_person_stopped_is_no_failure_and_the_same_command_goes_on_at_once(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    def stopped(*_: Any, **given: Any) -> bool:
        if recorded:
            records.begin_part(store, pipeline="training", run=given["folder"].name, arguments={})
        raise KeyboardInterrupt

    done = [retrain_in_place(store, tmp_path, monkeypatch, stopped) for _ in range(2)]

    assert [one.exit_code for one in done] == [1, 1]
    assert all("Run the same command again: what was finished is reused." in " ".join(o.output.split()) for o in done)
    kept = retrainings.every(open_store(store), "uptake")
    assert [(one.decided.retrain, one.state) for one in kept] == [(True, "stopped")] * 2


@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_that_failed_here_has_failed_at_once(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    def fails(*_: Any, **given: Any) -> bool:
        if recorded:
            records.begin_part(store, pipeline="training", run=given["folder"].name, arguments={})
        return False

    assert retrain_in_place(store, tmp_path, monkeypatch, fails).exit_code == 1

    (one,) = retrainings.every(open_store(store), "uptake")
    assert one.state == "failed: The pipeline ended before all tasks had run."
    assert decide(store, rules(when={"age": "1 day"})).decided.headline.endswith("for the last 1 retraining failed")


@pytest.mark.parametrize(("fault", "state"), [(KeyboardInterrupt(), "stopped"), (ValueError("x"), "failed: x")])
def test_whatever_ends_the_command_ends_the_retraining(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, state: str
) -> None:
    def raises(*_: object) -> Path:
        raise fault

    monkeypatch.setattr(cli.here, "new_folder", raises)

    assert retrain_in_place(store, tmp_path, monkeypatch, raises).exit_code

    assert [one.state for one in retrainings.every(open_store(store), "uptake")] == [state]


def retrain_in_place(store: str, folder: Path, monkeypatch: pytest.MonkeyPatch, does: Callable[..., Any]) -> Any:
    """Gives the command, with a function in the place of what runs the tasks."""
    (folder / "players.csv").write_text("player,took\n1,true\n")
    (folder / "training.yaml").write_text(
        f"pipeline: training\narguments: {{name: uptake, source: {folder}/players.csv, dataset: players, "
        f"key: player, label: took, store: {store}}}\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.setattr(cli.here, "check_ready", lambda _: None)
    monkeypatch.setattr(local, "run", does)
    return retrain_by_command(folder, RULES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("training: none.yaml\nwhen: {age: 1 day}\n", "none.yaml"),
        ("when: {age: 1 day}\n", "training"),
        ("training: training.yaml\nwhen: {sage: 1 day}\n", "sage"),
        (
            "training: training.yaml\nwhen: {}\n",
            "when: no rule is named, so nothing would ever ask for a retraining; "
            "there are quality, drift, new_rows, age, every",
        ),
    ],
)
def test_a_file_of_rules_that_is_none_is_told(tmp_path: Path, text: str, said: str) -> None:
    done = retrain_by_command(tmp_path, text)

    assert done.exit_code == 1
    assert said in str(done.exception)


def test_the_rules_of_the_example_are_those_that_monitoring_md_shows() -> None:
    example = yaml.safe_load((ROOT / "examples/promotions/retraining.yaml").read_text())
    page = (ROOT / "docs/monitoring.md").read_text()
    shown = yaml.safe_load(page.partition("# examples/promotions/retraining.yaml, shortened")[2].partition("```")[0])

    assert parse(Rules, content=example, name="example", error=DataError).when.quality
    when = {name: example["when"][name] for name in shown["when"]}
    assert shown == {**{name: example[name] for name in shown}, "when": when}
