"""The file of a run, held against what the pipelines take: every mistake is told, and nothing else happens."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import given as drawn
from hypothesis import settings as drawing
from hypothesis import strategies as st

from cd4ml.cli import asked
from cd4ml.data import sources
from cd4ml.errors import ArgumentsError
from cd4ml.pipelines.training.arguments import Training
from cd4ml.storage import open_store

GOOD = {
    "name": "uptake",
    "source": "players.csv",
    "dataset": "players",
    "key": "id",
    "label": "took",
    "store": "store",
}
"""As JSON, each is YAML too."""


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder: Path, **written: str) -> asked.Asked:
    """Reads a run file whose further arguments are as they are written here."""
    arguments = {name: json.dumps(value) for name, value in GOOD.items()} | written
    lines = [f"  {name}: {text}" for name, text in arguments.items()]
    file = folder / "run.yaml"
    file.write_text("\n".join(["pipeline: training", "arguments:", *lines, ""]))
    return asked.read(file)


def mistakes(folder: Path, **written: str) -> str:
    with pytest.raises(ArgumentsError) as raised:
        read(folder, **written)
    first, *lines = str(raised.value).splitlines()
    assert first == f"{folder / 'run.yaml'}: the arguments are not what training takes:"
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "written", "told"),
    [
        ("data_limits", "{anomalies: true}", "anomalies: write a whole number, not true"),
        ("data_limits", "{personal_data: '3'}", "personal_data: write a whole number, not '3'"),
        ("data_limits", "{anomalies: 0.5}", "anomalies: "),
        ("data_limits", "{min_rows: {train: -5}}", "min_rows.train: "),
        ("data_limits", "{min_rows: {train: false}}", "min_rows.train: write a whole number, not false"),
        ("data_limits", "{min_group_share: }", "min_group_share: null is no value; write one, or leave it out"),
        ("data_limits", "{min_group_share: true}", "min_group_share: Input should be a valid number, not true"),
        ("data_limits", "{max_label_rate_gap: '0.3'}", "max_label_rate_gap: Input should be a valid number, not '0.3'"),
        ("data_limits", "{max_label_rate_gap: 2}", "max_label_rate_gap: "),
        ("data_limits", "{max_label_rate_gap: .nan}", "max_label_rate_gap: "),
        ("model_limits", "{auc: {min: false}}", "auc.min: Input should be a valid number, not false"),
        ("model_limits", "{auc: {min: '0.5'}}", "auc.min: Input should be a valid number, not '0.5'"),
        ("model_limits", "{auc: {min: -1}}", "auc.min: -1 is out of range: auc is from 0 to 1"),
        ("model_limits", "{auc: {min: , max: 0.9}}", "auc.min: null is no value; write one, or leave it out"),
        ("model_limits", "{auc: {min: -.inf}}", "auc.min: Input should be a finite number"),
        ("model_limits", "{auc: {min: 0.5, confident: 1}}", "auc.confident: "),
        ("model_limits", "{auc: {baseline: {min_change: true}}}", "auc.baseline.min_change: "),
        ("model_limits", "{latency_ms: {max: true}}", "latency_ms.max: "),
        ("model_limits", "{fairness: {g: {precision: {max_gap: true}}}}", "fairness.g.precision.max_gap: "),
        ("model_limits", "{fairness: {g: {precision: {max_gap: 2}}}}", "fairness.g.precision.max_gap: "),
        ("model_limits", "{fairness: {g: {four_fifths: 1}}}", "fairness.g.four_fifths: write true, or leave it out"),
        ("model_limits", "{auc: {min: 0.9}, bootstrap: }", "bootstrap: null is no value"),
        ("model_limits", "{auc: {min: 0.9, min: 0.1}}", "model_limits.auc.min: is there twice (line 9 and line 9)"),
        ("split", "{eval: true}", "eval: "),
        ("split", "{seed: -1}", "seed: "),
        ("split", "{seed: true}", "seed: write a whole number, not true"),
        ("candidate", "{model: dnn, epochs: true}", "epochs: write a whole number, not true"),
        ("candidate", "{model: dnn, epochs: '3'}", "epochs: write a whole number, not '3'"),
        ("candidate", "{model: dnn, epochs: 1e9}", "epochs: "),
        ("candidate", "{model: dnn, batch_size: 100000000000}", "batch_size: "),
        ("candidate", "{model: dnn, hidden: [8, true]}", "hidden.1: write a whole number, not true"),
        ("candidate", "{model: dnn, hidden: [1000000000]}", "hidden.0: "),
        ("candidate", "{model: dnn, learning_rate: true}", "learning_rate: "),
        ("candidate", "{model: dnn, dropout: '0.1'}", "dropout: "),
        ("exclude", "[3]", "exclude: 3 is no name of a column"),
        ("exclude", "[[a]]", "exclude: ['a'] is no name of a column"),
        ("gpus", "-1", "gpus: -1 is out of range; write a whole number from 0 to 64"),
        ("gpus", "true", "gpus: true is not a whole number"),
        ("workers", "0", "workers: 0 is out of range; write a whole number from 1 to 64"),
        ("workers", "two", "workers: 'two' is not a whole number"),
        ("accelerator", "tpu", "accelerator: Input should be 'auto', 'gpu' or 'cpu', not 'tpu'"),
        ("cpu_request", "0", "cpu_request: 0 is no number of cores; write one as 2, 0.5 or 500m"),
        ("cpu_request", "true", "cpu_request: true is no number of cores"),
        ("cpu_request", "4", "cpu_request: 4 is more than the cpu_limit, 2; raise the limit"),
        ("cpu_request", "2500m", "cpu_request: 2500m is more than the cpu_limit, 2"),
        ("cpu_limit", "-1", "cpu_limit: -1 is no number of cores"),
        ("cpu_limit", "two", "cpu_limit: 'two' is no number of cores"),
        ("cpu_limit", "[2]", "cpu_limit: [2] is no number of cores"),
        ("memory", "8", "memory: 8 is not a text"),
        ("memory", "'8'", "memory: '8' is no amount of memory; write one as 8G, 16Gi or 500M"),
        ("memory", "8K", "memory: '8K' is no amount of memory"),
        ("memory", "8GB", "memory: '8GB' is no amount of memory"),
        ("tolerations", "spot", "tolerations: 'spot' is not a list"),
        ("tolerations", "[spot]", "0: Input should be"),
        ("tolerations", "[{kex: spot}]", "0.kex: unknown; did you mean 'key'?"),
        ("tolerations", "[{value: yes-}]", "0.value: "),
        ("tolerations", "[{operator: Equal}]", "0: names no taint; write its key, or `operator: Exists`"),
        ("tolerations", "[{key: spot, operator: Exists, value: a}]", "0: has a value beside `operator: Exists`"),
        ("tolerations", "[{key: spot, tolerationSeconds: 3}]", "0: has tolerationSeconds, which are of"),
        ("node_selector", "[pool]", "node_selector: ['pool'] is not a mapping"),
        ("node_selector", "{pool: 3}", "pool: Input should be a valid string, not 3"),
        ("node_selector", "{a b: c}", "a b: "),
        ("port", "0", "port: 0 is out of range; write a whole number from 1024 to 65535"),
        ("port", "80000", "port: 80000 is out of range"),
        ("port", "5:25:05", "port: 5:25:05 can be read in two ways"),
        ("seed", "-1", "seed: -1 is out of range; write a whole number from 0 to 2147483647"),
        ("seed", "4294967296", "seed: 4294967296 is out of range"),
        ("seed", "010", "seed: 010 can be read in two ways"),
        ("seed", "1.5", "seed: 1.5 is not a whole number"),
        ("store", "''", "store: is empty"),
        ("store", "' '", "store: the path is empty"),
        ("store", "a" * 300, "store: "),
        ("store", f"a/{'b' * 300}", "store: "),
        ("store", f"s3://{'b' * 300}", "store: "),
        ("store", f"s3://bucket/{'b' * 300}", "store: "),
        ("store", "'s3://['", "store: "),
        ("store", "gs://bucket", "store: "),
        ("store", "~nobody-of-this-machine/store", "store: "),
        ("store", '"a\\0b"', "store: "),
        ("source", "''", "source: is empty"),
        ("source", "{file: ''}", "source.file: is empty"),
        (
            "source",
            "{fil: a.csv}",
            "source: names no source; write an object such as {file: PATH}; did you mean 'file'?",
        ),
        ("source", "{}", "source: names no source"),
        ("source", "{file: 's3://['}", "source.file: "),
        ("source", "{file: a.csv, fil: b.csv}", "source.fil: unknown; did you mean 'file'?"),
        ("source", "3", "source: 3 is no source; write a path, or an object such as {file: PATH}"),
        ("source", "[a.csv]", "source: ['a.csv'] is no source"),
        ("source", "{file: a.csv, read: {delimeter: x}}", "source.read.delimeter: unknown; did you mean 'delimiter'?"),
        ("source", "{file: a.csv, types: {a: integer}}", "source.types.a: "),
        ("source", "{file: []}", "source.file: is empty; name at least one file"),
        ("source", "'https://user:secret@host/t.csv'", "source.http: holds a password"),
        ("source", "'https://host/t.csv?se=1&X-Amz-Signature=abc'", "source.http: holds 'X-Amz-Signature', a secret"),
        ("source", "{sql: {url: 'sqlite:///a.db', table: t}}", "source.sql.url: is no name of an environment variable"),
        ("key", "[]", "key: [] is no key; write the name of a column, a list of names, or `rows`"),
        ("key", "[a, a]", "key: ['a', 'a'] names a column twice"),
        ("key", '"\\ud800"', "key: "),
        ("key", "3", "key: 3 is no key"),
        (
            "problem",
            "regresion",
            "problem: 'regresion' is no problem; write one of auto, binary, multiclass, ordinal, regression",
        ),
        ("duplicates", "drop", "duplicates: `drop` means nothing where the key is 'id'; leave it out"),
        ("data_limits", "{freshness: {max_age: 7 days}}", "data_limits.freshness.max_age: is about the `time_column`;"),
        ("data_limits", "{freshness: {max_age: 7 dais}}", "data_limits.freshness.max_age: '7 dais' is no span of time"),
        ("data_limits", "{freshness: {max_agee: 7 days}}", "data_limits.freshness.max_agee: unknown; did you mean"),
        ("columns", "{id: drop}", "columns.id: cannot be dropped, for it is named as `key`; hash it"),
        ("columns", "{took: {hash: PEPPER}}", "columns.took: cannot be hashed, for it is named as `label`; leave"),
        ("columns", "{name: dropp}", "columns.name: 'dropp' is none; write `drop`, `{hash: NAME}` or"),
        ("duplicates", "all", "duplicates: "),
        ("source", "a" * 300, "source: "),
        ("source", "'s3://['", "source: "),
        ("name", "a" * 300, "name: "),
        ("name", '"a\\0b"', "name: "),
        ("dataset", "a" * 300, "dataset: "),
        ("label", "''", "label: is empty"),
        ("label", "yes", 'label: yes can be read in two ways (line 7); as text write it in quotes: "yes"'),
        ("label", "true", 'label: true is not a text; write it in quotes: "true"'),
        ("label", "1.10", 'label: 1.10 is not a text; write it in quotes: "1.10"'),
        ("label", "", "label: null is no value; write one, or leave it out"),
        ("label", '"\\ud800"', "label: "),
        ("label", "[took]", "label: ['took'] is not a text"),
        ("slices", "[on]", 'slices.0: on can be read in two ways (line 9); as text write it in quotes: "on"'),
        ("<<", "{label: yes}", "<<.label: yes can be read in two ways"),
        ("<<", "[{seed: 010}]", "<<.0.seed: 010 can be read in two ways"),
        ("1", "2", '1: 1 is no text, as a name must be (line 9); write it in quotes: "1"'),
        ("~", "2", "~: ~ is no text"),
        (
            "curated_schema",
            "'feature {name: \"age\"}'",
            "curated_schema: this is the text of a schema; write it to a file",
        ),
        ("curated_schema", "a" * 300, "curated_schema: "),
        ("exclude", f"[{'x' * 169 * 1024}]", "exclude: has 173,060 bytes as JSON"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(in_a_folder: Path, name: str, written: str, told: str) -> None:
    assert told in mistakes(in_a_folder, **{"sensitive": "[g]"} if "fairness" in written else {}, **{name: written})
    assert [one.name for one in in_a_folder.iterdir()] == ["run.yaml"]


def test_what_begins_anew_each_time_cannot_start_warm(in_a_folder: Path) -> None:
    told = mistakes(in_a_folder, candidate="{model: trees}", warm_start="true")

    assert "warm_start: 'trees' begins anew each time; leave it out, or take a network as the candidate" in told


def test_several_workers_train_one_network_and_nothing_else(in_a_folder: Path) -> None:
    trees = mistakes(in_a_folder, candidate="{model: trees}", workers="2")
    swept = mistakes(in_a_folder, workers="2", sweep="{ranges: {epochs: [5, 10]}, trials: 2}")

    assert "workers: 'trees' is trained by one process, and 2 are asked for" in trees
    assert "workers: each trial of a sweep is one process" in swept
    assert "workers" not in mistakes(in_a_folder, baseline="{model: trees}", workers="2", seed="-1")


@pytest.mark.parametrize("name", ["exclude", "sensitive", "slices"])
def test_a_dropped_column_can_be_named_nowhere_else(in_a_folder: Path, name: str) -> None:
    told = mistakes(in_a_folder, columns="{region: drop}", **{name: "[region]"})

    assert f"columns.region: cannot be dropped, for it is named as `{name}`; leave one of them out" in told
    assert read(in_a_folder, columns="{region: {hash: PEPPER}}", **{name: "[region]"}).values


def test_mistakes_of_every_kind_are_told_together(in_a_folder: Path) -> None:
    told = mistakes(
        in_a_folder,
        label="yes",
        seed="-1",
        port="true",
        model_limits="{auc: {min: true, min: 1}}",
        lable="x",
        store="''",
    )

    assert [line.split(":")[0].strip() for line in told.splitlines()] == [
        "label",
        "model_limits.auc.min",
        "store",
        "seed",
        "port",
        "lable",
    ]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("candidate", "{model: dnn, learning_rate: 1e-3, epochs: 1e1, hidden: [16.0]}"),
        ("data_limits", "{min_rows: {train: 1e3}, min_group_share: 0, max_label_rate_gap: 1}"),
        ("model_limits", "{auc: {min: 0}, latency_ms: {max: 20}}"),
        ("seed", "2147483647"),
        ("label", "y"),
        ("key", "'Customer ID (%)'"),
        ("exclude", '["2024", "yes"]'),
    ],
)
def test_what_is_meant_in_one_way_is_taken(in_a_folder: Path, name: str, written: str) -> None:
    assert name in read(in_a_folder, **{name: written}).arguments


def test_a_source_is_a_text_or_an_object_that_kfp_takes_as_json(in_a_folder: Path) -> None:
    text, named = read(in_a_folder), read(in_a_folder, source="{file: players.csv}")

    assert text.values == named.values
    assert (text.arguments["source"], named.arguments["source"]) == ("players.csv", '{"file": "players.csv"}')
    assert sources.parse(named.arguments["source"]) == sources.parse("players.csv")


def test_what_is_recorded_of_a_run_is_every_argument_that_has_a_value(in_a_folder: Path) -> None:
    recorded = read(in_a_folder, seed="3").recorded

    assert recorded.items() >= (GOOD | {"seed": 3, "source": {"file": "players.csv"}}).items()
    assert "port" in recorded
    assert None not in recorded.values()


@pytest.mark.parametrize("store", ["~/cd4ml-store", "~"])
def test_the_home_folder_is_found_in_a_path(
    in_a_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, store: str
) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))

    taken = read(in_a_folder, store=f"'{store}'").arguments["store"]
    open_store(taken).add("models/uptake/1", "text")

    assert (Path(store).expanduser() / "models/uptake/1").read_text() == "text"
    assert Path(store).expanduser().is_relative_to(home)
    assert not (in_a_folder / "~").exists()


def test_a_file_that_is_not_there_is_told_before_what_takes_time_is_imported(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text("pipeline: traning\narguments: {}\n")
    program = (
        "import sys; from cd4ml.cli import main\n"
        "try: main()\n"
        "except SystemExit as end:\n"
        "    slow = ('kfp', 'jinja2', 'pyarrow', 'cd4ml.images')\n"
        "    print(end.code, [one for one in slow if one in sys.modules])"
    )
    (tmp_path / "arguments.yaml").write_text("pipeline: training\narguments: {seed: -1}\n")
    for file, told in (
        ("none.yaml", "No such file"),
        ("pipeline.yaml", "did you mean 'training'?"),
        ("arguments.yaml", "seed: -1 is out of range"),
    ):
        ended = subprocess.run(
            [sys.executable, "-c", program, "run", f"~/{file}"],
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )

        assert ended.stdout == "1 []\n"
        assert f"{tmp_path / file}: " in ended.stderr
        assert told in ended.stderr


NAMES = st.sampled_from(
    [
        "auc",
        "min",
        "max",
        "fairness",
        "gender",
        "max_gap",
        "slices",
        "bootstrap",
        "baseline",
        "champion",
        "train",
        "model",
        "dnn",
        "hidden",
        "epochs",
        "by",
        "seed",
        "column",
        "anomalies",
        "min_rows",
        "region=*",
        "precision@0.5",
        "required_slices",
        "four_fifths",
        "confident",
        "true",
        "~/x",
        "s3://b/c",
        "s3://[",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | NAMES
    | st.text(max_size=5)
    | st.just(10**400)
    | st.just(-1)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
PARAMETERS = st.sampled_from(list(Training.model_fields))


@drawing(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@drawn(st.dictionaries(PARAMETERS, VALUES, max_size=3) | st.dictionaries(st.text(max_size=3), VALUES, max_size=2))
def test_any_arguments_are_taken_or_told(in_a_folder: Path, changed: dict[str, Any]) -> None:
    file = in_a_folder / "run.yaml"
    file.write_text(json.dumps({"pipeline": "training", "arguments": GOOD | changed}).replace("Infinity", ".inf"))
    with contextlib.suppress(ArgumentsError):
        asked.read(file)
