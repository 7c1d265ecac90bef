"""A run with loops, conditions and an exit handler on KFP: each task is followed, each iteration's apart."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from kfp_server import NEVER, KfpServer, Made, Ran
from test_kubeflow_submit import RUN, look, node

from cd4ml.contracts.task_tree import Group, Task
from cd4ml.kubeflow import runs
from cd4ml.kubeflow.connection import Address, connect
from cd4ml.running import compiled

GROUP = "system.DAGExecution"


def component(function: Any) -> Any:
    return dsl.component(base_image="cd4ml/tools:1", install_kfp_package=False)(function)


@component
def tell(text: str) -> str:
    return text


@dsl.pipeline
def shapes(people: list, text: str) -> None:
    last = tell(text="last")
    with dsl.ExitHandler(last):
        with dsl.ParallelFor(people) as one:
            told = tell(text=one)
            with dsl.If(told.output == "Ann"):
                tell(text="Ann!")
        with dsl.If(text == "more"):
            tell(text="more")


LOOP = "exit-handler-1.for-loop-2"
EXECUTIONS = [
    Ran("", "", kind=GROUP),
    Ran("exit-handler-1", "exit-handler-1", kind=GROUP, within=1),
    Ran("for-loop-2", "for-loop-2", kind=GROUP, within=2),
    Ran("for-loop-2", "for-loop-2", kind=GROUP, within=3, iteration=0),
    Ran("for-loop-2", "for-loop-2", kind=GROUP, within=3, iteration=1),
    Ran("tell-2", "tell-2", within=5, artifacts=[Made("said", "s3://m/1", {"headline": "Bo, second"})]),
    Ran("tell-2", "tell-2", within=4, artifacts=[Made("said", "s3://m/0", {"headline": "Ann, first"})]),
    Ran("condition-3", "condition-3", kind=GROUP, within=4),
    Ran("condition-3", "condition-3", 6, kind=GROUP, within=5),
    Ran("tell-3", "tell-3", 5, within=8),
    Ran("condition-4", "condition-4", 6, kind=GROUP, within=2),
    Ran("tell", "tell", within=1),
]


def nodes(*names: str, state: str = "SUCCEEDED") -> list[dict[str, Any]]:
    return [node(name, state) for name in names]


OUTSIDE = [
    *nodes("exit-handler-1-driver", "exit-handler-1", "for-loop-2", "tell-driver", "tell", "condition-4-driver"),
    *nodes("condition-4", state="SKIPPED"),
]
INSIDE = [
    *nodes("iteration-driver", "iteration-iterations(0:0)", "iteration-item-driver", "iteration-item"),
    *nodes("tell-2-driver", "tell-2", "condition-3-driver", "condition-3", "tell-3-driver", "tell-3"),
    *nodes("iteration-iterations(1:1)", "iteration-item-driver", "iteration-item", "tell-2-driver", "tell-2"),
    *nodes("condition-3", state="SKIPPED"),
]


def follow(kfp: KfpServer, pipeline: Any) -> tuple[str, Group, list[str]]:
    kfp.runs = [{"run_id": RUN, "display_name": "run", "created_at": "2026-11-21T09:00:00Z"}]
    tree, said = compiled.tree(pipeline, Path()), list[str]()

    def changed(one: Task | Group) -> None:
        said.append(f"{one.state} {one.name}")
        if isinstance(one, Task):
            assert (one.ended is None) == (one.state == "running")

    state = runs.follow(
        connect(Address(host=kfp.host)),
        run_id=RUN,
        tree=tree,
        changed=changed,
        lost=pytest.fail,
    )
    return state, tree, said


def states(tree: Group) -> dict[str, str]:
    return {one.name: "reused" if isinstance(one, Task) and one.cached else one.state for _, one in tree.rows()}


def test_each_iteration_has_its_own_tasks_and_what_was_not_chosen_is_skipped(kfp: KfpServer) -> None:
    kfp.lineage[RUN] = EXECUTIONS
    kfp.progress = [look("RUNNING", node("exit-handler-1-driver", "RUNNING")), look("SUCCEEDED", *OUTSIDE, *INSIDE)]

    state, tree, said = follow(kfp, shapes)

    assert state == "passed"
    assert states(tree) == {
        "exit-handler-1": "passed",
        LOOP: "passed",
        f"{LOOP}.0": "passed",
        f"{LOOP}.0.tell-2": "passed",
        f"{LOOP}.0.condition-3": "passed",
        f"{LOOP}.0.condition-3.tell-3": "reused",
        f"{LOOP}.1": "passed",
        f"{LOOP}.1.tell-2": "passed",
        f"{LOOP}.1.condition-3": "skipped",
        f"{LOOP}.1.condition-3.tell-3": "skipped",
        "exit-handler-1.condition-4": "skipped",
        "exit-handler-1.condition-4.tell-4": "skipped",
        "tell": "passed",
    }
    headlines = {task.name: (task.headline, round(task.seconds)) for task in tree.tasks if task.headline}
    assert headlines == {f"{LOOP}.0.tell-2": ("Ann, first", 20), f"{LOOP}.1.tell-2": ("Bo, second", 20)}
    assert f"skipped {LOOP}.1.condition-3" in said


def test_a_failed_iteration_is_named_and_its_own_log_is_read(kfp: KfpServer) -> None:
    kfp.lineage[RUN] = [
        *EXECUTIONS[:5],
        Ran("tell-2", "tell-2", pod="pod-0", within=4),
        Ran("tell-2", "tell-2", 4, pod="pod-1", within=5),
        EXECUTIONS[-1],
    ]
    kfp.logs = {"pod-0": "all is well", "pod-1": "ValueError: Bo"}
    failed = nodes("exit-handler-1", "for-loop-2", state="FAILED")
    kfp.progress = [look("FAILED", *failed, *nodes("tell-2", "tell", "tell-driver"), *nodes("tell-2", state="FAILED"))]

    state, tree, _ = follow(kfp, shapes)

    assert state == "failed"
    assert [task.name for task in tree.tasks if task.state == "failed"] == [f"{LOOP}.1.tell-2"]
    assert states(tree)["tell"] == "passed"
    assert runs.failure(connect(Address(host=kfp.host)), RUN, [f"{LOOP}.1.tell-2"]) == "ValueError: Bo"


def test_without_ml_metadata_a_loop_is_followed_as_a_whole(kfp: KfpServer) -> None:
    kfp.progress = [look("SUCCEEDED", *OUTSIDE, *INSIDE)]

    state, tree, _ = follow(kfp, shapes)

    assert state == "passed"
    assert states(tree) == {
        "exit-handler-1": "passed",
        LOOP: "passed",
        "exit-handler-1.condition-4": "skipped",
        "exit-handler-1.condition-4.tell-4": "skipped",
        "tell": "passed",
    }


@pytest.mark.parametrize(
    ("state", "ended", "left"), [("SUCCEEDED", "passed", "passed"), ("CANCELED", "stopped", "stopped")]
)
def test_a_task_that_kfp_leaves_open_ends_as_its_run_does(kfp: KfpServer, state: str, ended: str, left: str) -> None:
    @dsl.pipeline
    def two() -> None:
        first = tell(text="a")
        tell(text="b").after(first)

    begun = [*nodes("tell-driver", "tell-2-driver"), node("tell", "RUNNING", NEVER), node("tell-2", "SUCCEEDED", NEVER)]
    kfp.progress = [look("RUNNING", *begun[:1], begun[2]), look(state, *begun)]

    outcome, tree, _ = follow(kfp, two)

    assert outcome == ended
    assert states(tree) == {"tell": left, "tell-2": "passed"}
    assert all(task.ended is not None and task.seconds > 0 for task in tree.tasks)


def test_a_pipeline_that_is_used_twice_within_another_is_not_mixed_up(kfp: KfpServer) -> None:
    @dsl.pipeline
    def inner(text: str) -> None:
        tell(text=text)

    @dsl.pipeline
    def outer() -> None:
        inner(text="a")
        inner(text="b")

    kfp.lineage[RUN] = [
        Ran("", "", kind=GROUP),
        Ran("inner", "inner", kind=GROUP, within=1),
        Ran("inner-2", "inner-2", 4, kind=GROUP, within=1),
        Ran("tell", "tell", within=2),
        Ran("tell", "tell", 4, within=3),
    ]
    kfp.progress = [look("FAILED", *nodes("inner", "tell"), *nodes("inner-2", "tell", state="FAILED"))]

    _, tree, _ = follow(kfp, outer)

    assert states(tree) == {"inner": "passed", "inner.tell": "passed", "inner-2": "failed", "inner-2.tell": "failed"}


def test_without_the_cache_no_task_within_a_group_asks_for_it() -> None:
    assert "enableCache" in json.dumps(runs.specification(shapes))
    assert "enableCache" not in json.dumps(runs.specification(shapes, cached=False))
