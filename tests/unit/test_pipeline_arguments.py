"""What a pipeline takes, said once by its model: the compiled pipeline, the command line and the files say the same."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cd4ml.cli import app, asked
from cd4ml.errors import ArgumentsError, StorageError
from cd4ml.running import run_file, schema
from cd4ml.running.arguments import Arguments, check, model_of

ROOT = Path(__file__).parents[2]
PIPELINES = asked.pipelines()
KINDS = {str: "STRING", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", bool: "BOOLEAN", list: "LIST", dict: "STRUCT"}


def parameters(name: str) -> dict[str, dict[str, Any]]:
    """What KFP knows of the parameters of the pipeline as it stands in the code."""
    from google.protobuf import json_format

    inputs = json_format.MessageToDict(asked.pipeline(name).pipeline_spec.root.input_definitions)
    return dict(inputs["parameters"])


@pytest.mark.parametrize("name", PIPELINES)
def test_the_parameters_of_a_pipeline_are_the_arguments_of_its_model(name: str) -> None:
    model = model_of(name)
    taken = parameters(name)

    assert taken.keys() == model.model_fields.keys()
    for field_name, field in model.model_fields.items():
        parameter = taken[field_name]
        assert parameter["description"] == field.description
        assert parameter.get("isOptional", False) is not field.is_required(), field_name
        if not field.is_required():
            default = model.in_kfp({field_name: field.default})[field_name]
            assert parameter["defaultValue"] == default, field_name
            assert parameter["parameterType"] == KINDS[type(default)], field_name


@pytest.mark.parametrize("name", PIPELINES)
def test_a_default_is_what_a_person_could_write(name: str) -> None:
    model = model_of(name)
    given = {
        "name": "uptake",
        "version": 3,
        "model": "uptake@1",
        "source": "a.csv",
        "dataset": "a",
        "key": "id",
        "label": "took",
        "store": "store",
    }
    required = {one: given[one] for one, field in model.model_fields.items() if field.is_required()}
    written = {one: field.default for one, field in model.model_fields.items() if not field.is_required()}
    file = run_file.RunFile(Path("run.yaml"), name, required | written)

    assert check(file, model).model_dump() == model.model_validate(required).model_dump()


def test_what_is_of_classes_is_refused_where_a_number_is_asked_for() -> None:
    required = {"name": "rents", "source": "a.csv", "dataset": "a", "key": "id", "label": "rent", "store": "store"}
    weighted = {"class_weights": {"dear": 5}, "calibration": "isotonic", "threshold": {"costs": {}}}
    of_classes = {
        "positive": "dear",
        "candidate": {"model": "dnn", "reweight": ["region"], **weighted},
        "baseline": {"model": "rules", "rules": [{"when": {"region": "north"}, "probability": 0.3}], "default": 0.1},
        "data_limits": {"min_class_rows": {"test": 3}, "max_label_rate_gap": 0.1},
        "model_limits": {"auc": {"min": 0.6}},
    }

    def asked_for(problem: str) -> run_file.RunFile:
        return run_file.RunFile(Path("run.yaml"), "training", {**required, **of_classes, "problem": problem})

    assert check(asked_for("binary"), model_of("training"))
    with pytest.raises(ArgumentsError) as refused:
        check(asked_for("regression"), model_of("training"))

    of_models = ("candidate.reweight", "candidate.class_weights", "candidate.calibration", "candidate.threshold")
    for name in ("positive", *of_models, "data_limits.min_class_rows", "data_limits.max_label_rate_gap"):
        assert f"{name}: is of classes, and the problem is regression; leave it out" in str(refused.value)
    assert "auc: no metric of regression; there are " in str(refused.value)
    assert "baseline.model: `rules` says a probability, and the problem is regression; take" in str(refused.value)


REQUIRED = {"name": "uptake", "source": "a.csv", "dataset": "a", "key": "id", "label": "took", "store": "store"}
RULES = {"model": "rules", "rules": [{"when": {"region": "north", "asked": 3}, "probability": 0.3}], "default": 0.1}


def told_of(**arguments: Any) -> list[str]:
    """What is told of a run with these arguments, a line each."""
    with pytest.raises(ArgumentsError) as told:
        check(run_file.RunFile(Path("run.yaml"), "training", {**REQUIRED, **arguments}), model_of("training"))
    return [line.strip() for line in str(told.value).splitlines()[1:]]


def test_what_a_model_is_to_see_and_is_no_feature_is_told_before_the_run() -> None:
    seen = {"model": "dnn", "dates": {"columns": ["took", "seen"], "since": "asked"}, "texts": ["id", "seen"]}

    assert told_of(candidate=seen, baseline={"model": "trees", "dates": ["seen", "id"]}, exclude=["asked"]) == [
        "baseline.dates: 'id' is in `key` too; leave one of them out",
        "candidate.texts: 'id' is in `key` too; leave one of them out",
        "candidate.dates: 'took' is in `label` too; leave one of them out",
        "candidate.dates: 'asked' is in `exclude` too; leave one of them out",
        "candidate.dates: 'seen' is in `candidate.texts` too; leave one of them out",
    ]
    assert told_of(baseline=RULES, exclude=["asked"]) == [
        "baseline.rules: 'asked' is in `exclude` too; leave one of them out"
    ]


def test_what_a_model_names_and_the_dataset_does_not_hold_is_told_before_the_run() -> None:
    dropped = ["review", "seen", "asked", "region", "team", "shop"]
    gap = {"costs": {}, "fairness_gap": {"columns": ["team"], "most": 0.1}}
    named = {
        "model": "dnn",
        "texts": ["review"],
        "dates": {"columns": ["seen"], "since": "asked"},
        "reweight": ["region"],
        "threshold": gap,
    }
    fair = {"constraints": {"fairness": {"shop": {"selection_rate": {"max_gap": 0.1}}}}}
    models = {
        "candidate": named,
        "baseline": RULES,
        "sweep": {"ranges": {"epochs": [1, 2]}, "trials": 2, **fair},
    }

    told = told_of(columns=dict.fromkeys(dropped, "drop"), **models)

    said = [line.partition(", for it is named as ")[::2] for line in told]
    assert said == [
        (f"columns.{column}: cannot be dropped", f"`{argument}`; leave one of them out")
        for argument, column in [
            ("baseline.rules", "region"),
            ("baseline.rules", "asked"),
            ("candidate.reweight", "region"),
            ("candidate.texts", "review"),
            ("candidate.dates", "seen"),
            ("candidate.dates", "asked"),
            ("candidate.threshold.fairness_gap", "team"),
            ("sweep.constraints.fairness", "shop"),
        ]
    ]
    told = told_of(columns={column: {"hash": "PEPPER"} for column in dropped}, **models)
    assert [line.split(":")[0] for line in told] == ["columns.review", "columns.seen", "columns.asked"]
    assert told[1] == "columns.seen: cannot be hashed, for it is named as `candidate.dates`; leave one of them out"


def test_what_is_of_a_positive_class_is_refused_where_three_and_more_are_asked_for() -> None:
    required = {"name": "teams", "source": "a.csv", "dataset": "a", "key": "id", "label": "team", "store": "store"}
    of_two = {
        "positive": "billing",
        "candidate": {"model": "dnn", "reweight": ["region"], "class_weights": {"billing": 2}},
        "baseline": {"model": "rules", "rules": [{"when": {"region": "north"}, "probability": 0.3}], "default": 0.1},
        "data_limits": {"min_class_rows": {"test": 3}, "max_label_rate_gap": 0.1},
        "model_limits": {"auc": {"min": 0.6}},
    }

    with pytest.raises(ArgumentsError) as refused:
        check(
            run_file.RunFile(Path("run.yaml"), "training", {**required, **of_two, "problem": "multiclass"}),
            model_of("training"),
        )

    said = "is of two classes, and the problem is multiclass; leave it out"
    assert f"positive: {said}" in str(refused.value)
    assert f"data_limits.max_label_rate_gap: {said}" in str(refused.value)
    assert "candidate" not in str(refused.value)
    calibrated = {**required, "problem": "multiclass", "candidate": {"model": "trees", "calibration": "temperature"}}
    assert check(run_file.RunFile(Path("run.yaml"), "training", calibrated), model_of("training"))
    calibrated["candidate"] = {"model": "trees", "calibration": "isotonic"}
    with pytest.raises(
        ArgumentsError, match="candidate.calibration: isotonic is of two classes, and .*; write `temper"
    ):
        check(run_file.RunFile(Path("run.yaml"), "training", calibrated), model_of("training"))
    calibrated["candidate"] = {"model": "trees", "calibration": "isotonic", "class_weights": "balanced"}
    with pytest.raises(ArgumentsError, match="calibration: isotonic is of two classes, and .* multiclass; leave it ou"):
        check(run_file.RunFile(Path("run.yaml"), "training", calibrated), model_of("training"))
    assert "auc: no metric of multiclass classification; there are " in str(refused.value)
    assert "baseline.model: `rules` says a probability, and the problem is multiclass; take" in str(refused.value)
    assert "reweight" not in str(refused.value)
    assert "min_class_rows" not in str(refused.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"problem": "ordinal"}, "classes: are not given, and the problem is ordinal; name the values of the label in"),
        ({"classes": ["low", "high"]}, "classes: 2 of three and more; of two classes write `positive: high`"),
        ({"classes": ["low", "high", "low"]}, "classes: 'low' more than once; name each class once"),
        ({"classes": ["low", True, "high"]}, "classes: True names no class; write a text, in quotes, or a whole num"),
        ({"classes": [1, 2, 2.5]}, "classes: 2.5 names no class"),
        ({"classes": [1, 2, math.inf]}, "classes: inf names no class"),
        ({"classes": [1, 2, math.nan]}, "classes: nan names no class"),
        (
            {"classes": [*"abc"], "problem": "binary"},
            "are those of an order, and the problem is binary; leave them out",
        ),
        ({"classes": [*"abc"], "problem": "multiclass"}, "the problem is multiclass; write `problem: ordinal`, or lea"),
        (
            {"classes": [*"abc"], "positive": "a"},
            "positive: is of two classes, and the problem is ordinal; leave it ou",
        ),
        (
            {"classes": [*"abc"], "model_limits": {"auc": {"min": 0.6}}},
            "auc: no metric of ordinal classification; there",
        ),
    ],
)
def test_an_order_of_classes_that_says_nothing_is_refused_before_a_run(said: dict[str, Any], told: str) -> None:
    required = {"name": "sizes", "source": "a.csv", "dataset": "a", "key": "id", "label": "size", "store": "store"}

    with pytest.raises(ArgumentsError) as refused:
        check(run_file.RunFile(Path("run.yaml"), "training", {**required, **said}), model_of("training"))

    assert told in str(refused.value)


def test_a_limit_at_the_chosen_threshold_needs_a_candidate_that_chooses_one() -> None:
    required = {"name": "uptake", "source": "a.csv", "dataset": "a", "key": "id", "label": "took", "store": "store"}

    def asked_for(candidate: dict[str, Any]) -> run_file.RunFile:
        limits = {"recall@chosen": {"min": 0.6}}
        given = {**required, "candidate": {"model": "dnn", **candidate}, "model_limits": limits}
        return run_file.RunFile(Path("run.yaml"), "training", given)

    assert check(asked_for({"threshold": {"costs": {"false_negative": 5}}}), model_of("training"))
    with pytest.raises(ArgumentsError, match="recall@chosen: the candidate chooses no threshold; write in it what err"):
        check(asked_for({}), model_of("training"))


@pytest.mark.parametrize("problem", ["auto", "ordinal"])
def test_how_far_ordered_classes_are_taken_for_others_can_be_limited(problem: str) -> None:
    required = {"name": "sizes", "source": "a.csv", "dataset": "a", "key": "id", "label": "size", "store": "store"}
    ordered = {"classes": [1, 2, 3], "model_limits": {"mean_class_error": {"max": 0.4, "confident": True}}}

    given = run_file.RunFile(Path("run.yaml"), "training", {**required, **ordered, "problem": problem})

    assert check(given, model_of("training"))


def test_a_strategy_whose_limits_do_not_fit_a_number_is_refused_before_a_run() -> None:
    required = {"name": "rents", "source": "a.csv", "dataset": "a", "key": "id", "label": "rent", "store": "store"}

    def asked_for(problem: str) -> run_file.RunFile:
        return run_file.RunFile(Path("run.yaml"), "training", {**required, "problem": problem, "strategy": "shadow"})

    assert check(asked_for("binary"), model_of("training"))
    with pytest.raises(ArgumentsError, match="prediction_difference: has no `range`, and the model gives rent, a numb"):
        check(asked_for("regression"), model_of("training"))


RUN_FILES = sorted(file for file in ROOT.glob("examples/*/*.yaml") if "\npipeline: " in file.read_text())


@pytest.mark.parametrize("file", RUN_FILES, ids=lambda file: file.stem)
def test_an_example_names_the_schema_of_its_pipeline(file: Path) -> None:
    first = file.read_text().splitlines()[0]
    path = first.removeprefix("# yaml-language-server: $schema=")

    named = json.loads((file.parent / path).read_text())

    assert named["properties"]["pipeline"] == {"const": yaml.safe_load(file.read_text())["pipeline"]}


@pytest.mark.parametrize("name", PIPELINES)
def test_the_command_prints_the_schema_that_lies_beside_the_pipeline(name: str) -> None:
    printed = CliRunner().invoke(app, ["schema", name])

    assert printed.exit_code == 0
    assert printed.stdout == (ROOT / "pipelines" / name / "schema.json").read_text()


@pytest.mark.parametrize("name", PIPELINES)
def test_the_command_lists_every_argument(name: str) -> None:
    model: type[Arguments] = model_of(name)
    printed = CliRunner().invoke(app, ["arguments", name], env={"COLUMNS": "200"})

    shown = [line.split()[0] for line in printed.stdout.splitlines() if line.strip()]
    for table in schema.tables(model):
        assert {table.name, *(row.name for row in table.rows)} <= set(shown)


@pytest.mark.parametrize("place", ["file", "file/deeper", "/proc/nowhere"])
def test_a_folder_that_cannot_take_what_is_compiled_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")

    ended = CliRunner().invoke(app, ["compile", "--output", str(tmp_path / place)])

    assert isinstance(ended.exception, StorageError)
    assert str(ended.exception).startswith(f"{tmp_path / place}: cannot be written (")
    assert str(ended.exception).endswith("; name another with --output")


@pytest.mark.parametrize("command", ["schema", "arguments"])
def test_a_pipeline_that_is_not_there_is_told(command: str) -> None:
    ended = CliRunner().invoke(app, [command, "trainin"])

    assert "did you mean 'training'?" in str(ended.exception)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"every": "hourly"}, "every: 'hourly' is no span of time"),
        ({"since": "yesterday"}, "since: 'yesterday' is no time"),
        ({"until": "2026-01-02"}, "until: nothing says from when; name `since` too"),
        ({"since": "2026-01-02", "until": "2026-01-02"}, "until: 2026-01-02 is not after 2026-01-02"),
        ({"webhook": "https://me:hidden@host/"}, "webhook: the address of host has a password in it"),
        ({"alertmanager": "alertmanager:9093"}, "alertmanager: 'alertmanager:9093' is no address of the web"),
    ],
)
def test_what_monitoring_cannot_use_is_told_before_a_run(said: dict[str, Any], told: str) -> None:
    given = run_file.RunFile(Path("run.yaml"), "monitoring", {"name": "uptake", "store": "store", **said})

    with pytest.raises(ArgumentsError) as refused:
        check(given, model_of("monitoring"))

    assert told in str(refused.value)
    assert "hidden" not in str(refused.value)
