"""Online learning on this machine: `cd4ml monitor learn`."""

import json
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cd4ml import revision
from cd4ml.cli import asked
from cd4ml.cli.application import print_whole, say, table
from cd4ml.cli.monitor import monitor_app
from cd4ml.errors import DataError
from cd4ml.monitoring import spans
from cd4ml.names import amount


@monitor_app.command()
def learn(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="NAME, the champion; or NAME@VERSION.")],
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=spans.moment,
            metavar="TIME",
            help="Learn from windows that begin from then on; those since the version was published, or that it has "
            "not learnt from, if not said.",
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.0, help="The part of its error that a batch of rows takes away.")] = 0.2,
    batch: Annotated[int, typer.Option(min=1, help="Rows that are predicted, and then teach, at once.")] = 32,
    every: Annotated[
        int, typer.Option(min=1, help="Rows between two checkpoints, taken down to whole batches.")
    ] = 10_000,
    back_to: Annotated[
        int,
        typer.Option(
            metavar="ROWS", min=0, help="Back to the last checkpoint after at most so many rows, and publish that."
        ),
    ] = 0,
    publish: Annotated[bool, typer.Option(help="Publish what keeps the limits.")] = True,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keeps the model, the evaluation and its report; a new folder."),
    ] = None,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Has a linear model, or the last layer of a dnn, learn on from the labels of its windows, on this machine.

    Each row is predicted before it teaches. By these predictions the limits of the version are held, and that what was
    learnt is as good as the version; then it is published as a version of its own. Refused where what the model is
    asked changes faster than labels ripen (docs/online.md).

    Examples:
    cd4ml monitor learn uptake

    cd4ml monitor learn uptake@3 --back-to 20000
    """
    with _folder(output) as place:
        _learn(
            Path(place),
            model,
            store=store,
            since=since,
            asked_for={
                "learning_rate": rate,
                "batch": batch,
                "every": every,
                "rows": back_to,
            },
        )
        if publish:
            from cd4ml.monitoring import learnt

            published = learnt.publish(store, Path(place), revision=revision.of_working_folder())
            say("published", f"{model.partition('@')[0]}, version {published.version.version}: {published.uri}")


def _learn(place: Path, model: str, *, store: str, since: datetime | None, asked_for: Mapping[str, float]) -> None:
    from cd4ml.contracts.learning import Learning
    from cd4ml.monitoring import learnt, lesson
    from cd4ml.running.asking import ask

    about = lesson.gather(store, model, place / "lesson", since=since)
    say("lesson", f"{about.headline}; {about.steadiness}")
    for why, count in about.passed_over.items():
        say("passed over", f"{count:,} rows: {why}")
    learnt.prepare(store, place)
    found = ask("train", "cd4ml.monitoring.online", str(place), store, json.dumps(asked_for))
    learning = Learning.parse(json.dumps(found), "cd4ml.monitoring.online")
    shown = table("rows", "judged", "loss before each taught", "loss as published")
    for one in learning.checkpoints:
        losses = ("–" if loss is None else amount(loss) for loss in (one.loss, one.served_loss))
        shown.add_row(f"{one.rows:,}", f"{one.judged:,}", *losses)
    print_whole(shown)
    if back_to := asked_for["rows"]:
        say("back to", f"the checkpoint after {learning.rows:,} rows, the last one after at most {back_to:,}")
    ask("evaluate", "cd4ml.monitoring.prequential", str(place))


def _folder(output: Path | None) -> AbstractContextManager[str]:
    """Where it is worked in."""
    if output is None:
        return tempfile.TemporaryDirectory(prefix="cd4ml-learn-")
    if output.exists() and any(output.iterdir()):
        raise DataError(f"{output}: is not empty; name a new folder")
    output.mkdir(parents=True, exist_ok=True)
    return nullcontext(str(output))
