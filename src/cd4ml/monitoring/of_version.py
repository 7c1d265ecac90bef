"""The requests of a window that one version of the model answered, held against what that version was trained on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cd4ml.contracts import moments
from cd4ml.contracts.captured_values import Typed, by_feature, have_features, is_hashed, typed
from cd4ml.contracts.drift import FALSE_ALARMS
from cd4ml.contracts.model import Contract
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window import Part, Window
from cd4ml.contracts.window_drift import Age, VersionDrift, in_version
from cd4ml.monitoring import answers, comparison_checks, held_against, skew
from cd4ml.monitoring.callers import Drawn
from cd4ml.monitoring.skew import Judging
from cd4ml.monitoring.trained_on import TrainedOn
from cd4ml.names import counted

FAMILIES = 3
"""Of the checks of a version that raise false alarms: of inputs, of predictions, of what training never had."""
DAY_MICROSECONDS = 86_400 * 10**6


@dataclass(frozen=True)
class Asked:
    """What one version was asked within a window."""

    window: Window
    version: str
    parts: list[Part]
    drawn: Drawn | None
    """None where nothing was predicted."""
    families: int
    """Of checks, of all versions, among which the false alarms of the window are divided."""

    @property
    def where(self) -> str:
        """What stands behind the names of checks."""
        return in_version(self.version)


def judge(asked: Asked, trained: TrainedOn | None) -> tuple[VersionDrift, list[Check]]:
    """What was found of one version, and how that is judged.

    Args:
        asked: What it was asked.
        trained: What it was trained on; None where it is not published.
    """
    drawn, parts = asked.drawn, asked.parts
    found = VersionDrift(
        version=asked.version,
        requests=sum(one.requests for one in parts),
        errors=sum(one.errors for one in parts),
        latency_ms=answers.latencies(parts),
        rows=drawn.rows if drawn else 0,
        callers=drawn.callers if drawn else 0,
        compared=len(drawn.table) if drawn else 0,
    )
    checks = [answers.errors(parts, asked.where)]
    if drawn is None:
        return found, checks
    if trained is None:
        return found, [*checks, _unpublished(asked)]
    found, more = _held(found, asked, rows=drawn.table, trained=trained)
    return found, [*checks, *more]


def _held(found: VersionDrift, asked: Asked, *, rows: pa.Table, trained: TrainedOn) -> tuple[VersionDrift, list[Check]]:
    """The same with what is compared, and the checks of that."""
    there = have_features(rows)
    asked_with = rows.filter(pa.array(there))
    features, hashed = _captured(asked.window, asked_with, trained.contract)
    held = held_against.Held(asked.window, where=asked.where, families=asked.families, trained=trained)
    inputs, predictions = held.inputs(features, hashed), held.predictions(rows)
    few = comparison_checks.too_few(len(asked_with), trained.about.drawn) if trained.about else ""
    skews, told = skew.of_features(features, trained, Judging(FALSE_ALARMS / asked.families, few, asked.where))
    names = {one.name for one in trained.contract.inputs}
    compared = replace(
        found,
        reference=trained.about.name if trained.about else "",
        inputs=inputs.comparison,
        predictions=predictions.comparison,
        skew=skews,
        ages=tuple(_ages(asked_with, features)),
        unused=tuple(name for name in asked.window.features if name not in names),
    )
    without = [_without_features(asked, there)] if features and not there.all() else []
    return compared, [*inputs.checks, *predictions.checks, *told, *without]


def _without_features(asked: Asked, there: npt.NDArray[np.bool_]) -> Check:
    reason = (
        f"of {np.count_nonzero(~there):,} of {counted(len(there), 'row')} no feature was captured, so that the inputs "
        "of the others alone are compared; have them captured (docs/monitoring.md, What is captured)"
    )
    return Check(f"rows without features{asked.where}", "none", None, Outcome.SKIPPED, reason)


def _unpublished(asked: Asked) -> Check:
    said = f"version {asked.version}" if asked.version else "a version that its arm does not name"
    reason = (
        f"{said} answered, and is no published version of {asked.window.model}, so there is nothing to hold its "
        "requests against; publish what is deployed, or name the version in the traffic"
    )
    return Check(f"drift{asked.where}", "a published version", None, Outcome.ERROR, reason)


def _captured(window: Window, rows: pa.Table, contract: Contract) -> tuple[dict[str, Typed], set[str]]:
    """The features of the model that were captured as they are, by name, and the names of those that seem hashed.

    What the contract marks as personal is neither.
    """
    columns = by_feature(rows)
    there = [one for one in contract.inputs if one.name in window.features and one.name in columns and not one.personal]
    hashed = {one.name for one in there if is_hashed(columns[one.name])}
    return {one.name: typed(columns[one.name], one) for one in there if one.name not in hashed}, hashed


def _ages(rows: pa.Table, features: Mapping[str, Typed]) -> Iterator[Age]:
    """How old the moments of each date were when their requests came in."""
    at = rows["at"].cast(pa.int64()).to_numpy()
    for name, one in features.items():
        if not pa.types.is_timestamp(one.values.type):
            continue
        made = one.values.cast(pa.int64()).fill_null(moments.MISSING).to_numpy()
        there = made != moments.MISSING
        days = (at[there] - made[there]) / DAY_MICROSECONDS
        if len(days):
            yield Age(name, *map(float, np.quantile(days, (0.5, 0.95))))
