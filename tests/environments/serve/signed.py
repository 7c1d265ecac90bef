"""A published version, and its signature as the specification of OpenSSF has it, made without the library of cd4ml."""

import hashlib
import json
from base64 import b64encode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from served import write_model

from cd4ml.contracts.model import digest
from cd4ml.contracts.release import DatasetReference, Version

TYPE = "application/vnd.in-toto+json"
PEM = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_version(folder: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    """Version 7 of `uptake`, signed by a key; the folder of its model."""
    model = write_model(folder / "model")
    dataset = DatasetReference("players", 1, "sha256:d")
    Version("uptake", 7, digest(model), "2026-11-29T00:00:00Z", "run-1", "", dataset).write(folder / "version.json")
    sign(folder, key)
    return model


def sign(folder: Path, key: ec.EllipticCurvePrivateKey) -> None:
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    resources = [
        {"name": name, "algorithm": "sha256", "digest": hashlib.sha256(file.read_bytes()).hexdigest()}
        for name, file in files.items()
    ]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"serialization": {"method": "files", "hash_type": "sha256"}, "resources": resources},
    }
    payload = json.dumps(statement).encode()
    signed = key.sign(f"DSSEv1 {len(TYPE)} {TYPE} {len(payload)} ".encode() + payload, ec.ECDSA(SHA256()))
    envelope = {
        "payload": b64encode(payload).decode(),
        "payloadType": TYPE,
        "signatures": [{"sig": b64encode(signed).decode()}],
    }
    (folder / "signatures").mkdir()
    (folder / f"signatures/{key_id(key)}.json").write_text(json.dumps({"dsseEnvelope": envelope}))


def key_id(key: ec.EllipticCurvePrivateKey) -> str:
    return hashlib.sha256(key.public_key().public_bytes(*PEM)).hexdigest()


def write_public(key: ec.EllipticCurvePrivateKey, file: Path) -> Path:
    file.write_bytes(key.public_key().public_bytes(*PEM))
    return file
