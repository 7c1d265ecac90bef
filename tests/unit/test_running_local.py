"""Pipelines that really run on this machine: side by side, without waiting for imports, and with nothing left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from kfp import dsl

from cd4ml.contracts.task_tree import Task
from cd4ml.images import TOOLS
from cd4ml.running import compiled, local

MORE_THAN_ANY_MACHINE = "1000000G"


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def meet(place: str, own: str, other: str, seconds: float) -> None:
    import time
    from pathlib import Path

    Path(place, own).touch()
    deadline = time.monotonic() + seconds
    while not Path(place, other).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{other} never came")
        time.sleep(0.02)


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def write(text: str, written: dsl.Output[dsl.Artifact]) -> None:
    from pathlib import Path

    Path(written.path).write_text(text)


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def see_process(of: str, written: dsl.Output[dsl.Artifact]) -> None:
    import time
    from pathlib import Path

    import psutil

    task = str(Path(written.path).parent.with_name(of))
    deadline = time.monotonic() + 20
    while not any(task in (one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{task} has no process")
        time.sleep(0.02)
    Path(written.path).write_text("seen")


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def see_collection() -> None:
    import gc

    if not (gc.isenabled() and gc.get_freeze_count()):
        raise RuntimeError("garbage is not collected, or what was imported is looked through")


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def read(written: dsl.Input[dsl.Artifact], more: dsl.Output[dsl.Artifact]) -> None:
    from pathlib import Path

    Path(more.path).write_text(Path(written.path).read_text())


@dsl.pipeline
def meeting(place: str, seconds: float) -> None:
    meet(place=place, own="a", other="b", seconds=seconds)
    meet(place=place, own="b", other="a", seconds=seconds)


@dsl.pipeline
def meeting_without_room(place: str, seconds: float) -> None:
    for own, other in ("ab", "ba"):
        meet(place=place, own=own, other=other, seconds=seconds).set_memory_request(MORE_THAN_ANY_MACHINE)


@dsl.pipeline
def meeting_as_asked(place: str, seconds: float, memory: str) -> None:
    for own, other in ("ab", "ba"):
        meet(place=place, own=own, other=other, seconds=seconds).set_memory_request(memory)


@dsl.pipeline
def preparing(text: str) -> None:
    seen = see_process(of="read")
    read(written=seen.outputs["written"]).after(write(text=text))


@dsl.pipeline
def collecting() -> None:
    see_collection()


@dsl.pipeline
def stuck(place: str) -> None:
    met = meet(place=place, own="a", other="never", seconds=600.0)
    meet(place=place, own="b", other="never", seconds=600.0)
    write(text="never").after(met).set_caching_options(False)


@dsl.pipeline
def iterating(place: str, pairs: list, text: str) -> None:
    left = write(text="left")
    with dsl.ExitHandler(left):
        with dsl.ParallelFor(pairs) as pair:
            meet(place=place, own=pair.own, other=pair.other, seconds=60.0)
        with dsl.If(text == "more"):
            read(written=write(text=text).outputs["written"])


def run(pipeline: Callable[..., object], folder: Path, **arguments: object) -> dict[str, str]:
    """Runs a pipeline; the state of each of its tasks, `reused` for one whose result was."""
    tree = compiled.tree(pipeline, folder)
    changes: list[str] = []
    local.run(
        pipeline,
        arguments=arguments,
        tree=tree,
        folder=folder,
        cache=folder.parent / "cache",
        changed=lambda node: changes.append(node.name) if isinstance(node, Task) else None,
        environment={},
    )
    ran = {task.name for task in tree.tasks if task.state != "skipped"}
    assert sorted(changes) == sorted([*ran, *ran])
    assert left_of(folder) == []
    assert not list((folder / "logs").glob("*.starting"))
    return {task.name: "reused" if task.cached else task.state for task in tree.tasks}


def left_of(folder: Path) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if f"{folder}/" in " ".join(one.info["cmdline"] or [])]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run-1"


def test_tasks_that_do_not_wait_for_each_other_run_side_by_side(folder: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has a single core")

    states = run(meeting, folder, place=str(folder.parent), seconds=60.0)

    assert states == {"meet": "passed", "meet-2": "passed"}
    assert (folder / "logs" / "meet.log").read_text().startswith(sys.prefix)
    assert "b never came" not in (folder / "logs" / "meet-2.log").read_text()


def test_iterations_run_side_by_side_each_with_its_log_and_all_is_reused(folder: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has a single core")
    arguments = {"place": str(folder.parent), "pairs": [{"own": "a", "other": "b"}, {"own": "b", "other": "a"}]}

    first = run(iterating, folder, text="less", **arguments)
    second = run(iterating, folder.with_name("run-2"), text="less", **arguments)

    ran = ["exit-handler-1.for-loop-2.0.meet", "exit-handler-1.for-loop-2.1.meet", "write"]
    skipped = ["exit-handler-1.condition-3.read", "exit-handler-1.condition-3.write-2"]
    assert first == dict.fromkeys(ran, "passed") | dict.fromkeys(skipped, "skipped")
    assert second == dict.fromkeys(ran, "reused") | dict.fromkeys(skipped, "skipped")
    assert sorted(file.name for file in (folder / "logs").iterdir()) == [f"{name}.log" for name in ran]


def test_tasks_for_which_there_is_no_room_run_one_after_another(folder: Path) -> None:
    states = run(meeting_without_room, folder, place=str(folder.parent), seconds=1.0)

    assert sorted(states.values()) == ["failed", "skipped"]


@pytest.mark.parametrize(("memory", "states"), [("1000000Gi", ["failed", "skipped"]), ("1M", ["passed", "passed"])])
def test_what_a_task_takes_of_the_machine_may_be_an_argument(folder: Path, memory: str, states: list[str]) -> None:
    found = run(meeting_as_asked, folder, place=str(folder.parent), seconds=1.0, memory=memory)

    assert sorted(found.values()) == states


@pytest.mark.parametrize(
    ("workers", "cores", "memory_bytes"), [("1", 0.5, 1e9), ("3", 1.5, 3e9), ("many", 0.5, 1e9), (None, 0.5, 1e9)]
)
def test_each_of_the_workers_of_a_task_takes_as_much_of_the_machine(
    workers: str | None, cores: float, memory_bytes: float
) -> None:
    runs = compiled.Container()
    runs.resources.resource_cpu_request, runs.resources.resource_memory_request = "500m", "1G"

    found = compiled.needs(runs, {} if workers is None else {"workers": workers})

    assert (found.cores, found.memory_bytes) == (cores, memory_bytes)
    assert compiled.needs(compiled.Container(), {"workers": "2"}) == compiled.Needs(cores=2.0, memory_bytes=0.0)


def test_a_process_starts_before_its_inputs_are_there_and_none_for_what_is_reused(folder: Path) -> None:
    first = run(preparing, folder, text="hello")
    again = folder.with_name("run-2")
    second = run(preparing, again, text="hello")

    assert set(first.values()) == {"passed"}
    assert set(second.values()) == {"reused"}
    assert [file.name for file in (again / "logs").iterdir()] == []


def test_a_task_collects_garbage_but_does_not_look_through_what_was_imported(folder: Path) -> None:
    assert run(collecting, folder) == {"see-collection": "passed"}


def test_nothing_is_left_where_a_task_fails_while_another_one_waits(folder: Path) -> None:
    @dsl.pipeline
    def failing(place: str) -> None:
        met = meet(place=place, own="a", other="never", seconds=0.5)
        write(text="never").after(met)

    assert run(failing, folder, place=str(folder.parent)) == {"meet": "failed", "write": "skipped"}
    assert not (folder / "logs" / "write.log").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_is_ended(folder: Path, number: signal.Signals) -> None:
    """Two tasks run, and the process of a third waits for its inputs."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_running_local as pipelines
folder = Path({str(folder)!r})
tree = pipelines.compiled.tree(pipelines.stuck, folder)
arguments = {{"place": str(folder.parent)}}
places = {{"folder": folder, "cache": folder.parent / "cache", "environment": {{}}}}
try:
    pipelines.local.run(pipelines.stuck, arguments=arguments, tree=tree, changed=lambda _: None, **places)
finally:
    print(*(task.state for task in tree.tasks))
"""
    with subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: (folder.parent / "a").exists() and (folder.parent / "b").exists())
        wait_for(lambda: len(left_of(folder)) == 6)  # each with its supervisor
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)

    wait_for(lambda: not left_of(folder))
    if number == signal.SIGINT:
        assert output.split() == ["stopped", "stopped", "skipped"]
        assert not list((folder / "logs").glob("*.starting"))
