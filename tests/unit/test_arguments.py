"""The file of a run: every mistake is named before anything runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cd4ml.errors import ArgumentsError, DataError
from cd4ml.running import arguments
from cd4ml.running.arguments import Parameter

PARAMETERS = {
    "name": Parameter(str, required=True),
    "label": Parameter(str, required=True),
    "split": Parameter(dict, required=False),
    "seed": Parameter(int, required=False),
}


def run_file(folder: Path, text: str) -> arguments.RunFile:
    file = folder / "run.yaml"
    file.write_text(text)
    return arguments.read(file, ["training", "verification"])


def test_arguments_that_fit_pass(tmp_path: Path) -> None:
    file = run_file(tmp_path, "pipeline: training\narguments: {name: uptake, label: took, split: {by: key}, seed: 3}")

    arguments.check(file, PARAMETERS, {}, lambda _: None)

    assert file.arguments["seed"] == 3


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    file = run_file(tmp_path, "pipeline: training\narguments: {name: 3, lable: took, seed: true, split: {by: age}}")

    def refuse(value: Any) -> None:
        raise DataError(f"by: {value['by']!r} is neither 'key' nor 'time'")

    with pytest.raises(ArgumentsError) as raised:
        arguments.check(file, PARAMETERS, {"split": refuse}, lambda _: None)

    assert str(raised.value).splitlines()[1:] == [
        "  label: missing",
        '  name: 3 is not a text; write it in quotes: "3"',
        "  lable: unknown; did you mean 'label'?",
        "  seed: true is not a whole number",
        "  split: by: 'age' is neither 'key' nor 'time'",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have the two keys"),
        ("pipeline: training", "must have the two keys"),
        ("pipeline: [training", "not YAML"),
        ("pipeline: trainin\narguments: {}", "did you mean 'training'"),
        ("pipeline: training\narguments: [1]", "must be a mapping"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ArgumentsError, match=message):
        run_file(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentsError, match=r"none\.yaml: No such file"):
        arguments.read(tmp_path / "none.yaml", ["training"])


def test_arguments_that_do_not_go_together_are_told_with_the_defaults_filled_in(tmp_path: Path) -> None:
    file = run_file(tmp_path, "pipeline: training\narguments: {name: uptake, label: took}")
    parameters = {**PARAMETERS, "seed": Parameter(int, required=False, default=4)}

    def together(all_arguments: Mapping[str, Any]) -> None:
        raise DataError(f"{all_arguments['name']} does not go with {all_arguments['seed']}")

    with pytest.raises(ArgumentsError, match="uptake does not go with 4"):
        arguments.check(file, parameters, {}, together)
