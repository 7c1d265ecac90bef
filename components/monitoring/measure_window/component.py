"""Is the model still right, by the labels that came?"""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import EVALUATE


@dsl.component(base_image=EVALUATE, install_kfp_package=False)
def measure_window(
    windows: dsl.Input[artifacts.Windows],
    store: str,
    quality: dsl.Output[artifacts.WindowsQuality],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Measures what a model answered within each window as its evaluation did, and holds it against the same limits.

    Args:
        windows: What `collect_window` wrote.
        store: The store, which has the versions of the model, and its earlier windows.

    Returns:
        quality: Of each window, by version, every metric, slice and comparison of groups, how far they moved, what is
            estimated before labels are ripe, and the limits (layout: `cd4ml.contracts.window_quality`).
        metrics: The metrics on all labelled rows of the last window, of the version that answered most.
        report: What was found, for people: the windows, and each check with its reason.
    """
    from cd4ml.monitoring.quality import measure_each

    found = measure_each(windows.path, store=store, output=quality.path, report=report.path)
    quality.metadata.update(found.metadata)
    metrics.metadata.update(found.metrics)
