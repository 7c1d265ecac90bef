"""A published model goes into production."""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def deploy_model(
    published: dsl.Input[artifacts.PublishedVersion],
    verdict: dsl.Input[artifacts.ModelVerdict],
    store: str,
    target: str,
    strategy: str,
    port: int,
    run: str,
    deployment: dsl.Output[artifacts.Deployment],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    approvals: int = 0,
) -> None:
    """Serves a published model in place of the one before, verifies it, and undoes it when a step fails.

    First it is verified: the server is ready, it serves this very model, its predictions are those of the evaluation to
    1e-5 (a number that it predicts, to 1e-5 of its size), and its latency is measured. Then follow the steps of the
    strategy, and in the end it gets all requests.

    Args:
        published: What `publish_model` wrote.
        verdict: What `check_model` wrote about this model; without a passed verdict nothing is deployed.
        store: The store that holds the registry.
        target: Where it is served: `machine` (this one), or in the run's namespace `cluster` (Seldon) or `kserve`.
        strategy: How it gets the requests: `replace` (all at once), another strategy's name, or steps as JSON.
        port: The port on this machine where the model is served.
        run: The run that deploys.
        approvals: How many people have to approve the version first; it waits for them, and its log says how they do.

    Returns:
        deployment: Where it is served and what it answered (layout: `cd4ml.deployment.release`).
        metrics: Latency in milliseconds, and the largest difference from the evaluated predictions.
        report: How the deployment went, step by step, and its experiment, where it had one.
    """
    given = dict(locals())
    from cd4ml.deployment import release
    from cd4ml.registry.notes import noting

    with noting(store, given):
        released = release.deploy(
            store,
            published_file=published.path,
            verdict_file=verdict.path,
            target=target,
            strategy=strategy,
            port=port,
            run=run,
            folder=deployment.path,
            report_file=report.path,
            approvals=approvals,
        )
    deployment.metadata.update(released.metadata)
    metrics.metadata.update(released.verification.metrics)
