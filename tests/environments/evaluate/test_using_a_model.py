"""A published model in a process of one's own: by the store, and as a package without cd4ml."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from evaluated_samples import make_grade_model, make_model
from published import publish

import cd4ml
from cd4ml.contracts.deployment import Held
from cd4ml.contracts.model import Input, digest
from cd4ml.errors import RegistryError, StorageError
from cd4ml.prediction import package
from cd4ml.registry import deployments
from cd4ml.storage.folder import FolderStore

COLUMNS = {"income": [0.5, None, float("nan"), -1.0], "region": ["north", "south", None, ""]}
WITHOUT_CD4ML = """
import sys
sys.modules.update(cd4ml=None, pyarrow=None, pandas=None)
sys.path.append(sys.argv[1])
from model_uptake import CONTRACT, VERSION, predict
print(VERSION["version"], CONTRACT["label"], *predict(%s))
"""


@pytest.fixture
def store(models, tmp_path) -> FolderStore:
    made = FolderStore(tmp_path / "store")
    publish(made, models["candidate"])
    return made


def run(folder: Path, columns: str = repr(COLUMNS).replace("nan", "float('nan')")) -> subprocess.CompletedProcess[str]:
    code = WITHOUT_CD4ML % columns
    return subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, cwd=folder.parent)


def test_a_package_predicts_as_the_store_without_cd4ml(store, tmp_path):
    exported = package.export(store.location, "uptake@1", tmp_path / "uptake")

    done = run(tmp_path / "uptake")

    assert done.returncode == 0, done.stderr
    version, label, *found = done.stdout.split()
    loaded = cd4ml.load_model(store.location, "uptake@1")
    given = pa.table({"income": pa.array(COLUMNS["income"], from_pandas=True), "region": COLUMNS["region"]})
    np.testing.assert_allclose([float(one) for one in found], loaded.predict(given), atol=1e-7)
    assert (version, label) == ("1", "took")
    assert loaded.version == exported
    assert digest(tmp_path / "uptake" / "model_uptake") == exported.digest


def test_a_model_of_a_number_gives_the_same_from_the_store_and_as_a_package(price_models, tmp_path):
    made = FolderStore(tmp_path / "store")
    publish(made, price_models["candidate"], name="uptake")

    package.export(made.location, "uptake@1", tmp_path / "uptake")

    done = run(tmp_path / "uptake")
    assert done.returncode == 0, done.stderr
    loaded = cd4ml.load_model(made.location, "uptake@1")
    given = pa.table({"income": pa.array(COLUMNS["income"], from_pandas=True), "region": COLUMNS["region"]})
    assert loaded.predict(given).tolist() == [105.0, 109.0, 100.0, 90.0]
    assert [float(one) for one in done.stdout.split()[2:]] == [105.0, 109.0, 100.0, 90.0]
    assert "It gives 'price', a number." in (tmp_path / "uptake" / "README.md").read_text()


def test_a_model_of_several_classes_gives_the_same_from_the_store_and_as_a_package(tmp_path):
    made = FolderStore(tmp_path / "store")
    publish(made, make_grade_model(tmp_path / "model"), name="uptake")

    package.export(made.location, "uptake@1", tmp_path / "uptake")

    done = run(tmp_path / "uptake", f"{COLUMNS!r}".replace("nan", "float('nan')") + ").ravel(")
    assert done.returncode == 0, done.stderr
    loaded = cd4ml.load_model(made.location, "uptake@1")
    given = pa.table({"income": pa.array(COLUMNS["income"], from_pandas=True), "region": COLUMNS["region"]})
    found = loaded.predict(given)
    assert found.shape == (4, 3)
    np.testing.assert_allclose([float(one) for one in done.stdout.split()[2:]], found.ravel(), atol=1e-7)
    assert (
        "the probabilities that 'grade' is 'bronze', 'silver' or 'gold'" in (tmp_path / "uptake/README.md").read_text()
    )


def test_names_that_a_signature_cannot_have_are_asked_by_their_own(tmp_path):
    names = (Input("a `b` | c", "number", "income"), Input('q"\n```', "category", "region"))
    store = FolderStore(tmp_path / "store")
    publish(store, make_model(tmp_path / "model", inputs=names))

    package.export(store.location, "uptake@1", tmp_path / "uptake")

    done = run(tmp_path / "uptake", repr({names[0].name: [1.0], names[1].name: ["north"]}))
    assert done.returncode == 0, done.stderr
    readme = (tmp_path / "uptake" / "README.md").read_text()
    assert readme.count("\n```") == 2
    code = readme.split("```python\n")[1].split("\n```")[0]
    assert compile(code, "README.md", "exec")


def test_a_package_whose_files_were_changed_is_not_imported(store, tmp_path):
    package.export(store.location, "uptake@1", tmp_path / "uptake")
    variables = tmp_path / "uptake/model_uptake/saved_model/variables/variables.data-00000-of-00001"
    content = bytearray(variables.read_bytes())
    content[0] ^= 1
    variables.write_bytes(content)

    done = run(tmp_path / "uptake")

    assert done.returncode == 1
    assert "which was published; export it again" in done.stderr.splitlines()[-1]


def test_a_folder_that_is_there_is_left_as_it_is(store, tmp_path):
    (tmp_path / "uptake").mkdir()

    with pytest.raises(StorageError, match="uptake: is there already; remove it, or name another folder"):
        package.export(store.location, "uptake@1", tmp_path / "uptake")

    assert list((tmp_path / "uptake").iterdir()) == []


def test_nothing_is_left_where_a_model_is_not_the_one_that_was_published(store, tmp_path):
    (store.path("models/uptake/1/model") / "saved_model" / "more").write_text("more")

    with pytest.raises(RegistryError, match="which was published; publish it again"):
        package.export(store.location, "uptake@1", tmp_path / "out" / "uptake")
    with pytest.raises(RegistryError, match="which was published; publish it again"):
        cd4ml.load_model(store.location, "uptake@1")

    assert list((tmp_path / "out").iterdir()) == []


def test_whoever_loads_again_follows_the_champion(store, models, tmp_path):
    for number in (1, 2):
        version = publish(store, models["baseline"], 2) if number == 2 else package.named.find(store, "uptake@1")
        begun = deployments.begin(store, version, run=f"run-{number}", target="machine", strategy="replace")
        deployments.add(store, begun, Held(endpoint="http://127.0.0.1:1", at=begun.at))

        assert cd4ml.load_model(store.location, "uptake").version.version == number
