"""Which published version is to be deployed?"""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def find_version(
    store: str,
    name: str,
    version: int,
    published: dsl.Output[artifacts.PublishedVersion],
    verdict: dsl.Output[artifacts.ModelVerdict],
) -> None:
    """Finds a published version and the verdict that it was published with, for `deploy_model`.

    Args:
        store: The store that holds the registry.
        name: The model's name in the registry.
        version: The version's number.

    Returns:
        published: The version's entry in the registry (layout: `cd4ml.contracts.release`).
        verdict: What `check_model` said of it before it was published.
    """
    from cd4ml.registry import models

    found = models.find(store, name, version).write(published.path, verdict.path)
    published.metadata.update(found.version.metadata)
    verdict.metadata.update(found.verdict.metadata)
