"""Production, verified by itself: for a schedule."""

from kfp import dsl

from cd4ml.components.deployment.verify_deployment.component import verify_deployment
from cd4ml.pipelines.tasks import ending_after, light, with_store
from cd4ml.pipelines.verification.arguments import Verification
from cd4ml.running.arguments import described_by


@dsl.pipeline(
    name="verification", display_name="Verify the model in production", pipeline_config=ending_after(hours=12)
)
@described_by(Verification)
def verification(name: str, store: str) -> None:
    """Asks the model in production what its deployment asked it; the run fails when an answer differs."""
    verified = verify_deployment(store=store, name=name)
    light(verified, "Verify deployment", cached=False, retries=0)
    with_store(verified)
