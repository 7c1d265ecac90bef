"""A published version into production: an earlier one, or one that was published without being deployed."""

from kfp import dsl

from cd4ml.components.deployment.deploy_model.component import deploy_model
from cd4ml.components.deployment.find_version.component import find_version
from cd4ml.pipelines.deployment.arguments import Deployment
from cd4ml.pipelines.tasks import deploying, ending_after, light, with_store
from cd4ml.running.arguments import described_by


@dsl.pipeline(name="deployment", display_name="Deploy a published version", pipeline_config=ending_after(hours=26 * 24))
@described_by(Deployment)
def deployment(
    name: str,
    version: int,
    store: str,
    target: str = "machine",
    approvals: int = 0,
    strategy: str = "replace",
    port: int = 9500,
) -> None:
    """Serves a published version in place of the one before, through the verdict that it was published with."""
    found = find_version(store=store, name=name, version=version)
    light(found, "Find version", cached=False)
    with_store(found)
    deployed = deploy_model(
        published=found.outputs["published"],
        verdict=found.outputs["verdict"],
        store=store,
        target=target,
        approvals=approvals,
        strategy=strategy,
        port=port,
        run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
    )
    deploying(deployed)
