"""The file of a year in a box: what cannot be is told before anything is trained."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
import yaml

from cd4ml.demo import year_file
from cd4ml.errors import ArgumentsError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "promotions" / "year"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_traffic_of_the_example_changes_with_the_drift_and_its_labels_come_weeks_late() -> None:
    year, rows = year_file.read(EXAMPLE)
    week = {"begin": BEGIN, "until": BEGIN + timedelta(days=7), "seed": 3}

    before, after = (rows(500, drifted=drifted, **week) for drifted in (False, True))

    assert "stream" not in before["acquisition"].to_pylist()
    assert 200 < after["acquisition"].to_pylist().count("stream") < 400
    time = year.training["time_column"]
    assert BEGIN <= pc.min(after[time]).as_py() <= pc.max(after[time]).as_py() < BEGIN + timedelta(days=7)
    delays = pc.subtract(after[year_file.KNOWN], after[time]).to_pylist()
    assert timedelta(days=7) <= min(delays) <= max(delays) <= timedelta(days=35)
    assert after.equals(rows(500, drifted=True, **week))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"looks": [36, 13, 52]}, "looks: write weeks that rise, the last one 52, with which the year ends"),
        ({"looks": [13]}, "looks: write weeks that rise, the last one 52"),
        ({"weaks": 3}, "weaks"),
        ({"traffic": "nobody.py"}, "nobody.py: no such Python file"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    content = yaml.safe_load((EXAMPLE / "year.yaml").read_text())
    (tmp_path / "year.yaml").write_text(yaml.safe_dump(content | changes))

    with pytest.raises(ArgumentsError) as refused:
        year_file.read(tmp_path)

    assert told in str(refused.value)
