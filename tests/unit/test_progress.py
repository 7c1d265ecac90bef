"""The tasks of a run as a person sees them go on."""

import io
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from cd4ml.cli import progress
from cd4ml.contracts.task_tree import Artifact, Group, State, Task
from cd4ml.deployment import step_log

STATES: list[State] = ["waiting", "running", "passed", "failed", "stopped", "skipped"]


def task(name: str, state: State = "waiting", *, ended: float | None = None, cached: bool = False) -> Task:
    outputs = {"made": Artifact("/made", {"headline": "auc [0.8]"})} if state == "passed" else {}
    started = None if ended is None else 100.0
    log = Path("log")
    image = "host/cd4ml/tools:1"
    return Task(
        name, name.title(), name, image, log, log, state, cached=cached, started=started, ended=ended, outputs=outputs
    )


def test_the_table_has_a_row_for_each_task_and_group_with_how_far_it_is() -> None:
    loop = Group("loop", "loop [1]", [task("inner", "passed", ended=101.25)], state="skipped", headline="not [taken]")
    tree = Group("", "", [task("first", "passed", ended=112.5, cached=True), loop, *(task(one, one) for one in STATES)])
    out = io.StringIO()

    Console(file=out, width=100).print(progress.table(tree, progress.Rollouts()))

    rows = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert rows == [
        "task image time result",
        "✓ First tools 12.5 s auc [0.8] (reused)",
        "– loop [1] not [taken]",
        "✓ Inner tools 1.2 s auc [0.8]",
        "· Waiting tools",
        "▶ Running tools",
        "✓ Passed tools auc [0.8]",
        "✗ Failed tools",
        "■ Stopped tools",
        "– Skipped tools",
    ]
    lines = out.getvalue().splitlines()
    assert lines[3].index("Inner") == lines[1].index("First") + 2  # within its group
    assert [line.rindex(" s ") for line in lines[1:4:2]] == [lines[1].rindex(" s ")] * 2


def test_a_task_that_waits_for_a_person_says_so_until_it_goes_on(tmp_path: Path) -> None:
    one = task("deploy", "running")
    one.log = tmp_path / "deploy.log"
    said = "[KFP Executor 2026-11-29 18:03:48,219 WARNING]: uptake waits; to approve it: cd4ml [..] --reason WHY\n"

    def row() -> str:
        out = io.StringIO()
        Console(file=out, width=200).print(progress.table(Group("", "", [one]), progress.Rollouts()))
        return " ".join(out.getvalue().splitlines()[1].split())

    known = "[KFP Executor 2026-11-29 18:03:48,319 INFO]: rollout: so far:\n  error_rate: kept\n"
    one.log.write_text("x" * 70_000 + "\n" + said + "something else\n" + known)
    waiting = row()
    one.log.write_text(f"{said}[KFP Executor 2026-11-29 18:03:49,219 INFO]: approve: Ada: fine\n")

    assert waiting == "▶ Deploy tools uptake waits; to approve it: cd4ml [..] --reason WHY"
    assert row() == "▶ Deploy tools"


def test_a_training_says_in_its_row_how_far_it_is(tmp_path: Path) -> None:
    one = task("train_model", "running")
    one.log = tmp_path / "train.log"
    out = io.StringIO()

    one.log.write_text("epoch 1: loss 0.5\nepoch 2, step 9 of 10: loss [0.4]\ncheckpoint at epoch 2\n")
    Console(file=out, width=200).print(progress.table(Group("", "", [one]), progress.Rollouts()))

    assert " ".join(out.getvalue().splitlines()[1].split()) == "▶ Train_Model tools epoch 2, step 9 of 10: loss [0.4]"


def test_where_there_is_no_terminal_each_task_is_a_line_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress(Group("", "")) as changed:
        changed(task("first", "running"))
        changed(task("first", "passed", ended=112.5, cached=True))
        changed(task("loop-1.0.inner", "failed", ended=101.0))
        changed(Group("condition-2", "condition-2", state="skipped", headline="not taken"))

    assert capsys.readouterr().out.splitlines() == [
        "passed  First                  12.5 s  auc [0.8] (reused)",
        "failed  Loop-1.0.Inner (loop-1.0)    1.0 s  ",
        "skipped condition-2                      not taken",
    ]


def test_a_line_is_never_broken_and_a_column_is_folded(capsys: pytest.CaptureFixture[str]) -> None:
    one = task("first", "passed", ended=101.0)
    one.outputs = {"made": Artifact("/made", {"headline": "s3://" + "x" * 200})}
    out = io.StringIO()

    with progress.progress(Group("", "", [one])) as changed:
        changed(one)
    Console(file=out, width=100).print(progress.table(Group("", "", [one]), progress.Rollouts()))

    assert capsys.readouterr().out.splitlines()[0].endswith("x" * 200)
    assert out.getvalue().count("x") == 200


