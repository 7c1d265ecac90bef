"""Commands about what production does: `cd4ml monitor`."""

import json
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cd4ml.cli import asked
from cd4ml.cli.application import app, moment, plain, print_whole, say, table
from cd4ml.errors import ArgumentsError, Cd4mlError, DataError, RegistryError
from cd4ml.monitoring import spans
from cd4ml.storage import check_uri, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cd4ml.monitoring.alerts import State
    from cd4ml.monitoring.windows import Span

PIPELINE = "monitoring"
monitor_app = typer.Typer(
    help="What production does, by windows of time: run, collect, windows, alerts, acknowledge, page, learn, retrain, "
    "retrainings.",
    no_args_is_help=True,
)
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]


class Outage:
    """What keeps a command from going on for a time, each said once."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._passed = False

    @contextmanager
    def told(self) -> "Iterator[None]":
        """Says what ends the block, where it is something that may be over the next time.

        Raises:
            ArgumentsError: What was asked for is a mistake, and was never done.
            RegistryError: The model is none, and never was.
        """
        try:
            yield
        except (Cd4mlError, OSError) as error:
            if isinstance(error, ArgumentsError | RegistryError) and not self._passed:
                raise
            self.say("waiting", f"{error}; it is tried again until it goes, or the command is stopped")
        else:
            self._passed = True
            self._said = {one for one in self._said if not one.startswith("waiting")}

    def say(self, word: str, what: str) -> bool:
        """Says it, unless that was said already; whether it was not."""
        if f"{word} {what}" in self._said:
            return False
        say(word, what)
        self._said.add(f"{word} {what}")
        return True


@monitor_app.command()
def run(
    model: Model,
    every: Annotated[
        str, typer.Option(metavar="SPAN", help="How long a window is, as `1 hour`, 1h, `1 day` or PT1H.")
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

    def due() -> "set[Span]":
        return set(collecting.due(store, model, every=every, capture=place))

    def judge(left: "set[Span]") -> "tuple[int, set[Span]]":
        """Runs until nothing is due, or nothing is done of it any more.

        Args:
            left: What is due.

        Returns:
            The worst exit code of the runs, and what is left.
        """
        worst = 0
        while True:
            folder = new_folder(runs, PIPELINE)
            code = execute(wanted, runs, folder=folder)
            if json.loads((folder / "summary.json").read_text())["status"] == "stopped":
                raise typer.Exit(code)
            before, left, worst = left, due(), max(worst, code)
            if since or not 0 < len(left) < len(before):
                return worst, left

    if not go_on:
        raise typer.Exit(judge(due())[0])
    left: set[Span] | None = None
    width, outage = spans.width(every), Outage()
    while True:
        with outage.told():
            now = due()
            if left is None or now - left:  # what could not be done is tried again with what is new, not at each look
                _, left = judge(now)
        time.sleep(width.total_seconds() / 10)


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
        str, typer.Option(metavar="SPAN", help="How long a window is, as `1 hour`, 1h, `1 day` or PT1H.")
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
    from cd4ml.monitoring import collecting, windows
    from cd4ml.monitoring.capture_files import OLDEST

    if until and not since:
        raise ArgumentsError("--until: nothing says from when; name --since too, or leave both out for what is due")
    opened, width, place = open_store(store), spans.width(every), capture or ""

    def collect_all(begin: datetime | None) -> bool:
        """Collects what is due, or all from a moment on; whether that went well."""
        wanted, passed_over = collecting.chosen(opened, model, begin, until=until, width=width, capture=place)
        for one in passed_over:
            outage.say("unread", one)
        failed = False
        for span, found in collecting.each(store, model, wanted, capture=place):
            if isinstance(found, Exception):
                failed = True
                if outage.say("failed", f"{moment(span.written[0])} {collecting.told(found)}"):
                    collecting.log(found)
                continue
            say(moment(found.begin), found.headline)
            for file in found.unreadable:
                say("unread", f"{file}: {windows.UNREADABLE}")
            for one in found.kept_apart:
                say("apart", one)
        if not go_on and not wanted:
            uncaptured = windows.uncaptured(opened, model, capture=place)
            none = f"there is none of the last {OLDEST.days} days that is over and not collected"
            say("windows", f"none is due; {uncaptured or none}")
        return not failed

    outage = Outage()
    if not go_on:
        raise typer.Exit(0 if collect_all(since) else 1)
    while True:
        with outage.told():
            collect_all(since)
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
    shown = table("from (UTC)", "until (UTC)", "versions", "requests", "errors", "rows", "labelled", "apart", "ripe")
    for one in found:
        versions = ", ".join(dict.fromkeys(part.version for part in one.parts if not part.mirrored))
        counts = (f"{count:,}" for count in (one.requests, one.errors, one.rows, one.labelled, one.labels_apart))
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
    from cd4ml.monitoring import alerts, windows

    opened = open_store(store)
    state = alerts.known(opened, model)
    if not state.number:
        windows.check_published(opened, model)
    if every:
        _print_changes(alerts.history(opened, model))
    found = state.alerts
    for receiver, delivered in found.delivered.items():
        if delivered.failed:
            say("untold", f"{receiver}: {delivered.failed}; it is told at the next run")
    say("alerts", found.headline)
    if not found.standing:
        return
    shown = table("alert", "check", "since (UTC)", "cost", "known to")
    for one in found.standing:
        known = f"{one.acknowledged.by}: {one.acknowledged.reason}" if one.acknowledged else ""
        shown.add_row(one.id, plain(one.check), moment(one.since), one.cost, plain(known))
    print_whole(shown)
    for one in found.standing:
        say(one.id, one.reason)


def _print_changes(states: "Sequence[State]") -> None:
    shown = table("at (UTC)", "what", "alert", "check", "why")
    for state in states:
        for one in state.alerts.changes:
            if one.what != "still":
                why = one.why or (one.alert.acknowledged.reason if one.alert.acknowledged else one.alert.reason)
                shown.add_row(moment(state.alerts.at), one.what, one.alert.id, plain(one.alert.check), plain(why))
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
