"""What `make` removes is what was made."""

import shutil
import subprocess
from pathlib import Path

MAKEFILE = Path(__file__).parents[2] / "Makefile"
MADE = (
    ".venvs/tools/ready",
    "examples/promotions/data/players.parquet",
    "runs/.cache/a",
    "runs/images/tools.log",
    "runs/sbom/tools.json",
    "runs/training-20261125-093000/index.html",
    "runs/training-20261125-093000-2/index.html",
)
A_TEAMS = (
    "examples/promotions/data/ours.parquet",
    "examples/churn/data/customers.csv",
    "runs/staging.yaml",
    "runs/export-20261125-093000/rows.csv",
    "pipelines/training/pipeline.py",
    "runs/notes/a.md",
    "store/models/uptake/1/version.json",
    "compiled/training.yaml",
)


def make_clean(folder: Path, files: tuple[str, ...]) -> list[str]:
    """The files that are left."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    shutil.copy(MAKEFILE, folder)
    subprocess.run(["make", "clean"], cwd=folder, check=True, capture_output=True)
    (folder / "Makefile").unlink()
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_clean_removes_what_was_made_and_nothing_of_a_team(tmp_path: Path) -> None:
    assert make_clean(tmp_path, MADE + A_TEAMS) == sorted(A_TEAMS)


def test_clean_leaves_no_empty_folder_of_its_own(tmp_path: Path) -> None:
    pipeline = "pipelines/training/pipeline.py"

    assert make_clean(tmp_path, (*MADE, pipeline)) == [pipeline]
    assert not (tmp_path / "runs").exists()
