"""What every task of a pipeline says of itself: its name in the UI, resources, retries, caching, rights."""

import json
from datetime import timedelta
from pathlib import PurePosixPath

from kfp import dsl, kubernetes

from cd4ml import images
from cd4ml.cluster import accounts, twins
from cd4ml.contracts import signature
from cd4ml.deployment import strategies
from cd4ml.monitoring import receivers
from cd4ml.registry import notes, records

GPU = "nvidia.com/gpu"
USER = 10001
"""As whom every image runs; a namespace of restricted pods wants to hear it."""
HOUR = 3600
"""In seconds. A task that hangs holds its node, and a run that hangs stops its schedule: both have an end."""
DEPLOYING_HOURS = strategies.LONGEST // timedelta(hours=1) + 24
"""How long a deployment may take: as long as it may wait for people and callers, and a day for all else."""
RETRIED_WITHIN = "60d"
"""More than a run may take: Argo counts this from the begin of the first attempt, and ends every later one there."""
STORE_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


def light(task: dsl.PipelineTask, display_name: str, *, cached: bool = True, retries: int = 1, hours: int = 6) -> None:
    """A task of the tools image: it reads and writes files, and computes little."""
    _describe(task, display_name=display_name, requested="250m", cpu="1", memory="1G", cached=cached, retries=retries)
    kubernetes.set_timeout(task, hours * HOUR)


def heavy(
    task: dsl.PipelineTask,
    display_name: str,
    *,
    cpu: str,
    memory: str,
    requested: str = "1",
    hours: int = 24,
    cached: bool = True,
    retries: int = 1,
) -> None:
    """A task that computes: as a rule its result is worth caching."""
    _describe(
        task, display_name=display_name, requested=requested, cpu=cpu, memory=memory, cached=cached, retries=retries
    )
    kubernetes.set_timeout(task, hours * HOUR)


def ending_after(hours: int) -> dsl.PipelineConfig:
    """A pipeline whose runs end at the latest after so many hours, whatever they wait for."""
    return dsl.PipelineConfig(active_deadline_seconds=hours * HOUR)


def with_store(task: dsl.PipelineTask, secret: str = accounts.STORE_SECRET) -> None:
    """A task that reads or writes the store: where it is, and as whom to ask, comes from a Secret of the namespace.

    Args:
        task: The task.
        secret: Of the user who may do what the task does (`cd4ml.storage.layout`).
    """
    variables = {name: name for name in STORE_VARIABLES}
    kubernetes.use_secret_as_env(task, secret, variables, optional=True)


def with_credentials(task: dsl.PipelineTask) -> None:
    """A task that reads a source: what it logs in with comes from a Secret of the namespace, a file a key."""
    kubernetes.use_secret_as_volume(task, accounts.SOURCES_SECRET, accounts.SOURCES_MOUNTED, optional=True)


def with_signing_key(task: dsl.PipelineTask) -> None:
    """A task that publishes: the key that it signs with comes from a Secret of the namespace."""
    mounted = str(PurePosixPath(signature.KEY_MOUNTED).parent)
    kubernetes.use_secret_as_volume(task, accounts.SIGNING_SECRET, mounted, optional=True)


def with_trusted_keys(task: dsl.PipelineTask) -> None:
    """A task that uses a published model: whose signatures count comes from a Secret of the namespace."""
    kubernetes.use_secret_as_volume(task, accounts.TRUSTED_SECRET, signature.TRUSTED_MOUNTED, optional=True)


def with_webhook_key(task: dsl.PipelineTask) -> None:
    """A task that tells a webhook of alerts: what it is sent is signed with a key from a Secret of the namespace."""
    kubernetes.use_secret_as_env(
        task, accounts.ALERTS_SECRET, {receivers.WEBHOOK_KEY: receivers.WEBHOOK_KEY}, optional=True
    )


def with_record(task: dsl.PipelineTask, pipeline: str) -> None:
    """A task that writes to the record of its run, which is no input: the results of a gate stay reusable."""
    task.set_env_variable(records.PIPELINE, pipeline)
    task.set_env_variable(notes.TASK, task.name)
    kubernetes.use_field_path_as_env(task, records.RUN, "metadata.labels['pipeline/runid']")


def with_workers(task: dsl.PipelineTask) -> None:
    """A task that may have other pods compute with it, which are made like its own."""
    kubernetes.use_field_path_as_env(task, twins.POD, "metadata.name")


def deploying(task: dsl.PipelineTask) -> None:
    """A task that deploys, and may have to wait for people first.

    Whose signatures count comes from a Secret of the namespace. No pod knows its own image, so this one is told which
    images a model's pod is made of.
    """
    light(task, "Deploy model", cached=False, retries=0, hours=DEPLOYING_HOURS)
    with_store(task, accounts.DEPLOYER_SECRET)
    for environment, image in (("serve", images.SERVE), ("tools", images.TOOLS)):
        task.set_env_variable(images.variable(environment), image)
    with_trusted_keys(task)


def with_locks(task: dsl.PipelineTask) -> None:
    """A task that publishes: no image knows what the others hold."""
    task.set_env_variable(images.LOCKS, json.dumps(images.locks()))


def on_gpus(task: dsl.PipelineTask, gpus: str) -> None:
    """A task that may use GPUs: their nodes keep off whoever does not tolerate the taint."""
    task.set_accelerator_type(GPU).set_accelerator_limit(gpus)
    kubernetes.add_toleration(task, key=GPU, operator="Exists", effect="NoSchedule")


def placed(task: dsl.PipelineTask, *, tolerations: list, node_selector: dict) -> None:
    """A task whose nodes are chosen when its run is started."""
    kubernetes.add_toleration_json(task, tolerations)
    kubernetes.add_node_selector_json(task, node_selector)


def _describe(
    task: dsl.PipelineTask, *, display_name: str, requested: str, cpu: str, memory: str, cached: bool, retries: int
) -> None:
    task.set_display_name(display_name)
    task.set_cpu_request(requested).set_cpu_limit(cpu)
    task.set_memory_request(memory).set_memory_limit(memory)
    task.set_caching_options(enable_caching=cached)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    if retries:
        task.set_retry(
            num_retries=retries, backoff_duration="10s", backoff_factor=2, backoff_max_duration=RETRIED_WITHIN
        )
