"""Does production still answer as it did when it was deployed?"""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def verify_deployment(
    store: str,
    name: str,
    verification: dsl.Output[artifacts.Verification],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Verifies the model in production as its deployment did; fails the run when it does not hold.

    Args:
        store: The store that holds the registry.
        name: The model's name in the registry.

    Returns:
        verification: What the endpoint answered (layout: `cd4ml.deployment.verify`).
        metrics: Latency in milliseconds, and the largest difference from the evaluated predictions.
    """
    from cd4ml.deployment import release

    verified = release.verify_latest(store, name).write(verification.path)
    verification.metadata.update(verified.metadata)
    metrics.metadata.update(verified.metrics)
