import re

import numpy as np
import pyarrow as pa
import pytest
from audited import alarms, clean, examined, found_in, having

from cd4ml.validation.audit import copies

RANDOM = np.random.default_rng(3)


def copied(table, share, changed=()):
    """The table with a share of its test rows replaced by train rows; a column of each copy changed, in turn."""
    rows = len(table)
    first, copies = int(0.9 * rows), int(share * 0.1 * rows)
    places = np.arange(rows)
    places[first : first + copies] = RANDOM.choice(int(0.8 * rows), copies, replace=False)
    content = {name: table[name].take(pa.array(places)) for name in table.column_names}
    for turn, name in enumerate(changed):
        values = content[name].to_numpy().copy()
        values[first + turn : first + copies : len(changed)] += 0.123
        content[name] = values
    return pa.table({**content, "key": np.arange(rows)})


def few_values(rows, columns, values):
    made = {f"c{place}": RANDOM.integers(0, values, rows) for place in range(columns)}
    return pa.table({**made, "label": RANDOM.random(rows) < 0.3, "key": np.arange(rows)})


def one_cause(rows, columns, values):
    """Columns that mostly say the same, each with noise of its own, so that many rows are alike."""
    cause = RANDOM.integers(0, values, rows)
    made = {
        f"c{place}": np.where(RANDOM.random(rows) < 0.8, cause, RANDOM.integers(0, values, rows))
        for place in range(columns)
    }
    return pa.table({**made, "label": RANDOM.random(rows) < 0.3, "key": np.arange(rows)})


def mostly_zero(rows, columns):
    """Counts of people of whom most do nothing."""
    active = RANDOM.random(rows) < 0.3
    made = {f"c{place}": np.where(active, RANDOM.poisson(2, rows), 0) for place in range(columns)}
    return pa.table({**made, "label": RANDOM.random(rows) < 0.3, "key": np.arange(rows)})


def one_of_each(rows):
    """Three texts, and each of their values as a column of its own."""
    made = {}
    for place in range(3):
        value = RANDOM.integers(0, 8, rows)
        made |= {f"c{place}={one}": value == one for one in range(8)}
    return pa.table({**made, "label": RANDOM.random(rows) < 0.3, "key": np.arange(rows)})


@pytest.mark.parametrize(
    ("share", "changed"), [(0.03, ()), (0.03, ["spend"]), (0.2, ["spend", "number 1", "number 2"])]
)
def test_copies_of_train_rows_in_the_test_split_are_found(share, changed):
    (finding,) = alarms(copied(clean(6), share, changed))

    assert (finding.kind, finding.severity, finding.split) == ("duplicate", "warning", "test")
    assert finding.value == pytest.approx(share, rel=0.05)
    assert finding.interval[0] < share < finding.interval[1]
    alike, near = map(int, re.findall(r"(\d+)(?= are alike| in all but)", finding.message))
    assert alike + near == int(share * 800)
    assert near >= 0.9 * int(share * 800) if changed else not near


def test_copies_are_found_among_rows_of_which_some_are_alike_by_chance():
    (finding,) = alarms(copied(few_values(20_000, 10, 6), 0.1))

    assert (finding.kind, finding.split) == ("duplicate", "test")
    assert finding.value == pytest.approx(0.1, rel=0.3)


def test_copies_are_found_beside_rows_that_are_all_alike():
    rows = 10_000
    active = RANDOM.random(rows) < 0.5
    made = {f"c{place}": np.where(active, RANDOM.normal(size=rows), 0) for place in range(4)}
    table = pa.table({**made, "label": RANDOM.random(rows) < 0.3, "key": np.arange(rows)})

    (finding,) = alarms(copied(table, 0.1))

    assert (finding.kind, finding.split) == ("duplicate", "test")
    assert finding.value == pytest.approx(0.05, abs=0.02)  # half of the copies are of rows that are alike anyway


@pytest.mark.parametrize(
    "table",
    [
        few_values(5000, 4, 3),
        few_values(20_000, 8, 4),
        few_values(20_000, 10, 4),
        few_values(5000, 2, 60),
        few_values(5000, 1, 5000),
        one_cause(10_000, 8, 6),
        one_cause(10_000, 14, 4),
        mostly_zero(10_000, 6),
        mostly_zero(10_000, 10),
        one_of_each(10_000),
    ],
    ids=lambda table: f"{table.num_rows} rows of {table.num_columns}",
)
def test_a_table_of_few_distinct_rows_raises_no_alarm(table):
    assert alarms(table) == []


def test_a_table_without_features_raises_nothing():
    assert found_in(pa.table({"label": [True, False] * 500, "key": np.arange(1000)})) == []


def test_a_row_that_is_there_twice_with_both_labels_is_found_and_what_it_costs():
    table = clean(2)
    twice = table.slice(0, 400)
    other = pa.array(~twice["label"].to_numpy())
    again = twice.set_column(twice.column_names.index("label"), "label", other)
    both = pa.concat_tables([again, table.slice(0, 6000)])

    (finding,) = [one for one in alarms(having(both.drop(["key"]), key=np.arange(6400))) if one.kind == "conflict"]

    assert finding.message.startswith("800 rows that are alike in every feature differ in their label")
    assert finding.value == 400 / 6400
    assert "no model is right in more than 93.8 % of the 6,400 rows" in finding.message


