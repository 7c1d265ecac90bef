"""Which model is in production, and what came before the candidate?"""

from typing import NamedTuple

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def find_champion(
    candidate: dsl.Input[artifacts.TrainedModel],
    store: str,
    name: str,
    dataset: str,
    version: int,
    split: dict,
) -> NamedTuple("Champion", folder=str, digest=str, judged=int, trend=list):  # type: ignore[valid-type]
    """Finds the model in production that a candidate is to be held against, and claims its number among the judged.

    Args:
        candidate: What `train_model` wrote.
        store: The store that holds the registry.
        name: The model's name in the registry.
        dataset: The dataset's name.
        version: The dataset's version.
        split: How the dataset is split, as `split_dataset` hands it on.

    Returns:
        folder: Where the champion lies; empty where no other model was ever deployed.
        digest: Of the champion's files, so that the evaluation beside another one is not reused.
        judged: The candidate's number among those that a test split drawn like this has judged.
        trend: The primary metric of the versions that were published before, with its interval.
    """
    from cd4ml.registry import history

    return history.before(
        store, name=name, candidate_folder=candidate.path, dataset=dataset, version=version, split=split
    )
