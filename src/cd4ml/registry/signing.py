"""Who has signed a published version: asked before it is deployed, and added to by whoever has a key."""

import contextlib
import shutil
import tempfile
from pathlib import Path

from cd4ml.contracts import model, signature
from cd4ml.contracts.release import Version
from cd4ml.errors import SignatureError
from cd4ml.registry import models
from cd4ml.storage import AlreadyStoredError, Store, local_copy


def sign(store: Store, name: str, number: int) -> Version:
    """Adds the signature of this machine's key to a version that is published; nothing where it is there.

    Raises:
        SignatureError: There is no key, or it can sign nothing, or the model is not the one that was published.
        RegistryError: There is no such version.
    """
    key = signature.signing_key()
    if key is None:
        raise SignatureError(f"no key to sign with: name the file of a private key with {signature.KEY}")
    version = models.read(store, name, number)
    place = store.uri(version.folder)
    with local_copy(place) as found, tempfile.TemporaryDirectory(prefix="cd4ml-") as temporary:
        folder = shutil.copytree(found, Path(temporary) / "version")
        _check_model(folder, version, place)
        file = signature.sign(folder, key)
        with contextlib.suppress(AlreadyStoredError):
            store.add(f"{version.folder}/{file.relative_to(folder).as_posix()}", file)
    return version


def check(store: Store, version: Version) -> None:
    """Makes sure that a trusted key has signed a version as the store has it; nothing where no key is trusted.

    Raises:
        SignatureError: None has, or something has changed since.
    """
    if not signature.trusted_keys():
        return
    place = store.uri(version.folder)
    with local_copy(place) as folder:
        signature.check(folder, place, version=f"{version.name}/{version.version}")
        _check_model(folder, version, place)


def _check_model(folder: Path, version: Version, place: str) -> None:
    digest = model.digest(folder / "model")
    if digest != version.digest:
        raise SignatureError(
            f"{place}: holds the model {digest}, and {version.digest} was published; put that back, or publish it again"
        )
