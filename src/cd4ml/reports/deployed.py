"""The page about one deployment: how it went, step by step, and its experiment, where it had one."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cd4ml.contracts import experiment as experiments
from cd4ml.contracts.deployment import WORDS, Begun, Event, Held, StepTaken, Undone
from cd4ml.contracts.experiment import Adapted, Decision, Experiment
from cd4ml.reports import page
from cd4ml.reports.band import Band
from cd4ml.reports.over_time import Limit, Line, OverTime, Point
from cd4ml.reports.page import PALETTE

_CONCLUSIONS = {
    Decision.PROMOTE: "The challenger is better",
    Decision.ROLL_BACK: "The challenger is rolled back",
    Decision.INCONCLUSIVE: "No difference is known",
    Decision.ERROR: "The arms cannot be compared",
}
_KINDS = {Decision.PROMOTE: "passed", Decision.ROLL_BACK: "failed", Decision.ERROR: "failed"}


def write(events: Sequence[Event], experiment: Experiment | None, file: str | Path) -> None:
    """Writes the page.

    Args:
        events: Of the deployment, the oldest first; the first one says that it began.
        experiment: What it had; None where it had none.
        file: The HTML file.
    """
    begun = next(event for event in events if isinstance(event, Begun))
    ended = next((event for event in reversed(events) if isinstance(event, Held | Undone)), None)
    page.render(
        "deployed.html.j2",
        file,
        f"{begun.name} version {begun.version}: deployment {begun.number}",
        begun=begun,
        state=WORDS[type(ended)] if ended else "begun",
        said=ended.headline if ended else "it is under way",
        ended=ended,
        steps=[event for event in events if isinstance(event, StepTaken)],
        experiment=experiment,
        conclusion=_CONCLUSIONS[experiment.decision] if experiment else "",
        kind=_KINDS.get(experiment.decision, "warning") if experiment else "",
        shares=_shares(experiment.adapted) if experiment and experiment.adapted and experiment.adapted.shares else None,
        band=_band(experiment.points) if experiment and experiment.points else None,
    )


def _shares(adapted: Adapted) -> OverTime:
    """The challenger's share as it was set, between the floors of both."""
    points = [
        Point(datetime.fromisoformat(one.at), one.value, f"{one.at[:16]}: {one.value:.0%}") for one in adapted.shares
    ]
    floors = [Limit(adapted.floor, "floor"), Limit(1 - adapted.floor, "floor of the champion")]
    return OverTime([Line("challenger", PALETTE[0], points)], limits=floors, written="{:.0%}".format)


def _band(points: Sequence[experiments.Point]) -> Band:
    return Band(
        [point.units for point in points],
        values=[point.value for point in points],
        lows=[point.interval[0] for point in points],
        highs=[point.interval[1] for point in points],
        across_name="callers whose outcome is known",
    )
