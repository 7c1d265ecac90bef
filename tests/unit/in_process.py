"""A run whose components run in this process, through KFP's own executor, one after another."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.dsl import executor

from cd4ml.contracts.task_tree import Group
from cd4ml.running import compiled, execution
from cd4ml.running.walk import Part, Step, Values, Walk

FUNCTIONS: dict[str, Callable[..., object]] = {}


def component(function: Callable[..., object]) -> Any:
    FUNCTIONS[function.__name__] = function
    return dsl.component(base_image="cd4ml/tools:1", install_kfp_package=False)(function)


@component
def tell(text: str) -> str:
    return text


@component
def count(number: int) -> int:
    assert isinstance(number, int)
    return number


@component
def names(text: str) -> list:
    return text.split()


@component
def keep(text: str, kept: dsl.Output[dsl.Artifact]) -> None:
    Path(kept.path).write_text(text)


class Ran:
    """A run: one task after another, always the first that may begin."""

    def __init__(
        self,
        pipeline: Any,
        folder: Path,
        *,
        keep: Callable[[str, Values], object] = lambda *_: None,
        part: Part | None = None,
        **arguments: object,
    ) -> None:
        self.tree: Group = compiled.tree(pipeline, folder)
        self.most = 0
        self.said: list[str] = []
        self.pipeline = pipeline
        self.executed: list[str] = []
        (folder / "logs").mkdir(parents=True)
        self.walk = walk = Walk(
            pipeline.pipeline_spec,
            tree=self.tree,
            arguments=arguments,
            run=folder.name,
            changed=lambda node: self.said.append(node.name),
            keep=keep,
            part=part,
        )
        while ready := walk.ready():
            self.most = max(self.most, len(ready))
            self.execute(ready[0])
        self.passed = not walk.failed
        self.tree.end()

    def execute(self, step: Step) -> None:
        self.executed.append(step.task.name)
        given = execution.executor_input(step)
        words = execution.arguments(step, given)
        step.task.folder.mkdir(parents=True)
        function = FUNCTIONS[words[words.index("--function_to_execute") + 1]]
        try:
            executor.Executor(json.loads(words[words.index("--executor_input") + 1]), function).execute()
        except ValueError:
            step.task.state = "failed"
            return
        self.walk.give(step, execution.outputs(step, given))

    @property
    def outputs(self) -> dict[str, object]:
        """What each task gave that passed, or the state of one that did not."""
        return {
            task.name: task.outputs.get("Output", "passed") if task.state == "passed" else task.state
            for task in self.tree.tasks
        }

    @property
    def groups(self) -> dict[str, tuple[str, str]]:
        return {node.name: (node.state, node.headline) for _, node in self.tree.rows() if isinstance(node, Group)}
