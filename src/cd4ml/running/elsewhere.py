"""A run that went on elsewhere, as in a cluster, brought to this machine as far as its tasks noted it in the store."""

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from kfp import dsl
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from cd4ml.contracts import document
from cd4ml.contracts.record import Located
from cd4ml.errors import ArgumentsError, StorageError
from cd4ml.registry import notes, records
from cd4ml.running import compiled, earlier
from cd4ml.running.cache import Cache
from cd4ml.storage import Store, check_name, local_copy

BROUGHT = Path(".cache") / "brought"
"""In the folder of runs: by run, what was brought of it."""
_ALWAYS = pb.PipelineTaskSpec.TriggerPolicy.ALL_UPSTREAM_TASKS_COMPLETED
"""The strategy of a task that begins also where one before it failed."""
_MINIO, _S3 = "minio://", "s3://"

Place: TypeAlias = tuple[str, str]
"""A task, and the name of one of its outputs; empty where only that it passed matters."""


def bring(pipeline: Any, *, task: str, alone: bool, store: Store, run: str, runs: Path) -> Path:
    """Brings what a part of a pipeline takes from a run; what is here already is not read again.

    Args:
        pipeline: What `dsl.pipeline` made.
        task: The task that the part begins with, by its name or the one that people see.
        alone: Whether nothing after it is to run.
        store: Holds the record of the run.
        run: Its id or its name.
        runs: The folder of the runs of this machine.

    Returns:
        A folder as a run of this machine has it (`cd4ml.running.earlier`).

    Raises:
        ArgumentsError: There is no such task; or the run is of another pipeline, did not note what the part takes, or
            its artifact is not there any more.
        RegistryError: The store has no record of the run.
    """
    spec: pb.PipelineSpec = pipeline.pipeline_spec
    chosen = earlier.chosen(spec, task, alone=alone)
    record = records.read(store, run)
    earlier.check_pipeline(spec, run=run, pipeline=record.pipeline)
    noted = _Noted(spec, notes.of(store, record))
    taken = list(noted.taken_by(chosen))
    missing = [place for place in taken if not noted.has(place)]
    if missing:
        raise ArgumentsError(f"run {run}: not noted in the store: {_words(missing)}; {noted.remedy(task)}")
    folder = (runs / BROUGHT / check_name(record.run_id)).resolve()
    outputs: dict[str, dict[str, Any]] = {producer: {} for producer, _ in taken}
    for producer, name in dict.fromkeys(place for place in taken if place[1]):
        found = noted.outputs[producer, name]
        if isinstance(found, Located):
            found = _here(found, folder / producer / name, what=f"run {run}: {name} of {producer}")
        outputs[producer][name] = found
    cache = Cache(str(folder / earlier.OUTPUTS))
    for producer, given in outputs.items():
        cache.put(producer, given)
    earlier.keep_arguments(pipeline, record.arguments, folder)
    return folder


class _Noted:
    """What is known of the tasks of a run by its notes."""

    def __init__(self, spec: pb.PipelineSpec, found: notes.Notes) -> None:
        self._spec = spec
        self._tasks = spec.root.dag.tasks
        self._waits = compiled.after(self._tasks)
        self.outputs: dict[Place, Any] = {
            (name, output): one
            for name, note in found.wrote.items()
            for output, one in {**note.parameters, **note.artifacts}.items()
        }
        passed = set(found.wrote)
        for name in set(found.read).intersection(self._tasks):
            read = {**found.read[name].parameters, **found.read[name].artifacts}
            self.outputs |= {place: read[key] for key, place in self._reads(name) if key in read}
            if self._tasks[name].trigger_policy.strategy != _ALWAYS:
                passed.update(self._waits[name])
        self._passed = set(earlier.with_what_leads_to(passed, self._waits))

    def taken_by(self, chosen: Collection[str]) -> Iterator[Place]:
        """What tasks take from those that are not among them."""
        for name in (one for one in self._waits if one in chosen):
            before = [(one, "") for one in self._waits[name]]
            yield from (place for place in [*before, *dict(self._reads(name)).values()] if place[0] not in chosen)

    def has(self, place: Place) -> bool:
        """Whether it is known."""
        return place in self.outputs if place[1] else place[0] in self._passed

    def remedy(self, task: str) -> str:
        """With which task to begin instead: the last that leads to it, and whose part takes only what is known."""
        for one in reversed(self._waits):
            part = earlier.chosen(self._spec, one)
            if earlier.chosen(self._spec, task) <= part and all(map(self.has, self.taken_by(part))):
                return f"begin with --from {one}"
        return "name another run with --run"

    def _reads(self, task: str) -> Iterator[tuple[str, Place]]:
        """The inputs of a task that are outputs of others."""
        inputs = self._tasks[task].inputs
        for key, one in inputs.parameters.items():
            if one.HasField("task_output_parameter"):
                yield key, (one.task_output_parameter.producer_task, one.task_output_parameter.output_parameter_key)
        for key, artifact in inputs.artifacts.items():
            if artifact.HasField("task_output_artifact"):
                place = artifact.task_output_artifact
                yield key, (place.producer_task, place.output_artifact_key)


def _words(missing: Collection[Place]) -> str:
    without = {task for task, name in missing if name}
    told = [(task, name) for task, name in dict.fromkeys(missing) if name or task not in without]
    return ", ".join(f"{name} of {task}" if name else f"that {task} passed" for task, name in told)


def _here(found: Located, target: Path, *, what: str) -> dsl.Artifact:
    """An artifact as a file or folder of this machine, which is what the run had, to the byte."""
    if not target.exists() or document.digest(target) != found.digest:
        _remove(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with local_copy(found.uri.replace(_MINIO, _S3, 1)) as copied:
                copy = shutil.copytree if copied.is_dir() else shutil.copyfile
                copy(copied, target)
        except (StorageError, OSError) as error:
            raise ArgumentsError(
                f"{what} cannot be had from {found.uri}: {error}; name another run with --run"
            ) from error
        if document.digest(target) != found.digest:
            _remove(target)
            raise ArgumentsError(f"{what}, {found.uri}, is not what the run had; name another run")
    return dsl.Artifact(name=target.name, uri=str(target))


def _remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
