"""Which model is in production?"""

from typing import NamedTuple

from kfp import dsl

from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def find_champion(candidate: dsl.Input[dsl.Model], test: dsl.Input[dsl.Dataset], store: str, name: str) -> NamedTuple(
    "Champion", folder=str, digest=str, judged=int, trend=list
):
    """Finds the model in production that a candidate is to be held against, and counts what the test split has judged.

    Args:
        candidate: What `train_model` wrote.
        test: The test split that is to judge it.
        store: The store that holds the registry.
        name: The model's name in the registry.

    Returns:
        folder: Where the champion lies; empty where no other model was ever deployed.
        digest: Of the champion's files, so that the evaluation beside another one is not reused.
        judged: How many candidates this test split has judged, with this one.
        trend: The AUC of the versions that were published before, with its interval.
    """
    from cd4ml.registry import deployments, judgements, models

    champion = deployments.champion(store, name, candidate.path)
    judged = judgements.count(store, name, test.path, candidate.path)
    return (*champion, judged, models.trend(store, name, candidate.path))
