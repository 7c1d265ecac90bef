"""What was deployed when: `deployments/<name>/<number>.json` in the store, one record a deployment that held."""

from datetime import UTC, datetime

from cd4ml.contracts import model
from cd4ml.contracts.release import Deployment, Version
from cd4ml.registry import models
from cd4ml.registry.numbers import numbers
from cd4ml.storage import AlreadyStoredError, Store, open_store


def record(store: Store, *, version: Version, run: str, target: str, endpoint: str) -> Deployment:
    """Adds a deployment to the history."""
    while True:
        number = 1 + max((known.number for known in history(store, version.name)), default=0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        deployment = Deployment(version.name, number, version.version, version.digest, run, target, endpoint, now)
        try:
            store.add(f"deployments/{version.name}/{number}.json", deployment.text)
        except AlreadyStoredError:
            continue  # another run took this number; take the next
        return deployment


def history(store: Store, name: str) -> list[Deployment]:
    """All deployments of a model, the oldest first."""
    files = [f"deployments/{name}/{number}.json" for number in numbers(store, f"deployments/{name}", ".json")]
    return [Deployment.parse(store.read(file), store.uri(file)) for file in files]


def champion(location: str, name: str, candidate_folder: str) -> tuple[str, str]:
    """The model in production that a candidate is to be held against.

    That is the one deployed last. Where it is the candidate itself, as in a run that repeats another, it is the one
    that the candidate replaced: so the same run asks the same question, and its answer can be reused.

    Args:
        location: The store that holds the registry.
        name: The model's name.
        candidate_folder: What training wrote.

    Returns:
        Where the champion lies and its digest; both empty where no other model was ever deployed.
    """
    store = open_store(location)
    candidate = model.digest(candidate_folder)
    for deployment in reversed(history(store, name)):
        if deployment.digest != candidate:
            version = models.read(store, name, deployment.version)
            return store.uri(f"{version.folder}/model"), version.digest
    return "", ""
