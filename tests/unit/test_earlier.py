"""A part of a pipeline runs with what an earlier run gave before it, or is refused in words."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from in_process import Ran, component, keep, tell
from kfp import dsl

from cd4ml.errors import ArgumentsError, DocumentError
from cd4ml.running import earlier
from cd4ml.running.cache import Cache


@component
def read(file: dsl.Input[dsl.Artifact], more: str) -> str:
    return Path(file.path).read_text() + more


@component
def count_all(texts: list, more: str) -> str:
    return f"{len(texts)} {more}"


@dsl.pipeline
def chain(text: str, more: str, aside: str = "aside") -> None:
    kept = keep(text=text)
    kept.set_display_name("Keep text")
    told = tell(text=aside)
    with dsl.ParallelFor(["a", "b"]) as one:
        looped = tell(text=one).after(kept)
    counted = count_all(texts=dsl.Collected(looped.output), more=more)
    read(file=kept.outputs["kept"], more=more).after(counted)
    tell(text="last").after(told)


ARGUMENTS = {"text": "hello", "more": "!"}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The folder of a run of the whole pipeline."""
    return run(tmp_path / "whole", ARGUMENTS)


def run(folder: Path, arguments: dict[str, Any], pipeline: Any = chain) -> Path:
    ran(folder, arguments, pipeline=pipeline)
    return folder


def ran(folder: Path, arguments: dict[str, Any], *, pipeline: Any = chain, part: Any = None) -> Ran:
    folder.mkdir()
    earlier.keep_arguments(pipeline, arguments, folder)
    return Ran(pipeline, folder, keep=Cache(str(folder / earlier.OUTPUTS)).put, part=part, **arguments)


def part(task: str, whole: Path, *, alone: bool = False, **arguments: str) -> Any:
    return earlier.part(chain, task=task, alone=alone, arguments=ARGUMENTS | arguments, earlier=whole)


def test_from_a_task_it_and_all_after_it_run_and_what_they_read_is_of_the_earlier_run(whole: Path) -> None:
    again = ran(whole.with_name("again"), ARGUMENTS | {"more": "?"}, part=part("count-all", whole, more="?"))

    assert again.executed == ["count-all", "read"]
    assert again.outputs["count-all"] == "2 ?"
    assert again.outputs["read"] == "hello?"
    assert again.outputs["tell-3"] == "skipped"
    assert again.groups["for-loop-2"] == ("passed", "as in whole")
    assert next(again.tree.tasks).cached


def test_a_task_alone_runs_with_nothing_after_it_and_a_group_as_a_whole(whole: Path) -> None:
    alone = ran(whole.with_name("alone"), ARGUMENTS, part=part("count-all", whole, alone=True))
    loop = ran(whole.with_name("loop"), ARGUMENTS, part=part("for-loop-2", whole, alone=True))

    assert alone.executed == ["count-all"]
    assert alone.outputs["read"] == "skipped"
    assert loop.executed == ["for-loop-2.0.tell-2", "for-loop-2.1.tell-2"]


def test_a_first_task_alone_needs_no_earlier_run(tmp_path: Path) -> None:
    first = earlier.needing_nothing(chain, "keep", alone=True)

    assert first
    assert ran(tmp_path / "first", ARGUMENTS, part=first).executed == ["keep"]
    assert earlier.needing_nothing(chain, "count-all", alone=True) is None
    with pytest.raises(ArgumentsError, match="kept: no such task"):
        earlier.needing_nothing(chain, "kept", alone=True)


def test_a_part_can_be_taken_up_again_from_the_run_of_a_part(whole: Path) -> None:
    second = whole.with_name("second")
    ran(second, ARGUMENTS, part=part("count-all", whole))

    third = ran(whole.with_name("third"), ARGUMENTS, part=part("read", second))

    assert third.executed == ["read"]
    assert third.outputs["read"] == "hello!"


def test_a_task_can_be_named_as_people_see_it(whole: Path) -> None:
    assert part("Keep text", whole).chosen == {"keep", "for-loop-2", "count-all", "read"}


@pytest.mark.parametrize(
    ("task", "arguments", "said"),
    [
        ("kep", {}, "kep: no such task; did you mean 'keep'?"),
        ("tell-2", {}, "tell-2: is a part of for-loop-2, which runs as a whole; name that"),
        ("read", {"text": "other"}, "run whole: was given another text, on which keep depends; begin with --from keep"),
        ("read", {"more": "?"}, "run whole: was given another more, on which count-all depends"),
        ("tell-3", {"aside": "other"}, "run whole: was given another aside, on which tell depends"),
    ],
)
def test_what_cannot_be_taken_up_is_told(whole: Path, task: str, arguments: dict[str, str], said: str) -> None:
    with pytest.raises(ArgumentsError, match=f"^{said.replace('?', '[?]')}"):
        part(task, whole, **arguments)


@component
def check_all(text: str, more: str) -> None:
    assert text
    assert more


