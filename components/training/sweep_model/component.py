"""Settings of a model are tried, beside others who try."""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def sweep_model(
    train: dsl.Input[artifacts.Split],
    eval: dsl.Input[artifacts.Split],
    statistics: dsl.Input[artifacts.Statistics],
    schema: dsl.Input[artifacts.Schema],
    label: str,
    key: str,
    exclude: list,
    spec: dict,
    seed: int,
    accelerator: str,
    gpus: str,
    store: str,
    problem: str,
    positive: str,
    classes: list,
    sweep: dict,
    place: str,
) -> None:
    """Takes a place in a sweep until it is over; what it finds lies in the store.

    Args:
        train: The train split.
        eval: The eval split, on which the trials are measured.
        statistics: What `validate_dataset` wrote.
        schema: What `validate_dataset` wrote; the features are its columns.
        label: The column to predict.
        key: The column that tells rows apart; no feature.
        exclude: Further columns that are no features; of columns of times only those are that `dates` names.
        spec: The model whose settings are varied.
        seed: Of each training.
        accelerator: Whether GPUs are taken: where there are (`auto`), in any case (`gpu`), or not (`cpu`).
        gpus: How many, a whole number, at most.
        store: Keeps what was tried, which a sweep that is started again goes on from.
        problem: What the label asks for; `auto` finds it from the train split.
        positive: The value of the label that counts as positive; found where it is empty.
        classes: The values of the label in their order; empty where they have none (docs/training.md).
        sweep: What is tried, for what, and for how long (docs/training.md).
        place: The number of this place; the candidate's own training has 0.
    """
    from cd4ml.training import request, sweeping

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
    )
    sweeping.run(sweep, asked, place=int(place))
