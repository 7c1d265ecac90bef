"""What every task of a pipeline says of itself: its name in the UI, resources, retries, caching."""

from kfp import dsl


def light(task: dsl.PipelineTask, display_name: str, cached: bool = True, retries: int = 1) -> None:
    """A task of the tools image: it reads and writes files, and computes little."""
    _describe(task, display_name, cpu="500m", memory="1G", cached=cached, retries=retries)


def heavy(task: dsl.PipelineTask, display_name: str, cpu: str, memory: str) -> None:
    """A task that computes: its result is worth caching."""
    _describe(task, display_name, cpu, memory, cached=True, retries=1)


def _describe(task: dsl.PipelineTask, display_name: str, cpu: str, memory: str, cached: bool, retries: int) -> None:
    task.set_display_name(display_name)
    task.set_cpu_request(cpu).set_cpu_limit(cpu)
    task.set_memory_request(memory).set_memory_limit(memory)
    task.set_caching_options(enable_caching=cached)
    if retries:
        task.set_retry(num_retries=retries, backoff_duration="10s", backoff_factor=2)
