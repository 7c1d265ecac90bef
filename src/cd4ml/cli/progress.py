"""The tasks of a run as they go on: a table on a terminal, a line a task elsewhere."""

import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from cd4ml.contracts.task_tree import Group, Task

Changed = Callable[[Task | Group], None]
LATEST_BYTES = 2**16
"""How much of the end of a log is looked at."""
_LINE = re.compile(r"^\[KFP Executor \S+ \S+ (\w+)\]: (.*)$", re.MULTILINE)


def progress(tree: Group) -> Any:
    """A context that gives what is to be called with each task that starts or ends, and each group that is skipped."""
    terminal = Console(file=sys.stdout, highlight=False)
    return _LiveTable(tree, terminal) if terminal.is_terminal else nullcontext(_TaskLines(terminal))


class _LiveTable:
    """The tasks as a table that keeps up with the run."""

    def __init__(self, tree: Group, terminal: Console) -> None:
        self._tree = tree
        self._live = Live(
            get_renderable=self._table,
            console=terminal,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Changed:
        self._live.start()
        return lambda _: self._live.refresh()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _table(self) -> Table:
        return table(self._tree)


def table(tree: Group) -> Table:
    """The tasks and their groups, as far as they are."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "task", "image"):
        table.add_column(heading)
    table.add_column("time", justify="right", min_width=7)
    table.add_column("result", overflow="fold")
    for depth, node in tree.rows():
        table.add_row(MARKS[node.state], "  " * depth + escape(node.display_name), *_cells(node))
    return table


def _cells(node: Task | Group) -> tuple[str, str, str]:
    if isinstance(node, Group):
        return "", "", f"[dim]{escape(node.headline)}[/]"
    result = escape(node.headline) + (" [dim](reused)[/]" if node.cached and node.state == "passed" else "")
    return (
        f"[dim]{node.environment}[/]",
        f"{node.seconds:.1f} s" if node.started is not None else "",
        f"[yellow]{escape(_warning(node.log))}[/]" if node.state == "running" else result,
    )


def _warning(log: Path) -> str:
    """What a task that runs said last, where that is a warning: it may wait for a person. Else empty."""
    try:
        with log.open("rb") as opened:
            opened.seek(max(log.stat().st_size - LATEST_BYTES, 0))
            lines = _LINE.findall(opened.read().decode(errors="replace"))
    except OSError:
        return ""
    level, said = lines[-1] if lines else ("", "")
    return said if level == "WARNING" else ""


MARKS = {
    "waiting": "[dim]·[/]",
    "running": "[bold blue]▶[/]",
    "passed": "[green]✓[/]",
    "failed": "[bold red]✗[/]",
    "stopped": "[yellow]■[/]",
    "skipped": "[dim]–[/]",
}


class _TaskLines:
    """A line for each task that ended, where no terminal can show a table."""

    def __init__(self, terminal: Console) -> None:
        self._terminal = terminal

    def __call__(self, node: Task | Group) -> None:
        if node.state == "running":
            return
        within = node.name.rpartition(".")[0]
        name = f"{node.display_name} ({within})" if within else node.display_name
        if isinstance(node, Group):
            line = f"{node.state:8}{name:31}  {node.headline}"
        else:
            reused = " (reused)" if node.cached and node.state == "passed" else ""
            line = f"{node.state:8}{name:20}{node.seconds:7.1f} s  {node.headline}{reused}"
        self._terminal.print(line, markup=False, soft_wrap=True)
