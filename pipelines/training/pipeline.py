"""The path of a model: data, training, evaluation, gates, registry, production."""

from kfp import dsl

from cd4ml.cluster import accounts
from cd4ml.components.data.ingest_dataset.component import ingest_dataset
from cd4ml.components.data.split_dataset.component import split_dataset
from cd4ml.components.deployment.deploy_model.component import deploy_model
from cd4ml.components.evaluation.check_model.component import check_model
from cd4ml.components.evaluation.evaluate_model.component import evaluate_model
from cd4ml.components.evaluation.publish_model.component import publish_model
from cd4ml.components.evaluation.register_candidate.component import register_candidate
from cd4ml.components.running.check_arguments.component import check_arguments
from cd4ml.components.training.sweep_model.component import sweep_model
from cd4ml.components.training.train_model.component import train_model
from cd4ml.components.validation.check_dataset.component import check_dataset
from cd4ml.components.validation.validate_dataset.component import validate_dataset
from cd4ml.pipelines.tasks import (
    deploying,
    ending_after,
    heavy,
    light,
    on_gpus,
    placed,
    with_credentials,
    with_locks,
    with_record,
    with_signing_key,
    with_store,
    with_workers,
)
from cd4ml.pipelines.training.arguments import Training
from cd4ml.running.arguments import described_by

RETRIES = 3
"""How often a training that was evicted, or whose node was lost, is taken up again from its checkpoint."""


