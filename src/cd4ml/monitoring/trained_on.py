"""What a published version keeps of its training, read where the store's own client is not installed."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from cd4ml.contracts import model, predictions, reference
from cd4ml.contracts.evaluation import OUTPUTS
from cd4ml.contracts.model import CONTRACT, Contract
from cd4ml.contracts.reference import Reference
from cd4ml.contracts.release import Version
from cd4ml.errors import StorageError
from cd4ml.names import first_line
from cd4ml.registry.models import REFERENCE
from cd4ml.storage import NUMBER, arrow, check_name, local_path
from cd4ml.validation.drift import reference as samples

_FILES = {"version.json": "version.json", CONTRACT: f"model/{CONTRACT}", REFERENCE: REFERENCE, OUTPUTS: OUTPUTS}


@dataclass(frozen=True)
class TrainedOn:
    """Of one version."""

    version: Version
    contract: Contract
    sample: pa.Table | None
    """Of the rows that it was trained on; None where it keeps none."""
    outputs: np.ndarray | None
    """What it gave for rows of its evaluation, float [rows], or [rows, classes]; None where it keeps none."""

    @property
    def about(self) -> Reference | None:
        """Where the sample comes from."""
        return None if self.sample is None else reference.read(self.sample.schema, "the sample")

    @property
    def slices(self) -> list[str]:
        """The single columns in whose values the model was evaluated, or has to be fair."""
        asked = (self.version.arguments.get(name) or [] for name in ("slices", "sensitive"))
        return list(dict.fromkeys(one for some in asked if isinstance(some, list) for one in some if type(one) is str))


def read(store: str, name: str, version: str) -> TrainedOn | None:
    """Reads it; None where no such version is published.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        name: The model's.
        version: Its number, as a router captures it.

    Raises:
        StorageError: The store cannot be read.
        DocumentError: What is there cannot be read.
    """
    if not NUMBER.fullmatch(version):
        return None
    root = store.rstrip("/") if "://" in store else str(local_path(store).resolve())
    place = f"{root}/models/{check_name(name)}/{version}"
    with tempfile.TemporaryDirectory(prefix="cd4ml-") as folder:
        try:
            there = {file: _fetched(place, source, Path(folder) / file) for file, source in _FILES.items()}
        except OSError as error:
            raise StorageError(f"{place}: cannot be read ({first_line(error)}); mend the store") from error
        if not there["version.json"] or not there[CONTRACT]:
            return None
        return TrainedOn(
            version=Version.read(Path(folder) / "version.json"),
            contract=model.read_contract(folder),
            sample=samples.read(Path(folder) / REFERENCE) if there[REFERENCE] else None,
            outputs=predictions.read_outputs(Path(folder) / OUTPUTS) if there[OUTPUTS] else None,
        )


def _fetched(place: str, name: str, file: Path) -> bool:
    """Whether a file is there, and now here."""
    try:
        arrow.fetch(arrow.folder(place), name, file)
    except FileNotFoundError:
        return False
    return True
