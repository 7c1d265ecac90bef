"""The champion, for a candidate that is to begin with its weights: never where it was trained on rows to be tested on.

A model that begins so knows what the champion has learnt. Where that was learnt from rows of the test split, the
evaluation would praise what the model remembers.
"""

import shutil
from pathlib import Path

from cd4ml.contracts import model
from cd4ml.contracts.release import Version
from cd4ml.data import split as splitting
from cd4ml.data import table
from cd4ml.data.split import Drawn
from cd4ml.errors import DataError, RegistryError
from cd4ml.registry import deployments
from cd4ml.storage import local_copy, open_store


def find(location: str, name: str, *, wanted: bool) -> tuple[str, str]:
    """Where the champion's version lies, and its digest; both empty where none is wanted, or was ever deployed.

    Args:
        location: The store that holds the registry.
        name: The model's name.
        wanted: Whether a candidate is to begin with its weights.
    """
    if not wanted:
        return "", ""
    store = open_store(location)
    deployed = deployments.latest(store, name)
    return (store.uri(f"models/{name}/{deployed.version}"), deployed.digest) if deployed else ("", "")


def hand_on(uri: str, digest: str, *, tested: Drawn, target: str | Path) -> None:
    """Copies the champion for later tasks; an empty file where there is none.

    Args:
        uri: Where its version lies; empty where there is none.
        digest: Its digest.
        tested: The rows that the candidate is to be tested on.
        target: What is written: a model's folder (layout: `cd4ml.contracts.model`).

    Raises:
        DataError: It was trained on rows of the test split, or nobody knows on which.
        RegistryError: It is another by now.
    """
    if not uri:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_bytes(b"")
        return
    with local_copy(f"{uri}/version.json") as file:
        _check_untested(Version.read(file), tested)
    with local_copy(f"{uri}/model") as files:
        if model.digest(files) != digest:
            raise RegistryError(f"{uri}: is not the model {digest} any more; put its files back, or publish it again")
        shutil.copytree(files, target, dirs_exist_ok=True)


def _check_untested(version: Version, tested: Drawn) -> None:
    """Makes sure that a version has seen no row of the test split, while it learnt or to choose when to stop."""
    which = f"warm_start: the champion, {version.name}@{version.version},"
    remedy = "leave warm_start out for this run"
    if not version.arguments:
        raise DataError(f"{which} was published without the arguments of its run, which say how it was split; {remedy}")
    trained, here = version.dataset, tested.uri.rsplit("/", 1)[-1]
    if trained.name != here:
        raise DataError(f"{which} was trained on the dataset {trained.name}, whose rows {here} may have; {remedy}")
    _, then = table.at_version(tested.uri, trained.version)
    if then.key_column != tested.key:
        raise DataError(
            f"{which} was trained on rows with the key {then.key_column!r}, and these have {tested.key!r}, so that "
            f"nothing tells which are the same; {remedy}"
        )
    before = Drawn(tested.uri, trained.version, tested.key, version.arguments.get("split", {}))
    seen = splitting.seen_in_test(before, tested)
    if seen:
        raise DataError(
            f"{which} was trained on {seen:,} rows that are in the test split now, so that its test would tell what it "
            f"remembers; split by {before.split} as then, or {remedy}"
        )