@dsl.pipeline(
    name="training", display_name="Train, check and deploy a model", pipeline_config=ending_after(hours=38 * 24)
)
@described_by(Training)
def training(
    name: str,
    source: str,
    dataset: str,
    key: str,
    label: str,
    store: str,
    problem: str = "auto",
    positive: str = "",
    classes: list = [],  # noqa: B006 (KFP reads the default, nothing changes it)
    time_column: str = "",
    mode: str = "",
    owner: str = "",
    duplicates: str = "keep",
    columns: dict = {},  # noqa: B006
    split: dict = {},  # noqa: B006
    curated_schema: str = "",
    exclude: list = [],  # noqa: B006
    sensitive: list = [],  # noqa: B006
    slices: list = [],  # noqa: B006
    data_limits: dict = {},  # noqa: B006
    statistics_runner: list = [],  # noqa: B006
    waivers: list = [],  # noqa: B006
    baseline: dict = {"model": "linear"},  # noqa: B006
    candidate: dict = {"model": "dnn"},  # noqa: B006
    sweep: dict = {},  # noqa: B006
    warm_start: bool = False,
    seed: int = 0,
    gpus: str = "1",
    workers: str = "1",
    accelerator: str = "auto",
    cpu_request: str = "1",
    cpu_limit: str = "2",
    memory: str = "8G",
    tolerations: list = [],  # noqa: B006
    node_selector: dict = {},  # noqa: B006
    thresholds: list = [0.5],  # noqa: B006
    runner: list = [],  # noqa: B006
    model_limits: dict = {"as_good_as": "baseline"},  # noqa: B006
    target: str = "machine",
    approvals: int = 0,
    strategy: str = "replace",
    port: int = 9500,
    revision: str = "",
) -> None:
    """Takes a table to a model in production, through two gates."""
    run = dsl.PIPELINE_JOB_NAME_PLACEHOLDER

    begun = check_arguments(
        run=run,
        name=name,
        source=source,
        dataset=dataset,
        key=key,
        label=label,
        store=store,
        problem=problem,
        positive=positive,
        classes=classes,
        time_column=time_column,
        mode=mode,
        owner=owner,
        duplicates=duplicates,
        columns=columns,
        split=split,
        curated_schema=curated_schema,
        exclude=exclude,
        sensitive=sensitive,
        slices=slices,
        data_limits=data_limits,
        statistics_runner=statistics_runner,
        waivers=waivers,
        baseline=baseline,
        candidate=candidate,
        sweep=sweep,
        warm_start=warm_start,
        seed=seed,
        gpus=gpus,
        workers=workers,
        accelerator=accelerator,
        cpu_request=cpu_request,
        cpu_limit=cpu_limit,
        memory=memory,
        tolerations=tolerations,
        node_selector=node_selector,
        thresholds=thresholds,
        runner=runner,
        model_limits=model_limits,
        target=target,
        approvals=approvals,
        strategy=strategy,
        port=port,
        revision=revision,
    )
    light(begun, "Check arguments", cached=False, retries=0)
    with_store(begun)
    with_record(begun, "training")
    ingested = ingest_dataset(
        source=source,
        store=store,
        name=dataset,
        key=key,
        time_column=time_column,
        mode=mode,
        owner=owner,
        duplicates=duplicates,
        columns=columns,
        curated_schema=curated_schema,
        run=run,
        revision=revision,
        model=name,
        warm_start=warm_start,
    )
    light(ingested, "Ingest dataset", cached=False)
    with_store(ingested)
    with_record(ingested, "training")
    with_credentials(ingested)
    splits = split_dataset(
        uri=ingested.outputs["uri"],
        version=ingested.outputs["version"],
        digest=ingested.outputs["digest"],
        key=ingested.outputs["key"],
        split=split,
        curated_schema=curated_schema,
        schema_digest=ingested.outputs["schema_digest"],
        reference=ingested.outputs["reference"],
        reference_digest=ingested.outputs["reference_digest"],
        champion=ingested.outputs["champion"],
        champion_digest=ingested.outputs["champion_digest"],
        store=store,
    ).after(begun)
    light(splits, "Split dataset")
    with_store(splits)
    with_record(splits, "training")
    validated = validate_dataset(
        train=splits.outputs["train"],
        eval=splits.outputs["eval"],
        test=splits.outputs["test"],
        label=label,
        key=ingested.outputs["key"],
        curated_schema=splits.outputs["schema"],
        before=splits.outputs["before"],
        provenance=splits.outputs["provenance"],
        sensitive=sensitive,
        slices=slices,
        exclude=exclude,
        dates=begun.outputs["dates"],
        time_column=time_column,
        runner=statistics_runner,
        waivers=waivers,
        problem=problem,
        positive=positive,
        classes=classes,
    )
    heavy(validated, "Validate dataset", cpu="1", memory="4G")
    checked = check_dataset(
        dataset=ingested.outputs["dataset"],
        findings=validated.outputs["findings"],
        statistics=validated.outputs["statistics"],
        schema=validated.outputs["schema"],
        reference=validated.outputs["reference"],
        problem=validated.outputs["problem"],
        positive=validated.outputs["positive"],
        limits=data_limits,
        store=store,
    )
    light(checked, "Check dataset", cached=False, retries=0)
    with_store(checked)
    with_record(checked, "training")

    def trains(task: dsl.PipelineTask, display_name: str) -> None:
        heavy(task, display_name, requested=cpu_request, cpu=cpu_limit, memory=memory, hours=72, retries=RETRIES)
        with_store(task, accounts.TRAINER_SECRET)
        with_record(task, "training")
        on_gpus(task, gpus)
        placed(task, tolerations=tolerations, node_selector=node_selector)

    of_all = {
        "train": splits.outputs["train"],
        "eval": splits.outputs["eval"],
        "statistics": validated.outputs["statistics"],
        "schema": validated.outputs["schema"],
        "label": label,
        "key": ingested.outputs["key"],
        "exclude": exclude,
        "seed": seed,
        "accelerator": accelerator,
        "gpus": gpus,
        "store": store,
        "problem": validated.outputs["problem"],
        "positive": validated.outputs["positive"],
        "classes": classes,
    }
    models = {}
    for role, specification in (("baseline", baseline), ("candidate", candidate)):
        models[role] = train_model(
            **of_all,
            start=splits.outputs["start"],
            spec=specification,
            warm_start=warm_start if role == "candidate" else False,
            sweep=sweep if role == "candidate" else {},
            workers=workers if role == "candidate" else "1",
        ).after(checked)
        trains(models[role], f"Train {role}")
    with_workers(models["candidate"])

    with dsl.ParallelFor(begun.outputs["places"], name="sweep") as place:  # none without one
        swept = sweep_model(**of_all, spec=candidate, sweep=sweep, place=place).after(checked)
        trains(swept, "Sweep candidate")
        swept.register_pipeline_channels([cpu_request, cpu_limit, memory])  # the compiler forgets them within a loop

    registered = register_candidate(
        candidate=models["candidate"].outputs["model"],
        store=store,
        name=name,
        dataset=dataset,
        version=ingested.outputs["version"],
        split=splits.outputs["drawn"],
    )
    light(registered, "Register candidate", cached=False)
    with_store(registered)
    with_record(registered, "training")
    evaluated = evaluate_model(
        test=splits.outputs["test"],
        candidate=models["candidate"].outputs["model"],
        baseline=models["baseline"].outputs["model"],
        champion=registered.outputs["champion"],
        champion_digest=registered.outputs["champion_digest"],
        judged=registered.outputs["judged"],
        trend=registered.outputs["trend"],
        label=label,
        slices=slices,
        sensitive=sensitive,
        thresholds=thresholds,
        runner=runner,
        store=store,
    )
    heavy(evaluated, "Evaluate model", cpu="2", memory="8G")
    with_store(evaluated)
    with_record(evaluated, "training")
    judged = check_model(evaluation=evaluated.outputs["evaluation"], limits=model_limits, store=store)
    light(judged, "Check model", retries=0)
    with_store(judged)
    with_record(judged, "training")

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
        dataset_verdict=checked.outputs["verdict"],
        statistics=validated.outputs["statistics"],
        schema=validated.outputs["schema"],
        reference=validated.outputs["reference"],
    )
    light(published, "Publish model", cached=False)
    with_store(published, accounts.PUBLISHER_SECRET)
    with_record(published, "training")
    with_locks(published)
    with_signing_key(published)
    deployed = deploy_model(
        published=published.outputs["published"],
        verdict=judged.outputs["verdict"],
        store=store,
        target=target,
        approvals=approvals,
        strategy=strategy,
        port=port,
        run=run,
    )
    with_record(deployed, "training")
    deploying(deployed)
