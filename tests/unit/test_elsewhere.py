"""A part of a pipeline runs with what a run in a cluster noted in the store, or is refused in words."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from in_process import FUNCTIONS, Ran, component
from kfp import dsl
from kfp.dsl import executor
from kfp.dsl.types import artifact_types
from s3_server import S3Server

from cd4ml.errors import ArgumentsError, GateError, RegistryError
from cd4ml.pipelines.training.pipeline import training
from cd4ml.registry import notes, records
from cd4ml.registry.notes import noting
from cd4ml.running import compiled, earlier, elsewhere, execution
from cd4ml.running.walk import Step
from cd4ml.storage import open_store

STORE = "s3://cd4ml/team"
ARGUMENTS = {"text": "hello", "word": "!", "store": STORE}


@component
def split(text: str, store: str, rows: dsl.Output[dsl.Artifact]) -> str:
    with noting(store, dict(locals())) as returned:
        Path(rows.path).write_text(text)
        returned["Output"] = f"{len(text)} rows"
    return returned["Output"]


@component
def validate(rows: dsl.Input[dsl.Artifact], found: dsl.Output[dsl.Artifact]) -> None:
    Path(found.path).mkdir(parents=True)
    Path(found.path, "lines").write_text(Path(rows.path).read_text().upper())


@component
def gate(found: dsl.Input[dsl.Artifact], store: str) -> None:
    with noting(store, dict(locals())):
        assert Path(found.path, "lines").read_text() != "REFUSED"


@component
def train(rows: dsl.Input[dsl.Artifact], found: dsl.Input[dsl.Artifact], model: dsl.Output[dsl.Artifact]) -> None:
    Path(model.path).write_text(Path(rows.path).read_text() + Path(found.path, "lines").read_text())


@component
def publish(model: dsl.Input[dsl.Artifact], rows: str, word: str, store: str) -> str:
    with noting(store, dict(locals())):
        assert word != "refused"
    return Path(model.path).read_text() + rows + word


@dsl.pipeline
def chain(text: str, word: str, store: str) -> None:
    rows = split(text=text, store=store)
    found = validate(rows=rows.outputs["rows"])
    gated = gate(found=found.outputs["found"], store=store)
    model = train(rows=rows.outputs["rows"], found=found.outputs["found"]).after(gated)
    publish(model=model.outputs["model"], rows=rows.outputs["Output"], word=word, store=store)


class InACluster(Ran):
    """A run whose artifacts lie in a bucket, as KFP's launcher leaves them, and of which nothing stays on a machine."""

    def __init__(self, s3: S3Server, mount: Path, run: str, **arguments: object) -> None:
        self.s3, self.mount = s3, mount
        self.patch = pytest.MonkeyPatch()
        with self.patch.context() as patch:
            self.patch = patch
            patch.setattr(artifact_types, "_MINIO_LOCAL_MOUNT_PREFIX", f"{mount}/")
            patch.setenv(records.PIPELINE, "chain")
            patch.setenv(records.RUN, run)
            records.begin(STORE, name=f"name of {run}", arguments=arguments)
            super().__init__(chain, mount / "cd4ml" / "artifacts" / run, **arguments)

    def execute(self, step: Step) -> None:
        self.patch.setenv(notes.TASK, step.task.name)
        given = execution.executor_input(step)
        for artifacts in given.outputs.artifacts.values():
            artifacts.artifacts[0].uri = f"minio://{Path(artifacts.artifacts[0].uri).relative_to(self.mount)}"
        words = execution.arguments(step, given)
        step.task.folder.mkdir(parents=True)
        function = FUNCTIONS[words[words.index("--function_to_execute") + 1]]
        try:
            executor.Executor(json.loads(words[words.index("--executor_input") + 1]), function).execute()
        except AssertionError:
            step.task.state = "failed"
            return
        for file in (one for one in step.task.folder.rglob("*") if one.is_file()):
            self.s3.objects[str(file.relative_to(self.mount / "cd4ml"))] = file.read_bytes()
        self.walk.give(step, execution.outputs(step, given))


