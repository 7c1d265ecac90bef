"""The data report: what was found, then the pictures, then every column."""

from collections.abc import Sequence
from pathlib import Path

from cd4ml.data import figures
from cd4ml.data.columns import Column
from cd4ml.data.findings import Findings
from cd4ml.reports import page


def write(found: Findings, columns: Sequence[Column], path: str | Path) -> None:
    """Writes the report, one HTML file."""
    errors = [finding for finding in found.findings if finding.severity == "error"]
    page.render(
        "data.html.j2",
        path,
        title=f"Data: {found.dataset}",
        found=found,
        columns=columns,
        errors=errors,
        warnings=[finding for finding in found.findings if finding.severity == "warning"],
        missing=[column for column in columns if column.missing],
        label_rates=figures.label_rates(found),
        distributions=figures.distributions(columns),
        undrawn=len(columns) - len(figures.drawable(columns)[: figures.MOST_COLUMNS]),
    )
