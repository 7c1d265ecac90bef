"""`cd4ml.training.differences`: in what a model that was made again is another."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from conftest import Inputs, players, requested

from cd4ml.contracts import model, predictions
from cd4ml.contracts.lineage import FILE, Lineage
from cd4ml.contracts.multiclass import MULTICLASS
from cd4ml.contracts.regression import REGRESSION
from cd4ml.contracts.reproduction import Differences
from cd4ml.training import differences
from cd4ml.training.train import train

SPEC = {"model": "dnn", "epochs": 1, "batch_size": 512, "hidden": [4]}
WEIGHTS = "saved_model/variables/variables"


@pytest.fixture(scope="module")
def rebuilt(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("rebuilt") / "model"
    train(requested(inputs, spec=SPEC, seed=3), folder=folder)
    return folder


@pytest.fixture
def published(rebuilt: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rebuilt, tmp_path / "published"))


@pytest.fixture(scope="module")
def known(rebuilt: Path) -> Path:
    """Rows with what the model gave for them, as evaluation keeps them."""
    contract = model.read_contract(rebuilt)
    rows = players(50, seed=4).select([one.name for one in contract.inputs])
    given = {name: tf.constant(values) for name, values in model.features(rows, contract).items()}
    found = tf.saved_model.load(str(rebuilt / "saved_model")).signatures["serving_default"](**given)
    file = rebuilt.parent / "predictions.parquet"
    predictions.write(rows, "probability", found["probability"].numpy(), file=file)
    return file


def change(folder: Path, **added: float) -> None:
    """Adds to the first value of the weights whose names end so."""
    place = str(folder / WEIGHTS)
    reader = tf.train.load_checkpoint(place)
    tensors: dict[str, Any] = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    for end, by in added.items():
        [name, *_] = sorted(name for name in tensors if f"/{end}/" in name)
        tensors[name].flat[0] += by
    values = [tf.constant(one) for one in tensors.values()]
    tf.raw_ops.SaveV2(prefix=place, tensor_names=[*tensors], shape_and_slices=[""] * len(values), tensors=values)


def test_one_weight_that_was_changed_is_named_with_how_much(published: Path, rebuilt: Path, known: Path) -> None:
    change(published, _kernel=0.25)

    found = differences.between(published, rebuilt, known)

    [weight] = found.tensors
    assert weight.name.endswith("_kernel")
    assert weight.published == weight.rebuilt == f"float32 [{weight.published.split('[')[1][:-1]}]"
    assert weight.values == 1
    assert weight.largest == pytest.approx(0.25)
    assert f"{WEIGHTS}.data-00000-of-00001" in found.files
    assert (found.answers.rows, found.answers.differing) == (50, 0)


def test_answers_that_are_not_those_that_were_kept_are_counted(published: Path, rebuilt: Path, known: Path) -> None:
    change(published, bias=0.5)

    found = differences.between(rebuilt, published, known)

    assert found.answers.differing > 0
    assert 0 < found.answers.largest < 1


def test_models_that_are_the_same_do_not_differ(published: Path, rebuilt: Path, known: Path) -> None:
    found = differences.between(published, rebuilt, known)

    assert (found.files, found.tensors, found.answers.differing) == ({}, (), 0)


def test_weights_of_other_shapes_and_those_that_one_lacks_are_told(
    inputs: Inputs, rebuilt: Path, known: Path, tmp_path: Path
) -> None:
    wide = tmp_path / "wide"
    train(requested(inputs, spec=SPEC | {"hidden": [5, 3]}, seed=3), folder=wide)

    said = {(one.published, one.rebuilt) for one in differences.between(wide, rebuilt, known).tensors}

    assert ("float32 [5]", "float32 [4]") in said
    assert any(one and not other for one, other in said)


def test_damaged_weights_are_told_as_such(published: Path, rebuilt: Path, known: Path) -> None:
    file = published / f"{WEIGHTS}.data-00000-of-00001"
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)

    [damaged] = differences.between(published, rebuilt, known).tensors

    assert damaged.published == "damaged"
    assert damaged.rebuilt.startswith("float32")


def test_the_program_prints_what_it_found_and_what_it_cannot_compare(
    published: Path, rebuilt: Path, known: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert differences.main(str(published), str(rebuilt), str(known)) == 0
    assert not Differences.parse(capsys.readouterr().out, "what it printed").files
    assert differences.main(str(published), str(rebuilt), str(tmp_path / "none")) == 1
    assert "none: holds no rows" in capsys.readouterr().out


def test_a_model_says_what_it_was_trained_on_and_where(rebuilt: Path, inputs: Inputs) -> None:
    found = Lineage.read(rebuilt / FILE)

    assert found.seed == 3
    assert sorted(found.inputs) == ["eval", "schema", "statistics", "train"]
    assert len({*found.inputs.values()}) == 4
    assert found.environment.packages["tensorflow"] == tf.__version__
    assert found.environment.packages["numpy"] == np.__version__
    assert found.environment.packages["pyarrow"] == pa.__version__
    assert found.environment.cores >= 1
    assert found.environment.cpu
    assert not found.environment.deterministic


def test_a_row_of_several_probabilities_is_one_answer_that_differs(tmp_path: Path) -> None:
    module = tf.Module()
    module.half = tf.Variable(0.5)
    given = tf.function(lambda area: {"probabilities": tf.stack([area * module.half, area, area * 0], axis=1)})
    signature = given.get_concrete_function(area=tf.TensorSpec([None], tf.float32, name="area"))
    tf.saved_model.save(module, str(tmp_path / "saved_model"), signatures=signature)
    inputs = (model.Input("area", "number"),)
    model.write_contract(model.Contract("kind", ("a", "b", "c"), inputs, {"model": "dnn"}, MULTICLASS), tmp_path)
    kept = np.array([[0.5, 1, 0], [0.75, 0.25, 0]], np.float32)
    predictions.write(pa.table({"area": [1.0, 1.0]}), "probabilities", kept, file=tmp_path / "known")

    found = differences.between(tmp_path, tmp_path, tmp_path / "known")

    assert (found.answers.rows, found.answers.differing, found.answers.largest) == (2, 1, 0.75)


def test_answers_that_are_numbers_are_the_same_to_a_part_of_their_size(tmp_path: Path) -> None:
    module = tf.Module()
    module.metre = tf.Variable(1e6)
    given = tf.function(lambda area: {"prediction": area * module.metre})
    signature = given.get_concrete_function(area=tf.TensorSpec([None], tf.float32, name="area"))
    tf.saved_model.save(module, str(tmp_path / "saved_model"), signatures=signature)
    contract = model.Contract("price", (), (model.Input("area", "number"),), {"model": "linear"}, REGRESSION)
    model.write_contract(contract, tmp_path)
    kept = np.array([1e6, 2e6 + 1, 3e6 + 100])
    predictions.write(pa.table({"area": [1.0, 2.0, 3.0]}), "prediction", kept, file=tmp_path / "known")

    found = differences.between(tmp_path, tmp_path, tmp_path / "known")

    assert (found.answers.rows, found.answers.differing, found.answers.largest) == (3, 1, 100.0)
