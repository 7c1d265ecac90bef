"""Are the arguments of a run what its pipeline takes? They may come from a form, which checks nothing."""

from typing import NamedTuple

from kfp import dsl

from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def check_arguments(
    run: str,
    name: str,
    source: str,
    dataset: str,
    key: str,
    label: str,
    store: str,
    problem: str,
    positive: str,
    classes: list,
    time_column: str,
    mode: str,
    owner: str,
    duplicates: str,
    columns: dict,
    split: dict,
    curated_schema: str,
    exclude: list,
    sensitive: list,
    slices: list,
    data_limits: dict,
    statistics_runner: list,
    waivers: list,
    baseline: dict,
    candidate: dict,
    sweep: dict,
    warm_start: bool,
    seed: int,
    gpus: str,
    workers: str,
    accelerator: str,
    cpu_request: str,
    cpu_limit: str,
    memory: str,
    tolerations: list,
    node_selector: dict,
    thresholds: list,
    runner: list,
    model_limits: dict,
    target: str,
    approvals: int,
    strategy: str,
    port: int,
    revision: str,
) -> NamedTuple("Begun", places=list, dates=list):  # type: ignore[valid-type]
    """Fails the run unless every argument is good, and begins the run's record in the store.

    Args:
        run: The run's name.
        name: All from here on are the arguments of the pipeline `training`.

    Returns:
        places: The places of the sweep beside the candidate's own, by number; none where there is no sweep.
        dates: The columns that a model sees as dates or times.
    """
    arguments = dict(locals())
    from cd4ml.running import begin

    begun = begin.run(arguments.pop("run"), arguments)
    return (begun["places"], begun["dates"])
