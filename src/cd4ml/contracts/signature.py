"""Signatures of a published version: who has published it, and that no bit of it has changed since.

Each is an OpenSSF model signature, which `model_signing verify key` reads too, over all files of the version's folder
but the signatures themselves: the model, its verdict, and the entry that says which version it is.

    signatures/KEY.json    the signature of a key, by the digest of its public key

It is a Sigstore bundle: a DSSE envelope whose payload is an in-toto statement with the SHA-256 of each file.
`model_signing` makes it. It is verified here, by `cryptography` alone: who serves models or predicts has no use for the
clients of Sigstore and TUF that it brings, which need the network.

Which keys are trusted is no argument of a run but a setting of where it runs. Where none is, nothing is verified.
"""

import hashlib
import json
import os
from base64 import b64decode
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from cd4ml.contracts.release import Version
from cd4ml.errors import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

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
MOST_NAMED = 5
"""Files that an error names."""
_MAKE = "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes one"
_PAYLOAD = "application/vnd.in-toto+json"
_PREDICATE = "https://model_signing/signature/v1.0"


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
    from model_signing import hashing
    from model_signing.signing import Config

    try:
        pem = key.read_bytes()
    except OSError as error:
        raise SignatureError(
            f"{key}: cannot be read ({error.strerror}); name the file of a private key with CD4ML_SIGNING_KEY"
        ) from error
    try:
        public = load_pem_private_key(pem, password=None).public_key()
        file = folder / SIGNATURES / f"{key_id(_of_a_curve(public))}.json"
        signer = Config().use_elliptic_key_signer(private_key=key)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # a type error: it has a password
        raise SignatureError(
            f"{key}: no private key that can sign, which is one of an elliptic curve, in PEM and without a password; "
            f"{_MAKE}"
        ) from error
    all_files = hashing.Config().set_ignored_paths(paths=[SIGNATURES], ignore_git_paths=False)  # those of git too
    signer.set_hashing_config(all_files)
    file.parent.mkdir(exist_ok=True)
    signer.sign(folder, file)
    return file


def trusted_keys(named: str = "", said_by: str = TRUSTED) -> dict[str, Path]:
    """The public keys that are trusted, by their ids; none where nothing is configured.

    Args:
        named: A public key, or a folder of such; what this machine is configured with if not said.
        said_by: What names it, for errors.

    Raises:
        SignatureError: What is configured is no such key.
    """
    named, said_by = (named, said_by) if named else (os.environ.get(TRUSTED, ""), TRUSTED)
    place = Path(named or TRUSTED_MOUNTED)
    try:
        files = sorted(place.iterdir()) if place.is_dir() else [place] if named else []
        keys = {_id_of(file): file for file in files if not file.name.startswith(".")}
    except OSError as error:
        raise SignatureError(
            f"{said_by}: {error.filename} cannot be read ({error.strerror}); name a public key, or a folder of keys"
        ) from error
    if named and not keys:
        raise SignatureError(
            f"{said_by}: {place} holds no key; put the public keys there, each in a file, or name no such place"
        )
    return keys


def check(folder: Path, place: str, *, version: str, trusted: str = "", said_by: str = TRUSTED) -> None:
    """Makes sure that a trusted key has signed a version as it lies in a folder; nothing where no key is trusted.

    Args:
        folder: All files of the version.
        place: What errors call it.
        version: Which it is meant to be, `NAME/VERSION`.
        trusted: The keys, as `trusted_keys` takes them.
        said_by: What names these, likewise.

    Raises:
        SignatureError: None has, or another version was signed, or something has changed since.
    """
    keys = trusted_keys(trusted, said_by)
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
    there = digests(folder)
    wrong = [_mismatch(there, found[name], key) for name, key in signed.items()]
    if all(wrong):
        raise SignatureError(
            f"{place}: is not what was signed ({'; '.join(wrong)}); someone or something has changed it: put back what "
            "was published, or deploy another version"
        )
    entry = Version.read(folder / "version.json")
    if version != f"{entry.name}/{entry.version}":
        raise SignatureError(
            f"{place}: version {entry.version} of {entry.name} was signed, and lies in the place of another; put back "
            "what was published"
        )


def key_id(public: "EllipticCurvePublicKey") -> str:
    """What a key is known by: the digest of its public part, as signatures name it too."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(text).hexdigest()


def _id_of(file: Path) -> str:
    return key_id(_public_key(file))


def _public_key(file: Path) -> "EllipticCurvePublicKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return _of_a_curve(load_pem_public_key(file.read_bytes()))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError(
            f"{file}: no public key of an elliptic curve in PEM; `openssl pkey -in KEY -pubout` writes the one of a key"
        ) from error


def _of_a_curve(public: object) -> "EllipticCurvePublicKey":
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if not isinstance(public, EllipticCurvePublicKey) or public.curve.name not in CURVES:
        raise ValueError("a key of another kind")
    return public


def _mismatch(there: dict[str, str], signature: Path, key: Path) -> str:
    """How files differ from what a key has signed; empty where they do not."""
    try:
        signed = _signed(signature, _public_key(key))
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        return f"its signature is none: {error}"
    differences = {
        "changed": [name for name, digest in there.items() if signed.get(name, digest) != digest],
        "missing": signed.keys() - there.keys(),
        "not signed": there.keys() - signed.keys(),
    }
    return ", ".join(f"{word}: {_some(names)}" for word, names in differences.items() if names)


def _signed(signature: Path, key: "EllipticCurvePublicKey") -> dict[str, str]:
    """The SHA-256 of each file that a key has signed, by its path.

    Raises:
        LookupError: Something lacks; as a type or value error, this is no such signature, or of another key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    envelope = json.loads(signature.read_bytes())["dsseEnvelope"]
    payload, [signed] = b64decode(envelope["payload"], validate=True), envelope["signatures"]
    algorithm = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
    content = f"DSSEv1 {len(_PAYLOAD)} {_PAYLOAD} {len(payload)} ".encode() + payload
    try:
        key.verify(b64decode(signed["sig"], validate=True), content, ECDSA(algorithm))
    except InvalidSignature as error:
        raise ValueError("the key has not made it") from error
    statement = json.loads(payload)
    resources = statement["predicate"]["resources"]
    if statement["predicateType"] != _PREDICATE or {one["algorithm"] for one in resources} != {"sha256"}:
        raise ValueError("it is of another kind")
    return {one["name"]: one["digest"] for one in resources}


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a version but its signatures, by its path; of a link, what nobody signs."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_symlink():
            found[name] = "a link"
        elif file.is_file() and file.parent != folder / SIGNATURES:
            with file.open("rb") as stream:
                found[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def _some(names: Collection[str]) -> str:
    """The first few."""
    shown = sorted(names)[:MOST_NAMED]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def _names(keys: Collection[str]) -> str:
    return ", ".join(name[:16] for name in keys) or "none"
