"""What production does, judged by the limits that let it in: for a schedule."""

from kfp import dsl

from cd4ml.cluster import accounts
from cd4ml.components.monitoring.check_window.component import check_window
from cd4ml.components.monitoring.collect_window.component import collect_window
from cd4ml.components.monitoring.compare_window.component import compare_window
from cd4ml.components.monitoring.measure_window.component import measure_window
from cd4ml.pipelines.monitoring.arguments import Monitoring
from cd4ml.pipelines.tasks import ending_after, heavy, light, with_store, with_webhook_key
from cd4ml.running.arguments import described_by


@dsl.pipeline(name="monitoring", display_name="Monitor a model in production", pipeline_config=ending_after(hours=24))
@described_by(Monitoring)
def monitoring(
    name: str,
    store: str,
    every: str = "1 hour",
    since: str = "",
    until: str = "",
    capture: str = "",
    alertmanager: str = "",
    webhook: str = "",
) -> None:
    """Judges what a model was asked and answered since the last run; the run fails where something is wrong.

    Windows of time are compared with what the model was trained on, measured by the labels that came, and held against
    the limits that the model was published with.
    """
    collected = collect_window(store=store, name=name, every=every, since=since, until=until, capture=capture)
    heavy(collected, "Collect window", cpu="2", memory="4G", hours=6, cached=False)
    windows = collected.outputs["windows"]

    compared = compare_window(windows=windows, store=store)
    heavy(compared, "Compare window", cpu="4", memory="4G", hours=6, cached=False)
    measured = measure_window(windows=windows, store=store)
    heavy(measured, "Measure window", cpu="4", memory="4G", hours=6, cached=False)

    checked = check_window(
        windows=windows,
        drift=compared.outputs["drift"],
        quality=measured.outputs["quality"],
        store=store,
        name=name,
        every=every,
        alertmanager=alertmanager,
        webhook=webhook,
    )
    light(checked, "Check window", cached=False, retries=0)
    with_webhook_key(checked)
    for task in (collected, compared, measured, checked):
        with_store(task, accounts.MONITORING_SECRET)
