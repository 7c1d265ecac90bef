"""Signatures of a published version: who has published it, and that no bit of it has changed since.

Each is an OpenSSF model signature, which `model_signing verify key` reads too, over all files of the version's folder
but the signatures themselves: the model, its verdict, and the entry that says which version it is.

    signatures/KEY.json    the signature of a key, by the digest of its public key

Which keys are trusted is no argument of a run but a setting of where it runs. Where none is, nothing is verified.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cd4ml.contracts.release import Version
from cd4ml.errors import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from model_signing.hashing import Config

SIGNATURES = "signatures"
KEY = "CD4ML_SIGNING_KEY"
"""The environment variable that names the file of the private key with which versions are signed."""
KEY_MOUNTED = "/etc/cd4ml/signing/key.pem"
"""Where it lies in a cluster."""
TRUSTED = "CD4ML_TRUSTED_KEYS"
"""The environment variable that names the file of a public key, or a folder of such files."""
TRUSTED_MOUNTED = "/etc/cd4ml/trusted-keys"
"""Where the folder lies in a cluster."""
CURVES = ("secp256r1", "secp384r1", "secp521r1")
_MAKE = "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes one"
_DIGESTS = re.compile(r": Expected 'Digest\(.*?\)', Actual 'Digest\(.*?\)'(?=[\",])")


def signing_key() -> Path | None:
    """The private key with which this machine signs; None where it has none."""
    named = os.environ.get(KEY)
    if named:
        return Path(named)
    mounted = Path(KEY_MOUNTED)
    return mounted if mounted.exists() else None


def sign(folder: Path, key: Path) -> Path:
    """Adds the signature of a key to a version's folder.

    Args:
        folder: All files of the version.
        key: A private key of an elliptic curve, in PEM.

    Returns:
        The signature's file.

    Raises:
        SignatureError: It is no such key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from model_signing.signing import Config

    try:
        public = load_pem_private_key(key.read_bytes(), password=None).public_key()
        file = folder / SIGNATURES / f"{key_id(_of_a_curve(public))}.json"
        signer = Config().set_hashing_config(_hashing()).use_elliptic_key_signer(private_key=key)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:  # a type error: it has a password
        raise SignatureError(
            f"{key}: no private key that can sign, which is one of an elliptic curve, in PEM and without a password; "
            f"{_MAKE}"
        ) from error
    file.parent.mkdir(exist_ok=True)
    signer.sign(folder, file)
    return file


def trusted_keys() -> dict[str, Path]:
    """The public keys that are trusted, by their ids; none where nothing is configured.

    Raises:
        SignatureError: What is configured is no such key.
    """
    named = os.environ.get(TRUSTED)
    place = Path(named or TRUSTED_MOUNTED)
    try:
        files = sorted(place.iterdir()) if place.is_dir() else [place] if named else []
        keys = {_id_of(file): file for file in files if not file.name.startswith(".")}
    except OSError as error:
        raise SignatureError(
            f"{TRUSTED}: {error.filename} cannot be read ({error.strerror}); name a public key, or a folder of keys"
        ) from error
    if named and not keys:
        raise SignatureError(f"{TRUSTED}: {place} holds no key; put the public keys there, each in a file, or unset it")
    return keys


def check(folder: Path, place: str) -> None:
    """Makes sure that a trusted key has signed a version as it lies in a folder; nothing where no key is trusted.

    Args:
        folder: All files of the version.
        place: Where it was found, `…/NAME/VERSION`.

    Raises:
        SignatureError: None has, or another version was signed, or something has changed since.
    """
    keys = trusted_keys()
    if not keys:
        return
    found = {file.stem: file for file in (folder / SIGNATURES).glob("*.json")}
    signed = {name: keys[name] for name in found if name in keys}
    if not signed:
        by = f"signed by {_names(found)}" if found else "not signed"
        raise SignatureError(
            f"{place}: is {by}, and the keys that are trusted here are {_names(keys)}; sign it with one of these "
            "(`cd4ml models sign`), or deploy another version"
        )
    wrong = [_mismatch(folder, found[name], key) for name, key in signed.items()]
    if all(wrong):
        raise SignatureError(
            f"{place}: is not what was signed ({'; '.join(wrong)}); someone or something has changed it: put back what "
            "was published, or deploy another version"
        )
    version = Version.read(folder / "version.json")
    if place.rstrip("/").split("/")[-2:] != [version.name, str(version.version)]:
        raise SignatureError(
            f"{place}: version {version.version} of {version.name} was signed, and lies in the place of another; put "
            "back what was published"
        )


def key_id(public: "EllipticCurvePublicKey") -> str:
    """What a key is known by: the digest of its public part, as signatures name it too."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(text).hexdigest()


def _id_of(file: Path) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return key_id(_of_a_curve(load_pem_public_key(file.read_bytes())))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError(
            f"{file}: no public key of an elliptic curve in PEM; `openssl pkey -in KEY -pubout` writes the one of a key"
        ) from error


def _of_a_curve(public: object) -> "EllipticCurvePublicKey":
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if not isinstance(public, EllipticCurvePublicKey) or public.curve.name not in CURVES:
        raise ValueError("a key of another kind")
    return public


def _mismatch(folder: Path, signature: Path, key: Path) -> str:
    """How a folder differs from what a key has signed; empty where it does not."""
    from model_signing.verifying import Config

    verifier = Config().set_hashing_config(_hashing()).use_elliptic_key_verifier(public_key=key)
    try:
        verifier.verify(folder, signature)
    except Exception as error:
        return _DIGESTS.sub("", str(error)) or type(error).__name__
    return ""


def _hashing() -> "Config":
    """Each file but the signatures counts, those of git too."""
    from model_signing.hashing import Config

    return Config().set_ignored_paths(paths=[SIGNATURES], ignore_git_paths=False)


def _names(keys: Sequence[str] | dict[str, Path]) -> str:
    return ", ".join(name[:16] for name in keys) or "none"
