"""Commands about what production does: `cd4ml monitor`."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cd4ml.cli import asked
from cd4ml.cli.application import app, moment, print_whole, say, table
from cd4ml.errors import ArgumentsError, DataError
from cd4ml.monitoring import spans
from cd4ml.storage import check_uri, open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cd4ml.monitoring.alerts import State

PIPELINE = "monitoring"
monitor_app = typer.Typer(
    help="What production does, by windows of time: run, collect, windows, alerts, acknowledge, page, learn, retrain, "
    "retrainings.",
    no_args_is_help=True,
)
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]


@monitor_app.command()
def run(
    model: Model,
    every: Annotated[
        str, typer.Option(metavar="SPAN", help="How long a window is, as `1 hour`, `1 day` or PT1H.")
    ] = "1 hour",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="The first moment, as 2026-11-29T08:00Z; what is due if not said.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="The moment that does not count any more.")] = "",
    capture: Annotated[
        str | None, typer.Option(parser=check_uri, help="What a router captured; that of the model if not said.")
    ] = None,
    alertmanager: Annotated[str, typer.Option(metavar="URL", help="An Alertmanager that is told of alerts.")] = "",
    webhook: Annotated[str, typer.Option(metavar="URL", help="A webhook that is told of alerts.")] = "",
    go_on: Annotated[bool, typer.Option("--go-on", help="Go on for ever: judge each window when it is over.")] = False,
    store: asked.StoreOption = asked.STORE,
    runs: asked.RunsOption = asked.RUNS,
) -> None:
    """Judges what production does, the whole way on this machine: the pipeline `monitoring`.

    The windows that are due are collected, compared with what the model was trained on, measured by the labels that
    came, and judged; people are told. Where something fails that nobody has acknowledged the command fails.

    Examples:
    cd4ml monitor run uptake

    cd4ml monitor run uptake --every "1 day" --go-on
    """
    from cd4ml.cli.run import execute, new_folder
    from cd4ml.monitoring import collecting
    from cd4ml.running.run_file import RunFile

    if go_on and since:
        raise ArgumentsError("--go-on: goes by what is due; leave --since out, or name it without --go-on")
    place = capture or ""
    given = {"since": since, "until": until, "capture": place, "alertmanager": alertmanager, "webhook": webhook}
    arguments = {"name": model, "store": store, "every": every, **given}
    wanted = asked.checked(RunFile(Path("cd4ml monitor run"), PIPELINE, arguments))
    left = collecting.due(store, model, every=every, capture=place)
    while True:
        folder = new_folder(runs, PIPELINE)
        code = execute(wanted, runs, folder=folder)
        before, left = left, collecting.due(store, model, every=every, capture=place)
        stopped = json.loads((folder / "summary.json").read_text())["status"] == "stopped"
        if not stopped and not since and 0 < left < before:
            continue
        if stopped or not go_on:
            raise typer.Exit(code)
        left = 0
        while not left:
            time.sleep(spans.width(every).total_seconds() / 10)
            left = collecting.due(store, model, every=every, capture=place)


@monitor_app.command()
def collect(
    model: Model,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=spans.moment, metavar="TIME", help="The first moment, as 2026-11-29T08:00Z; what is due if not said."
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(parser=spans.moment, metavar="TIME", help="The moment that does not count any more."),
    ] = None,
    every: Annotated[
        str, typer.Option(metavar="SPAN", help="How long a window is, as `1 hour`, `1 day` or PT1H.")
    ] = "1 hour",
    capture: Annotated[
        str | None, typer.Option(parser=check_uri, help="What a router captured; that of the model if not said.")
    ] = None,
    go_on: Annotated[
        bool, typer.Option("--go-on", help="Go on for ever: collect each window when it is over.")
    ] = False,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Collects what routers captured of a model, by windows of time, beside the labels that have come.

    Due are the windows that are over, and those that were collected before their labels were ripe. Where nothing new
    is known of a window, nothing is added.

    Examples:
    cd4ml monitor collect uptake

    cd4ml monitor collect uptake --since 2026-11-01 --until 2026-11-08 --every "1 day"
    """
    from cd4ml.monitoring import windows

    opened, width = open_store(store), spans.width(every)
    while True:
        if since is None:
            wanted = list(windows.due(opened, model, width, capture=capture or ""))
        else:
            over = datetime.now(UTC) - windows.SETTLED
            wanted = list(windows.spans(since, min(until or over, over), width))
        for span in wanted:
            found = windows.collect(store, model, span, capture=capture or "")
            say(moment(found.begin), found.headline)
            for file in found.unreadable:
                say("unread", f"{file}: cut off, or no Parquet; its rows are left out")
        if not go_on:
            if not wanted:
                say("windows", "none is due; there is none that is over and not collected")
            return
        since = None
        time.sleep(width.total_seconds() / 10)


