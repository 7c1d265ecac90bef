"""The story of a year, a line for what happens."""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime

from cd4ml.contracts.deployment import StepTaken
from cd4ml.contracts.release import Version
from cd4ml.contracts.verdict import Outcome
from cd4ml.demo.visitors import Visitors
from cd4ml.monitoring import alerts, monitored
from cd4ml.monitoring.monitored import Judged
from cd4ml.names import counted
from cd4ml.registry import deployments
from cd4ml.registry.retrainings import Retraining
from cd4ml.storage import Store

Say = Callable[[str, str], None]
_OF_NOTE = ("fired", "resolved")


def when(at: str, what: str) -> tuple[str, str]:
    """A line that says its day."""
    return f"{datetime.fromisoformat(at):%Y-%m-%d}", what


def look(store: Store, model: str, *, keys: Collection[str], week: int, say: Say) -> None:
    """What was found of windows that were judged now."""
    judged = monitored.every(store, model, of=keys)
    if not judged:
        return
    last = judged[-1]
    labelled = [one for one in judged if one.window.key != last.window.key and _is_ripe(one)]
    words = [f"week {week}: {counted(len(judged), 'window')} judged", *_drift(last)]
    if last.quality:
        words.append(f"the last: {last.quality.headline}")
    say(*when(last.window.until, "; ".join(words)))
    if labelled and labelled[-1].quality:
        one = labelled[-1]
        say("", f"labels are ripe until {one.window.until[:10]}: {labelled[-1].quality.headline}")


def _is_ripe(judged: Judged) -> bool:
    return bool(judged.quality and judged.quality.ripe)


def _drift(judged: Judged) -> Iterator[str]:
    failed = [one for one in judged.drift.checks if one.outcome is Outcome.FAILED] if judged.drift else []
    if failed:
        yield f"{counted(len(failed), 'check')} of drift failed"


def changes(store: Store, model: str, *, since: int, say: Say) -> None:
    """The alerts that fired or were resolved after a state."""
    found = (one for state in alerts.history(store, model, after=since) for one in state.alerts.changes)
    for one in found:
        if one.what in _OF_NOTE:
            say("", f"alert {one.what}: {one.alert.check}: {one.why or one.alert.reason}")


def decided(one: Retraining, *, say: Say) -> None:
    """Whether the model is trained again, and why."""
    say("", f"to train again? {one.decided.headline}")
    if one.decided.gain:
        say("", one.decided.gain.said)


def rollout(store: Store, version: Version, visitors: Visitors, *, say: Say) -> None:
    """How a version came into production."""
    series = next(deployments.newest_first(store, version.name))
    for one in series.events:
        if isinstance(one, StepTaken):
            say("", f"rollout of version {version.version}: {one.step}: {one.said}")
    say("", f"{len(visitors.answered):,} requests were answered meanwhile, {visitors.failed:,} were not")