def test_what_only_looks_at_the_arguments_does_not_keep_them_from_being_others(tmp_path: Path) -> None:
    @dsl.pipeline
    def checking(text: str, more: str) -> None:
        checked = check_all(text=text, more=more)
        kept = keep(text=text).after(checked)
        read(file=kept.outputs["kept"], more=more)

    whole = run(tmp_path / "whole", ARGUMENTS, checking)
    found = earlier.part(checking, task="read", alone=False, arguments=ARGUMENTS | {"more": "?"}, earlier=whole)

    assert found.chosen == {"read"}
    with pytest.raises(ArgumentsError, match="another text, on which keep depends"):
        earlier.part(checking, task="read", alone=False, arguments=ARGUMENTS | {"text": "b"}, earlier=whole)


class Begun(NamedTuple):
    places: list
    dates: list


@component
def check_arguments(sweep: dict, candidate: dict, more: str) -> Begun:
    assert more
    return Begun(["1"] if sweep else [], candidate.get("dates", []))


@component
def keep_seen(seen: list, text: str, kept: dsl.Output[dsl.Artifact]) -> None:
    Path(kept.path).write_text(f"{text} {seen}")


def test_of_a_check_of_all_arguments_what_is_taken_from_it_alone_matters_and_by_whom(tmp_path: Path) -> None:
    @dsl.pipeline
    def sweeping(sweep: dict, candidate: dict, more: str, text: str = "hello") -> None:
        begun = check_arguments(sweep=sweep, candidate=candidate, more=more)
        kept = keep_seen(text=text, seen=begun.outputs["dates"])
        with dsl.ParallelFor(begun.outputs["places"]) as one:
            tell(text=one).after(kept)
        read(file=kept.outputs["kept"], more=more)

    sweep = {"ranges": {"epochs": [1, 2]}, "trials": 2, "parallel": 2}
    given: dict[str, Any] = {"sweep": sweep, "candidate": {"dates": ["seen"]}, "more": "!"}
    another: dict[str, Any] = {"sweep": {}}
    longer = {"sweep": {**sweep, "trials": 9}, "candidate": {"dates": {"columns": ["seen"]}, "epochs": 3}}
    whole = run(tmp_path / "whole", given, sweeping)

    def part(task: str, changed: dict[str, Any]) -> set[str]:
        return set(earlier.part(sweeping, task=task, alone=False, arguments=given | changed, earlier=whole).chosen)

    assert part("for-loop-1", {"more": "?"} | longer) == {"for-loop-1"}
    assert part("read", {"more": "?"} | another) == {"read"}
    with pytest.raises(ArgumentsError, match="by these arguments check-arguments gives other places; begin with --fr"):
        part("for-loop-1", another)
    with pytest.raises(ArgumentsError, match="by these arguments check-arguments gives other dates; begin with --from"):
        part("read", {"candidate": {}})


def test_a_run_from_before_an_argument_was_there_had_its_default(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", ARGUMENTS)
    file = whole / earlier.ARGUMENTS
    file.write_text(file.read_text().replace('"aside"', '"gone"'))

    assert part("tell-3", whole).chosen == {"tell-3"}


def test_an_argument_that_says_of_which_code_a_run_is_may_differ(whole: Path) -> None:
    found = earlier.part(
        chain, task="read", alone=True, arguments=ARGUMENTS | {"more": "?"}, earlier=whole, may_differ=["more"]
    )

    assert found.chosen == {"read"}


def test_a_run_that_has_not_what_is_needed_is_refused(whole: Path) -> None:
    (whole / "keep" / "kept").write_text("edited")
    with pytest.raises(ArgumentsError, match="run whole: has nothing to take from keep, which did not pass there"):
        part("read", whole)
    assert part("tell-3", whole).chosen == {"tell-3"}

    with pytest.raises(ArgumentsError, match="nowhere: has no arguments.json"):
        part("read", whole.with_name("nowhere"))

    @dsl.pipeline
    def another(text: str) -> None:
        tell(text=text)

    other = run(whole.with_name("other"), {"text": "a"}, another)
    with pytest.raises(ArgumentsError, match="run other: is of another, not of chain"):
        part("read", other)


def test_the_latest_run_is_that_of_the_same_pipeline(whole: Path, tmp_path: Path) -> None:
    @dsl.pipeline
    def another(text: str) -> None:
        tell(text=text)

    with pytest.raises(ArgumentsError, match="there is no earlier run of another"):
        earlier.latest(tmp_path, another)
    run(tmp_path / "other", {"text": "a"}, another)

    assert earlier.latest(tmp_path, chain) == whole
    assert earlier.latest(tmp_path, another) == tmp_path / "other"


@pytest.mark.parametrize("damaged", ["", "{", "[]", "null", "{}", '{"pipeline": "chain", "arguments": []}'])
def test_what_an_earlier_run_was_given_is_told_where_it_cannot_be_read(whole: Path, damaged: str) -> None:
    (whole / "arguments.json").write_text(damaged)

    for ask in (lambda: earlier.latest(whole.parent, chain), lambda: part("count-all", whole)):
        with pytest.raises(DocumentError, match=f"^{whole}/arguments.json: not a cd4ml/Given .*; name another run"):
            ask()