def test_on_a_terminal_the_table_is_drawn_anew_with_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=out, width=100, force_terminal=True))
    one = task("first", "running")

    with progress.progress(Group("", "", [one])) as changed:
        one.state, one.started, one.ended = "failed", 100.0, 107.0
        changed(one)
        assert "✗" in out.getvalue()
        assert "7.0 s" in out.getvalue()
        one.state = "passed"
    assert "✓" in out.getvalue()


def test_of_a_table_that_is_higher_than_the_terminal_the_last_rows_are_shown_until_all_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=out, width=100, height=5, force_terminal=True))
    tasks = [task(f"task-{number}", "passed") for number in range(1, 9)]

    with progress.progress(Group("", "", tasks)) as changed:
        changed(tasks[-1])
        running = out.getvalue()

    assert [number for number in range(1, 9) if f"Task-{number}" in running] == [4, 5, 6, 7, 8]
    assert [number for number in range(1, 9) if f"Task-{number}" in out.getvalue()] == [*range(1, 9)]


@pytest.fixture
def deploying(tmp_path: Path) -> Iterator[Task]:
    """A task that deploys, whose log takes what this process says as KFP writes it."""
    one = task("deploy_model", "running")
    one.log, one.started = tmp_path / "deploy-model.log", 100.0
    writes = logging.FileHandler(one.log)
    writes.setFormatter(logging.Formatter("[KFP Executor %(asctime)s %(levelname)s]: %(message)s"))
    logger = logging.getLogger("cd4ml.deployment")
    logger.addHandler(writes)
    logger.setLevel(logging.INFO)
    yield one
    logger.removeHandler(writes)
    logger.setLevel(logging.NOTSET)


def shown(one: Task, rollouts: progress.Rollouts) -> list[str]:
    """The rows of the table below that of the task, without the times of what goes on."""
    out = io.StringIO()
    Console(file=out, width=100).print(progress.table(Group("", "", [one]), rollouts))
    return [re.sub(r" \d\.\d s ", " ", " ".join(line.split())) for line in out.getvalue().splitlines()][2:]


def canary(told: list[list[str]]) -> None:
    """Says what a canary says, so far as it is known in turn; the last of them ends it."""
    step_log.plan(["raise", "traffic 10", "analyse", "route"])
    for name, said in (("raise", "version 2 answers"), ("traffic 10", "10% of the requests to version 2")):
        with step_log.step(name) as passed:
            passed.append(said)
    with step_log.step("analyse"):
        for known in told:
            step_log.so_far(known)
            logging.getLogger("cd4ml.deployment").warning("something else\n  in two lines")
        raise InterruptedError


def test_the_steps_of_a_rollout_are_shown_below_its_task_with_what_is_known_so_far(deploying: Task) -> None:
    rollouts = progress.Rollouts()
    assert shown(deploying, rollouts) == []

    with pytest.raises(InterruptedError):
        canary([["error_rate: about 900 requests more"], ["error_rate: about 20 requests more", "latency_p95: kept"]])

    passed = ["✓ raise version 2 answers", "✓ traffic 10 10% of the requests to version 2"]
    known = ["error_rate: about 20 requests more", "latency_p95: kept"]
    assert shown(deploying, rollouts) == [*passed, f"▶ analyse {known[0]}", known[1], "· route"]
    deploying.state = "failed"
    assert shown(deploying, rollouts) == [*passed, f"✗ analyse {known[0]}", known[1], "· route"]


def test_where_there_is_no_terminal_each_step_is_a_line_when_it_ends(
    deploying: Task, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.01)

    with progress.progress(Group("", "", [deploying])) as changed:
        with pytest.raises(InterruptedError):
            canary([])
        deploying.state, deploying.ended = "failed", 107.0
        changed(deploying)

    assert capsys.readouterr().out.splitlines() == [
        "step    raise                   0.0 s  version 2 answers",
        "step    traffic 10              0.0 s  10% of the requests to version 2",
        "failed  Deploy_Model            7.0 s  ",
    ]


def test_where_there_is_no_terminal_what_a_rollout_waits_for_is_said_once(
    deploying: Task, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.01)
    other = task("train", "running")
    other.log = deploying.log

    with progress.progress(Group("", "", [other, deploying])):
        logging.getLogger("cd4ml.deployment").warning("uptake waits; to approve it: cd4ml [..] --reason WHY")
        time.sleep(0.3)

    assert capsys.readouterr().out.splitlines() == ["warning uptake waits; to approve it: cd4ml [..] --reason WHY"]
