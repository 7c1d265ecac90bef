"""Pipelines with loops, conditions and exit handlers: which tasks run, with what, and what is said of the others."""

import itertools
from collections import namedtuple
from pathlib import Path
from typing import NamedTuple

import pytest
from in_process import Ran, component, count, keep, names, tell
from kfp import dsl

from cd4ml.errors import ArgumentsError
from cd4ml.running import compiled


@component
def describe(kind: str, number: int) -> NamedTuple("Described", [("kind", str), ("number", int)]):  # type: ignore[valid-type]
    return namedtuple("Described", ["kind", "number"])(kind, number)


@component
def join(files: dsl.Input[list[dsl.Artifact]], texts: list) -> str:
    return " ".join([*(Path(file.path).read_text() for file in files or []), *texts])


@component
def forget(text: str, said: dsl.OutputPath(str)) -> None:  # type: ignore[valid-type]
    pass


@component
def fail(text: str) -> None:
    raise ValueError(text)


@component
def clean(status: dsl.PipelineTaskFinalStatus, text: str) -> str:
    return f"{text}: {status.state} {status.pipeline_task_name} {status.error_message}"


@component
def infinite(text: str) -> float:
    return float(text)


@component
def several(text: str) -> list:
    return [1, {"value": float(text)}]


@component
def take(number: float) -> float:
    return number


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run-1"


def test_each_item_of_a_loop_has_tasks_of_its_own_and_what_they_give_is_collected(folder: Path) -> None:
    @dsl.pipeline
    def collecting(place: str, people: list) -> None:
        with dsl.ParallelFor(people) as one:
            kept = keep(text=one)
            told = tell(text=f"{one} of {place}")
        join(files=dsl.Collected(kept.outputs["kept"]), texts=dsl.Collected(told.output))

    ran = Ran(collecting, folder, place="Ulm", people=["Ann", "Bo"])

    assert ran.outputs == {
        "for-loop-1.0.keep": "passed",
        "for-loop-1.0.tell": "Ann of Ulm",
        "for-loop-1.1.keep": "passed",
        "for-loop-1.1.tell": "Bo of Ulm",
        "join": "Ann Bo Ann of Ulm Bo of Ulm",
    }
    assert ran.groups == {
        "for-loop-1": ("passed", "2 items"),
        "for-loop-1.0": ("passed", "'Ann'"),
        "for-loop-1.1": ("passed", "'Bo'"),
    }
    assert ran.most == 4
    assert (folder / "for-loop-1.1.keep" / "kept").read_text() == "Bo"


def test_a_loop_goes_through_what_a_task_gave_and_through_nothing(folder: Path) -> None:
    @dsl.pipeline
    def looping(text: str) -> None:
        with dsl.ParallelFor(names(text=text).output) as one:
            kept = keep(text=one)
        join(files=dsl.Collected(kept.outputs["kept"]), texts=["and", "more"])

    assert Ran(looping, folder, text="a b").outputs["join"] == "a b and more"
    empty = Ran(looping, folder.with_name("run-2"), text="")
    assert empty.outputs == {"names": [], "join": "and more"}
    assert empty.groups == {"for-loop-1": ("passed", "0 items")}


def test_loops_within_loops_over_fields_of_items(folder: Path) -> None:
    @dsl.pipeline
    def nested() -> None:
        with dsl.ParallelFor([{"a": 1, "b": 2}, {"a": 3, "b": 4}]) as item:
            count(number=item.a)
            with dsl.ParallelFor([10, 20]) as other:
                counted = count(number=other)
                with dsl.If(counted.output > 15):
                    count(number=counted.output)
            count(number=item.b)

    ran = Ran(nested, folder)

    assert {name: given for name, given in ran.outputs.items() if given != "skipped"} == {
        "for-loop-2.0.count": 1,
        "for-loop-2.0.for-loop-4.0.count-2": 10,
        "for-loop-2.0.for-loop-4.1.count-2": 20,
        "for-loop-2.0.for-loop-4.1.condition-5.count-3": 20,
        "for-loop-2.0.count-4": 2,
        "for-loop-2.1.count": 3,
        "for-loop-2.1.for-loop-4.0.count-2": 10,
        "for-loop-2.1.for-loop-4.1.count-2": 20,
        "for-loop-2.1.for-loop-4.1.condition-5.count-3": 20,
        "for-loop-2.1.count-4": 4,
    }
    assert ran.groups["for-loop-2.0.for-loop-4.0.condition-5"] == ("skipped", "not taken: int(count-2-Output) > 15")


