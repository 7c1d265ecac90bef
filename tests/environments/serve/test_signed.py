"""A server with keys to trust serves what one of them has signed, and nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from served import ROWS, SECONDS_TO_START, Server, end, start
from signed import key_id, write_public


def refused(version: Path, home: Path, trusted: Path, **variables: str) -> str:
    """The one line that a server says of a version that it refuses."""
    server = start(version / "model", home, CD4ML_TRUSTED_KEYS=str(trusted), **variables)
    try:
        assert server.process.wait(timeout=SECONDS_TO_START) == 1
    finally:
        end(server)
    [line] = server.log.splitlines()
    return line


@pytest.fixture
def version(folder: Path, tmp_path: Path) -> Path:
    """A copy of the signed version, to change."""
    return shutil.copytree(folder.parent, tmp_path / "version")


def change_a_bit(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_what_a_trusted_key_has_signed_is_served(server: Server) -> None:
    assert server.predict(ROWS[0]).status == 200


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("model/saved_model/saved_model.pb", "changed: model/saved_model/saved_model.pb"),
        ("model/contract.json", "changed: model/contract.json"),
        ("version.json", "changed: version.json"),
        ("signatures/*.json", "its signature is none: "),
    ],
)
def test_a_flipped_bit_anywhere_refuses_to_start_with_a_line_that_says_where(
    version: Path, tmp_path: Path, trusted: Path, file: str, said: str
) -> None:
    [changed] = version.glob(file)
    change_a_bit(changed)

    assert f"ERROR cd4ml.serving: {version}: is not what was signed ({said}" in refused(version, tmp_path, trusted)


def remove(version: Path) -> None:
    (version / "version.json").unlink()


def add(version: Path) -> None:
    (version / "model/saved_model/assets/more").write_text("x")


def link(version: Path) -> None:
    file = version / "model/contract.json"
    file.symlink_to(shutil.move(file, version.parent / "contract.json"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (remove, "missing: version.json"),
        (add, "not signed: model/saved_model/assets/more"),
        (link, "changed: model/contract.json"),
    ],
)
def test_what_is_taken_away_or_added_refuses_to_start(
    version: Path, tmp_path: Path, trusted: Path, change: Callable[[Path], None], said: str
) -> None:
    change(version)

    assert f"is not what was signed ({said})" in refused(version, tmp_path, trusted)


def test_another_key_refuses_to_start_and_so_does_its_signature_under_the_name_of_a_trusted_one(
    version: Path, tmp_path: Path, trusted: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    others = write_public(key, tmp_path / "others.pem")

    assert "is signed by " in refused(version, tmp_path, others)
    [signature] = (version / "signatures").iterdir()
    signature.rename(signature.with_name(f"{key_id(key)}.json"))
    assert "its signature is none: the key has not made it" in refused(version, tmp_path, others)


def test_a_signed_version_under_the_name_or_number_of_another_refuses_to_start(
    version: Path, tmp_path: Path, trusted: Path
) -> None:
    for variables in ({"MODEL_VERSION": "8"}, {"MODEL_NAME": "churn"}):
        line = refused(version, tmp_path, trusted, **variables)

        assert "version 7 of uptake was signed, and lies in the place of another" in line


def test_a_version_without_a_signature_refuses_to_start(version: Path, tmp_path: Path, trusted: Path) -> None:
    shutil.rmtree(version / "signatures")

    assert "is not signed, and the keys that are trusted here are " in refused(version, tmp_path, trusted)
