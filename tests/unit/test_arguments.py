"""The arguments of a pipeline: every mistake is named before anything runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest

from cd4ml.data.split import AnySplit
from cd4ml.errors import ArgumentsError
from cd4ml.running import arguments, run_file, schema
from cd4ml.running.arguments import Arguments, Means, Name, Text, Within, written
from cd4ml.training.trainers import AnyTrainer


class Example(Arguments):
    """A run of an example."""

    name: Annotated[Name, Means.MODEL]
    """The model's name."""
    label: Text
    """The column to predict."""
    folder: Annotated[str, Means.PLACE] = ""
    """Where more lies."""
    split: AnySplit = written({})
    """How the rows are split."""
    model: AnyTrainer = written({"model": "linear"})
    """What is trained."""
    seed: Annotated[int, Within(0, 9)] = 4
    """Makes it repeatable."""
    nodes: Annotated[int, Means.TEXT_IN_KFP] = 1
    """On so many."""

    def mistakes_together(self) -> Iterator[str]:
        if self.name == self.label:
            yield f"{self.name} is both; seed {self.seed}"


def asked(folder: Path, text: str) -> run_file.RunFile:
    file = folder / "run.yaml"
    file.write_text(text)
    return run_file.read(file, ["training", "verification"])


def mistakes(folder: Path, written: str) -> list[str]:
    with pytest.raises(ArgumentsError) as raised:
        arguments.check(asked(folder, f"pipeline: training\narguments: {written}"), Example)
    return [line.strip() for line in str(raised.value).splitlines()[1:]]


def test_arguments_that_fit_pass_with_the_defaults_filled_in(tmp_path: Path) -> None:
    file = asked(tmp_path, "pipeline: training\narguments: {name: uptake, label: took, split: {by: key}, seed: 3}")

    found = arguments.check(file, Example)

    assert (found.seed, found.nodes, found.split.test, found.model.model) == (3, 1, 0.1, "linear")


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    written = "{name: 3, lable: took, seed: true, split: {by: age}, model: {model: dnn, epochs: 0, hiden: [3]}}"

    assert mistakes(tmp_path, written) == [
        'name: 3 is not a text; write it in quotes: "3"',
        "label: missing",
        "split: by: 'age' is no way to split; there are key, group, stratum, time",
        "model.epochs: Input should be greater than or equal to 1, not 0",
        "model.hiden: unknown; did you mean 'hidden'?",
        "seed: true is not a whole number",
        "lable: unknown; did you mean 'label'?",
    ]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("model: {model: dn}", "model: 'dn' is no model that is installed here; did you mean 'dnn'?"),
        ("model: {hidden: [3]}", "model: names no model; there are rules, linear, dnn"),
        ("model: dnn", "model: 'dnn' is not a mapping"),
        ("model: {model: linear, dropot: 0.1}", "model.dropot: unknown; there are "),
        ("split: 3", "split: 3 is not a mapping"),
        ("split: [a]", "split: ['a'] is not a mapping"),
        ("seed: 10", "seed: 10 is out of range; write a whole number from 0 to 9"),
        ("seed: 3.0", "seed: 3.0 is not a whole number"),
        ("label: ''", "label: is empty; write a text"),
        ("model: {model: dnn, hidden: [-8]}", "model.hidden.0: Input should be greater than or equal to 1, not -8"),
        ("model: {model: dnn, hidden: []}", "model.hidden: Tuple should have at least 1 item"),
    ],
)
def test_a_mistake_names_its_place_and_what_to_write(tmp_path: Path, written: str, told: str) -> None:
    given = "name: uptake" + ("" if "label" in written else ", label: took")

    (mistake,) = mistakes(tmp_path, f"{{{given}, {written}}}")

    assert mistake.startswith(told)


def test_arguments_that_do_not_go_together_are_told_with_the_defaults_filled_in(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "{name: took, label: took}") == ["took is both; seed 4"]
    assert mistakes(tmp_path, "{name: took, label: took, seed: 010}")[0].startswith("seed: 010 can be read in two")


def test_what_an_argument_means_is_found_whatever_its_name() -> None:
    found = Example.model_validate({"name": "uptake", "label": "took", "folder": "here"})

    assert (found.value(Means.MODEL), found.value(Means.STORE)) == ("uptake", None)
    assert Example.in_kfp({"nodes": 2, "seed": 3}) == {"nodes": "2", "seed": 3}
    assert [one.split(":")[0] for one in found.mistakes_in_a_cluster()] == ["folder"]


def test_the_tables_say_what_to_write() -> None:
    first, *others = schema.tables(Example)

    rows = {row.name: row for row in first.rows}
    splits = ["ByGroup", "ByKey", "ByStratum", "ByTime"]
    models = ["Dnn", "Function", "Linear", "Rules", "Trees", "WideAndDeep"]
    thresholds = ["Costs", "FairnessGap", "ThresholdChoice"]
    assert [one.name for one in others] == sorted([*splits, *models, "Condition", "Dates", "Rule", *thresholds])
    assert rows["seed"] == schema.Row("seed", "whole number, 0 to 9", "4", False, "Makes it repeatable.")
    assert (rows["label"].required, rows["label"].default) == (True, "")
    assert (rows["model"].kind, rows["model"].default) == (
        "Rules or Linear or Dnn or WideAndDeep or Trees or Function",
        '{"model": "linear"}',
    )


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
        asked(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentsError, match=r"none\.yaml: No such file"):
        run_file.read(tmp_path / "none.yaml", ["training"])
