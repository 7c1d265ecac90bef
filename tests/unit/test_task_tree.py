"""The tree of a run's tasks: what it says of each, and of what will not run any more."""

import signal
import time
from pathlib import Path

import pytest

from cd4ml.contracts.task_tree import Artifact, Group, State, Task


def task(name: str, state: State = "waiting") -> Task:
    return Task(name, name.title(), name, "cd4ml/tools:1", Path("log"), Path("folder"), state=state)


def test_a_task_says_how_long_it_has_run() -> None:
    one = task("one")
    assert one.seconds == 0

    one.started = time.monotonic() - 100
    assert 100 <= one.seconds < 110
    one.ended = one.started + 7.5
    assert one.seconds == 7.5


@pytest.mark.parametrize(
    ("number", "said"),
    [(None, ""), (signal.SIGTERM, "ended by signal 15"), (signal.SIGKILL, "ended by signal 9: out of memory?")],
)
def test_what_ended_a_task_is_told_and_what_it_may_mean(number: int | None, said: str) -> None:
    one = task("one")
    one.signal = number

    assert one.death == said


def test_the_headline_of_a_task_is_that_of_its_first_artifact_that_has_one() -> None:
    one = task("one")
    assert one.headline == ""

    one.outputs = {
        "number": 3,
        "report": Artifact("/a/report", {}),
        "model": Artifact("/a/model", {"headline": "auc 0.8"}),
        "later": Artifact("/a/later", {"headline": "no"}),
    }
    assert one.headline == "auc 0.8"
    assert one.outputs["report"].path == Path("/a/report")


def test_a_loop_has_as_many_iterations_as_were_asked_for_and_keeps_those_that_it_has() -> None:
    loop = Group("loop", "Loop", iteration=lambda index: Group(f"loop.{index}", f"{index}", [task(f"loop.{index}.a")]))

    first = loop.iterations(2)
    assert [one.name for one in first] == ["loop.0", "loop.1"]
    again = loop.iterations(3)
    assert again[:2] == first
    assert again[0] is first[0]
    assert [one.name for one in loop.iterations(1)] == ["loop.0"]
    assert [(depth, node.name) for depth, node in loop.rows()] == [
        (0, "loop.0"),
        (1, "loop.0.a"),
        (0, "loop.1"),
        (1, "loop.1.a"),
        (0, "loop.2"),
        (1, "loop.2.a"),
    ]
    assert [one.name for one in loop.tasks] == ["loop.0.a", "loop.1.a", "loop.2.a"]


def test_at_the_end_what_waits_is_skipped_and_groups_that_run_have_stopped() -> None:
    inner = Group("inner", "Inner", [task("a", "passed"), task("b"), task("c", "running")], state="running")
    whole = Group("", "", [inner, Group("later", "Later", [task("d", "failed")])])

    whole.end()

    states = {node.name: node.state for _, node in whole.rows()}
    assert states == {
        "inner": "stopped",
        "a": "passed",
        "b": "skipped",
        "c": "running",
        "later": "skipped",
        "d": "failed",
    }
