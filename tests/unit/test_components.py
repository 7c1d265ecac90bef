"""The rules of the house for components: a face each, which holds no logic and says the truth of itself."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(ROOT.glob("components/*/*/component.py"))
NOTES = "cd4ml.registry.notes"
"""Which task may note what it reads, whatever it does."""


@pytest.mark.parametrize("file", COMPONENTS, ids=lambda file: file.parent.name)
def test_a_component_calls_one_room_of_the_library_and_decides_nothing(file: Path) -> None:
    function = next(one for one in ast.parse(file.read_text()).body if isinstance(one, ast.FunctionDef))
    body = [node for statement in function.body for node in ast.walk(statement)]
    imports = [node.module for node in body if isinstance(node, ast.ImportFrom) and node.module != NOTES]

    assert function.name == file.parent.name
    assert len(set(imports)) == 1
    assert imports[0].split(".")[:2] in [["cd4ml", stage] for stage in (file.parts[-3], "registry")]
    assert not [node for node in body if isinstance(node, ast.If | ast.While | ast.Try | ast.IfExp)]


@pytest.mark.parametrize("file", COMPONENTS, ids=lambda file: file.parent.name)
def test_the_metadata_of_a_component_is_true(file: Path) -> None:
    metadata = yaml.safe_load((file.parent / "metadata.yaml").read_text())

    assert (metadata["name"], metadata["stage"]) == (file.parent.name, file.parts[-3])
    assert f"base_image={metadata['image'].upper()}" in file.read_text()
    assert metadata["description"].endswith(".")


@pytest.mark.parametrize("file", COMPONENTS, ids=lambda file: file.parent.name)
def test_no_face_says_what_its_lists_hold(file: Path) -> None:
    """The executor of kfp 2.13 takes a parameter of `list[str]` for none, and gives the default in silence."""
    (face,) = (node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef))
    annotations = [ast.unparse(argument.annotation) for argument in face.args.args if argument.annotation]

    assert [one for one in annotations if re.match(r"(typing\.)?(list|dict|List|Dict)\[", one)] == []
