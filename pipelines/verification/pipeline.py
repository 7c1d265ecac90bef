"""Production, verified by itself: for a schedule."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from cd4ml import storage
from cd4ml.components.deployment.verify_deployment.component import verify_deployment
from cd4ml.pipelines.tasks import ending_after, light, with_store


@dsl.pipeline(
    name="verification", display_name="Verify the model in production", pipeline_config=ending_after(hours=12)
)
def verification(name: str, store: str) -> None:
    """Asks the model in production what its deployment asked it; the run fails when an answer differs.

    Args:
        name: The model's name in the registry.
        store: The store that holds the registry.
    """
    verified = verify_deployment(store=store, name=name)
    light(verified, "Verify deployment", cached=False, retries=0)
    with_store(verified)


WHOLE_NUMBERS = ()
"""Arguments that are whole numbers to people and text to KFP."""

CHECKS = {"name": storage.check_name, "store": storage.open_store}
"""Arguments that are checked before anything runs, and what raises an error when one is not good."""


def check_together(arguments: Mapping[str, Any]) -> None:
    """Each argument stands for itself."""