def in_a_cluster(s3: S3Server, tmp_path: Path, run: str = "run-1", **arguments: object) -> None:
    InACluster(s3, tmp_path / f"pods of {run}", run, **(ARGUMENTS | arguments))


def part(tmp_path: Path, task: str, *, alone: bool = False, run: str = "run-1", **arguments: Any) -> Any:
    folder = elsewhere.bring(chain, task=task, alone=alone, store=open_store(STORE), run=run, runs=tmp_path / "runs")
    return earlier.part(chain, task=task, alone=alone, arguments=ARGUMENTS | arguments, earlier=folder)


def ran(tmp_path: Path, part: Any, **arguments: Any) -> Ran:
    return Ran(chain, tmp_path / "here", part=part, **(ARGUMENTS | arguments))


def test_from_a_task_what_it_reads_is_what_a_run_in_a_cluster_had(s3: S3Server, tmp_path: Path) -> None:
    in_a_cluster(s3, tmp_path)

    again = ran(tmp_path, part(tmp_path, "train", run="name of run-1", word="?"), word="?")

    assert again.executed == ["train", "publish"]
    assert again.outputs["publish"] == "helloHELLO5 rows?"


def test_what_failed_is_taken_up_with_other_arguments(s3: S3Server, tmp_path: Path) -> None:
    in_a_cluster(s3, tmp_path, word="refused")

    again = ran(tmp_path, part(tmp_path, "publish"))

    assert again.executed == ["publish"]
    assert again.outputs["publish"] == "helloHELLO5 rows!"


def test_what_was_brought_once_is_not_read_again(s3: S3Server, tmp_path: Path) -> None:
    in_a_cluster(s3, tmp_path)
    part(tmp_path, "train")
    lost = [key for key in s3.objects if key.startswith("artifacts/run-1/")]
    for key in lost:
        del s3.objects[key]

    assert ran(tmp_path, part(tmp_path, "train", alone=True)).executed == ["train"]


def test_what_no_task_noted_is_told_with_the_task_to_begin_with_instead(s3: S3Server, tmp_path: Path) -> None:
    in_a_cluster(s3, tmp_path, text="refused")

    with pytest.raises(ArgumentsError) as refused:
        part(tmp_path, "publish", alone=True, text="refused")
    assert str(refused.value) == ("run run-1: not noted in the store: model of train; begin with --from gate")
    with pytest.raises(ArgumentsError, match="not noted in the store: that gate passed; begin with --from gate"):
        part(tmp_path, "train", text="refused")
    assert part(tmp_path, "validate", alone=True, text="refused").chosen == {"validate"}


