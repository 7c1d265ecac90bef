"""The tasks of a run as a tree: groups, which are loops, conditions or pipelines within, and the tasks in them."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["waiting", "running", "passed", "failed", "stopped", "skipped"]
ENDED = ("passed", "failed", "stopped", "skipped")


@dataclass(frozen=True)
class Artifact:
    """A file or folder that a task made."""

    uri: str
    metadata: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """Where it lies, on this machine."""
        return Path(self.uri)


@dataclass
class Task:
    """One task of a run, as far as it is."""

    name: str
    """Its place in the tree, as `train-model-2`, or `for-loop-1.0.train-model` in the first iteration of a loop."""
    display_name: str
    component: str
    """The component's name, as `train_model`."""
    image: str
    log: Path
    folder: Path
    """Takes the task's outputs, one file or folder each."""
    state: State = "waiting"
    cached: bool = False
    started: float | None = None
    """`time.monotonic()` when it started."""
    ended: float | None = None
    signal: int | None = None
    """The signal that ended its process."""
    failure: str = ""
    """Why it failed before it began."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """By name: a value, an `Artifact`, or a list of them."""

    @property
    def seconds(self) -> float:
        """How long it has run."""
        if self.started is None:
            return 0.0
        return (self.ended or time.monotonic()) - self.started

    @property
    def death(self) -> str:
        """What is known of a process that was ended by a signal."""
        if self.signal is None:
            return ""
        return f"ended by signal {self.signal}" + (": out of memory?" if self.signal == signal.SIGKILL else "")

    @property
    def environment(self) -> str:
        """The environment it runs in, as `tools`."""
        from cd4ml import images  # whose names are made of the content of every file, which takes its time

        return images.environment(self.image)

    @property
    def headline(self) -> str:
        """The one figure that its component says matters."""
        for output in self.outputs.values():
            if isinstance(output, Artifact) and "headline" in output.metadata:
                return str(output.metadata["headline"])
        return ""


@dataclass
class Group:
    """Tasks that begin and end together: a pipeline, a condition's, a loop with its iterations, an exit handler's."""

    name: str
    """Its place in the tree, as `condition-2`, `for-loop-1`, or `for-loop-1.0` for an iteration."""
    display_name: str
    nodes: "list[Task | Group]" = field(default_factory=list)
    """In the order in which they may run; those of a loop are there once its items are known."""
    iteration: "Callable[[int], Group] | None" = None
    """Makes an iteration of a loop; None where it is no loop."""
    state: State = "waiting"
    headline: str = ""
    """What a person wants to know of it: the item, or why it was skipped or failed."""

    @property
    def had_nothing(self) -> bool:
        """Whether it is a loop that passed without an item."""
        return self.iteration is not None and self.state == "passed" and not self.nodes

    @property
    def tasks(self) -> Iterator[Task]:
        """All tasks in it, in order."""
        return (node for _, node in self.rows() if isinstance(node, Task))

    def rows(self, depth: int = 0) -> "Iterator[tuple[int, Task | Group]]":
        """All that is in it, each with its depth, a group before what is in it."""
        for node in self.nodes:
            yield depth, node
            if isinstance(node, Group):
                yield from node.rows(depth + 1)

    def iterations(self, number: int) -> "list[Group]":
        """The first iterations of a loop, which are made where they are not there."""
        assert self.iteration
        self.nodes += [self.iteration(index) for index in range(len(self.nodes), number)]
        return [node for node in self.nodes[:number] if isinstance(node, Group)]

    def end(self) -> None:
        """Says of what will not run any more that it was skipped, and of groups that it cut short that they stopped."""
        for _, node in self.rows():
            if node.state == "waiting":
                node.state = "skipped"
            elif node.state == "running" and isinstance(node, Group):
                node.state = "stopped"
