import json

import numpy as np
import pyarrow as pa
import pytest

from cd4ml.errors import DataError
from cd4ml.validation import schema, statistics
from cd4ml.validation.quiet_tfdv import tfdv
from cd4ml.validation.schema_changes import Change, main, propose

ROWS = 1000


def orders(**changed):
    """A table that keeps its schema, save for what is changed: a column by its name, None for one that is gone."""
    random = np.random.default_rng(5)
    columns = {
        "order": [f"o{number:04}" for number in range(ROWS)],
        "region": random.choice(["north", "south"], ROWS),
        "age": random.integers(15, 80, ROWS),
        "spend": random.gamma(2, 10, ROWS),
        "took": random.random(ROWS) < 0.4,
        **changed,
    }
    return pa.table({name: values for name, values in columns.items() if values is not None})


@pytest.fixture
def write(tmp_path):
    """Writes the statistics of splits, and gives their folder."""

    def written(**splits):
        folder = tmp_path / "-".join(splits)
        statistics.write({split: statistics.compute(table, split) for split, table in splits.items()}, folder)
        return folder

    return written


@pytest.fixture
def curated(write):
    return propose(write(train=orders()), key="order", curated="").schema


def test_the_first_proposal_is_what_validation_infers(write):
    found = propose(write(train=orders(), test=orders(region=["west"] * ROWS)), key="order", curated="")

    assert found.schema == schema.text(schema.infer({"train": statistics.compute(orders(), "train")}, "order"))
    assert found.changes == ()


def test_data_that_keeps_the_schema_changes_nothing(write, curated):
    found = propose(write(train=orders(), eval=orders(), test=orders()), key="order", curated=curated)

    assert (found.changes, found.schema) == ((), curated)


CHANGED = {
    "a new column": ({"city": ["a", "b"] * (ROWS // 2)}, [Change("city", "new column", "text, always there", True)]),
    "one that is gone": (
        {"spend": None},
        [Change("spend", "gone", "there is none; was number, is kept as deprecated", False)],
    ),
    "text in place of whole numbers": (
        {"age": ["young"] * ROWS},
        [Change("age", "type", "was whole number, is text", False)],
    ),
    "numbers in place of true and false": (
        {"took": np.linspace(0, 1, ROWS)},
        [Change("took", "type", "was true or false, is number", False)],
    ),
    "other whole numbers than 0 and 1": (
        {"took": np.arange(ROWS) % 5},
        [Change("took", "values", "were true or false, are from 0 to 4", False)],
    ),
    "new values": (
        {"region": ["north", "east", "west", "south"] * (ROWS // 4)},
        [Change("region", "values", "2 new: 'east', 'west'", False)],
    ),
    "many new values": (
        {"region": [f"r{number % 20:02}" for number in range(ROWS)]},
        [Change("region", "values", "20 new: 'r00', 'r01', 'r02', 'r03', 'r04' and 15 more", False)],
    ),
    "missing values": (
        {"spend": pa.array(np.ones(ROWS), mask=np.arange(ROWS) % 5 == 0)},
        [Change("spend", "presence", "was always there, is there in at least 80 % of the rows", False)],
    ),
    "infinity": (
        {"spend": np.where(np.arange(ROWS) == 7, np.inf, 1.0)},
        [Change("spend", "values", "were finite, are any", False)],
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_what_would_change_is_said_by_column(write, curated, case):
    changed, expected = CHANGED[case]

    found = propose(write(train=orders(**changed)), key="order", curated=curated)

    assert list(found.changes) == expected


@pytest.mark.parametrize("case", CHANGED)
def test_the_data_keeps_what_is_proposed(write, curated, case):
    folder = write(train=orders(**CHANGED[case][0]))
    found = propose(folder, key="order", curated=curated)

    anomalies = schema.anomalies(tfdv.load_stats_binary(str(folder / "train.pb")), schema.parse(found.schema))

    assert not anomalies.anomaly_info
    assert propose(folder, key="order", curated=found.schema).changes == ()


def test_what_only_another_split_has_counts(write, curated):
    found = propose(write(train=orders(), test=orders(region=["west"] * ROWS)), key="order", curated=curated)

    assert [(one.column, one.words) for one in found.changes] == [("region", "1 new: 'west'")]


def test_rules_that_people_added_stay(write, curated):
    kept = schema.parse(curated)
    tfdv.get_feature(kept, "age").int_domain.min = 18
    tfdv.get_feature(kept, "region").distribution_constraints.min_domain_mass = 0.5

    found = propose(write(train=orders(age=[20] * ROWS)), key="order", curated=schema.text(kept))

    assert (found.changes, found.schema) == ((), schema.text(kept))


def test_a_bound_that_people_set_and_the_data_breaks_is_named(write, curated):
    kept = schema.parse(curated)
    tfdv.get_feature(kept, "age").int_domain.min = 18

    found = propose(write(train=orders(age=[17, 20] * (ROWS // 2))), key="order", curated=schema.text(kept))

    assert [(one.what, one.words) for one in found.changes] == [("values", "were from 18, are from 17")]


def test_what_is_no_statistics_is_told(tmp_path):
    with pytest.raises(DataError, match="holds no train.pb; name the statistics"):
        propose(tmp_path, key="", curated="")
    (tmp_path / "train.pb").write_bytes(b"not this")
    with pytest.raises(DataError, match="cannot be read as statistics"):
        propose(tmp_path, key="", curated="")


def test_the_program_prints_what_the_command_line_reads(write, tmp_path, curated, capsys):
    file = tmp_path / "schema.pbtxt"
    file.write_text(curated)

    assert main(str(write(train=orders(spend=None))), "order", str(file)) == 0
    assert [one["what"] for one in json.loads(capsys.readouterr().out)["changes"]] == ["gone"]

    file.write_text("feture {}")
    assert main(str(write(train=orders())), "order", str(file)) == 1
    assert "not a TFDV schema as text proto" in json.loads(capsys.readouterr().out)["error"]