def test_no_more_iterations_go_on_at_once_than_the_loop_allows(folder: Path) -> None:
    @dsl.pipeline
    def looping(parallelism: int = 2) -> None:
        with dsl.ParallelFor(["a", "b", "c", "d", "e"], parallelism=2) as one:
            tell(text=one)
            tell(text=one)

    ran = Ran(looping, folder)

    assert ran.most == 4
    assert len(ran.outputs) == 10


@dsl.pipeline
def branching(kind: str, number: int) -> None:
    described = describe(kind=kind, number=number)
    with dsl.If(described.outputs["kind"] == "counted"):
        with dsl.If(described.outputs["number"] > 2):
            many = tell(text="many")
        with dsl.Elif(described.outputs["number"] == 2):
            two = tell(text="two")
        with dsl.Else():
            few = tell(text="few")
        tell(text=dsl.OneOf(many.output, two.output, few.output))


@pytest.mark.parametrize(("number", "said"), [(3, "many"), (2, "two"), (1, "few")])
def test_one_of_nested_conditions_on_the_fields_of_a_tuple_is_taken(folder: Path, number: int, said: str) -> None:
    ran = Ran(branching, folder, kind="counted", number=number)

    given = [one for one in ran.outputs.values() if one != "skipped"]
    assert given == ["passed", said, said]
    assert list(ran.outputs.values()).count("skipped") == 2
    assert len(ran.said) == 2
    assert ran.passed


def test_what_a_condition_did_not_choose_is_skipped_and_said(folder: Path) -> None:
    ran = Ran(branching, folder, kind="other", number=3)

    assert set(ran.outputs.values()) == {"passed", "skipped"}
    assert ran.groups["condition-1"] == ("skipped", "not taken: describe-kind == 'counted'")
    assert ran.said == ["condition-1"]
    assert ran.passed


def test_a_condition_that_cannot_be_held_fails_the_run_in_words_and_is_not_taken_for_false(folder: Path) -> None:
    @dsl.pipeline
    def asking(number: int) -> None:
        with dsl.If(number > 3):
            tell(text="more")

    ran = Ran(asking, folder, number="many")

    assert not ran.passed
    assert ran.groups["condition-1"][0] == "failed"
    assert "on one machine a condition compares values with constants" in ran.groups["condition-1"][1]
    assert ran.outputs == {"condition-1.tell": "skipped"}


def test_an_output_that_tries_to_run_code_is_compared_as_text(folder: Path) -> None:
    @dsl.pipeline
    def asking(text: str) -> None:
        with dsl.If(tell(text=text).output == "yes"):
            tell(text="taken")

    made = folder.parent / "made"
    ran = Ran(asking, folder, text=f"no' or __import__('os').mkdir('{made}') or '")

    assert not made.exists()
    assert ran.outputs["condition-1.tell-2"] == "skipped"


def test_a_task_whose_input_was_never_written_fails_in_words(folder: Path) -> None:
    @dsl.pipeline
    def forgetting(text: str) -> None:
        tell(text=forget(text=text).outputs["said"])

    ran = Ran(forgetting, folder, text="a")

    assert ran.outputs == {"forget": "passed", "tell": "failed"}
    assert [task.failure for task in ran.tree.tasks] == ["", "tell: forget gave no said"]


@dsl.pipeline
def cleaning(text: str) -> None:
    last = clean(text=text)
    with dsl.ExitHandler(last):
        first = tell(text=text)
        with dsl.If(first.output == "bad"):
            fail(text="as asked")
        tell(text=text).after(first)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("good", "good: SUCCEEDED exit-handler-1 None"),
        ("bad", "bad: FAILED exit-handler-1 exit-handler-1 failed"),
    ],
)
def test_the_task_of_an_exit_handler_runs_whatever_happened_and_knows_it(folder: Path, text: str, said: str) -> None:
    ran = Ran(cleaning, folder, text=text)

    assert ran.outputs["clean"] == said
    assert ran.passed is (text == "good")


def test_an_exit_handler_whose_tasks_never_began_is_left_too(folder: Path) -> None:
    @dsl.pipeline
    def failing(text: str) -> None:
        failed = fail(text=text)
        last = clean(text=text)
        with dsl.ExitHandler(last):
            tell(text=text)
        tell(text="never").after(failed)

    ran = Ran(failing, folder, text="bad")

    assert ran.outputs["clean"].startswith("bad: ")
    assert ran.outputs["tell-2"] == "skipped"
    assert not ran.passed


