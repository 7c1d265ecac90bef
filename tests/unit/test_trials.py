"""`cd4ml models test`: what is asked of the train environment, and what is told of a function that it cannot use.

What that environment finds is the matter of its own tests; here a program stands in its place.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.errors import ArgumentsError, DataError, EnvironmentSetupError, TrainingError
from cd4ml.running import trials
from cd4ml.training import code, split

MODULE = "import keras\n\ndef one(job): pass\n\ndef two(job): pass\n\ndef layer(features): pass\n"
RUN_FILE = """
pipeline: training
arguments:
  name: churn
  source: customers.csv
  dataset: customers
  key: customer
  label: churned
  problem: binary
  positive: "1"
  exclude: [note]
  columns: {mail: drop}
  store: store
  baseline: {model: linear}
  candidate: {function: "models:two", settings: {units: 3}, minutes: 90}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models.py").write_text(MODULE)
    (tmp_path / "training.yaml").write_text(RUN_FILE)
    rows = [f"c{number},{number % 60},note {number},m{number}@example.com,{number % 2}" for number in range(3000)]
    (tmp_path / "customers.csv").write_text("customer,age,note,mail,churned\n" + "\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environments" / "tools"))
    return tmp_path


@pytest.fixture
def environment(here: Path) -> Callable[[str], None]:
    """A train environment whose Python keeps what it is asked in `asked`, and does as a line of shell says."""

    def made(does: str) -> None:
        program = here / "environments" / "train" / "bin" / "python"
        program.parent.mkdir(parents=True)
        (here / "environments" / "train" / "ready").touch()
        program.write_text(f'#!/bin/sh\nmkdir -p "{here}/asked/$$" && cp "$4"/* "{here}/asked/$$"\n{does}\n')
        program.chmod(0o755)

    return made


