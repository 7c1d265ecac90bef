"""A published model in this process, made sure to be the one that was published."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cd4ml.contracts import model as models
from cd4ml.contracts.model import Contract
from cd4ml.contracts.release import Version
from cd4ml.errors import RegistryError
from cd4ml.registry import named, signing
from cd4ml.storage import Store, local_copy, open_store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class LoadedModel:
    """A published model: tables in, predictions out.

    Args:
        version: Which it is.
        folder: Its files (layout: `cd4ml.contracts.model`); they are not needed once it is loaded.

    Raises:
        EvaluationError: It cannot be loaded.
    """

    def __init__(self, version: Version, folder: Path) -> None:
        from cd4ml.evaluation.predict import Model

        self.version = version
        self.contract = models.read_contract(folder)
        self._model = Model(folder, self.contract)

    def predict(self, table: "pa.Table") -> "np.ndarray":
        """What the contract says that it gives: the probability of the second of two classes, or of each, or a number.

        Args:
            table: Has a column by the name of each input of the contract; others are ignored.

        Returns:
            float32 [rows], or [rows, classes] of three and more in the contract's order.

        Raises:
            DataError: A column is missing, or of a type that the model does not take.
            EvaluationError: The model gives something else.
        """
        return self._model.predict(models.columns(table, self.contract))


def load_model(store: str, model: str) -> LoadedModel:
    """Loads a published model; TensorFlow has to be there, as in the environment `evaluate`.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        model: `NAME@VERSION`, or `NAME`: the champion as it is now, so that whoever loads again follows it.

    Raises:
        RegistryError: There is no such version, or its files are no longer those that were published.
        SignatureError: No key that is trusted here has signed the version.
        EvaluationError: It cannot be loaded.
    """
    opened = open_store(store)
    version = named.find(opened, model)
    with files(opened, version) as folder:
        return LoadedModel(version, folder)


@contextmanager
def files(store: Store, version: Version) -> Iterator[Path]:
    """The files of a published model on this machine, as long as the context lasts.

    Raises:
        RegistryError: They are no longer those that were published.
        SignatureError: No key that is trusted here has signed the version.
    """
    signing.check(store, version)
    uri = store.uri(f"{version.folder}/model")
    with local_copy(uri) as folder:
        found = models.digest(folder)
        if found != version.digest:
            raise RegistryError(
                f"{uri}: is the model {found}, not {version.digest}, which was published; publish it again"
            )
        yield folder


def contract(store: Store, version: Version) -> Contract:
    """What a published model takes and gives; nothing else of it is read."""
    with local_copy(store.uri(f"{version.folder}/model/{models.CONTRACT}")) as file:
        return models.read_contract(file.parent)
