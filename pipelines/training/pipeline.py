"""The path of a model: data, training, evaluation, gates, registry, production."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from cd4ml import settings, storage
from cd4ml.components.data.ingest_dataset.component import ingest_dataset
from cd4ml.components.data.split_dataset.component import split_dataset
from cd4ml.components.deployment.deploy_model.component import deploy_model
from cd4ml.components.evaluation.check_model.component import check_model
from cd4ml.components.evaluation.evaluate_model.component import evaluate_model
from cd4ml.components.evaluation.find_champion.component import find_champion
from cd4ml.components.evaluation.publish_model.component import publish_model
from cd4ml.components.training.train_model.component import train_model
from cd4ml.components.validation.check_dataset.component import check_dataset
from cd4ml.components.validation.validate_dataset.component import validate_dataset
from cd4ml.data import split as split_
from cd4ml.deployment import targets
from cd4ml.evaluation import arguments as evaluation_arguments
from cd4ml.evaluation import limits as model_limits_
from cd4ml.pipelines.tasks import ending_after, heavy, light, on_gpus, with_images_of_models, with_store
from cd4ml.running.arguments import whole_number
from cd4ml.training import spec
from cd4ml.validation import limits as data_limits_


@dsl.pipeline(
    name="training", display_name="Train, check and deploy a model", pipeline_config=ending_after(hours=7 * 24)
)
def training(
    name: str,
    source: str,
    dataset: str,
    key: str,
    label: str,
    store: str,
    time_column: str = "",
    split: dict[str, Any] = {},  # noqa: B006 (KFP reads the default, nothing changes it)
    curated_schema: str = "",
    exclude: list[Any] = [],  # noqa: B006
    sensitive: list[Any] = [],  # noqa: B006
    slices: list[Any] = [],  # noqa: B006
    data_limits: dict[str, Any] = {},  # noqa: B006
    baseline: dict[str, Any] = {"model": "linear"},  # noqa: B006
    candidate: dict[str, Any] = {"model": "dnn"},  # noqa: B006
    seed: int = 0,
    gpus: str = "1",
    thresholds: list[Any] = [0.5],  # noqa: B006
    runner: list[Any] = [],  # noqa: B006
    model_limits: dict[str, Any] = {"auc": {"baseline": {"min_change": 0.0}}},  # noqa: B006
    target: str = "machine",
    port: int = 9500,
    revision: str = "",
) -> None:
    """Takes a table to a model in production, through two gates.

    Args:
        name: The model's name in the registry.
        source: The table: a path or `s3://` URI of a Parquet or CSV file.
        dataset: The dataset's name in the store; its versions are kept there.
        key: The column that tells rows apart.
        label: The column to predict, of two values.
        store: A folder, or `s3://bucket/prefix`: datasets, published models, deployments.
        time_column: The column that says when a row came to be; empty where there is none.
        split: How the rows are split; where empty by a hash of the key, a tenth each for eval and test.
        curated_schema: A TFDV schema that people keep, as the text of its proto; inferred from train where empty.
        exclude: Columns that are no features, beside the label, the key and the times.
        sensitive: Columns whose groups must be treated fairly.
        slices: Columns, or lists of columns to cross, by which the model is evaluated.
        data_limits: What the dataset must keep.
        baseline: The model that the candidate has to beat.
        candidate: The model that is to be published.
        seed: Makes training repeatable.
        gpus: GPUs for each training, a whole number (in a run file without quotes); 0 trains on the CPU.
        thresholds: Probabilities above which a row counts as positive.
        runner: A runner of Beam and its options, on which TFMA itself computes; empty computes in the task.
        model_limits: What the candidate must keep to be published.
        target: Where the model is served: `machine` (this one) or `cluster` (by Seldon, in the run's namespace).
        port: Where the model is served on this machine.
        revision: The revision of the code, for the model's lineage.
    """
    run = dsl.PIPELINE_JOB_NAME_PLACEHOLDER

    ingested = ingest_dataset(source=source, store=store, name=dataset, key=key, time_column=time_column)
    light(ingested, "Ingest dataset", cached=False)
    with_store(ingested)
    splits = split_dataset(
        uri=ingested.outputs["uri"],
        version=ingested.outputs["version"],
        digest=ingested.outputs["digest"],
        key=key,
        split=split,
    )
    light(splits, "Split dataset")
    with_store(splits)
    validated = validate_dataset(
        train=splits.outputs["train"],
        eval=splits.outputs["eval"],
        test=splits.outputs["test"],
        label=label,
        key=key,
        curated_schema=curated_schema,
        sensitive=sensitive,
        slices=slices,
    )
    heavy(validated, "Validate dataset", cpu="1", memory="4G")
    checked = check_dataset(findings=validated.outputs["findings"], limits=data_limits)
    light(checked, "Check dataset", retries=0)

    models = {}
    for role, specification in (("baseline", baseline), ("candidate", candidate)):
        models[role] = train_model(
            train=splits.outputs["train"],
            eval=splits.outputs["eval"],
            statistics=validated.outputs["statistics"],
            schema=validated.outputs["schema"],
            label=label,
            key=key,
            exclude=exclude,
            spec=specification,
            seed=seed,
        ).after(checked)
        heavy(models[role], f"Train {role}", cpu="2", memory="8G", hours=72)
        on_gpus(models[role], gpus)

    champion = find_champion(
        candidate=models["candidate"].outputs["model"],
        store=store,
        name=name,
        dataset=dataset,
        version=ingested.outputs["version"],
        split=splits.outputs["drawn"],
    )
    light(champion, "Find champion", cached=False)
    with_store(champion)
    evaluated = evaluate_model(
        test=splits.outputs["test"],
        candidate=models["candidate"].outputs["model"],
        baseline=models["baseline"].outputs["model"],
        champion=champion.outputs["folder"],
        champion_digest=champion.outputs["digest"],
        judged=champion.outputs["judged"],
        trend=champion.outputs["trend"],
        label=label,
        slices=slices,
        sensitive=sensitive,
        thresholds=thresholds,
        runner=runner,
    )
    heavy(evaluated, "Evaluate model", cpu="2", memory="8G")
    with_store(evaluated)
    judged = check_model(evaluation=evaluated.outputs["evaluation"], limits=model_limits)
    light(judged, "Check model", retries=0)

    published = publish_model(
        model=models["candidate"].outputs["model"],
        evaluation=evaluated.outputs["evaluation"],
        verdict=judged.outputs["verdict"],
        store=store,
        name=name,
        limits=model_limits,
        run=run,
        revision=revision,
        dataset=ingested.outputs["dataset"],
        statistics=validated.outputs["statistics"],
        schema=validated.outputs["schema"],
    )
    light(published, "Publish model", cached=False)
    with_store(published)
    deployed = deploy_model(
        published=published.outputs["published"],
        verdict=judged.outputs["verdict"],
        store=store,
        target=target,
        port=port,
        run=run,
    )
    light(deployed, "Deploy model", cached=False, retries=0)
    with_store(deployed)
    with_images_of_models(deployed)


MAX_GPUS = 64
"""More than any node has."""
WHOLE_NUMBERS = ("gpus",)
"""Arguments that are whole numbers to people and text to KFP, whose driver fills in what a pod asks for from text."""

CHECKS = {
    "name": storage.check_name,
    "source": storage.check_uri,
    "dataset": storage.check_name,
    "store": storage.open_store,
    "split": split_.parse,
    "exclude": spec.check_columns,
    "data_limits": data_limits_.parse,
    "baseline": spec.parse,
    "candidate": spec.parse,
    "seed": whole_number(0, settings.MAX_SEED),
    "gpus": whole_number(0, MAX_GPUS),
    "thresholds": evaluation_arguments.thresholds,
    "slices": evaluation_arguments.columns,
    "sensitive": evaluation_arguments.sensitive,
    "runner": evaluation_arguments.runner,
    "model_limits": model_limits_.parse,
    "target": targets.check,
    "port": whole_number(1024, 65535),
}
"""Arguments that are checked before anything runs, and what raises an error when one is not good."""


def check_together(arguments: Mapping[str, Any]) -> None:
    """Checks what no argument shows by itself, once each is good.

    Raises:
        EvaluationError: A limit is about something that is not evaluated.
        DeploymentError: The target cannot serve this model from this store.
    """
    evaluation_arguments.check_together(
        arguments["model_limits"], arguments["thresholds"], arguments["slices"], arguments["sensitive"]
    )
    targets.check_together(arguments["target"], arguments["store"], arguments["name"])