def test_a_run_that_noted_nothing_is_told(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(records.PIPELINE, "chain")
    monkeypatch.setenv(records.RUN, "old")
    records.begin(STORE, name="old", arguments=ARGUMENTS)

    with pytest.raises(ArgumentsError, match="run old: not noted in the store: rows of split; begin with --from split"):
        part(tmp_path, "validate", run="old", alone=True)
    with pytest.raises(RegistryError, match="no record of a run 'unknown'"):
        part(tmp_path, "validate", run="unknown")


def test_an_artifact_that_is_gone_or_another_is_told(s3: S3Server, tmp_path: Path) -> None:
    in_a_cluster(s3, tmp_path)
    s3.objects["artifacts/run-1/split/rows"] = b"edited"
    with pytest.raises(ArgumentsError, match="rows of split, minio://cd4ml/.*, is not what the run had; name another"):
        part(tmp_path, "train")

    del s3.objects["artifacts/run-1/split/rows"]
    with pytest.raises(ArgumentsError, match="rows of split cannot be had from minio://cd4ml/.*: nothing is stored"):
        part(tmp_path, "train")


def test_other_arguments_and_another_pipeline_are_refused_as_of_a_run_here(s3: S3Server, tmp_path: Path) -> None:
    in_a_cluster(s3, tmp_path)
    with pytest.raises(ArgumentsError, match="run run-1: was given another text, on which split depends"):
        part(tmp_path, "train", text="other")

    @dsl.pipeline
    def another(text: str) -> None:
        split(text=text, store=STORE)

    with pytest.raises(ArgumentsError, match="run run-1: is of chain, not of another"):
        elsewhere.bring(another, task="split", alone=True, store=open_store(STORE), run="run-1", runs=tmp_path)


TASKS = training.pipeline_spec.root.dag.tasks
RETURN_WHAT_IS_READ_LATER = ("check-arguments", "ingest-dataset", "split-dataset")
"""Those that note the values that they return."""
LOOP = "for-loop-1"
"""Which has nothing to go through without a sweep."""


def training_noted(folder: Path, *, failed: str = "") -> Path:
    """Where a part of a run of the training pipeline finds what its tasks noted, and that ended where one failed."""
    store = folder / "store"
    records.begin_part(str(store), pipeline="training", run="run-1", arguments={"name": "uptake"})
    for name in (one for one in compiled.after(TASKS) if one != LOOP):
        note_task(name, store=str(store), artifacts=folder / "artifacts", fails=name == failed)
        if name == failed:
            break
    return store


def note_task(name: str, *, store: str, artifacts: Path, fails: bool) -> None:
    """Notes what a task of the training pipeline says it reads and writes, as its pod does."""
    spec, task = training.pipeline_spec, TASKS[name]
    component = spec.components[task.component_ref.name]
    inputs = {key: one.task_output_artifact for key, one in task.inputs.artifacts.items()}
    read = {key: artifacts / one.producer_task / one.output_artifact_key for key, one in inputs.items()}
    written = {key: artifacts / name / key for key in component.output_definitions.artifacts}
    values = {key: f"{key} of {name}" for key in task.inputs.parameters}
    given = {key: dsl.Artifact(name=key, uri=str(file)) for key, file in {**read, **written}.items()}
    with pytest.MonkeyPatch.context() as pod:
        pod.setenv(records.RUN, "run-1")
        for one in compiled.container(spec, component).env:
            pod.setenv(one.name, one.value)
        with contextlib.suppress(GateError), noting(store, {**values, **given}) as returned:
            if fails:
                raise GateError("refused")
            if name in RETURN_WHAT_IS_READ_LATER:
                returned |= {key: f"{key} of {name}" for key in component.output_definitions.parameters}
            for key, file in written.items():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(key)


def chosen_of_training(task: str, store: Path) -> Any:
    folder = elsewhere.bring(
        training, task=task, alone=False, store=open_store(store), run="run-1", runs=store.with_name("runs")
    )
    return earlier.part(training, task=task, alone=False, arguments={"name": "uptake"}, earlier=folder).chosen


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_run_of_training_that_passed_can_be_taken_up_from_each_of_its_tasks(tmp_path: Path, task: str) -> None:
    assert task in chosen_of_training(task, training_noted(tmp_path))


@pytest.mark.parametrize("task", ["train-model", "evaluate-model", "check-model"])
def test_a_run_of_training_whose_model_was_refused_can_be_taken_up_without_validating_again(
    tmp_path: Path, task: str
) -> None:
    assert "deploy-model" in chosen_of_training(task, training_noted(tmp_path, failed="check-model"))


def test_a_run_of_training_whose_dataset_was_refused_is_taken_up_from_its_gate(tmp_path: Path) -> None:
    store = training_noted(tmp_path, failed="check-dataset")

    assert "deploy-model" in chosen_of_training("check-dataset", store)
    with pytest.raises(ArgumentsError, match="verdict of check-dataset; begin with --from check-dataset"):
        chosen_of_training("train-model-2", store)
