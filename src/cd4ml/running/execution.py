"""What KFP's launcher does for a task in a cluster: its command from its inputs, and its outputs from its files."""

import os

from kfp.local import executor_input_utils, executor_output_utils, placeholder_utils
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from cd4ml.running.cache import Cache
from cd4ml.running.walk import Step, Values

_INPUT = "--executor_input"


def key(step: Step, cache: Cache) -> str:
    """Tells one use of a component from another: by what it runs, and by its inputs."""
    found: str = cache.compute_key(
        component_name=step.spec.component_ref.name,
        image=step.container.image,
        full_command=[*step.container.command, *step.container.args],
        arguments=step.inputs or {},
        env_vars={one.name: one.value for one in step.container.env},
        custom_cache_key=step.spec.caching_options.cache_key or None,
    )
    return found


def executor_input(step: Step) -> pb.ExecutorInput:
    """What a task is given, and where it is to write."""
    return executor_input_utils.construct_executor_input(
        component_spec=step.component,
        arguments=step.inputs or {},
        task_root=str(step.task.folder),
        block_input_artifact=False,
    )


def arguments(step: Step, given: pb.ExecutorInput) -> list[str]:
    """The words for KFP's executor that run a task."""
    root, run = os.path.split(step.task.folder.parent)
    words: list[str] = placeholder_utils.replace_placeholders(
        full_command=list(step.container.args),
        executor_input_dict=executor_input_utils.executor_input_to_dict(given, step.component),
        pipeline_resource_name=run,
        task_resource_name=step.task.name,
        pipeline_root=root,
        unique_pipeline_id=run,
    )
    return words[words.index(_INPUT) :]


def outputs(step: Step, given: pb.ExecutorInput) -> Values:
    """What a task wrote that has passed, by name in the order of the alphabet, which the protobuf does not keep."""
    found: Values = executor_output_utils.get_outputs_for_task(given, step.component)
    return dict(sorted(found.items()))
