"""The gate after validation: may a model be trained on this dataset?"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cd4ml.contracts.bounds import Bounds, Measured, hold
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.drift import Change
from cd4ml.contracts.findings import Finding, Findings, Group, Kind, Proxy, percent
from cd4ml.contracts.verdict import DATA_GATE, Check, Outcome, Verdict
from cd4ml.errors import DataError
from cd4ml.registry import catalogue, clock, records
from cd4ml.validation import age, limits, waivers
from cd4ml.validation.limits import Drift, Limits

COUNT = "{:,}".format
NAMED = 3
"""How many findings a reason names."""
_Measured = TypeVar("_Measured", Change, Group, Proxy)


def judge(path: str | Path, settings: dict[str, Any], *, dataset: str | Path, store: str, file: str | Path) -> Verdict:
    """Holds what was found against the limits, and ends the run where one is not kept.

    Args:
        path: What `validate_dataset` wrote.
        settings: As `Limits` has them.
        dataset: What `ingest_dataset` wrote.
        store: The store, which gets the record of a run that ends here.
        file: Takes the verdict.

    Raises:
        GateError: A limit is not kept.
        DocumentError: A file does not hold that.
        DataError: The limits are none, or the findings are about another version.
    """
    verdict = check(path, settings, dataset=dataset).write(file)
    catalogue.judged(store, DatasetVersion.read(dataset), verdict)
    return records.judge(store, verdict)


def check(path: str | Path, settings: dict[str, Any], *, dataset: str | Path | None = None) -> Verdict:
    """Holds what was found against the limits.

    Args:
        path: The findings that `validate_dataset` wrote.
        settings: As `Limits` has them.
        dataset: The version that `ingest_dataset` wrote; without it nothing is known of its age.

    Raises:
        DocumentError: A file does not hold that.
        DataError: The limits are none, or the findings are about another version.
    """
    allowed = limits.parse(settings)
    found, now = Findings.read(path), clock.moment()
    unknown = DatasetVersion(found.dataset, "", found.version, 0, found.digest)
    version = DatasetVersion.read(dataset) if dataset else unknown
    if version.digest != found.digest:
        raise DataError(f"{path}: is about {found.digest}, not {version.digest}; run validate_dataset again")
    checks = [*_checks(found, allowed)]
    if allowed.freshness:
        checks += age.checks(version, allowed.freshness, now)
    warnings = [*waivers.said(found), *age.warnings(version, now)]
    return Verdict(DATA_GATE, {"dataset": found.digest}, tuple(checks), tuple(warnings))


def _checks(found: Findings, allowed: Limits) -> Iterator[Check]:
    yield _at_most("label", found.of_kind("label"), 0)
    yield _at_most("anomalies", _errors(_counted(found, "anomaly")), allowed.anomalies)
    people = [finding for finding in _counted(found, "personal_data") if finding.severity != "note"]
    yield _at_most("personal data", people, allowed.personal_data)
    yield _at_most("leaks", _errors(_counted(found, "leak")), allowed.leaks)
    for split, least in allowed.min_rows.items():
        rows, bounds = found.rows[split], Bounds(least, None, shown=COUNT)
        yield hold(
            f"rows of {split}",
            slice_="",
            bounds=bounds,
            measured=Measured(rows),
            said=f"{split}: {rows:,} rows, {bounds} wanted",
        )
    for split, least in allowed.min_class_rows.items():
        if not found.is_of_a_number:
            yield from _fewest_of_a_class(found, split, least)
        elif "min_class_rows" in allowed.model_fields_set:
            yield _is_no_limit_of(found, f"rows of a class in {split}", Bounds(least, None, shown=COUNT))
    if allowed.min_group_share is not None:
        yield _smallest_share(found, allowed.min_group_share)
    if allowed.max_label_rate_gap is not None:
        yield _largest_gap(found, allowed.max_label_rate_gap)
    if allowed.max_copies is not None:
        yield _most_copies(found, allowed.max_copies)
    if allowed.max_proxy_auc is not None:
        yield _best_proxy(found, allowed.max_proxy_auc)
    if allowed.min_alike is not None:
        yield _least_alike(found, allowed.min_alike)
    if allowed.drift:
        yield from _drift(found, allowed.drift)


def _fewest_of_a_class(found: Findings, split: str, least: int) -> Iterator[Check]:
    if found.positives is None and found.class_rows is None:
        return  # the label is of no use, which has failed
    rows, bounds = found.rows[split], Bounds(least, None, shown=COUNT)
    if found.class_rows is not None:
        of_classes = found.class_rows[split]
        rarest = min(of_classes, key=lambda name: of_classes[name])
        fewest, which, remedy = of_classes[rarest], f"the class {rarest!r}", ", or group it with another class"
    else:
        positive = (found.positives or {})[split]
        fewest, which, remedy = min(positive, rows - positive), "the rarer class", ""
    said = (
        f"{split}: {fewest:,} of {rows:,} rows are of {which}, {bounds} wanted; give more data, or a larger share to "
        f"{split}{remedy}"
    )
    yield hold(f"rows of a class in {split}", slice_="", bounds=bounds, measured=Measured(fewest), said=said)


def _is_no_limit_of(found: Findings, name: str, bounds: Bounds) -> Check:
    """Of a limit that the label cannot keep."""
    if found.is_of_a_number:
        said = f"{name}: is of classes, and the label {found.label!r} is a number; leave it out"
    else:
        said = f"{name}: is of a positive class, and the label {found.label!r} has none; leave it out"
    return Check(name, str(bounds), None, Outcome.ERROR, said)


def _counted(found: Findings, kind: Kind) -> list[Finding]:
    """The findings of a kind that no waiver excuses."""
    return [finding for finding in found.of_kind(kind) if not waivers.excused(found, finding)]


def _not_waived(found: Findings, kind: Kind, measured: Sequence[_Measured]) -> list[_Measured]:
    """What was measured of the columns that no waiver for this kind keeps out."""
    waived = waivers.columns(found, kind)
    return [one for one in measured if one.column not in waived]


def _all_waived(name: str, bounds: Bounds) -> Check:
    return Check(name, str(bounds), None, Outcome.SKIPPED, f"{name}: every column that it is about is waived")


def _why_none(found: Findings, otherwise: str) -> str:
    """Why there is no sensitive group to measure."""
    if not found.ungrouped or any(group.sensitive for group in found.groups):
        return otherwise
    columns = ", ".join(map(repr, found.ungrouped))
    return f"{columns} left out as personal data, and counted only with a waiver for `personal_data`"


def _errors(found: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.severity == "error"]


def _at_most(name: str, found: Sequence[Finding], most: int) -> Check:
    said = f"{name}: {len(found)} found, {most} allowed{_named([finding.message for finding in found])}"
    return hold(name, slice_="", bounds=Bounds(None, most, shown=COUNT), measured=Measured(len(found)), said=said)


def _named(messages: Sequence[str]) -> str:
    """The end of a sentence that names the first of what was found; empty where nothing was."""
    more = [f"and {len(messages) - NAMED} more, see the report"] if len(messages) > NAMED else []
    return ": " + "; ".join([*messages[:NAMED], *more]) if messages else ""


def _smallest_share(found: Findings, least: float) -> Check:
    name, bounds = "share of the smallest sensitive group", Bounds(least, None, shown=percent)
    groups = [group for group in found.groups if group.sensitive]
    sensitive = _not_waived(found, "representation", groups)
    if groups and not sensitive:
        return _all_waived(name, bounds)
    if not sensitive:
        said = f"{name}: {_why_none(found, 'no sensitive column is named')}, so it cannot be checked"
        return hold(name, slice_="", bounds=bounds, measured=Measured(None), said=said)
    smallest = min(sensitive, key=lambda group: group.share)
    said = f"{smallest.column}={smallest.value}: {percent(smallest.share)} of the rows, {bounds} wanted"
    return hold(name, slice_="", bounds=bounds, measured=Measured(smallest.share), said=said)


def _largest_gap(found: Findings, most: float) -> Check:
    name, bounds = "largest gap of the label rate", Bounds(None, most, shown=percent)
    if found.is_of_a_number or found.class_rows is not None:
        return _is_no_limit_of(found, name, bounds)
    groups = [group for group in found.groups if group.gap is not None]
    gaps = [(group.gap or 0.0, group) for group in _not_waived(found, "label_balance", groups)]
    if groups and not gaps:
        return _all_waived(name, bounds)
    if not gaps:
        why = _why_none(found, "no sensitive or slice column with groups of enough rows")
        said = f"{name}: {why}, so it cannot be checked"
        return hold(name, slice_="", bounds=bounds, measured=Measured(None, too_few=bool(found.groups)), said=said)
    gap, group = max(gaps, key=lambda one: one[0])
    said = (
        f"{group.column}={group.value}: label rate {percent(group.label_rate or 0)}, all others "
        f"{percent(group.others_label_rate or 0)}: a gap of {percent(gap)}, {bounds} allowed"
    )
    return hold(name, slice_="", bounds=bounds, measured=Measured(gap), said=said)


def _most_copies(found: Findings, most: float) -> Check:
    name, bounds = "largest share of rows that are in train too", Bounds(None, most, shown=percent)
    if "" in waivers.columns(found, "duplicate"):
        return Check(name, str(bounds), None, Outcome.SKIPPED, f"{name}: waived")
    if not found.copies:
        measured = Measured(None, why_not="no copies were counted; run validate_dataset again")
        return hold(name, slice_="", bounds=bounds, measured=measured)
    largest = max(found.copies, key=lambda copies: copies.share)
    measured = Measured(largest.share, largest.interval)
    return hold(name, slice_="", bounds=bounds, measured=measured, said=f"{largest.said}; {bounds} allowed")


def _best_proxy(found: Findings, most: float) -> Check:
    name, bounds = "AUC of the features for a sensitive group", Bounds(None, most)
    proxies = [proxy for proxy in found.proxies if not proxy.by]
    together = _not_waived(found, "proxy", proxies)
    if proxies and not together:
        return _all_waived(name, bounds)
    if not together:
        why = _why_none(found, "no sensitive column with groups of enough rows")
        said = f"{name}: {why}, so it cannot be checked"
        return hold(name, slice_="", bounds=bounds, measured=Measured(None), said=said)
    best = max(together, key=lambda proxy: proxy.auc)
    subject = f"{name}, {best.column}={best.group}"
    return hold(subject, slice_="", bounds=bounds, measured=Measured(best.auc, best.interval))


def _least_alike(found: Findings, least: int) -> Check:
    name, bounds = "rows alike in what others may know of a person", Bounds(least, None, shown=COUNT)
    hidden = found.anonymity
    if hidden is None:
        said = f"{name}: no column is known to be of that kind, nor named as sensitive, so it cannot be checked"
        return hold(name, slice_="", bounds=bounds, measured=Measured(None), said=said)
    said = f"{', '.join(hidden.columns)}: at least {hidden.smallest:,} rows are alike, {bounds} wanted"
    return hold(name, slice_="", bounds=bounds, measured=Measured(hidden.smallest), said=said)


def _drift(found: Findings, allowed: Drift) -> Iterator[Check]:
    """One check a split; a first model has nothing that train could be held against."""
    bounds = Bounds(None, allowed.max_effect, shown="{:g}".format)
    for one in found.comparisons:
        changed = _not_waived(found, "drift", one.beyond_chance(allowed.false_alarm_rate))
        broken = [change for change in changed if change.effect > allowed.max_effect]
        largest = max((change.effect for change in changed), default=0.0)
        named = [f"{change.said or f'`{change.column}` has changed'} (effect {change.effect:.2f})" for change in broken]
        said = (
            f"drift of {one.name}: {len(broken)} of {len(one.changes)} columns with an effect above "
            f"{allowed.max_effect:g}, beyond chance at a false-alarm rate of {allowed.false_alarm_rate:g}"
            f"{_named(named)}"
        )
        yield hold(f"drift of {one.name}", slice_="", bounds=bounds, measured=Measured(largest), said=said)
    for other in found.uncompared:
        name = f"drift of {other.split}"
        if other.too_few:
            measured = Measured(None, too_few=True, why_not=other.reason)
            yield hold(name, slice_="", bounds=bounds, measured=measured)
        else:
            yield Check(name, str(bounds), None, Outcome.SKIPPED, f"{name} is held against nothing: {other.reason}")
    if not found.comparisons and not found.uncompared:
        measured = Measured(None, why_not="the splits were not compared; run validate_dataset again")
        yield hold("drift", slice_="", bounds=bounds, measured=measured)
