"""docs/columnar.md: the example for people who want TFMA in columns and no more."""

import re
from pathlib import Path

import pytest
from scipy import stats

PAGE = Path(__file__).parents[3] / "docs" / "columnar.md"


def test_the_example_gives_the_areas_of_each_slice(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names = {}

    exec(compile(example, str(PAGE), "exec"), names)

    took, score, region = (names["columns"][name] for name in ("took", "score", "region"))
    printed = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines() if line.startswith("("))
    for name, rows in {"()": slice(None), "(('region', 'north'),)": region == "north"}.items():
        positive = took[rows] == 1
        statistic = stats.mannwhitneyu(score[rows][positive], score[rows][~positive]).statistic
        area = statistic / (positive.sum() * (~positive).sum())
        assert float(printed[name]) == pytest.approx(area, abs=1e-3)
    assert len(printed) == 3