def test_a_failed_iteration_ends_its_loop_and_nothing_begins_after_it(folder: Path) -> None:
    @dsl.pipeline
    def looping() -> None:
        with dsl.ParallelFor(["a", "b"], parallelism=1) as one:
            fail(text=one)
            tell(text=one)
        tell(text="never")

    ran = Ran(looping, folder)

    assert list(ran.outputs.values()).count("failed") == 1
    assert ran.groups["for-loop-2"][0] == "failed"
    assert ran.groups["for-loop-2.1"][0] == "skipped"


def test_a_pipeline_within_another_takes_its_defaults_and_gives_its_outputs(folder: Path) -> None:
    @dsl.pipeline
    def inner(text: str = "said") -> str:
        return tell(text=text).output  # type: ignore[no-any-return]

    @dsl.pipeline
    def outer(text: str) -> None:
        tell(text=f"{inner().output} {inner(text=f'{text}!').output} in {dsl.PIPELINE_JOB_NAME_PLACEHOLDER}")

    ran = Ran(outer, folder, text="heard")

    assert ran.outputs == {"inner.tell": "said", "inner-2.tell": "heard!", "tell": "said heard! in run-1"}


def test_a_group_takes_a_file_and_a_text_with_values_in_it(folder: Path) -> None:
    @dsl.pipeline
    def inner(text: str, file: dsl.Input[dsl.Artifact]) -> None:
        describe_file(file=file, text=text)

    @dsl.pipeline
    def outer(text: str) -> None:
        kept = keep(text=text)
        with dsl.ParallelFor(["a", "b"]) as one:
            inner(text=f"{one} of {text}", file=kept.outputs["kept"])

    ran = Ran(outer, folder, text="said")

    assert ran.outputs == {
        "keep": "passed",
        "for-loop-2.0.inner.describe-file": "said a of said",
        "for-loop-2.1.inner.describe-file": "said b of said",
    }


@component
def describe_file(file: dsl.Input[dsl.Artifact], text: str) -> str:
    return f"{Path(file.path).read_text()} {text}"


def test_a_missing_argument_and_a_list_that_is_none_are_told(folder: Path) -> None:
    @dsl.pipeline
    def looping(text: str, people: list) -> None:
        with dsl.ParallelFor(people) as one:
            tell(text=one)

    with pytest.raises(ArgumentsError, match="no value for text"):
        Ran(looping, folder, people=[])
    ran = Ran(looping, folder.with_name("run-2"), text="", people="a b")
    assert ran.groups["for-loop-1"] == ("failed", "for-loop-1: 'a b' is no list, whose items a loop could go through")


def test_a_component_that_is_no_python_function_is_refused_before_anything_runs(folder: Path) -> None:
    @dsl.container_component
    def shell() -> dsl.ContainerSpec:
        return dsl.ContainerSpec(image="busybox", command=["echo"])

    @dsl.pipeline
    def importing() -> None:
        shell()

    with pytest.raises(ArgumentsError, match="shell is no Python function"):
        compiled.check_lightweight(importing)
    assert [task.component for task in compiled.tree(importing, folder).tasks] == ["shell"]


def test_tasks_are_always_in_the_same_order() -> None:
    @dsl.pipeline
    def four(kind: str) -> None:
        described = describe(kind=kind, number=1)
        with dsl.If(described.outputs["kind"] == "a"):
            tell(text="a")
        tell(text=described.outputs["kind"]).after(count(number=1))

    tasks = four.pipeline_spec.root.dag.tasks  # type: ignore[attr-defined]

    orders = [list(compiled.after(dict(some))) for some in itertools.permutations(tasks.items())]

    assert orders == [["describe", "count", "condition-1", "tell-2"]] * 24


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_a_number_that_is_not_finite_is_told_where_a_task_or_a_group_is_given_it(folder: Path, text: str) -> None:
    @dsl.pipeline
    def taking(text: str) -> None:
        take(number=infinite(text=text).output)

    @dsl.pipeline
    def holding(text: str) -> None:
        with dsl.If(infinite(text=text).output > 1):
            tell(text="more")

    @dsl.pipeline
    def looping(text: str) -> None:
        with dsl.ParallelFor(several(text=text).output) as one:
            tell(text=one)

    taken, held, looped = (Ran(pipeline, folder / pipeline.name, text=text) for pipeline in (taking, holding, looping))

    assert taken.walk.tree.nodes[-1].failure == (
        f"take: its input number is {text}, and KFP hands on finite numbers alone; have the task before it give another"
    )
    assert held.groups["condition-1"][0] == looped.groups["for-loop-1"][0] == "failed"
    assert f"is {text}, and KFP hands on" in held.groups["condition-1"][1]
    assert f"'value': {text}" in looped.groups["for-loop-1"][1]
