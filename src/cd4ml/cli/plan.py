"""The command `cd4ml plan`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from cd4ml.cli import asked
from cd4ml.cli.application import app, console, say, table
from cd4ml.storage import open_store

if TYPE_CHECKING:
    from cd4ml.running.plan import Planned

OUTCOMES = {
    "runs": "[blue]runs[/]",
    "depends": "depends on",
    "reused": "[green]reused[/]",
    "given": "[green]as in[/]",
    "skipped": "[dim]skipped[/]",
    "fails": "[red]fails:[/]",
}


@app.command()
def plan(
    file: asked.RunFileArgument,
    runs: asked.RunsOption = asked.RUNS,
    from_task: asked.FromTask = None,
    only: asked.OnlyTask = None,
    earlier_run: asked.EarlierRun = None,
) -> None:
    """Says what `cd4ml run` would do on this machine, without running anything.

    Of each task: whether it runs, whether its result is reused, or on which task it depends, where its inputs are not
    known before that one has run; and how long it took in earlier runs. Then what would be deployed in place of what.

    Example: cd4ml plan examples/promotions/training.yaml
    """
    wanted = asked.read(file)
    from cd4ml.running import local
    from cd4ml.running.plan import plan as planned_of

    part = asked.part(wanted, runs, from_task=from_task, only=only, run=earlier_run)
    local.check_environments(wanted.pipeline)
    planned = planned_of(wanted.pipeline, arguments=wanted.arguments, runs=runs.resolve(), part=part)
    _print(planned)
    if any(one.component == "deploy_model" and one.outcome in ("runs", "depends") for one in planned):
        say("deploys", _deploys(wanted))


def _print(planned: "Sequence[Planned]") -> None:
    shown = table("task", "", "time")
    shown.columns[-1].justify = "right"
    for one in planned:
        seconds = f"{one.seconds:.1f} s" if one.seconds is not None else ""
        shown.add_row(escape(one.name), f"{OUTCOMES[one.outcome]} {escape(one.why)}".strip(), seconds)
    console.print(shown)
    # A loop is no task: what it goes through is not known before it begins, and may be nothing.
    may_run = [one.seconds for one in planned if one.component and one.outcome in ("runs", "depends")]
    known = [seconds for seconds in may_run if seconds is not None]
    console.print()
    say("time", _time(known, len(may_run)))


def _time(known: "Sequence[float]", count: int) -> str:
    """What the tasks that may run took before, of which not all need be known."""
    if count and not known:
        return f"not known: none of the {count} that may run ran here before"
    never = f"; {count - len(known)} of them never ran here" if len(known) < count else ""
    return f"{sum(known):.0f} s, one task after another, for the {count} that may run{never}"


def _deploys(wanted: asked.Asked) -> str:
    """What a run would deploy in place of what."""
    from cd4ml.registry import deployments

    last = deployments.latest(open_store(wanted.store), wanted.model) if wanted.store and wanted.model else None
    if last is None:
        return f"{wanted.model}, for the first time"
    return f"{wanted.model}, in place of version {last.version} (run {last.run}, {last.deployed_at})"
