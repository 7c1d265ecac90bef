"""How long a run of the example takes on this machine, and what it holds: nothing cached, then nothing changed.

    make data && make bench NAME=run

The run's store, cache and folder are new. `seconds` is the time until `cd4ml run` has ended; `cpu_seconds` the
processor time of it and of its processes, which says more where the machine has other work; `peak_mib` what they held
at once that none of them shares (USS), asked every two seconds, for each time takes the processor 10 to 30 ms a
process. Each task is shown with its own time, so that what runs side by side counts twice. There is no peer.
"""

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import yaml
from closing import at_most, close
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/promotions/training.yaml"
GOALS_SECONDS = {"nothing cached": 25, "nothing changed": 6}
SAMPLE_SECONDS = 2.0


def main() -> None:
    """Runs the example twice, prints a table, and as the last line JSON."""
    content = yaml.safe_load(EXAMPLE.read_text())
    source = ROOT / content["arguments"]["source"]
    if not source.exists():
        sys.exit(f"{source}: no such file; make it with `make data`")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "training.yaml"
        arguments = {**content["arguments"], "source": str(source), "port": _free_port()}
        file.write_text(yaml.safe_dump({**content, "arguments": arguments}))
        runs = {name: _run(Path(folder), file) for name in GOALS_SECONDS}
    tasks = {task: None for run in runs.values() for task in run["tasks"]}
    table = Table("task", *runs)
    for task in tasks:
        table.add_row(task, *(run["tasks"][task] for run in runs.values()))
    table.add_row("the run", *(f"{run['seconds']:.1f} s, {run['peak_mib']:.0f} MiB" for run in runs.values()))
    table.add_row("its processor time", *(f"{run['cpu_seconds']:.1f} s" for run in runs.values()))
    Console().print(table)
    close(
        "run",
        seconds=round(runs["nothing cached"]["seconds"], 1),
        peak_mib=round(max(run["peak_mib"] for run in runs.values())),
        rows=pq.read_metadata(source).num_rows,
        goals=[
            at_most(f"seconds, {name}", runs[name]["seconds"], limit, digits=1) for name, limit in GOALS_SECONDS.items()
        ],
        cpu_seconds={name: round(run["cpu_seconds"], 1) for name, run in runs.items()},
        load_before=round(load, 1),
    )


def _run(folder: Path, file: Path) -> dict[str, Any]:
    started, cpu_before, peak = time.monotonic(), _cpu_seconds(), 0.0
    program = Path(sys.prefix) / "bin" / "cd4ml"
    command = [str(program), "run", str(file)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (our own)
        while process.poll() is None:
            peak = max(peak, _held(process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(SAMPLE_SECONDS)
        seconds = time.monotonic() - started
        output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        sys.exit(output)
    latest = max((folder / "runs").glob("*/summary.json"), key=lambda one: one.stat().st_mtime)
    tasks = json.loads(latest.read_text())["tasks"]
    shown = {one["display_name"]: "reused" if one["cached"] else f"{one['seconds']:.1f} s" for one in tasks}
    return {
        "seconds": seconds,
        "cpu_seconds": _cpu_seconds() - cpu_before,
        "peak_mib": peak / 2**20,
        "tasks": shown,
    }


def _cpu_seconds() -> float:
    """The processor time of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _held(pid: int) -> float:
    held = 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                held += one.memory_full_info().uss
    return held


if __name__ == "__main__":
    main()
