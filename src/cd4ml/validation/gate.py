"""The gate after validation: may a model be trained on this dataset?"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cd4ml.contracts.findings import Finding, Findings, percent
from cd4ml.contracts.verdict import Check, Verdict
from cd4ml.validation import limits
from cd4ml.validation.limits import Limits

NAMED = 3
"""How many findings a reason names."""


def check(path: str | Path, settings: dict[str, Any]) -> Verdict:
    """Holds what was found against the limits.

    Args:
        path: The findings that `validate_dataset` wrote.
        settings: As `Limits` has them.

    Raises:
        DocumentError: The file holds no findings.
        DataError: The limits are none.
    """
    allowed = limits.parse(settings)
    found = Findings.read(path)
    return Verdict("check_dataset", {"dataset": found.digest}, tuple(_checks(found, allowed)))


def _checks(found: Findings, allowed: Limits) -> Iterator[Check]:
    yield _at_most("label", found.of_kind("label"), 0)
    errors = [anomaly for anomaly in found.of_kind("anomaly") if anomaly.severity == "error"]
    yield _at_most("anomalies", errors, allowed.anomalies)
    yield _at_most("personal data", found.of_kind("personal_data"), allowed.personal_data)
    for split, least in allowed.min_rows.items():
        rows = found.rows[split]
        yield Check(
            f"rows of {split}",
            f"at least {least:,}",
            rows,
            rows >= least,
            f"{split}: {rows:,} rows, at least {least:,} wanted",
        )
    if allowed.min_group_share is not None:
        yield _smallest_share(found, allowed.min_group_share)
    if allowed.max_label_rate_gap is not None:
        yield _largest_gap(found, allowed.max_label_rate_gap)


def _at_most(name: str, found: Sequence[Finding], most: int) -> Check:
    passed = len(found) <= most
    named = "; ".join(finding.message for finding in found[:NAMED])
    more = f"; and {len(found) - NAMED} more, see the report" if len(found) > NAMED else ""
    reason = f"{name}: {len(found)} found, {most} allowed" + (f": {named}{more}" if found else "")
    return Check(name, f"at most {most}", len(found), passed, reason)


def _smallest_share(found: Findings, least: float) -> Check:
    name, limit = "share of the smallest sensitive group", f"at least {percent(least)}"
    sensitive = [group for group in found.groups if group.sensitive]
    if not sensitive:
        return Check(name, limit, None, False, f"{name}: no sensitive column is named, so it cannot be checked")
    smallest = min(sensitive, key=lambda group: group.share)
    reason = f"{smallest.column}={smallest.value}: {percent(smallest.share)} of the rows, {limit} wanted"
    return Check(name, limit, smallest.share, smallest.share >= least, reason)


def _largest_gap(found: Findings, most: float) -> Check:
    name, limit = "largest gap of the label rate", f"at most {percent(most)}"
    gaps = [(group.gap, group) for group in found.groups if group.gap is not None]
    if not gaps:
        reason = f"{name}: no sensitive or slice column with groups of enough rows, so it cannot be checked"
        return Check(name, limit, None, False, reason)
    gap, group = max(gaps, key=lambda one: one[0])
    reason = (
        f"{group.column}={group.value}: label rate {percent(group.label_rate or 0)}, all others "
        f"{percent(group.others_label_rate or 0)}: a gap of {percent(gap)}, {limit} allowed"
    )
    return Check(name, limit, gap, gap <= most, reason)
