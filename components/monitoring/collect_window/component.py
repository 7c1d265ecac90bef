"""What was asked of a model in production becomes windows, each row once."""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def collect_window(
    store: str,
    name: str,
    windows: dsl.Output[artifacts.Windows],
    every: str = "1 hour",
    since: str = "",
    until: str = "",
    capture: str = "",
) -> None:
    """Collects the windows of a model that are due, and hands on those that are to be judged.

    Args:
        store: The store that holds the registry and what routers captured, and takes the windows.
        name: The model's name in the registry.
        every: How long a window is, as `1 hour`, `1 day` or PT1H.
        since: The first moment, as `2026-11-29T08:00Z`; where it is named, the windows from then on, due or not.
        until: The moment that does not count any more; all that is over where it is not named.
        capture: What a router captured, a path or `s3://` URI; that of the model where empty.

    Returns:
        windows: A folder a window (layout: `cd4ml.monitoring.handed`).
    """
    from cd4ml.monitoring import collecting

    found = collecting.collect(store, name, every=every, output=windows.path, since=since, until=until, capture=capture)
    windows.metadata.update(found.metadata)
