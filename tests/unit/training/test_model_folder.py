"""`cd4ml.contracts.model`: the contract, the digest, and a table as the inputs of a model."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cd4ml.contracts import model
from cd4ml.contracts.model import Contract, Input
from cd4ml.contracts.regression import REGRESSION
from cd4ml.errors import DataError, StorageError

CONTRACT = Contract(
    label="took",
    classes=("false", "true"),
    inputs=(Input("age", "number"), Input("region", "category"), Input("subscribed", "boolean")),
    model={"model": "linear", "epochs": 3},
)


def table(**columns: object) -> pa.Table:
    whole = {
        "age": [30, None, 41],
        "region": ["north", None, ""],
        "subscribed": [True, False, None],
        "took": [True, False, True],
    }
    return pa.table({**whole, **columns})


def write_model(folder: Path) -> Path:
    (folder / "saved_model" / "variables").mkdir(parents=True)
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"graph")
    (folder / "saved_model" / "variables" / "variables.index").write_bytes(b"index")
    model.write_contract(CONTRACT, folder)
    return folder


def test_a_contract_is_read_as_it_was_written(tmp_path):
    model.write_contract(CONTRACT, tmp_path)

    assert model.read_contract(tmp_path) == CONTRACT


def test_a_contract_of_plain_names_is_written_as_the_versions_before_read_it(tmp_path):
    model.write_contract(CONTRACT, tmp_path)

    assert json.loads((tmp_path / "contract.json").read_text())["inputs"] == [
        {"name": "age", "kind": "number", "dtype": "float32"},
        {"name": "region", "kind": "category", "dtype": "string"},
        {"name": "subscribed", "kind": "boolean", "dtype": "float32"},
    ]


def test_a_contract_keeps_what_training_knew_of_a_feature(tmp_path):
    known = replace(
        CONTRACT,
        inputs=(
            Input("region", "category", vocabulary=("north", "")),
            Input("x", "category"),
            Input("age", "number", range=(18.0, 90.5)),
            Input("seen", "date", range=(-(10**15), 1_700_000_000_000_001), since="asked"),
            Input("asked", "date", cycles=("week", "day")),
            Input("street", "text", personal=True),
        ),
    )
    model.write_contract(known, tmp_path)

    assert model.read_contract(tmp_path) == known


def test_a_contract_of_the_versions_before_calls_its_tensors_as_its_columns(tmp_path):
    """They took names such as `a-b` and `a.b` for the signature as they were."""
    inputs = [{"name": name, "kind": "number", "dtype": "float32"} for name in ("a-b", "a.b", "Encoded_1", "class")]
    rest = {"label": "took", "classes": ["false", "true"], "model": {"model": "dnn"}, "output": "probability"}
    (tmp_path / "contract.json").write_text(json.dumps({**rest, "inputs": inputs}))

    contract = model.read_contract(tmp_path)

    assert [one.name for one in contract.inputs] == ["a-b", "a.b", "Encoded_1", "class"]
    assert [one.tensor for one in contract.inputs] == ["a-b", "a.b", "Encoded_1", "class"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True))
def test_every_column_has_a_tensor_of_its_own_name_that_tensorflow_can_tell_apart(names):
    tensors = [one.tensor for one in model.inputs(dict.fromkeys(names, "number"))]

    assert len({tensor.lower() for tensor in tensors}) == len(names)
    assert all(re.fullmatch("[A-Za-z][A-Za-z0-9_]*", tensor) for tensor in tensors)
    assert not {"self", "class"} & set(tensors)


def test_a_plain_name_is_the_name_of_its_tensor():
    inputs = model.inputs({"age": "number", "spend_90d": "number", "MonthlyCharges": "number", "probability": "number"})

    assert [one.tensor for one in inputs] == ["age", "spend_90d", "MonthlyCharges", "probability"]


def test_a_name_that_is_not_plain_or_not_unique_is_encoded_by_its_place():
    names = ["", "age", "Self", "a.b", "a_b", "Q", "q", "Encoded_0", "Class", "_x", "ä", "\u212a", "None", "z" * 65]

    inputs = model.inputs(dict.fromkeys(names, "number"))

    plain = {"age", "a_b"}
    assert [one.tensor for one in inputs] == [
        name if name in plain else f"encoded_{place}" for place, name in enumerate(names)
    ]
    assert [one.name for one in inputs] == names


def test_a_contract_of_a_number_has_no_classes_and_keeps_what_its_label_is_like(tmp_path):
    number = replace(CONTRACT, label="price", classes=(), problem=REGRESSION, label_quantiles=(1.5, 2.0, 1e6))
    model.write_contract(number, tmp_path)

    read = model.read_contract(tmp_path)

    assert read == number
    assert (read.output, read.gives, read.buckets) == ("prediction", "price, a number", (1.5, 2.0, 1e6))


@pytest.mark.parametrize(
    ("problem", "classes", "said"),
    [
        ("binary", ["a", "b", "c"], "3 classes of a label that is to be binary"),
        ("regression", ["a", "b"], "2 classes of a label that is to be regression"),
    ],
)
def test_a_contract_whose_classes_are_not_of_its_problem_is_refused(tmp_path, problem, classes, said):
    rest = {"label": "took", "inputs": [], "model": {"model": "dnn"}}
    (tmp_path / "contract.json").write_text(json.dumps({**rest, "problem": problem, "classes": classes}))

    with pytest.raises(StorageError, match=f"not a model's contract \\({said}"):
        model.read_contract(tmp_path)


def test_an_encoded_contract_is_read_as_it_was_written_and_fills_its_tensors(tmp_path):
    encoded = replace(CONTRACT, inputs=model.inputs({"age": "number", "home region": "category"}))
    model.write_contract(encoded, tmp_path)

    read = model.read_contract(tmp_path)
    features = model.features(pa.table({"home region": ["north", None], "age": [1, 2]}), read)

    assert read == encoded
    assert {name: values.tolist() for name, values in features.items()} == {"age": [1, 2], "encoded_1": ["north", ""]}


def test_a_folder_without_a_contract_is_refused_with_the_file_it_lacks(tmp_path):
    with pytest.raises(StorageError, match=r"contract.json: not a model's contract .* train_model wrote"):
        model.read_contract(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"label": "took", "classes": ["a"]}'])
def test_a_broken_contract_is_refused(tmp_path, text):
    (tmp_path / "contract.json").write_text(text)

    with pytest.raises(StorageError, match="not a model's contract"):
        model.read_contract(tmp_path)


def test_the_digest_stays_when_the_folder_moves_or_gains_a_history(tmp_path):
    folder = write_model(tmp_path / "model")
    before = model.digest(folder)
    (folder / "history.json").write_text("[]")

    assert before.startswith("sha256:")
    assert model.digest(folder.rename(tmp_path / "moved")) == before


@pytest.mark.parametrize(
    "file", ["contract.json", "saved_model/saved_model.pb", "saved_model/variables/variables.index"]
)
def test_the_digest_changes_with_every_file_that_predicts(tmp_path, file):
    folder = write_model(tmp_path)
    before = model.digest(folder)
    (folder / file).write_bytes((folder / file).read_bytes() + b" ")

    assert model.digest(folder) != before


def test_the_digest_changes_with_a_file_s_name(tmp_path):
    folder = write_model(tmp_path)
    before = model.digest(folder)
    (folder / "saved_model" / "saved_model.pb").rename(folder / "saved_model" / "other.pb")

    assert model.digest(folder) != before


@pytest.mark.parametrize("missing", ["contract.json", "saved_model"])
def test_half_a_model_has_no_digest(tmp_path, missing):
    folder = write_model(tmp_path)
    (folder / missing).rename(tmp_path / "elsewhere")

    with pytest.raises(StorageError, match="no model here"):
        model.digest(folder)


def test_features_are_the_inputs_of_the_signature():
    inputs = model.features(table(), CONTRACT)

    assert list(inputs) == ["age", "region", "subscribed"]
    assert {name: values.dtype for name, values in inputs.items()} == {
        "age": np.float32,
        "region": object,
        "subscribed": np.float32,
    }
    np.testing.assert_array_equal(inputs["age"], [30, math.nan, 41])
    np.testing.assert_array_equal(inputs["subscribed"], [1, 0, math.nan])
    assert inputs["region"].tolist() == ["north", "", ""]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2, None], pa.int8()),
        pa.array([1, 2, None], pa.uint64()),
        pa.array([1, 2, None], pa.float16()),
        pa.array([1, 2, math.nan], pa.float64()),
        pa.array([Decimal("1.0"), Decimal("2.0"), None]),
    ],
    ids=lambda column: str(column.type),
)
def test_a_number_of_any_type_becomes_float32(column):
    np.testing.assert_array_equal(model.features(table(age=column), CONTRACT)["age"], [1, 2, math.nan])


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_a_text_of_any_type_becomes_text(type_):
    column = pa.array(["a", "b", None]).cast(type_)

    assert model.features(table(region=column), CONTRACT)["region"].tolist() == ["a", "b", ""]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["2024-02-29", None, ""]),
        pa.array(["2024-02-29", None, None]).cast(pa.date32()),
        pa.array(["2024-02-29", None, None]).cast(pa.timestamp("ns")),
    ],
    ids=lambda column: str(column.type),
)
def test_a_date_of_any_type_becomes_microseconds(column):
    dates = replace(CONTRACT, inputs=model.inputs({"signed up": "date"}))

    found = model.features(pa.table({"signed up": column}), dates)["encoded_0"]

    assert found.dtype == np.int64
    assert found.tolist() == [1_709_164_800_000_000, -(2**63), -(2**63)]
    assert dates.inputs[0].missing == found[1]


def test_a_column_without_any_value_is_missing_whatever_the_model_takes():
    nothing = pa.nulls(3)
    inputs = model.features(table(age=nothing, region=nothing, subscribed=nothing), CONTRACT)

    assert np.isnan(inputs["age"]).all()
    assert np.isnan(inputs["subscribed"]).all()
    assert inputs["region"].tolist() == ["", "", ""]


@given(
    age=st.lists(st.one_of(st.none(), st.floats(), st.just(1e300)), min_size=1, max_size=20),
    region=st.lists(st.one_of(st.none(), st.text()), min_size=1, max_size=20),
)
def test_features_keep_every_row(age, region):
    rows = min(len(age), len(region))
    data = pa.table(
        {
            "age": pa.array(age[:rows], pa.float64()),
            "region": pa.array(region[:rows], pa.string()),
            "subscribed": pa.nulls(rows),
        }
    )

    inputs = model.features(data, CONTRACT)

    assert {values.shape for values in inputs.values()} == {(rows,)}
    assert inputs["region"].tolist() == [value or "" for value in region[:rows]]


def test_a_missing_column_is_named_with_the_one_that_was_perhaps_meant():
    with pytest.raises(DataError, match="column 'region' is not in the table; did you mean 'regions'"):
        model.features(table().rename_columns(["age", "regions", "subscribed", "took"]), CONTRACT)


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("age", ["30", "31", "32"], "column 'age' is string, but the model takes a number there"),
        ("region", [1, 2, 3], "column 'region' is int64, but the model takes a category there"),
        ("subscribed", ["yes", "no", "no"], "column 'subscribed' is string, but the model takes a boolean there"),
        ("region", [[1], [2], [3]], "column 'region' is list<.*>, but the model takes a category there"),
        (
            "age",
            pa.array([0, 0, 0], pa.timestamp("s")),
            r"column 'age' is timestamp\[s\], but the model takes a number",
        ),
    ],
)
def test_a_column_of_another_type_is_named(name, column, message):
    with pytest.raises(DataError, match=message):
        model.features(table(**{name: column}), CONTRACT)


@pytest.mark.parametrize(
    ("classes", "column"),
    [
        (("false", "true"), [True, False, True]),
        (("0", "1"), [1, 0, 1]),
        (("0", "1"), [1.0, 0.0, 1.0]),
        (("no", "yes"), ["yes", "no", "yes"]),
    ],
)
def test_labels_are_one_where_the_second_class_is(classes, column):
    contract = Contract("took", classes, CONTRACT.inputs, {})

    labels = contract.labels(table(took=column))

    assert labels.dtype == np.float32
    assert labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([True, None, None], "label 'took': 2 of 3 rows have none; drop these rows"),
        (["true", "maybe", "false"], "label 'took': 'maybe' is neither 'false' nor 'true'"),
        ([0.5, 0.0, 1.0], "label 'took': .*; give 0 and 1, booleans, or two words"),
        ([[1], [0], [1]], "label 'took': list<.*> cannot be a label"),
    ],
)
def test_rows_without_a_usable_label_are_refused(column, message):
    with pytest.raises(DataError, match=message):
        CONTRACT.labels(table(took=column))


def test_a_label_of_nan_counts_as_none():
    contract = Contract("took", ("0", "1"), CONTRACT.inputs, {})

    with pytest.raises(DataError, match="1 of 3 rows have none"):
        contract.labels(table(took=[1.0, math.nan, 0.0]))


def test_the_contract_can_be_read_without_tensorflow_pydantic_or_arrow():
    heavy = ("tensorflow", "pydantic", "pyarrow")
    program = f"import sys, cd4ml.contracts.model; print([name for name in {heavy} if name in sys.modules])"

    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
