"""A candidate is to be judged: as the how-manieth on these rows, and against which model in production?"""

from typing import NamedTuple

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def register_candidate(
    candidate: dsl.Input[artifacts.TrainedModel],
    store: str,
    name: str,
    dataset: str,
    version: int,
    split: dict,
) -> NamedTuple("Registered", champion=str, champion_digest=str, judged=int, trend=list):  # type: ignore[valid-type]
    """Gives a candidate its number among the judged, and finds the model in production that it is held against.

    Args:
        candidate: What `train_model` wrote.
        store: The store that holds the registry.
        name: The model's name in the registry.
        dataset: The dataset's name.
        version: The dataset's version.
        split: How the dataset is split, as `split_dataset` hands it on.

    Returns:
        champion: Where it lies; empty where no other model was ever deployed.
        champion_digest: Of its files, so that the evaluation beside another one is not reused.
        judged: The candidate's number among those that a test split drawn like this has judged.
        trend: The primary metric of the versions that were published before, with its interval.
    """
    given = dict(locals())
    from cd4ml.registry import history
    from cd4ml.registry.notes import noting

    with noting(store, given):
        registered = history.register(
            store, name=name, candidate_folder=candidate.path, dataset=dataset, version=version, split=split
        )
    return registered
