"""Each patch of `kfp.local`, on pipelines that it really runs."""

import itertools
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl, local
from kfp.local import graph_utils, subprocess_task_handler

from cd4ml.errors import ArgumentsError
from cd4ml.running import patches

IMAGE = "cd4ml/tools:1"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def tell(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fail(file: str) -> None:
    from pathlib import Path

    with Path(file).open("a") as opened:
        opened.write("tried\n")
    raise ValueError("it failed")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def keep(text: str, kept: dsl.Output[dsl.Artifact]) -> None:
    from pathlib import Path

    Path(kept.path).write_text(text)


def in_order(after: Mapping[str, Collection[str]], execute: Callable[[str], bool]) -> bool:
    return all(execute(name) for name in after)


class Machine:
    """Runs pipelines under the patches, and keeps what they tell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.executed: dict[str, tuple[dict[str, Any], bool]] = {}
        self.started: list[str] = []

    def run(self, pipeline: Callable[..., Any], **arguments: Any) -> None:
        with patches.applied(run="run-1", schedule=in_order, execute=self.execute, start=self.start):
            self.set_up()
            pipeline(**arguments)

    def set_up(self) -> None:
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=str(self.folder),
            raise_on_error=False,
            enable_caching=True,
            cache_root=str(self.folder / "cache"),
        )

    def execute(self, name: str, execute: Callable[[], tuple[dict[str, Any], bool]]) -> tuple[dict[str, Any], bool]:
        self.executed[name] = execute()
        return self.executed[name]

    def start(self, name: str, command: Sequence[str], variables: Mapping[str, str]) -> bool:
        self.started.append(name)
        words = subprocess_task_handler.replace_python_executable(list(command), sys.executable)
        return subprocess.run(words, env={**os.environ, **variables}, capture_output=True).returncode == 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_a_run_writes_lies_in_its_folder(machine: Machine) -> None:
    @dsl.pipeline
    def keeping(text: str) -> None:
        keep(text=text)

    machine.run(keeping, text="hello")

    assert (machine.folder / "run-1" / "keep" / "kept").read_text() == "hello"


def test_tasks_are_always_in_the_same_order() -> None:
    @dsl.pipeline
    def four(text: str) -> None:
        first = tell(text=text)
        for _ in range(2):
            tell(text=first.output)
        keep(text=first.output)

    tasks = list(four.pipeline_spec.root.dag.tasks.items())  # type: ignore[attr-defined]

    def orders() -> set[tuple[str, ...]]:
        return {tuple(graph_utils.topological_sort_tasks(dict(some))) for some in itertools.permutations(tasks)}

    assert len(orders()) > 1
    with patches.applied(run="run-1", schedule=in_order, execute=lambda _, execute: execute(), start=lambda *_: True):
        assert len(orders()) == 1


def test_each_task_is_told_with_its_outputs_and_a_failed_one_is_not_repeated(machine: Machine) -> None:
    @dsl.pipeline
    def failing(file: str) -> None:
        told = tell(text="hello")
        fail(file=file).after(told).set_retry(num_retries=2)

    file = machine.folder / "tries"
    machine.run(failing, file=str(file))

    assert machine.executed == {"tell": ({"Output": "hello"}, True), "fail": ({}, False)}
    assert file.read_text() == "tried\n"


def test_a_result_is_reused_only_while_it_is_what_the_task_wrote(machine: Machine) -> None:
    @dsl.pipeline
    def keeping(text: str) -> None:
        keep(text=text)

    machine.run(keeping, text="hello")
    machine.run(keeping, text="hello")
    assert machine.started == ["keep"]

    (machine.folder / "run-1" / "keep" / "kept").write_text("edited")
    machine.run(keeping, text="hello")
    assert machine.started == ["keep", "keep"]


@dsl.pipeline
def asking(text: str, file: str) -> None:
    told = tell(text=text)
    with dsl.If(told.output == "yes"):
        fail(file=file)


def test_an_output_that_tries_to_run_code_is_compared_as_text(machine: Machine) -> None:
    ran = machine.folder / "ran"
    classes = "[one for one in ().__class__.__base__.__subclasses__() if one.__name__ == '_wrap_close']"
    code = f"{classes}[0].__init__.__globals__['system']('touch {ran}')"

    machine.run(asking, text=f"no' or {code} or '", file=str(machine.folder / "tries"))

    assert not ran.exists()
    assert list(machine.executed) == ["tell"]


def test_a_branch_is_taken_where_its_condition_holds(machine: Machine) -> None:
    machine.run(asking, text="yes", file=str(machine.folder / "tries"))

    assert sorted(machine.executed) == ["fail", "tell"]


def test_a_condition_on_what_was_not_found_is_told_and_not_taken_for_false() -> None:
    from kfp.local import io
    from kfp.local.orchestrator import enhanced_dag_orchestrator as orchestrator

    condition = "inputs.parameter_values['pipelinechannel--tell-Output'] == 'yes'"
    with (
        patches.applied(run="run-1", schedule=in_order, execute=lambda _, execute: execute(), start=lambda *_: True),
        pytest.raises(ArgumentsError, match="pipelinechannel--tell-Output was not found"),
    ):
        orchestrator.ConditionEvaluator.evaluate_condition(condition, io.IOStore())


def test_the_schedule_decides_what_is_executed_and_knows_what_waits_for_what(machine: Machine) -> None:
    @dsl.pipeline
    def two(text: str) -> None:
        keep(text=tell(text=text).output)

    known = {}

    def backwards(after: Mapping[str, Collection[str]], execute: Callable[[str], bool]) -> bool:
        known.update(after)
        return execute("tell")

    with patches.applied(run="run-1", schedule=backwards, execute=machine.execute, start=machine.start):
        machine.set_up()
        two(text="hello")

    assert known == {"tell": [], "keep": ["tell"]}
    assert list(machine.executed) == ["tell"]


def test_tasks_side_by_side_do_not_change_how_the_process_logs(machine: Machine) -> None:
    inside: list[object] = []

    def look(name: str, execute: Callable[[], tuple[dict[str, Any], bool]]) -> tuple[dict[str, Any], bool]:
        inside.append([print, *logging.getLogger().handlers])
        return execute()

    def start(*words: Any) -> bool:
        inside.append([print, *logging.getLogger().handlers])
        return machine.start(*words)

    with patches.applied(run="run-1", schedule=in_order, execute=look, start=start):
        machine.set_up()
        asking(text="no", file="")

    assert inside[0] == inside[1]


def test_kfp_is_as_it_was_afterwards(machine: Machine) -> None:
    before = graph_utils.topological_sort_tasks, subprocess_task_handler.SubprocessTaskHandler
    machine.run(asking, text="no", file="")

    assert (graph_utils.topological_sort_tasks, subprocess_task_handler.SubprocessTaskHandler) == before
