from datetime import timedelta
from pathlib import Path

import pytest

from cd4ml.contracts.drift import Change, Comparison
from cd4ml.contracts.findings import Anonymity, Copies, Finding, Findings, Group, Proxy, Waiver
from cd4ml.contracts.verdict import Outcome
from cd4ml.errors import DataError
from cd4ml.validation import waivers
from cd4ml.validation.audit.duties import DUTIES
from cd4ml.validation.gate import check

TODAY = waivers.today()
TOMORROW, YESTERDAY = (str(TODAY + timedelta(days)) for days in (1, -1))
WRITTEN = {
    "finding": "leak",
    "column": "refunded",
    "owner": "risk team",
    "reason": "asked in time",
    "until": TOMORROW,
}
LEAK = Finding("leak", "error", "all", "refunded", 0.99, "column 'refunded' alone tells the label", (0.98, 1.0))


def judged(tmp_path, limits=None, **changed):
    found = Findings(
        **{
            "dataset": "players",
            "version": 1,
            "digest": "sha256:abc",
            "label": "took",
            "positive": "true",
            "label_rate": 0.4,
            "rows": {"train": 800, "eval": 100, "test": 100},
            "groups": (),
            "findings": (LEAK,),
            **changed,
        }
    )
    found.write(tmp_path / "findings.json")
    return check(tmp_path / "findings.json", limits or {})


def test_a_waived_finding_does_not_count_and_the_verdict_says_who_answers_for_it(tmp_path):
    assert judged(tmp_path).reasons == ["leaks: 1 found, 0 allowed: column 'refunded' alone tells the label"]

    verdict = judged(tmp_path, waivers=waivers.parse([WRITTEN]))

    assert verdict.passed
    assert verdict.warnings == (
        f"the waiver for leak of 'refunded' (risk team, until {TOMORROW}: asked in time) is used",
    )


@pytest.mark.parametrize("changed", [{"column": "other"}, {"finding": "personal_data"}])
def test_a_waiver_for_something_else_excuses_nothing_and_is_said_to_be_of_no_use(tmp_path, changed):
    verdict = judged(tmp_path, waivers=waivers.parse([WRITTEN | changed]))

    assert not verdict.passed
    assert "fits no finding; take it out" in verdict.warnings[0]


def test_a_waiver_holds_on_its_last_day_and_not_after_it(tmp_path):
    lasting, ended = (Waiver(**(WRITTEN | {"until": day})) for day in (str(TODAY), YESTERDAY))

    assert judged(tmp_path, waivers=(lasting,)).passed
    verdict = judged(tmp_path, waivers=(ended,))
    assert not verdict.passed
    assert "has ended, and what it is about counts" in verdict.warnings[0]


def test_mistakes_in_waivers_are_told_together():
    with pytest.raises(DataError) as error:
        waivers.parse(
            [
                WRITTEN | {"until": YESTERDAY},
                WRITTEN | {"finding": "leek"},
                WRITTEN | {"owner": " "},
                WRITTEN | {"until": "soon"},
                {"finding": "label"},
                WRITTEN | {"why": "x"},
            ]
        )

    for said in (
        f"0.until: ended on {YESTERDAY}; mend what it is about",
        "1.finding: 'leek' is no kind of finding that can be waived; did you mean 'leak'?",
        "2.owner: is empty",
        "3.until: 'soon' is no day; write one as '2027-03-31'",
        "4.finding: 'label' is no kind of finding that can be waived",
        "4.until: missing",
        "5.why: unknown",
    ):
        assert said in str(error.value)


def test_two_waivers_for_the_same_are_refused():
    with pytest.raises(DataError, match="two are about leak of 'refunded'; keep one"):
        waivers.parse([WRITTEN, WRITTEN])


def test_copies_proxies_and_anonymity_are_held_against_their_limits(tmp_path):
    copies = Copies("eval", 100, False, 0, 0), Copies("test", 100, False, 1, 2)
    proxy = Proxy("gender", "female", "", 0.9, (0.85, 0.94))
    hidden = Anonymity(("age", "zip"), smallest=1, alone=7, fewer_than_five=20, rows=1000)
    limits = {"max_copies": 0.02, "max_proxy_auc": 0.8, "min_alike": 5}

    verdict = judged(tmp_path, limits, findings=(), copies=copies, proxies=(proxy,), anonymity=hidden)

    assert verdict.reasons == [
        "test: 3 of its 100 rows, 3.0 %, are in train too, beyond chance: "
        "1 are alike in every feature, 2 in all but one; at most 2.0 % allowed",
        "AUC of the features for a sensitive group, gender=female is 0.9 [0.85, 0.94], above the limit 0.8",
        "age, zip: at least 1 rows are alike, at least 5 wanted",
    ]
    assert judged(tmp_path, {"max_copies": 0.03}, findings=(), copies=copies).passed
    assert "run validate_dataset again" in str(judged(tmp_path, {"max_copies": 0.02}, findings=()).reasons)
    assert "so it cannot be checked" in str(judged(tmp_path, {"max_proxy_auc": 0.8}, findings=()).reasons)
    assert "so it cannot be checked" in str(judged(tmp_path, {"min_alike": 5}, findings=()).reasons)


