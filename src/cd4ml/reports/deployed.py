"""The page about one deployment: how it went, step by step, and its experiment, where it had one."""

from collections.abc import Sequence
from pathlib import Path

from cd4ml.contracts.deployment import WORDS, Begun, Event, Held, StepTaken, Undone
from cd4ml.contracts.experiment import Decision, Experiment, Point
from cd4ml.reports import page
from cd4ml.reports.band import Band

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
        band=_band(experiment.points) if experiment and experiment.points else None,
    )


def _band(points: Sequence[Point]) -> Band:
    return Band(
        [point.units for point in points],
        values=[point.value for point in points],
        lows=[point.interval[0] for point in points],
        highs=[point.interval[1] for point in points],
        across_name="callers whose outcome is known",
    )
