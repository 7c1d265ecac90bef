"""Is production as training was?"""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import VALIDATE


@dsl.component(base_image=VALIDATE, install_kfp_package=False)
def compare_window(
    windows: dsl.Input[artifacts.Windows],
    store: str,
    drift: dsl.Output[artifacts.WindowsDrift],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Compares what a model was asked and answered within each window with what its versions were trained on.

    Args:
        windows: What `collect_window` wrote.
        store: The store, which has the versions of the model.

    Returns:
        drift: Of each window, by version, drift of inputs and predictions, and what training never had, at a stated
            rate of false alarms (layout: `cd4ml.contracts.window_drift`).
        metrics: The rows, changes and largest effect of the last window.
        report: What was found, for people: the windows, and each check with its reason.
    """
    from cd4ml.monitoring.drift import compare_each

    found = compare_each(windows.path, store=store, output=drift.path, report=report.path)
    drift.metadata.update(found.metadata)
    metrics.metadata.update(found.metrics)