def test_copies_too_few_for_a_finding_are_held_against_a_limit_that_is_stricter(tmp_path):
    copies = Copies("eval", 10_000, False, 0, 0), Copies("test", 10_000, False, 45, 0)

    assert not judged(tmp_path, {"max_copies": 0.0}, findings=(), copies=copies).passed
    assert judged(tmp_path, {"max_copies": 0.005}, findings=(), copies=copies).passed


def test_waived_copies_are_held_against_no_limit(tmp_path):
    copies = (Copies("test", 100, False, 5, 0),)
    agreed = waivers.parse([WRITTEN | {"finding": "duplicate", "column": ""}])

    verdict = judged(tmp_path, {"max_copies": 0.02}, findings=(), copies=copies, waivers=agreed)

    assert verdict.passed
    assert verdict.checks[-1].outcome is Outcome.SKIPPED


def compared(*columns):
    changes = tuple(Change(column, 0.9, {"missing": 0.9}, 0.0, f"`{column}` changed") for column in columns)
    return Comparison("eval", "train", (800, 100), (800, 100), changes, None, {})


ABOUT = {
    "drift": ({"drift": {}}, lambda *columns: {"comparisons": (compared(*columns),)}),
    "proxy": (
        {"max_proxy_auc": 0.8},
        lambda *columns: {"proxies": tuple(Proxy(column, "x", "", 0.9, (0.85, 0.94)) for column in columns)},
    ),
    "representation": (
        {"min_group_share": 0.05},
        lambda *columns: {"groups": tuple(Group(column, "x", True, 120, 0.01, 0.4, 0.4) for column in columns)},
    ),
    "label_balance": (
        {"max_label_rate_gap": 0.1},
        lambda *columns: {"groups": tuple(Group(column, "x", True, 400, 0.4, 0.1, 0.6) for column in columns)},
    ),
}


@pytest.mark.parametrize("kind", ABOUT)
def test_a_waived_column_is_kept_out_of_the_limit_of_its_kind_and_no_other_is(tmp_path, kind):
    limits, measured = ABOUT[kind]
    finding = Finding(kind, "warning", "all", "region", 0.9, "column 'region'")
    agreed = waivers.parse([WRITTEN | {"finding": kind, "column": "region"}])

    def verdict(*columns, agreed=agreed, findings=(finding,)):
        return judged(tmp_path, limits, findings=findings, waivers=agreed, **measured(*columns))

    assert "region" in str(verdict("region", agreed=()).reasons)
    assert verdict("region").passed
    (reason,) = verdict("region", "age").reasons
    assert "age" in reason
    assert "region" not in reason
    strict = verdict("region", findings=())
    assert strict.passed
    assert strict.warnings[0].endswith("take it out, unless a limit is stricter than what makes one")


@pytest.mark.parametrize("kind", ["proxy", "representation", "label_balance"])
def test_a_limit_whose_columns_are_all_waived_is_skipped_and_says_so(tmp_path, kind):
    limits, measured = ABOUT[kind]
    agreed = waivers.parse([WRITTEN | {"finding": kind, "column": "region"}])

    held = judged(tmp_path, limits, findings=(), waivers=agreed, **measured("region")).checks[-1]

    assert held.outcome is Outcome.SKIPPED
    assert held.reason.endswith("every column that it is about is waived")


def test_every_kind_of_finding_has_what_the_law_asks():
    assert {*waivers.KINDS, "label", "anonymity"} == {*DUTIES}
    assert all("GDPR" in duty for duty in DUTIES.values())


def test_the_docs_say_what_the_law_asks_as_the_report_does():
    page = (Path(__file__).parents[3] / "docs" / "audit.md").read_text()

    for kind, duty in DUTIES.items():
        assert any(f"`{kind}`" in line and line.endswith(f"| {duty} |") for line in page.splitlines())
