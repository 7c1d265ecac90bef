"""A model is trained on the splits."""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def train_model(
    train: dsl.Input[artifacts.Split],
    eval: dsl.Input[artifacts.Split],
    statistics: dsl.Input[artifacts.Statistics],
    schema: dsl.Input[artifacts.Schema],
    start: dsl.Input[artifacts.TrainedModel],
    label: str,
    key: str,
    exclude: list,
    spec: dict,
    seed: int,
    accelerator: str,
    gpus: str,
    store: str,
    model: dsl.Output[artifacts.TrainedModel],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    logs: dsl.Output[dsl.Artifact],
    warm_start: bool = False,
    problem: str = "auto",
    positive: str = "",
    classes: list = [],  # noqa: B006 (KFP reads the default, nothing changes it)
    sweep: dict = {},  # noqa: B006
    workers: str = "1",
) -> None:
    """Trains a model whose preprocessing lies inside it, on GPUs where there are.

    Args:
        train: The train split.
        eval: The eval split, which says when to stop and which epoch's weights to keep.
        statistics: What `validate_dataset` wrote: means, deviations and vocabularies for the preprocessing.
        schema: What `validate_dataset` wrote; the features are its columns.
        start: The champion, as `split_dataset` hands it on; an empty file where there is none.
        label: The column to predict.
        key: The column that tells rows apart; no feature.
        exclude: Further columns that are no features; of columns of times only those are that `dates` names.
        spec: The model with its hyperparameters, as `{"model": "dnn", "hidden": [64]}`; docs/training.md has them all.
        seed: The same seed and data give the same model on the same machine.
        accelerator: Whether GPUs are taken: where there are (`auto`), in any case (`gpu`), or not (`cpu`).
        gpus: How many, a whole number, at most; as many have to be there for `gpu`.
        store: Keeps how far training is, so that a task that was killed goes on from there when it is tried again.
        warm_start: Whether the model begins with the weights of `start`.
        problem: What the label asks for; `auto` finds it from the train split (docs/training.md).
        positive: The value of the label that counts as positive; found where it is empty.
        classes: The values of the label in their order; empty where they have none (docs/training.md).
        sweep: What is tried first, to train with the settings that win; empty for none (docs/training.md).
        workers: How many machines train it together, a whole number; in a cluster each has a pod like the task's.

    Returns:
        model: A SavedModel on raw features, its contract and its history (layout: `cd4ml.contracts.model`).
        metrics: Loss and primary metric on both splits, of the epoch that was kept; time, throughput and memory.
        report: The curves, where the time went, the features and the settings.
        logs: The curves for TensorBoard, a folder.
    """
    from cd4ml.training import request, task

    asked = request.Request(
        train=train.path,
        eval=eval.path,
        statistics=statistics.path,
        schema=schema.path,
        label=label,
        exclude=[key, *exclude],
        spec=spec,
        seed=seed,
        problem=problem,
        positive=positive,
        classes=classes,
        accelerator=accelerator,
        gpus=int(gpus),
        store=store,
        start=start.path,
        warm_start=warm_start,
        workers=int(workers),
    )
    trained = task.run(asked, sweep=sweep, folder=model.path, report=report.path, logs=logs.path)
    model.metadata.update(trained.metadata)
    metrics.metadata.update(trained.metrics)
