"""The page of what was found of a run's windows: all of them, the worst first, in one small file."""

import html
import re
from pathlib import Path

from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window_drift import WindowDrift
from cd4ml.monitoring import window_page

EVIL = "<script>alert(1)</script>"


def compared(day: int, checks: tuple[Check, ...]) -> WindowDrift:
    key = f"202601{day:02}T000000Z-202601{day + 1:02}T000000Z"
    return WindowDrift("uptake", key, 1, 0.01, (), checks)


def test_what_failed_stands_first_with_its_reason_and_texts_of_callers_are_no_markup(tmp_path: Path) -> None:
    passed = Check("drift of age", "at most 0.1", 0.01, Outcome.PASSED, "as in training")
    failed = Check(f"drift of {EVIL}", "at most 0.1", 0.5, Outcome.FAILED, f"more are {EVIL}")

    window_page.write([compared(1, (passed, failed))], tmp_path / "page.html", about="what differs from training")

    page = (tmp_path / "page.html").read_text()
    assert EVIL not in page
    assert f"more are {EVIL}" in html.unescape(page)
    assert page.index("more are") < page.index("as in training")
    assert "2026-01-01 00:00 UTC to 2026-01-02 00:00 UTC" in page


def test_many_windows_are_listed_and_the_latest_shown_whole_in_a_file_that_loads_nothing(tmp_path: Path) -> None:
    checks = tuple(Check(f"drift of {one}", "at most 0.1", 0.01, Outcome.PASSED, "as before") for one in range(300))
    windows = [compared(day, checks) for day in range(1, 28)]

    window_page.write(windows, tmp_path / "page.html", about="what differs from training")

    page = (tmp_path / "page.html").read_text()
    assert "27 windows, the last 2026-01-27 00:00 UTC" in page
    assert all(f"2026-01-{day:02} 00:00 UTC" in page for day in range(1, 28))
    assert page.count("drift of 299") == window_page.MOST_WHOLE
    assert len(page) < 2**20
    assert not re.search(r"(src|href)=", page)


def test_where_no_window_is_due_the_page_says_so(tmp_path: Path) -> None:
    window_page.write([], tmp_path / "page.html", about="what differs from training")

    page = (tmp_path / "page.html").read_text()
    assert "<title>What differs from training</title>" in page
    assert "No window is due." in page
