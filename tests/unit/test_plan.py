"""What a run would do is what it then does: what would be reused is, and what would run does."""

import json
from pathlib import Path
from typing import Any

import pytest
from in_process import Ran, component, count, keep, names, tell
from kfp import dsl

from cd4ml.errors import DocumentError
from cd4ml.running import earlier, execution
from cd4ml.running.cache import Cache
from cd4ml.running.local import code_digest
from cd4ml.running.plan import plan
from cd4ml.running.walk import Step

ARGUMENTS = {"text": "hello", "number": 3, "people": ["Ann", "Bo"]}


@component
def read_back(file: dsl.Input[dsl.Artifact]) -> str:
    return Path(file.path).read_text()


@dsl.pipeline
def shapes(text: str, number: int, people: list) -> None:
    kept = keep(text=text)
    kept.set_display_name("Keep text")
    told = read_back(file=kept.outputs["kept"])
    with dsl.ParallelFor(people, parallelism=1) as one:
        tell(text=one)
    with dsl.If(count(number=number).output > 2):
        tell(text=told.output)
    with dsl.Else():
        tell(text="few").set_caching_options(False)


class Reusing(Ran):
    """A run that reuses what an earlier one kept, as a run on this machine does."""

    def execute(self, step: Step) -> None:
        results = Cache(str(step.task.folder.parents[1] / ".cache" / code_digest(self.pipeline, {})))
        found = results.get(execution.key(step, results)) if step.spec.caching_options.enable_cache else None
        if found is None:
            super().execute(step)
            if step.spec.caching_options.enable_cache:
                results.put(execution.key(step, results), step.outputs)
        else:
            step.task.cached = True
            self.walk.give(step, found)

    @property
    def reused(self) -> set[str]:
        return {task.name for task in self.tree.tasks if task.cached}


def outcomes(runs: Path, **arguments: Any) -> dict[str, str]:
    planned = plan(shapes, arguments=ARGUMENTS | arguments, runs=runs)
    return {one.name: f"{one.outcome} {one.why}".strip() for one in planned}


def test_where_nothing_was_kept_what_is_known_runs_and_the_rest_depends_on_it(tmp_path: Path) -> None:
    assert outcomes(tmp_path) == {
        "Keep text": "runs",
        "read-back": "depends Keep text",
        "tell (for-loop-1.0)": "runs",
        "tell (for-loop-1.1)": "runs",
        "count": "runs",
        "tell-2 (condition-branches-2.condition-3)": "depends count, read-back",
        "tell-3 (condition-branches-2.condition-4)": "depends count, read-back",
    }
    assert list(tmp_path.iterdir()) == []


def test_what_would_be_reused_is_and_what_would_run_does(tmp_path: Path) -> None:
    Reusing(shapes, tmp_path / "first", **ARGUMENTS)
    planned = outcomes(tmp_path, people=["Ann", "Cy"], number=1)

    again = Reusing(shapes, tmp_path / "again", **ARGUMENTS | {"people": ["Ann", "Cy"], "number": 1})

    assert planned == {
        "Keep text": "reused",
        "read-back": "reused",
        "tell (for-loop-1.0)": "reused",
        "tell (for-loop-1.1)": "runs",
        "count": "runs",
        "tell-2 (condition-branches-2.condition-3)": "depends count",
        "tell-3 (condition-branches-2.condition-4)": "depends count",
    }
    assert again.reused == {"keep", "read-back", "for-loop-1.0.tell"}


def test_a_result_that_was_edited_since_is_not_planned_to_be_reused(tmp_path: Path) -> None:
    Reusing(shapes, tmp_path / "first", **ARGUMENTS)
    assert set(outcomes(tmp_path).values()) == {"reused", "skipped"}

    (tmp_path / "first" / "keep" / "kept").write_text("edited")

    assert outcomes(tmp_path)["Keep text"] == "runs"
    assert outcomes(tmp_path)["read-back"] == "depends Keep text"


