"""`scripts/install-uv`: a machine needs any Python 3 to begin with, and is told in one line what it lacks."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = ("bash", "basename", "dirname", "mkdir", "rm", "ln", "sed", "chmod", "cat")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder that is the whole PATH: the words of a shell, and no Python and no uv."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for word in WORDS:
        (programs / word).symlink_to(str(shutil.which(word)))
    return programs


def add(machine: Path, name: str, script: str) -> Path:
    program = machine / name
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o755)
    return program


def add_python(machine: Path, name: str, version: str) -> Path:
    """A Python whose venv has a pip that installs `uv` from beside it."""
    pip = f"cp() {{ cat $1 >$2; chmod +x $2; }}; cp {machine}/../uv ${{0%/*}}/uv"
    return add(
        machine,
        name,
        f"""if [ "$2" = venv ]; then
            mkdir -p $4/bin; printf '%s\\n' '#!/bin/bash' 'set -e; {pip}' >$4/bin/pip; chmod +x $4/bin/pip
            echo {name} >>{machine}/../asked
        else echo {version}; fi""",
    )


def add_uv(folder: Path, finds: Path | None, downloads: Path | None = None, complaint: str = "") -> Path:
    """A uv that finds a Python, or none before it has downloaded one, or that says why it cannot."""
    return add(
        folder,
        "uv",
        f"""case "$2" in
            find) if [ -n "{finds or ""}" ]; then echo {finds}
                elif [ -e {folder}/downloaded ]; then echo {downloads}
                else echo "error: No interpreter found" >&2; exit 2; fi ;;
            install) printf '%s' "{complaint}" >&2; [ -n "{downloads or ""}" ] && : >{folder}/downloaded ;;
        esac""",
    )


def install(machine: Path, python: str = "3.11") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts/install-uv", python, ".venvs/uv"],
        cwd=machine.parent,
        env={"PATH": str(machine)},
        capture_output=True,
        text=True,
    )


def one_line(ended: subprocess.CompletedProcess[str], folder: Path) -> str:
    assert ended.returncode == 1
    assert not (folder / ".venvs/uv").is_symlink()
    (line,) = ended.stderr.splitlines()
    return line


def test_any_python_3_brings_uv_which_finds_a_3_11(machine: Path, tmp_path: Path) -> None:
    add_python(machine, "python3", "3.12")
    add_uv(tmp_path, finds=add_python(tmp_path, "python-3.11", "3.11"))

    assert install(machine).returncode == 0
    assert (tmp_path / ".venvs/uv").resolve() == tmp_path / ".venvs/uv.environment/bin/uv"
    assert (tmp_path / "asked").read_text() == "python3\n"


def test_the_uv_of_the_machine_is_taken_where_there_is_one(machine: Path, tmp_path: Path) -> None:
    uv = add_uv(machine, finds=add_python(tmp_path, "python-3.11", "3.11"))

    assert install(machine).returncode == 0
    assert (tmp_path / ".venvs/uv").readlink() == uv


def test_a_python_without_venv_is_passed_over(machine: Path, tmp_path: Path) -> None:
    add(machine, "python3", "echo 'ensurepip is not available'; exit 1")
    add_python(machine, "python3.10", "3.10")
    add_uv(tmp_path, finds=add_python(tmp_path, "python-3.11", "3.11"))

    assert install(machine).returncode == 0
    assert (tmp_path / "asked").read_text() == "python3.10\n"


def test_a_3_11_that_is_not_there_is_downloaded(machine: Path, tmp_path: Path) -> None:
    add_uv(machine, finds=None, downloads=add_python(tmp_path, "python-3.11", "3.11"))

    assert install(machine).returncode == 0
    assert (tmp_path / ".venvs/uv").exists()


def test_where_there_is_no_python_a_line_says_what_to_install(machine: Path, tmp_path: Path) -> None:
    assert "install python3-venv" in one_line(install(machine), tmp_path)


def test_where_no_python_has_venv_a_line_says_what_to_install(machine: Path, tmp_path: Path) -> None:
    add(machine, "python3", "echo 'ensurepip is not available'; exit 1")

    assert "install python3-venv" in one_line(install(machine), tmp_path)


def test_where_3_11_cannot_be_downloaded_a_line_says_what_to_install(machine: Path, tmp_path: Path) -> None:
    add_uv(machine, finds=None)

    assert "install Python 3.11, or name it: make PYTHON=" in one_line(install(machine), tmp_path)


def test_what_uv_says_of_a_failed_download_is_shown(machine: Path, tmp_path: Path) -> None:
    add_uv(machine, finds=None, complaint="error: invalid peer certificate\n")
    complaint, remedy = install(machine).stderr.splitlines()

    assert complaint == "error: invalid peer certificate"
    assert "install Python 3.11, or name it: make PYTHON=" in remedy


def test_another_version_that_was_named_is_told(machine: Path, tmp_path: Path) -> None:
    add_uv(machine, finds=add_python(machine, "python3.12", "3.12"))

    assert "is Python 3.12, and the environments need 3.11" in one_line(install(machine, "python3.12"), tmp_path)
