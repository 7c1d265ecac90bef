"""`import cd4ml`: the names for people who use the library."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import cd4ml

OF_TENSORFLOW = {"Epoch", "Fitted", "TrainingJob"}
HEAVY = "{'tensorflow', 'keras', 'kfp', 'pydantic', 'pyarrow', 'numpy'}"


def test_importing_the_package_imports_nothing_else():
    program = (
        f"import sys, cd4ml; print(sorted({HEAVY} & set(sys.modules)), [one for one in sys.modules if 'cd4ml.' in one])"
    )

    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[] []"


def test_what_a_team_extends_is_there_without_tensorflow_and_kfp():
    program = (
        "import sys; from cd4ml import Document, Metric, Network, Problem, Source, Trainer;"
        "print(sorted({'tensorflow', 'keras', 'kfp'} & set(sys.modules)))"
    )

    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


@pytest.mark.parametrize("name", [name for name in cd4ml.__all__ if name not in OF_TENSORFLOW])
def test_every_public_name_is_there_and_says_what_it_is(name):
    assert getattr(cd4ml, name).__name__ == name
    assert getattr(cd4ml, name).__doc__
    assert name in dir(cd4ml)


def test_a_name_that_is_not_there_is_no_attribute():
    with pytest.raises(AttributeError, match="'cd4ml' has no attribute 'Nothing'"):
        _ = cd4ml.Nothing


def test_type_checkers_see_what_is_imported():
    parsed = ast.parse(Path(cd4ml.__file__).read_text())
    [seen] = [node for node in parsed.body if isinstance(node, ast.If)]

    found = {one.asname: (line.module, one.name) for line in seen.body for one in line.names}
    assert found == {name: (f"cd4ml.{cd4ml._MODULES[name]}", name) for name in cd4ml.__all__}
    assert all(importlib.util.find_spec(module) for module, _ in found.values())
