"""What came before a candidate: the model in production, the published versions, and what its test split has judged."""

from collections.abc import Mapping
from typing import Any

from cd4ml.registry import deployments, judgements, models
from cd4ml.storage import open_store


def register(
    location: str, *, name: str, candidate_folder: str, dataset: str, version: int, split: Mapping[str, Any]
) -> tuple[str, str, int, list[dict[str, Any]]]:
    """Claims the candidate's number, and gives what its evaluation needs to know; the same again for the same run.

    Args:
        location: The store that holds the registry.
        name: The model's name.
        candidate_folder: What training wrote.
        dataset: The dataset's name.
        version: The dataset's version.
        split: How the dataset is split, as `split_dataset` hands it on.

    Returns:
        Where the champion lies and its digest, both empty where there is none; the candidate's number among those that
        the test split has judged; and the trend of `cd4ml.registry.models.trend`.
    """
    champion, digest = deployments.champion(location, name, candidate_folder)
    judged = judgements.claim(
        open_store(location),
        name=name,
        candidate_folder=candidate_folder,
        dataset=dataset,
        version=version,
        split=split,
    )
    return champion, digest, judged, models.trend(location, name, candidate_folder)
