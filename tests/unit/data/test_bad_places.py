"""A disk that is full, and processes that were killed: nothing partial becomes a version, or is left behind."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import deltalake
import pytest

from cd4ml.data.ingest import ingest

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))
from cd4ml.data.ingest import ingest
from cd4ml.errors import DataError
try:
    ingest(sys.argv[1], store=sys.argv[2], name="t", key="id")
except DataError as error:
    print(error)
"""
KILLED = """
import os, signal, sys
import deltalake
deltalake.write_deltalake = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
from cd4ml.data.ingest import ingest
ingest(sys.argv[1], store=sys.argv[2], name="t", key="id")
"""


@pytest.fixture
def table(tmp_path: Path) -> str:
    file = tmp_path / "t.csv"
    file.write_text("id,x\n" + "".join(f"{number},{number * 7919 % 1000003}\n" for number in range(100_000)))
    return str(file)


def run(code: str, *arguments: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(temporary)}
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)


def test_a_full_disk_is_told_and_leaves_no_version(table: str, tmp_path: Path) -> None:
    done = run(LIMITED, table, str(tmp_path / "store"), temporary=tmp_path / "temporary")

    assert f"{table}: cannot be kept on this machine" in done.stdout, done.stderr
    assert not (tmp_path / "store").exists()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    killed = run(KILLED, table, str(tmp_path / "store"), temporary=temporary)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(temporary.iterdir())) == 1
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    version = ingest(table, store=str(tmp_path / "store"), name="t", key="id")

    assert (version.version, version.rows) == (0, 100_000)
    assert len(deltalake.DeltaTable(version.uri).history()) == 1
    assert list(temporary.iterdir()) == []
