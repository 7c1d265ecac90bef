"""A checked model becomes a version of the registry."""

from typing import NamedTuple

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def publish_model(
    model: dsl.Input[artifacts.TrainedModel],
    evaluation: dsl.Input[artifacts.Evaluation],
    verdict: dsl.Input[artifacts.ModelVerdict],
    dataset: dsl.Input[artifacts.DatasetVersion],
    dataset_verdict: dsl.Input[artifacts.DatasetVerdict],
    statistics: dsl.Input[artifacts.Statistics],
    schema: dsl.Input[artifacts.Schema],
    reference: dsl.Input[artifacts.Reference],
    store: str,
    name: str,
    limits: dict,
    run: str,
    revision: str,
    published: dsl.Output[artifacts.PublishedVersion],
    card: dsl.Output[dsl.Markdown],
) -> NamedTuple("Published", version=int, digest=str):  # type: ignore[valid-type]
    """Adds a model to the registry, with its card; a model that is there already keeps its version.

    Args:
        model: What `train_model` wrote.
        evaluation: What `evaluate_model` wrote about it.
        verdict: What `check_model` wrote about it and these limits; without a passed verdict nothing is published.
        dataset: What `ingest_dataset` wrote.
        dataset_verdict: What `check_dataset` wrote.
        statistics: What `validate_dataset` wrote of the splits; the version keeps it.
        schema: What `validate_dataset` held the splits against; the version keeps it.
        reference: What `validate_dataset` drew of the rows to train on; the version keeps it.
        store: The store that holds the registry.
        name: The model's name in the registry.
        limits: What `check_model` held the model against.
        run: The run that publishes.
        revision: The revision of the code.

    Returns:
        published: The version's entry in the registry (layout: `cd4ml.contracts.release`).
        card: The version's model card.
        version: Its number.
        digest: The digest of the model's files.
    """
    given = dict(locals())
    from cd4ml.evaluation.publishing import Judged, publish
    from cd4ml.registry.notes import noting

    judged = Judged(
        model=model.path,
        evaluation=evaluation.path,
        verdict=verdict.path,
        dataset=dataset.path,
        dataset_verdict=dataset_verdict.path,
        statistics=statistics.path,
        schema=schema.path,
        reference=reference.path,
    )
    with noting(store, given):
        added = publish(store, name=name, judged=judged, limits=limits, run=run, revision=revision).write(
            published.path, card.path
        )
    published.metadata.update(added.metadata)
    return added.version.version, added.version.digest
