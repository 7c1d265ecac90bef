"""Recurring runs on KFP, one a name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import kfp_server_api

from cd4ml.errors import KubeflowError
from cd4ml.kubeflow import runs
from cd4ml.kubeflow.connection import Connection


@dataclass(frozen=True)
class Schedule:
    """A recurring run."""

    schedule_id: str
    name: str
    cron: str
    state: str


def check_cron(cron: str) -> str:
    """A cron expression as KFP reads it, with seconds first.

    Raises:
        KubeflowError: It has neither five fields nor six.
    """
    fields = cron.split()
    if len(fields) not in (5, 6):
        raise KubeflowError(
            f"--cron {cron!r}: has {len(fields)} fields, not five (or six, seconds first); as '0 6 * * *'"
        )
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


def put(
    connection: Connection,
    *,
    pipeline: Any,
    arguments: Mapping[str, Any],
    name: str,
    cron: str,
    experiment: str,
    service_account: str | None,
) -> bool:
    """Makes the recurring run of a name what it should be.

    The new one is there before the old one goes, so that an interruption leaves no gap; the next call tidies up.

    Args:
        connection: The KFP that runs it.
        pipeline: What `dsl.pipeline` made.
        arguments: The pipeline's arguments, checked.
        name: The recurring run's name.
        cron: When it runs, as `check_cron` gives it.
        experiment: The name of the experiment that its runs belong to.
        service_account: As whom its pods ask the cluster; KFP's own where None.

    Returns:
        Whether it took the place of another.

    Raises:
        KubeflowError: KFP refuses.
    """
    before = [one for one in all_of(connection) if one.name == name]
    wanted = kfp_server_api.V2beta1RecurringRun(
        display_name=name,
        experiment_id=runs.experiment_id(connection, experiment),
        pipeline_spec=runs.specification(pipeline),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(arguments)),
        trigger=kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=cron)),
        mode="ENABLE",
        max_concurrency="1",
        no_catchup=True,
        service_account=service_account,
    )
    connection.ask(connection.recurring_runs.recurring_run_service_create_recurring_run, wanted)
    for one in before:
        connection.ask(connection.recurring_runs.recurring_run_service_delete_recurring_run, one.schedule_id)
    return bool(before)


def all_of(connection: Connection) -> list[Schedule]:
    """Every recurring run.

    Raises:
        KubeflowError: KFP refuses.
    """
    listed = connection.listed(
        connection.recurring_runs.recurring_run_service_list_recurring_runs, "recurring_runs", **connection.within
    )
    return [
        Schedule(
            schedule_id=one.recurring_run_id,
            name=one.display_name,
            cron=one.trigger.cron_schedule.cron if one.trigger and one.trigger.cron_schedule else "",
            state=str(one.status or "").lower(),
        )
        for one in listed
    ]


def delete(connection: Connection, name: str) -> None:
    """Deletes the recurring run of a name; its runs stay.

    Raises:
        KubeflowError: There is none of that name, or KFP refuses.
    """
    found = [one for one in all_of(connection) if one.name == name]
    if not found:
        raise KubeflowError(f"{connection.where}: there is no schedule {name!r}; see them with `cd4ml schedules list`")
    for one in found:
        connection.ask(connection.recurring_runs.recurring_run_service_delete_recurring_run, one.schedule_id)
