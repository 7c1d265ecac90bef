"""The data report: what was found, then the pictures, then every column."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from markupsafe import Markup

from cd4ml.contracts.drift import LARGE, Change, Comparison
from cd4ml.contracts.findings import Findings, Proxy
from cd4ml.contracts.provenance import Provenance
from cd4ml.reports import page
from cd4ml.validation import figures, waivers
from cd4ml.validation.audit.duties import DUTIES
from cd4ml.validation.columns import Column
from cd4ml.validation.on_disk import Table

NAMED = 3
"""Features beside each proxy."""
SEVERITIES = ("error", "warning", "note")

Samples = Mapping[str, tuple[pa.Table, pa.Table]]
"""By split the rows that it was held against and its own."""


def write(
    found: Findings,
    *,
    columns: Sequence[Column],
    tables: Mapping[str, Table],
    samples: Samples,
    provenance: Provenance,
    path: str | Path,
) -> None:
    """Writes the report, one HTML file.

    Args:
        found: The findings.
        columns: The columns of the splits.
        tables: The splits.
        samples: The rows of which the comparisons are.
        provenance: How the version was read, and what has changed since the one before.
        path: The file to write.
    """
    drawn = figures.drawable(columns)[: figures.MOST_COLUMNS]
    kinds = {finding.kind for finding in found.findings} | ({"anonymity"} if found.anonymity else set())
    counted = [finding for finding in found.findings if not waivers.excused(found, finding)]
    of_severity = {one: [finding for finding in counted if finding.severity == one] for one in SEVERITIES}
    page.render(
        "data.html.j2",
        path,
        title=f"Data: {found.dataset}",
        found=found,
        provenance=provenance,
        columns=columns,
        errors=of_severity["error"],
        warnings=of_severity["warning"],
        notes=of_severity["note"],
        waived=[finding for finding in found.findings if waivers.excused(found, finding)],
        waivers=waivers.said(found),
        duties={kind: duty for kind, duty in DUTIES.items() if kind in kinds},
        proxies=[proxy for proxy in found.proxies if not proxy.by],
        best={
            (one.column, one.group): [proxy for proxy in found.proxies if _same(proxy, one) and proxy.by][:NAMED]
            for one in found.proxies
        },
        missing=[column for column in columns if column.missing],
        label_rates=figures.label_rates(found),
        distributions=[(column.name, figures.distribution(column, tables)) for column in drawn],
        colours=figures.COLOURS,
        undrawn=len(columns) - len(drawn),
        changes=_changes(found, samples),
        change_colours=figures.CHANGE_COLOURS,
        large=LARGE,
        left_out={name: reason for one in found.comparisons for name, reason in one.left_out.items()},
    )


def _same(one: Proxy, other: Proxy) -> bool:
    return (one.column, one.group) == (other.column, other.group)


def _changes(found: Findings, samples: Samples) -> list[tuple[Comparison, list[tuple[Change, Markup | None]]]]:
    """By comparison the changes beyond chance, the first ones of all with a picture."""
    left, shown = figures.MOST_COLUMNS, []
    for one in found.comparisons:
        before, now = samples[one.split]
        rows: list[tuple[Change, Markup | None]] = []
        for change in one.beyond_chance():
            drawn = left > 0 and change.measures
            both = (before.column(change.column), now.column(change.column)) if drawn else None
            rows.append((change, figures.change(*both, note="all rows" if change.slice else "") if both else None))
            left -= both is not None
        shown.append((one, rows))
    return shown