def test_what_reads_of_a_task_that_always_runs_is_reused_if_that_gives_the_same_again(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    earlier.keep_arguments(beginning, {"text": "a"}, first)
    Reusing(beginning, first, keep=Cache(str(first / earlier.OUTPUTS)).put, text="a")

    planned = {one.name: (one.outcome, one.why) for one in plan(beginning, arguments={"text": "a"}, runs=tmp_path)}
    another = {one.name: (one.outcome, one.why) for one in plan(beginning, arguments={"text": "b"}, runs=tmp_path)}

    unsure = "if Look at the source gives the same again"
    assert planned == {"Look at the source": ("runs", ""), "keep": ("reused", unsure), "read-back": ("reused", unsure)}
    assert another["keep"] == ("runs", "")


@dsl.pipeline
def beginning(text: str) -> None:
    looked = tell(text="source").set_caching_options(False).set_display_name("Look at the source")
    kept = keep(text=f"{looked.output} {text}")
    read_back(file=kept.outputs["kept"])


def test_a_loop_whose_items_are_not_known_is_one_line(tmp_path: Path) -> None:
    @dsl.pipeline
    def looping(text: str) -> None:
        with dsl.ParallelFor(names(text=text).output) as one:
            tell(text=one)

    planned = plan(looping, arguments={"text": "a b"}, runs=tmp_path)

    assert [(one.name, one.outcome, one.why) for one in planned] == [
        ("names", "runs", ""),
        ("for-loop-1", "depends", "names"),
    ]


def test_a_part_is_planned_with_what_the_earlier_run_gives(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    earlier.keep_arguments(shapes, ARGUMENTS, whole)
    Ran(shapes, whole, keep=Cache(str(whole / earlier.OUTPUTS)).put, **ARGUMENTS)
    part = earlier.part(shapes, task="read-back", alone=False, arguments=ARGUMENTS, earlier=whole)

    planned = plan(shapes, arguments=ARGUMENTS, runs=tmp_path, part=part)

    assert {one.name: f"{one.outcome} {one.why}".strip() for one in planned} == {
        "Keep text": "given whole",
        "read-back": "runs",
        "count": "given whole",
        "tell-2 (condition-branches-2.condition-3)": "depends read-back",
        "tell-3 (condition-branches-2.condition-4)": "depends read-back",
    }


def test_the_seconds_are_those_of_the_latest_runs_in_which_a_task_ran(tmp_path: Path) -> None:
    def summary(number: int, seconds: float, *, cached: bool = False, pipeline: str = "shapes") -> None:
        tasks = [
            {"name": "keep", "state": "passed", "cached": cached, "seconds": seconds},
            {"name": "for-loop-1.7.tell", "state": "failed", "cached": False, "seconds": seconds},
            {"name": "for-loop-1.8.tell", "state": "passed", "cached": False, "seconds": 2 * seconds},
        ]
        (tmp_path / f"run-{number}").mkdir()
        content = {"pipeline": pipeline, "started_at": f"2026-11-25T10:00:0{number}+00:00", "tasks": tasks}
        (tmp_path / f"run-{number}" / "summary.json").write_text(json.dumps(content))

    summary(0, 100.0)
    for number, seconds in enumerate([1.0, 2.0, 9.0, 4.0, 3.0], start=1):
        summary(number, seconds)
    summary(6, 0.1, pipeline="another")

    found = {one.name: one.seconds for one in plan(shapes, arguments=ARGUMENTS, runs=tmp_path)}

    assert found["Keep text"] == pytest.approx(3.0)
    assert found["tell (for-loop-1.0)"] == pytest.approx(6.0)
    assert found["count"] is None


@pytest.mark.parametrize(
    "damaged", ["", "{", "[]", "null", '{"pipeline": "shapes"}', '{"pipeline": "shapes", "started_at": "", "tasks": 5}']
)
def test_a_summary_that_cannot_be_read_is_told_with_its_file(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text(damaged)

    with pytest.raises(DocumentError, match=f"^{tmp_path}/run/summary.json: .*; remove the folder of this run$"):
        plan(shapes, arguments=ARGUMENTS, runs=tmp_path)
