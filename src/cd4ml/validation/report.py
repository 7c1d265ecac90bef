"""The data report: what was found, then the pictures, then every column."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from cd4ml.contracts.findings import Findings
from cd4ml.reports import page
from cd4ml.validation import figures
from cd4ml.validation.columns import Column

SEVERITIES = ("error", "warning", "note")


def write(found: Findings, *, columns: Sequence[Column], tables: Mapping[str, pa.Table], path: str | Path) -> None:
    """Writes the report, one HTML file.

    Args:
        found: The findings.
        columns: The columns of the splits.
        tables: The splits.
        path: The file to write.
    """
    drawn = figures.drawable(columns)[: figures.MOST_COLUMNS]
    of_severity = {one: [finding for finding in found.findings if finding.severity == one] for one in SEVERITIES}
    page.render(
        "data.html.j2",
        path,
        title=f"Data: {found.dataset}",
        found=found,
        columns=columns,
        errors=of_severity["error"],
        warnings=of_severity["warning"],
        notes=of_severity["note"],
        missing=[column for column in columns if column.missing],
        label_rates=figures.label_rates(found),
        distributions=[(column.name, figures.distribution(column, tables)) for column in drawn],
        colours=figures.COLOURS,
        undrawn=len(columns) - len(drawn),
    )
