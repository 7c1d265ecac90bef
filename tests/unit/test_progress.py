"""The tasks of a run as a person sees them go on."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from cd4ml.cli import progress
from cd4ml.contracts.task_tree import Artifact, Group, State, Task

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

    Console(file=out, width=100).print(progress.table(tree))

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
        Console(file=out, width=200).print(progress.table(Group("", "", [one])))
        return " ".join(out.getvalue().splitlines()[1].split())

    one.log.write_text("x" * 70_000 + "\n" + said + "something else\n")
    waiting = row()
    one.log.write_text(f"{said}[KFP Executor 2026-11-29 18:03:49,219 INFO]: approve: Ada: fine\n")

    assert waiting == "▶ Deploy tools uptake waits; to approve it: cd4ml [..] --reason WHY"
    assert row() == "▶ Deploy tools"


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
    Console(file=out, width=100).print(progress.table(Group("", "", [one])))

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
