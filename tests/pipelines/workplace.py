"""A workplace: a folder with data, arguments, store and runs, in which a test runs `cd4ml` as a user does."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from cd4ml.registry import deployments
from cd4ml.registry.deployments import Series
from cd4ml.storage.folder import FolderStore

ROOT = Path(__file__).parents[2]
CD4ML = Path(sys.prefix) / "bin" / "cd4ml"
ROWS = 12_000


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


PORT = _free_port()
"""Where these tests serve; other tests may run on this machine beside them."""
SERVER = f"http://127.0.0.1:{PORT}"
AS_IN_A_TERMINAL = ("env", "--default-signal=INT,HUP")
"""Whoever started the tests may ignore these signals, as a script does for what it runs in the background."""


@dataclass(frozen=True)
class Outcome:
    """What a command of cd4ml did."""

    code: int
    output: str
    summary: dict[str, Any]
    folder: Path

    def states(self) -> dict[str, str]:
        """Each task with its state, `reused` for one whose result was."""
        return {task["display_name"]: "reused" if task["cached"] else task["state"] for task in self.summary["tasks"]}


@dataclass(frozen=True)
class Workplace:
    """A folder in which pipelines run."""

    folder: Path

    def arguments(self, example: str = "training.yaml", **changes: Any) -> Path:
        """The example's arguments with some changed; models and limits are for the few rows of these tests."""
        small = {
            "source": "players.parquet",
            "data_limits": {"anomalies": 0},
            "baseline": {"model": "linear", "epochs": 2},
            "candidate": {"model": "dnn", "hidden": [16], "epochs": 6},
            "model_limits": {"auc": {"min": 0.7, "champion": {"min_change": -0.2}}, "bootstrap": {"auc": {"min": 0.7}}},
            "port": PORT,
        }
        return self.example(example, **small | changes)

    def example(self, example: str, of: str = "promotions", **changes: Any) -> Path:
        """An example's arguments as they are, but for changes."""
        content = yaml.safe_load((ROOT / "examples" / of / example).read_text())
        content["arguments"] |= changes
        for module in (ROOT / "examples" / of).glob("models.py"):
            shutil.copy(module, self.folder)
        file = self.folder / example
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return file

    def record(self, outcome: Outcome) -> dict[str, Any]:
        """What the store keeps of a run."""
        file = self.folder / "store" / "runs" / "training" / outcome.folder.name / "summary.json"
        record: dict[str, Any] = json.loads(file.read_text())
        return record

    def start(self, *words: str | Path, by: Sequence[str] = AS_IN_A_TERMINAL) -> subprocess.Popen[str]:
        """Starts `cd4ml` here."""
        return subprocess.Popen(
            [*by, CD4ML, *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "COLUMNS": "200"},
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Outcome:
        """Waits for a command that was started."""
        output, _ = process.communicate(timeout=600)
        folders = sorted((self.folder / "runs").glob("*-*"), key=lambda folder: folder.stat().st_mtime)
        folder = folders[-1] if folders else self.folder
        summary = folder / "summary.json"
        return Outcome(process.returncode, output, json.loads(summary.read_text()) if summary.exists() else {}, folder)

    def run(self, *words: str | Path) -> Outcome:
        """Runs `cd4ml` here to its end."""
        return self.finish(self.start(*words))

    def stored(self) -> set[Path]:
        """The published models and deployments."""
        store = self.folder / "store"
        return {*store.glob("models/*/*"), *store.glob("deployments/*/*"), *store.glob(".unfinished/*")}

    def deployments(self) -> list[Series]:
        """The history of the model, the oldest first."""
        found = deployments.newest_first(FolderStore(self.folder / "store"), "promotion-uptake")
        return list(reversed(list(found)))

    def servers(self) -> list[psutil.Process]:
        """The model servers that serve from here."""
        return [
            process
            for process in psutil.process_iter(["cmdline", "environ"])
            if str(self.folder) in (process.info["environ"] or {}).get("MODEL_FOLDER", "")
        ]


def make_players(file: Path, rows: int = ROWS, seed: int = 7) -> None:
    _generate("promotions", f"--rows={rows}", f"--seed={seed}", f"--output={file}")


def make_flats(file: Path) -> None:
    _generate("rents", f"--output={file}")


def make_tickets(file: Path) -> None:
    _generate("tickets", f"--output={file}")


def make_parcels(folder: Path) -> None:
    _generate("deliveries", f"--output={folder}")


def _generate(example: str, *words: str) -> None:
    program = ROOT / "examples" / example / "generate.py"
    subprocess.run([sys.executable, program, *words], check=True, capture_output=True)
