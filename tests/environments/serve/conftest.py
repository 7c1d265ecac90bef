"""One server for the tests of its environment."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from served import Server, answering
from signed import write_public, write_version

from cd4ml.contracts.model import digest


@pytest.fixture(scope="session")
def signer() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def trusted(signer: ec.EllipticCurvePrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_public(signer, tmp_path_factory.mktemp("trusted") / "ours.pem")


@pytest.fixture(scope="session")
def folder(signer: ec.EllipticCurvePrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_version(tmp_path_factory.mktemp("version"), signer)


@pytest.fixture(scope="session")
def server(folder: Path, trusted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    with answering(folder, home, MODEL_DIGEST=digest(folder), CD4ML_TRUSTED_KEYS=str(trusted)) as running:
        yield running