@monitor_app.command("windows")
def list_windows(model: Model, store: asked.StoreOption = asked.STORE) -> None:
    """Lists the windows of a model, and with what delay its labels come.

    A window is ripe when nearly all labels are in that it will ever have, as far as that can be told.
    """
    from cd4ml.monitoring import window_table, windows

    opened = open_store(store)
    found = window_table.every(opened, model)
    if not found:
        raise DataError(f"store {store}: no window of {model} was collected; `cd4ml monitor collect` collects them")
    delays = windows.delays(opened, model)
    shown = table("from (UTC)", "until (UTC)", "versions", "requests", "errors", "rows", "labelled", "ripe")
    for one in found:
        versions = ", ".join(dict.fromkeys(part.version for part in one.parts if not part.mirrored))
        counts = (f"{count:,}" for count in (one.requests, one.errors, one.rows, one.labelled))
        ripe = "yes" if delays.is_ripe(one.age) else "no"
        shown.add_row(moment(one.begin), moment(one.until), versions, *counts, ripe)
    print_whole(shown)
    say("labels", delays.headline)


@monitor_app.command("alerts")
def list_alerts(
    model: Model,
    every: Annotated[
        bool, typer.Option("--all", help="Also those that are over: what became of each, and when.")
    ] = False,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Lists the alerts of a model: what fails, since when, what it costs, and who knows of it."""
    from cd4ml.monitoring import alerts

    opened = open_store(store)
    if every:
        _print_changes(alerts.history(opened, model))
    found = alerts.known(opened, model).alerts
    for receiver, delivered in found.delivered.items():
        if delivered.failed:
            say("untold", f"{receiver}: {delivered.failed}; it is told at the next run")
    say("alerts", found.headline)
    if not found.standing:
        return
    shown = table("alert", "check", "since (UTC)", "cost", "known to")
    for one in found.standing:
        known = f"{one.acknowledged.by}: {one.acknowledged.reason}" if one.acknowledged else ""
        shown.add_row(one.id, escape(one.check), moment(one.since), one.cost, escape(known))
    print_whole(shown)
    for one in found.standing:
        say(one.id, one.reason)


def _print_changes(states: "Sequence[State]") -> None:
    shown = table("at (UTC)", "what", "alert", "check", "why")
    for state in states:
        for one in state.alerts.changes:
            if one.what != "still":
                why = one.why or (one.alert.acknowledged.reason if one.alert.acknowledged else one.alert.reason)
                shown.add_row(moment(state.alerts.at), one.what, one.alert.id, escape(one.alert.check), escape(why))
    print_whole(shown)


@monitor_app.command()
def acknowledge(
    model: Model,
    alert: Annotated[str, typer.Argument(metavar="ALERT", help="Its id, or the name of its check.")],
    by: Annotated[str, typer.Option(help="Who knows of it.")],
    reason: Annotated[str, typer.Option(help="What they make of it.")],
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Says that a person knows of an alert: it stands, fails no run any more, and is quiet until it is over.

    Example: cd4ml monitor acknowledge uptake 1f0c9a3e --by "$USER" --reason "the source was late; it is mended"
    """
    from cd4ml.monitoring import alerts

    known = alerts.acknowledge(open_store(store), model, alert, by=by, reason=reason)
    say("acknowledged", f"{known.id}, {known.check}")


app.add_typer(monitor_app, name="monitor")
