"""Bad input: said plainly, exit code 1, and nothing half-written."""

import re
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from workplace import Workplace


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.parquet", "nowhere.parquet"),
        ("empty.parquet", "empty.parquet"),
        ("truncated.parquet", "truncated.parquet"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(workplace: Workplace, source: str, message: str) -> None:
    players = workplace.folder / "players.parquet"
    pq.write_table(pq.read_table(players).slice(0, 0), workplace.folder / "empty.parquet")
    (workplace.folder / "truncated.parquet").write_bytes(players.read_bytes()[:20_000])

    refused = workplace.run("run", workplace.arguments(source=source, dataset=Path(source).stem))

    assert refused.code == 1
    assert refused.states()["Ingest dataset"] == "failed"
    assert message in refused.output
    assert "Traceback" not in refused.output
    assert not (workplace.folder / "store" / "datasets" / Path(source).stem / "_delta_log").exists()


def test_a_label_that_is_not_there_is_named(workplace: Workplace) -> None:
    refused = workplace.run("run", workplace.arguments(label="took_promotions"))

    assert refused.code == 1
    assert refused.states()["Train baseline"] == "skipped"
    assert "took_promotion" in refused.output
    assert "Traceback" not in refused.output


def test_a_label_of_a_single_class_trains_nothing(workplace: Workplace) -> None:
    players = pq.read_table(workplace.folder / "players.parquet")
    column = players.column_names.index("took_promotion")
    same = pc.and_(players.column("took_promotion"), pa.scalar(False))
    pq.write_table(players.set_column(column, "took_promotion", same), workplace.folder / "single.parquet")

    refused = workplace.run("run", workplace.arguments(source="single.parquet", dataset="single"))

    assert refused.code == 1
    assert refused.states()["Check dataset"] == "failed"
    assert refused.states()["Train baseline"] == "skipped"
    assert "took_promotion" in refused.output


def test_wrong_arguments_are_all_told_before_anything_runs(workplace: Workplace) -> None:
    runs = set(workplace.folder.glob("runs/*"))
    wrong = {"candidate": {"model": "dn"}, "lable": "x", "split": {"by": "no"}, "name": "../x", "thresholds": [1.5]}
    refused = workplace.run("run", workplace.arguments(**wrong))

    assert refused.code == 1
    told = [re.split(r"[:.]", line)[0].strip(" -") for line in refused.output.splitlines()]
    assert set(wrong) <= set(told)
    assert set(workplace.folder.glob("runs/*")) == runs


def test_a_limit_on_what_is_not_evaluated_is_told_before_anything_runs(workplace: Workplace) -> None:
    limits = {"auc": {"min": 0.7, "slices": ["regoin=*"]}, "precision@0.7": {"min": 0.5}}
    refused = workplace.run("run", workplace.arguments(model_limits=limits))

    assert refused.code == 1
    assert "did you mean 'region'?" in refused.output
    assert "0.7" in refused.output


def test_a_wrong_command_line_exits_with_2(workplace: Workplace) -> None:
    assert workplace.run("run").code == 2
    assert workplace.run("runn", "x.yaml").code == 2


def test_a_half_made_environment_is_told(workplace: Workplace, tmp_path: Path) -> None:
    """An interpreter beside which the other environments are not ready: a copy of this one's folder of links."""
    import subprocess
    import sys

    environments = tmp_path / ".venvs"
    environments.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environments / "tools"], check=True)
    site = next((environments / "tools").glob("lib/*/site-packages"))
    own = next(Path(sys.prefix).glob("lib/*/site-packages"))
    (site / "own.pth").write_text(f"import site; site.addsitedir({str(own)!r})\n")

    refused = subprocess.run(
        [environments / "tools/bin/python", "-c", "from cd4ml.cli import main; main()", "run", workplace.arguments()],
        cwd=workplace.folder,
        capture_output=True,
        text=True,
    )

    assert refused.returncode == 1
    assert "no environment for" in refused.stderr
    assert "make setup" in refused.stderr


SMALL_DISK = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


@pytest.mark.parametrize("size", ["4k", "24k"])
def test_a_full_disk_is_told_in_a_line(workplace: Workplace, size: str) -> None:
    (workplace.folder / "small").mkdir(exist_ok=True)
    mount = f"mount -t tmpfs -o size={size} none small"
    if subprocess.run([*SMALL_DISK, mount], cwd=workplace.folder, capture_output=True).returncode:
        pytest.skip("this machine lets nobody but root mount a disk")

    by = (*SMALL_DISK, f'{mount} && exec "$@"', "sh")
    process = workplace.start("run", "--runs", "small", workplace.arguments(), by=by)
    output, _ = process.communicate(timeout=600)

    assert process.returncode == 1
    assert "error: small: no space left on the disk; make room, or name another folder with --runs" in output
    assert "Traceback" not in output