def tried(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", "test", *map(str, words)], catch_exceptions=False)


def asked(here: Path) -> dict[str, Path]:
    """The folders that the environment was given, by the function that each is about."""
    folders = (here / "asked").iterdir()
    return {json.loads((one / "asked.json").read_text())["spec"]["function"]: one for one in folders}


FINDS = """echo noise; echo '{"trained": "on 512 rows"}'"""


def test_each_function_of_a_file_that_takes_a_job_is_tried(here, environment):
    environment(FINDS)

    said = tried("models.py").output

    words = "trained on 512 rows passed as a run would train it, it can be served"
    assert " ".join(said.split()) == f"function models:one {words} function models:two {words}"
    assert set(asked(here)) == {"models:one", "models:two"}
    spec = json.loads((asked(here)["models:two"] / "asked.json").read_text())["spec"]
    assert code.unpacked(spec["source"]).decode() == MODULE


def test_one_function_is_tried_where_it_is_named(here, environment):
    environment(FINDS)
    tried("models.py:layer")
    tried("acme.models:wide")

    assert set(asked(here)) == {"models:layer", "acme.models:wide"}
    assert not (asked(here)["models:layer"] / "rows.parquet").exists()


def test_the_functions_of_a_run_file_are_tried_with_its_settings_on_rows_of_its_source(here, environment):
    environment(FINDS)
    tried("training.yaml")

    [folder] = asked(here).values()
    content = json.loads((folder / "asked.json").read_text())
    assert content["spec"] | {"source": ""} == {
        "model": "function",
        "function": "models:two",
        "settings": {"units": 3},
        "minutes": trials.MINUTES,
        "reweight": [],
        "calibration": "none",
        "texts": [],
        "source": "",
    }
    assert (content["label"], content["exclude"]) == ("churned", ["customer", "note"])
    assert (content["problem"], content["positive"]) == ("binary", "1")
    rows = pq.read_table(folder / "rows.parquet")
    assert rows.column_names == ["customer", "age", "note", "churned"]
    assert rows.num_rows == 1000
    assert rows["customer"].to_pylist()[:2] == ["c0", "c3"]


SIZES = {"problem": "problem: multiclass", "order": "classes: [small, middle, large, huge]"}


def of_sizes(here: Path, said: str, sizes: list[str]) -> None:
    """The same run on rows of some sizes, which are few enough to be tried with all."""
    told = RUN_FILE.replace('problem: binary\n  positive: "1"', said)
    (here / "training.yaml").write_text(told)
    rows = [f"c{number},{number % 60},note,m@example.com,{size}" for number, size in enumerate(sizes)]
    (here / "customers.csv").write_text("customer,age,note,mail,churned\n" + "\n".join(rows) + "\n")


@pytest.mark.parametrize("said", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("rare", [[0], [30], [0, 31], [0, 31, 62]])
def test_a_class_that_only_the_rows_to_look_at_have_is_left_out(here, environment, said, rare):
    environment(FINDS)
    sizes = [("small", "middle", "large")[number // 3 % 3] for number in range(90)]
    of_sizes(here, said, ["huge" if place in rare else size for place, size in enumerate(sizes)])
    tried("training.yaml")

    [folder] = asked(here).values()
    rows = pq.read_table(folder / "rows.parquet")
    for_train, for_eval = (set(part["churned"].to_pylist()) for part in split.for_trial(rows))
    assert for_eval <= for_train
    assert rows.num_rows >= 90 - len(rare)
    order = [one for one in ("small", "middle", "large", "huge") if one in for_train]
    assert json.loads((folder / "asked.json").read_text())["classes"] == (order if "classes" in said else [])


@pytest.mark.parametrize("said", SIZES.values(), ids=SIZES)
def test_of_a_sample_with_two_of_several_classes_it_is_told_that_it_is_too_small(here, environment, said):
    environment(FINDS)
    of_sizes(here, said, ["small", "middle"] * 30)

    with pytest.raises(DataError, match="60 of the first 50,000 rows of the source are not enough") as told:
        tried("training.yaml")

    assert "label 'churned': a part of them has two of its classes alone ('middle', 'small')" in str(told.value)
    assert not (here / "asked").exists()


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("""echo '{"error": "models:two: gave null"}'; exit 1""", "^models:two: gave null$"),
        ("exit 3", "^models:two: ended the process that it ran in, with 3; mend it$"),
        ("echo one >&2; echo two >&2; exit 3", r"^models:two: ended the process .*, with 3 \(two\); mend it$"),
        ("echo at line 3 >&2; echo cd4ml.errors.TrainingError: hangs >&2; exit 1", "^hangs$"),
        ("echo '{}'; printf bye", r"^models:two: .* \(the last that it printed is not what was found: bye\); mend it$"),
        ("kill -SEGV $$", "^models:two: ended the process that it ran in, with -11; mend it$"),
        ("exec sleep 60", "^models:two: has not ended within 0.3 seconds, and was killed; have it do less$"),
    ],
)
def test_what_is_wrong_with_a_function_is_told(here, environment, monkeypatch, does, message):
    environment(does)
    monkeypatch.setattr(trials, "SECONDS", 0.3)

    with pytest.raises(TrainingError, match=message):
        tried("models.py:two")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nothing.py", "nothing.py: cannot be read as Python .*; name another file, or mend it"),
        ("broken.py", r"broken.py: cannot be read as Python \('\(' was never closed"),
        ("empty.py", r"empty.py: has no function `def ...\(job\):`; write one"),
        ("models.py:tow", r"models.py: has no function 'tow'; did you mean 'two'\?"),
        ("linear.yaml", "linear.yaml: names no function to try; write one"),
        ("models", "'models' is no function; write MODULE:NAME, as team.models:wide"),
    ],
)
def test_what_cannot_be_tried_is_told(here, what, message):
    (here / "broken.py").write_text("def one(job:\n")
    (here / "empty.py").write_text("def layer(features): pass\n")
    (here / "linear.yaml").write_text(
        RUN_FILE.replace('{function: "models:two", settings: {units: 3}, minutes: 90}', "{model: dnn}")
    )

    with pytest.raises(TrainingError, match=message):
        tried(what)


def test_a_run_file_with_mistakes_is_told_as_when_it_runs(here):
    (here / "training.yaml").write_text(RUN_FILE.replace("key: customer", "kay: customer"))

    with pytest.raises(ArgumentsError, match="kay: unknown"):
        tried("training.yaml")


def test_without_the_train_environment_it_is_told_how_to_make_it(here):
    with pytest.raises(EnvironmentSetupError, match="no environment for train; make it with `make setup`"):
        tried("models.py")
