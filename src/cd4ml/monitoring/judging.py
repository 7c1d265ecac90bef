"""Gate: do the windows that were collected keep the limits? Each is kept as it was judged, and people are told.

A run fails where a check of the windows that it judged stands as an alert that nobody has acknowledged. What cannot be
told yet fails nothing, nor does a window that failed and was followed by one that passed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cd4ml.contracts.alerts import Alert
from cd4ml.contracts.verdict import WINDOW_GATE, Check, Outcome, Verdict
from cd4ml.contracts.window import DOCUMENT, Window
from cd4ml.contracts.window_drift import WindowDrift
from cd4ml.contracts.window_quality import WindowQuality
from cd4ml.errors import GateError
from cd4ml.monitoring import alerts, handed, monitored, receivers, spans, usual
from cd4ml.monitoring.monitored import Judged
from cd4ml.monitoring.receivers import Receivers
from cd4ml.monitoring.windows import UNREADABLE
from cd4ml.names import counted
from cd4ml.storage import Store, open_store

NOBODY: Mapping[str, str] = MappingProxyType({})
AGAIN = timedelta(hours=1)
"""What is added to two windows, until an alert that nobody speaks of any more is over."""


@dataclass(frozen=True)
class Outcomes:
    """What became of the windows of a run."""

    model: str
    verdict: Verdict
    """About all of them."""
    standing: tuple[Alert, ...]
    """All alerts of the model."""
    fresh: tuple[Alert, ...]
    """Those of them that the windows of this run bear, and nobody has acknowledged."""
    errors: tuple[Check, ...] = ()
    """Of windows that could not be collected."""
    is_captured: bool = True
    """Whether anything is."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What the verdict's artifact says of it in the UI."""
        about = {"alerts": [one.check for one in self.standing], "new": [one.check for one in self.fresh]}
        passed = not self.fresh and not self.errors and self.is_captured
        return {**self.verdict.metadata, "headline": self.headline, "passed": passed, **about}

    @property
    def headline(self) -> str:
        """How many windows, and how many alerts."""
        windows, errors = len(self.verdict.about), len(self.errors)
        said = [f"{counted(windows, 'window')} judged"] if windows else []
        said += [f"{counted(errors, 'window')} could not be collected"] if errors else []
        alerts_ = counted(len(self.standing), "alert") if self.standing else "no alerts"
        return ", ".join([*(said or [handed.NONE if self.is_captured else handed.UNCAPTURED]), alerts_])

    def raise_if_failed(self) -> None:
        """Ends the run where something is wrong that nobody knows of, or a window could not be collected.

        Raises:
            GateError: With a line for each.
        """
        said = []
        if self.errors:
            reasons = _bullets(one.reason for one in self.errors)
            said.append(f"{counted(len(self.errors), 'window')} could not be collected{reasons}")
        if self.fresh:
            know = f"`cd4ml monitor acknowledge {self.model} ALERT` says that somebody knows"
            said.append(f"{counted(len(self.fresh), 'alert')} of {self.model}{_bullets(map(line, self.fresh))}\n{know}")
        if said:
            whole = "\n".join(said)
            raise GateError(f"{WINDOW_GATE}: {whole}")


def check(
    windows: str | Path,
    *,
    drift: str | Path,
    quality: str | Path,
    model: str,
    store: str,
    output: str | Path,
    every: str = "1 day",
    tell: Mapping[str, str] = NOBODY,
) -> Outcomes:
    """Judges windows, keeps each as it was judged, and tells people of what is wrong.

    Args:
        windows: What collecting handed on.
        drift: The folder with what comparing found of each.
        quality: The folder with what measuring found of each.
        model: The model's name.
        store: The store.
        output: The file that takes the verdict about all of them.
        every: How long a window is.
        tell: By `alertmanager` and `webhook` the address of who is told of alerts; empty where there is none.

    Returns:
        What became of them; nothing has failed yet.

    Raises:
        DocumentError: What was found of a window cannot be read.
        StorageError: The store cannot be read or written.
    """
    opened = open_store(store)
    judged = []
    for folder in handed.every(windows):
        judged.append(_judged(opened, folder, drift=Path(drift), quality=Path(quality)))
        monitored.keep(opened, judged[-1])
    standing = alerts.look(opened, model).alerts.standing
    untold = receivers.tell(opened, model, Receivers(**tell), lasting=2 * spans.width(every) + AGAIN)
    failed = {name for one in judged for name in alerts.failed(one)}
    fresh = tuple(one for one in standing if one.check in failed and not one.acknowledged)
    collecting = handed.collecting(windows)
    warnings = [*collecting.warnings, *_acknowledged(standing), *untold]
    verdict = _together(judged, collecting.checks, warnings).write(output)
    errors = tuple(one for one in collecting.checks if one.outcome is Outcome.ERROR)
    is_captured = not any(one.outcome is Outcome.INCONCLUSIVE for one in collecting.checks)
    return Outcomes(model, verdict, standing, fresh, errors, is_captured=is_captured)


def line(alert: Alert) -> str:
    """An alert in one line."""
    since = alert.since.replace("+00:00", "Z")
    return f"{alert.id}: {alert.reason} (since {since}, {alert.cost})"


def _bullets(lines: Iterable[str]) -> str:
    return "".join(f"\n  - {one}" for one in lines)


def _judged(store: Store, folder: Path, *, drift: Path, quality: Path) -> Judged:
    """A window with what was found of it, and what its checks come to."""
    window, file = Window.read(folder / DOCUMENT), f"{folder.name}.json"
    drifted, measured = WindowDrift.read(drift / file), WindowQuality.read(quality / file)
    apart = (f"the window from {window.begin}: {one}" for one in window.kept_apart)
    uncompared = (f"the window from {window.begin}: {one}" for one in drifted.uncompared)
    warnings = (*(f"{one}: {UNREADABLE}" for one in window.unreadable), *apart, *uncompared)
    checks = (*drifted.checks, *measured.checks, *usual.of_window(store, window, drifted.by_version))
    verdict = Verdict(WINDOW_GATE, {"window": window.digest}, checks, warnings)
    return Judged(window, verdict, drifted, measured)


def _together(judged: Sequence[Judged], collecting: Sequence[Check], warnings: Sequence[str]) -> Verdict:
    """One verdict about several windows, and what collecting them came to: each check says of which it is."""
    checks = tuple(_of(check, one.window, several=len(judged) > 1) for one in judged for check in one.verdict.checks)
    own = [warning for one in judged for warning in one.verdict.warnings]
    about = {one.window.key: one.window.digest for one in judged}
    last = judged[-1].verdict.checks if judged else ()
    untold = [one.reason for one in (*collecting, *last) if one.outcome is Outcome.INCONCLUSIVE]
    return Verdict(WINDOW_GATE, about, (*checks, *collecting), (*own, *warnings, *untold))


def _of(check: Check, window: Window, *, several: bool) -> Check:
    return replace(check, name=f"{check.name} from {window.begin}") if several else check


def _acknowledged(standing: Sequence[Alert]) -> Iterator[str]:
    for one in standing:
        if one.acknowledged:
            said = one.acknowledged
            yield f"{one.check}: fails since {one.since}; {said.by} knows of it: {said.reason}"