def test_features_that_tell_few_rows_apart_are_a_note_with_what_can_be_reached_at_most():
    random = np.random.default_rng(0)
    side = random.random(10_000) < 0.5
    label = random.random(10_000) < np.where(side, 0.8, 0.2)

    (finding,) = found_in(pa.table({"side": side, "label": label, "key": np.arange(10_000)}))

    assert (finding.kind, finding.severity) == ("conflict", "note")
    assert finding.interval[0] < 0.2 < finding.interval[1]


def test_most_rows_to_look_at_first_are_those_whose_label_was_turned():
    random = np.random.default_rng(0)
    numbers = random.normal(size=(5000, 5))
    label = numbers.sum(axis=1) + random.normal(0, 0.3, 5000) > 0
    turned = random.random(5000) < 0.03
    table = pa.table({**{f"n{place}": numbers[:, place] for place in range(5)}, "label": label ^ turned})

    (finding,) = [one for one in found_in(having(table, key=np.arange(5000))) if one.kind == "relabel"]

    assert finding.severity == "note"
    starts = {"train": 0, "eval": 4000, "test": 4500}
    named = re.search("look at these first: (.*)", finding.message)[1]
    rows = [starts[part.split()[0]] + int(row) - 1 for part in named.split("; ") for row in re.findall(r"\d+", part)]
    assert len(rows) == 10
    assert turned[rows].mean() >= 0.9


def test_a_label_that_the_features_hardly_tell_is_not_doubted():
    table = clean(0)
    noise = np.random.default_rng(1).random(len(table)) < 0.1

    assert [one for one in found_in(having(table.drop(["label"]), label=noise)) if one.kind == "relabel"] == []


@pytest.mark.parametrize("differs", ["c0", "visit"])
def test_copies_are_found_among_more_rows_than_are_looked_at(differs):
    rows, share = 600_000, 0.02
    made = {f"c{place}": RANDOM.normal(size=rows).round(place + 3) for place in range(4)}
    table = pa.table({**made, "label": RANDOM.random(rows) < 0.3, "key": np.arange(rows)})

    with_copies = copied(table, share, [differs] if differs in made else [])
    if differs not in made:
        with_copies = having(with_copies, **{differs: RANDOM.permutation(rows)})

    (finding,) = alarms(with_copies)

    assert (finding.kind, finding.split) == ("duplicate", "test")
    assert finding.interval[0] < share < finding.interval[1]
    looked_at = int(re.search(r"of ([\d,]+) of its rows that were looked at", finding.message)[1].replace(",", ""))
    assert looked_at == pytest.approx(20_000, rel=0.1)


def test_what_an_audit_looked_at_is_said_where_it_is_not_all():
    rows = 250_000
    table = pa.table({"c": np.arange(rows) % 1000, "label": RANDOM.random(rows) < 0.3, "key": np.arange(rows)})

    assert examined(table).looked_at == (
        "100,000 of the 250,000 rows, drawn by chance, and 201,000 for copies, drawn by what they hold"
    )
    assert not examined(table.slice(0, 50_000)).looked_at


def test_copies_of_rows_of_yes_and_no_stay_together_and_near_ones_are_said_not_to_be_looked_for(monkeypatch):
    monkeypatch.setattr(copies, "MOST_ROWS", 4000)

    (finding,) = alarms(copied(few_values(40_000, 40, 2), 0.05))

    assert (finding.kind, finding.split) == ("duplicate", "test")
    assert finding.interval[0] < 0.05 < finding.interval[1]
    assert "alike in every feature, those in all but one were not looked for" in finding.message


@pytest.mark.parametrize(("columns", "values"), [(8, 4), (14, 2), (20, 2)])
def test_rows_drawn_by_all_they_hold_that_chance_makes_alike_raise_no_alarm(columns, values, monkeypatch):
    monkeypatch.setattr(copies, "MOST_ROWS", 1500)

    found = examined(few_values(20_000, columns, values))

    assert [one for one in found.findings if one.severity != "note"] == []
    assert "those alike in all features but one were not looked for" in found.looked_at


def test_copies_too_few_for_a_finding_are_counted():
    rows, share = 100_000, 0.0045
    made = {f"c{place}": RANDOM.normal(size=rows) for place in range(4)}
    table = copied(pa.table({**made, "label": RANDOM.random(rows) < 0.3, "key": np.arange(rows)}), share)
    parts = {"train": table.slice(0, 80_000), "eval": table.slice(80_000, 10_000), "test": table.slice(90_000)}

    found = examined(table, parts)

    assert [(one.split, one.same, one.near, one.rows) for one in found.copies] == [
        ("eval", 0, 0, 10_000),
        ("test", 45, 0, 10_000),
    ]
    assert [one for one in found.findings if one.kind == "duplicate"] == []


def test_more_text_than_an_array_of_texts_holds_is_audited():
    chunk = pa.array([f"{place}" + "x" * 2**20 for place in range(16)])  # all chunks share its memory
    text = pa.chunked_array([chunk] * 130)
    rows = len(text)
    assert text.nbytes > 2**31

    found = examined(pa.table({"text": text, "label": RANDOM.random(rows) < 0.3, "key": np.arange(rows)}))

    assert not found.looked_at
