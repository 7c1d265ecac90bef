"""The tasks of a run as they go on, and the steps of a rollout: a table on a terminal, a line each elsewhere."""

import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.segment import Segment, Segments
from rich.table import Table

from cd4ml.contracts.task_tree import Group, Task
from cd4ml.deployment.step_log import SO_FAR, Followed, Seen

DEPLOYS = "deploy_model"
"""The component whose steps are shown."""
TRAINS = "train_model"
"""The component whose epochs are shown."""
LOOK_SECONDS = 1.0
"""How often its log is looked at where there is no terminal."""
Changed = Callable[[Task | Group], None]
LATEST_BYTES = 2**16
"""How much of the end of a log is looked at."""
_LINE = re.compile(r"^\[KFP Executor \S+ \S+ (\w+)\]: (.*)$", re.MULTILINE)
_FAR = re.compile(r"^(?:epoch|tree) \d.*$", re.MULTILINE)
"""How far a training is."""


def progress(tree: Group) -> Any:
    """A context that gives what is to be called with each task that starts or ends, and each group that is skipped."""
    terminal = Console(file=sys.stdout, highlight=False)
    return _LiveTable(tree, terminal) if terminal.is_terminal else _TaskLines(tree, terminal)


class _LiveTable:
    """The tasks as a table that keeps up with the run."""

    def __init__(self, tree: Group, terminal: Console) -> None:
        self._tree, self._rollouts, self._running = tree, Rollouts(), False
        self._live = Live(
            get_renderable=self._table,
            console=terminal,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Changed:
        self._running = True
        self._live.start()
        return lambda _: self._live.refresh()

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._live.stop()

    def _table(self) -> "Table | LatestRows":
        shown = table(self._tree, self._rollouts)
        return LatestRows(shown) if self._running else shown


class LatestRows:
    """Of a table that is higher than the terminal its last rows, where the run is."""

    def __init__(self, shown: Table) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._shown, options, pad=False)[-options.size.height :]
        for line in lines[:-1]:
            yield Segments([*line, Segment.line()])
        yield Segments(lines[-1])


class Rollouts:
    """The steps of tasks that deploy, by their logs."""

    def __init__(self) -> None:
        self._followed: dict[Path, Followed] = {}

    def steps(self, node: Task | Group) -> list[Seen]:
        """Those of a task, as far as they are; none of one that deploys nothing, or has not begun."""
        if isinstance(node, Group) or node.component != DEPLOYS or node.started is None:
            return []
        return self._followed.setdefault(node.log, Followed(node.log)).steps()


def table(tree: Group, rollouts: Rollouts) -> Table:
    """The tasks and their groups, as far as they are, and the steps of those that deploy."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "task", "image"):
        table.add_column(heading)
    table.add_column("time", justify="right", min_width=7)
    table.add_column("result", overflow="fold")
    for depth, node in tree.rows():
        if isinstance(node, Group) and node.had_nothing:
            continue
        table.add_row(MARKS[node.state], "  " * depth + escape(node.display_name), *_cells(node))
        for step in rollouts.steps(node):
            mark = MARKS[_state(step, node)]
            seconds = f"{step.seconds:.1f} s" if step.state != "waiting" else ""
            table.add_row(mark, "  " * (depth + 1) + escape(step.name), "", seconds, escape("\n".join(step.said)))
    return table


def _state(step: Seen, task: Task | Group) -> str:
    """Of a step, which ends as its task does."""
    return task.state if step.state == "running" else step.state


def _cells(node: Task | Group) -> tuple[str, str, str]:
    if isinstance(node, Group):
        return "", "", f"[dim]{escape(node.headline)}[/]"
    result = escape(node.headline) + (" [dim](reused)[/]" if node.cached and node.state == "passed" else "")
    return (
        f"[dim]{node.environment}[/]",
        f"{node.seconds:.1f} s" if node.started is not None else "",
        f"[yellow]{escape(_warning(node.log))}[/]{escape(_far(node))}" if node.state == "running" else result,
    )


def _warning(log: Path) -> str:
    """What a task that runs said last, where that is a warning: it may wait for a person. Else empty."""
    lines = _LINE.findall(_end(log))
    level, said = next((line for line in reversed(lines) if not line[1].startswith(SO_FAR)), ("", ""))
    return said if level == "WARNING" else ""


def _far(task: Task) -> str:
    """How far a training is, as it said last; of another task nothing."""
    lines = _FAR.findall(_end(task.log)) if task.component == TRAINS else []
    return lines[-1] if lines else ""


def _end(log: Path) -> str:
    """The end of a log; empty where it cannot be read."""
    try:
        with log.open("rb") as opened:
            opened.seek(max(log.stat().st_size - LATEST_BYTES, 0))
            return opened.read().decode(errors="replace")
    except OSError:
        return ""


MARKS = {
    "waiting": "[dim]·[/]",
    "running": "[bold blue]▶[/]",
    "passed": "[green]✓[/]",
    "failed": "[bold red]✗[/]",
    "stopped": "[yellow]■[/]",
    "skipped": "[dim]–[/]",
}


class _TaskLines:
    """A line for each task and step that ended, where no terminal can show a table."""

    def __init__(self, tree: Group, terminal: Console) -> None:
        self._tree, self._terminal, self._rollouts = tree, terminal, Rollouts()
        self._said: set[tuple[str, int | str]] = set()
        self._over, self._turn = threading.Event(), threading.Lock()
        self._looking = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Changed:
        self._looking.start()
        return self._say

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looking.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._say_steps()
            self._say_what_is_waited_for()

    def _say_steps(self) -> None:
        """Says which steps have ended since it was said last."""
        with self._turn:
            for node in self._tree.tasks:
                for number, step in enumerate(self._rollouts.steps(node)):
                    if step.state == "passed" and (node.name, number) not in self._said:
                        self._said.add((node.name, number))
                        line = f"{'step':8}{step.name:20}{step.seconds:7.1f} s  {'; '.join(step.said)}"
                        self._terminal.print(line, markup=False, soft_wrap=True)

    def _say_what_is_waited_for(self) -> None:
        """Says what a rollout that goes on warned of last: it may wait for a person."""
        with self._turn:
            for node in self._tree.tasks:
                said = _warning(node.log) if node.component == DEPLOYS and node.state == "running" else ""
                if said and (node.name, said) not in self._said:
                    self._said.add((node.name, said))
                    self._terminal.print(f"{'warning':8}{said}", markup=False, soft_wrap=True)

    def _say(self, node: Task | Group) -> None:
        if node.state == "running":
            return
        self._say_steps()
        within = node.name.rpartition(".")[0]
        name = f"{node.display_name} ({within})" if within else node.display_name
        if isinstance(node, Group):
            line = f"{node.state:8}{name:31}  {node.headline}"
        else:
            reused = " (reused)" if node.cached and node.state == "passed" else ""
            line = f"{node.state:8}{name:20}{node.seconds:7.1f} s  {node.headline}{reused}"
        self._terminal.print(line, markup=False, soft_wrap=True)
