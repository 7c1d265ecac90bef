"""`cd4ml.training.code`: the module of a team's function, on its way from beside a run file to whoever trains."""

import base64
import hashlib
import json
import zlib
from pathlib import Path

import pytest

from cd4ml.cli import asked
from cd4ml.errors import TrainingError
from cd4ml.training import code, trainers

MODULE = "def wide(job):\n    return f'{{{job}}}'\n"
RUN_FILE = """
pipeline: training
arguments:
  name: churn
  source: customers.csv
  dataset: customers
  key: customer
  label: churned
  store: store
  baseline: {model: linear}
  candidate: {function: "team.models:wide"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "models.py").write_text(MODULE)
    (tmp_path / "training.yaml").write_text(RUN_FILE)
    return tmp_path


def test_a_module_beside_the_run_file_goes_with_the_run(folder, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    arguments = asked.read(folder / "training.yaml").arguments

    assert code.unpacked(arguments["candidate"]["source"]) == MODULE.encode()
    assert "{{" not in json.dumps(arguments)
    assert arguments["baseline"] == {"model": "linear"}


def test_a_module_that_is_not_beside_the_run_file_is_one_that_is_installed(folder):
    (folder / "team" / "models.py").unlink()

    assert asked.read(folder / "training.yaml").arguments["candidate"] == {"function": "team.models:wide"}


def test_the_contract_of_a_model_has_the_digest_of_the_code_and_not_the_code(folder):
    spec = trainers.with_code({"function": "team.models:wide", "settings": {"units": 3}}, folder)

    assert trainers.parse(spec).recorded == {
        "model": "function",
        "reweight": [],
        "calibration": "none",
        "texts": [],
        "function": "team.models:wide",
        "settings": {"units": 3},
        "minutes": 1440,
        "code": f"sha256:{hashlib.sha256(MODULE.encode()).hexdigest()}",
    }


def test_the_digest_of_an_installed_package_is_over_all_its_files(tmp_path, monkeypatch):
    package = tmp_path / "acme_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "models.py").write_text(MODULE)
    (package / "layers.py").write_text("UNITS = 3\n")
    monkeypatch.syspath_prepend(tmp_path)

    before = code.digest("acme_package.models:wide", "")
    again = code.digest("acme_package.models:wide", "")
    (package / "layers.py").write_text("UNITS = 4\n")

    assert again == before
    assert code.digest("acme_package.models:wide", "") != before


def test_a_module_may_be_as_large_as_is_said(folder):
    (folder / "team" / "models.py").write_text("#" * code.MOST_BYTES)

    assert len(code.unpacked(code.beside("team.models:wide", folder))) == code.MOST_BYTES


def test_a_module_that_is_too_large_to_go_with_a_run_is_told(folder):
    (folder / "team" / "models.py").write_text("#" * (code.MOST_BYTES + 1))

    with pytest.raises(TrainingError, match="has 65,537 bytes, and a module that goes with a run may have 65,536; put"):
        asked.read(folder / "training.yaml")


@pytest.mark.parametrize("content", [b"x" * 2**24, b"x" * (code.MOST_BYTES + 1)])
def test_a_text_that_becomes_too_large_is_not_unpacked(content):
    with pytest.raises(ValueError, match="no module that cd4ml packed"):
        code.unpacked(base64.b64encode(zlib.compress(content)).decode())
