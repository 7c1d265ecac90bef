"""The tasks of a run as they go on: a table on a terminal, a line a task elsewhere."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table


def progress(planned: list[Any]) -> Any:
    """A context that gives what is to be called with each task that starts or ends."""
    terminal = Console(file=sys.stdout)  # holds on to it while KFP's own words go elsewhere
    return _LiveTable(planned, terminal) if terminal.is_terminal else nullcontext(_TaskLines(terminal))


class _LiveTable:
    """The tasks as a table that keeps up with the run."""

    def __init__(self, planned: list[Any], terminal: Console) -> None:
        self._planned = planned
        self._live = Live(
            get_renderable=self._table,
            console=terminal,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Callable[[Any], None]:
        self._live.start()
        return lambda _: self._live.refresh()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _table(self) -> Table:
        return table(self._planned)


def table(planned: list[Any]) -> Table:
    """The tasks, as far as they are."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "task", "image"):
        table.add_column(heading)
    table.add_column("time", justify="right", min_width=7)
    table.add_column("result", overflow="fold")
    for task in planned:
        table.add_row(
            MARKS[task.state],
            task.display_name,
            f"[dim]{task.environment}[/]",
            f"{task.seconds:.1f} s" if task.started is not None else "",
            escape(task.headline) + (" [dim](reused)[/]" if task.cached and task.state == "passed" else ""),
        )
    return table


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

    def __call__(self, task: Any) -> None:
        if task.state != "running":
            reused = " (reused)" if task.cached and task.state == "passed" else ""
            line = f"{task.state:8}{task.display_name:20}{task.seconds:7.1f} s  {task.headline}{reused}"
            self._terminal.print(line, markup=False, highlight=False, soft_wrap=True)
