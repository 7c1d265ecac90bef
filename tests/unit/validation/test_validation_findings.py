"""What findings and comparisons say of themselves, for the report and the gate."""

from dataclasses import replace

import pytest

from cd4ml.contracts.drift import Change, Comparison
from cd4ml.contracts.findings import Finding, Findings, Group, Waiver, percent

GROUP = Group("region", "north", sensitive=True, rows=100, share=0.5, label_rate=0.2, others_label_rate=0.5)
FINDING = Finding("leak", "error", "all", "refunded", 0.99, "column 'refunded' tells the label")
WAIVER = Waiver("leak", "refunded", "risk team", "asked in time", "2027-03-31")


def test_the_gap_of_a_group_is_how_far_it_is_from_the_others_on_either_side() -> None:
    assert GROUP.gap == replace(GROUP, label_rate=0.5, others_label_rate=0.2).gap == pytest.approx(0.3)


@pytest.mark.parametrize("changed", [{"rows": 99}, {"label_rate": None}, {"others_label_rate": None}])
def test_a_group_that_is_small_or_has_no_rate_has_no_gap(changed: dict[str, float | None]) -> None:
    assert replace(GROUP, **changed).gap is None


def test_a_group_has_the_interval_of_its_label_rate_where_it_has_one() -> None:
    low, high = GROUP.interval

    assert 0.1 < low < 0.2 < high < 0.3
    assert replace(GROUP, rows=1).interval is not None
    assert replace(GROUP, rows=0).interval is replace(GROUP, label_rate=None).interval is None


def test_a_waiver_is_told_with_what_it_is_about_and_who_answers_for_it() -> None:
    assert str(WAIVER) == "the waiver for leak of 'refunded' (risk team, until 2027-03-31: asked in time)"
    assert str(replace(WAIVER, column="")) == "the waiver for leak (risk team, until 2027-03-31: asked in time)"


def found(*findings: Finding, waivers: tuple[Waiver, ...] = ()) -> Findings:
    rows = {"train": 80, "eval": 10, "test": 10}
    return Findings("players", 1, "sha256:a", "took", "true", 0.4, rows, (), findings, waivers=waivers)


def test_a_finding_has_the_waiver_of_its_kind_and_column() -> None:
    others = (replace(WAIVER, column="age"), replace(WAIVER, finding="proxy"))

    assert found(FINDING, waivers=(*others, WAIVER)).waiver_of(FINDING) == WAIVER
    assert found(FINDING, waivers=others).waiver_of(FINDING) is None


def test_findings_are_counted_for_the_ui_by_how_bad_they_are() -> None:
    anomaly, note = replace(FINDING, kind="anomaly"), replace(FINDING, severity="note")
    warning = replace(anomaly, severity="warning")

    both = found(anomaly, FINDING, warning, warning, note)

    assert both.of_kind("leak") == [FINDING, note]
    assert both.metadata == {
        "headline": "3 anomalies, 1 column that leaks the label",
        "anomalies": 3,
        "errors": 2,
        "warnings": 2,
        "digest": "sha256:a",
    }


def test_a_share_is_told_to_a_tenth_of_a_percent() -> None:
    assert [percent(share) for share in (0, 0.0004, 0.1234, 1)] == ["0.0 %", "0.0 %", "12.3 %", "100.0 %"]


def test_the_changes_that_a_person_is_told_are_large_and_beyond_chance() -> None:
    def change(column: str, effect: float, rate: float) -> Change:
        return Change(column, effect, {}, rate, "")

    changes = (change("a", 0.1, 0.01), change("b", 0.0999, 0.01), change("c", 0.9, 0.011), change("d", 0.9, 0))
    compared = Comparison("eval", "train", (800, 100), (800, 100), changes, None, {})

    assert compared.name == "eval against train"
    assert [one.column for one in compared.told] == ["a", "d"]
    assert [one.column for one in compared.beyond_chance()] == ["a", "b", "d"]
    assert [one.column for one in compared.beyond_chance(0.02)] == ["a", "b", "c", "d"]
