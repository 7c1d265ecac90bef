"""Gate: does production still keep what the model was let in by?"""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def check_window(
    windows: dsl.Input[artifacts.Windows],
    drift: dsl.Input[artifacts.WindowsDrift],
    quality: dsl.Input[artifacts.WindowsQuality],
    store: str,
    name: str,
    verdict: dsl.Output[artifacts.WindowsVerdict],
    every: str = "1 hour",
    alertmanager: str = "",
    webhook: str = "",
) -> None:
    """Keeps each window as it was judged, tells people what is wrong, and fails the run where nobody knows of it yet.

    Args:
        windows: What `collect_window` wrote.
        drift: What `compare_window` wrote.
        quality: What `measure_window` wrote.
        store: The store, which takes the verdicts and the alerts.
        name: The model's name in the registry.
        every: How long a window is; an alert that nobody speaks of for two is over.
        alertmanager: The address of an Alertmanager; empty where there is none.
        webhook: The address that is sent an event when an alert fires, is acknowledged or resolved; likewise.

    Returns:
        verdict: Of all windows together (layout: `cd4ml.contracts.verdict`); those of each are in the store.
    """
    from cd4ml.monitoring import judging

    found = judging.check(
        windows.path,
        drift=drift.path,
        quality=quality.path,
        model=name,
        store=store,
        output=verdict.path,
        every=every,
        tell={"alertmanager": alertmanager, "webhook": webhook},
    )
    verdict.metadata.update(found.metadata)
    found.raise_if_failed()
