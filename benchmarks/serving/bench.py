"""How fast a model is served, against a plain wrapper of seldon-core with the same SavedModel, both asked by wrk.

    make run && make bench NAME=serving

The model is the newest of the example's in `store`. First one row a request, at 1, 8 and 64 connections, then bodies of
1,000 rows. Our server and the peer (`tests/seldon/wrapper.py`, one worker with one thread, as is its default) take
turns. The throughput of a load is the best of its rounds, its latencies are those of the same round.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
from closing import at_least, at_most, close
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
MODELS = ROOT / "store/models/promotion-uptake"
PREDICTIONS = "/api/v1.0/predictions"
SECONDS = int(os.environ.get("CD4ML_BENCH_SECONDS", "8"))
ROUNDS = 3
ROWS = 1000
LOADS = {"1 connection": (1, 1), "8 connections": (8, 1), "64 connections": (64, 1), f"{ROWS:,} rows": (4, ROWS)}
"""Connections, and the rows of a body."""
LEAST_RATIO = {"1 connection": 2.0, "8 connections": 6.0, "64 connections": 10.0}
MOST_P50_MS = 1.5
LEAST_ROWS_A_SECOND = 5 * 86_000
READY_SECONDS = 90


@dataclass(frozen=True)
class Measured:
    """One load of one server."""

    a_second: float
    """Requests."""
    p50: float
    """Milliseconds, as p99."""
    p99: float
    failed: int


def main() -> None:
    """Measures both servers, prints a table, and as the last line JSON."""
    if not shutil.which("wrk"):
        sys.exit("wrk is not on this machine, which makes the requests: install it (Debian: apt-get install wrk)")
    folders = sorted(MODELS.glob("*/model"), key=lambda folder: int(folder.parent.name))
    if not folders:
        sys.exit(f"{MODELS}: no model; make one with `make run`")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        bodies = _bodies(folders[-1].parent / "predictions.parquet", Path(temporary))
        ours, peer = _alternating(folders[-1], bodies, Path(temporary))
    table = Table("load", "", "requests a second", "p50", "p99", "failed")
    for name in LOADS:
        for label, found in (("cd4ml", ours[name]), ("seldon-core", peer[name])):
            row = (f"{found.a_second:,.0f}", f"{found.p50:.2f} ms", f"{found.p99:.2f} ms", str(found.failed))
            table.add_row(name if label == "cd4ml" else "", label, *row)
    Console().print(table)
    goals = _goals(ours, peer)
    ratio = ours["64 connections"].a_second / peer["64 connections"].a_second
    close(
        "serving",
        ratio=round(ratio, 2),
        seconds=round(1 / ours["64 connections"].a_second, 6),
        peer_seconds=round(1 / peer["64 connections"].a_second, 6),
        rows=ROWS,
        goals=goals,
        load_before=round(load, 1),
    )


def _goals(ours: dict[str, Measured], peer: dict[str, Measured]) -> list[dict[str, Any]]:
    goals = []
    for name, least in LEAST_RATIO.items():
        ratio = ours[name].a_second / peer[name].a_second
        goals.append(at_least(f"throughput to the peer's, {name}", ratio, least, digits=2))
        goals.append(at_most(f"p99 ms, {name}", ours[name].p99, peer[name].p99, digits=2))
    p50, rows = ours["1 connection"].p50, ours[f"{ROWS:,} rows"].a_second * ROWS
    goals.append(at_most("p50 ms, 1 connection", p50, MOST_P50_MS, digits=2))
    goals.append(at_least("rows a second", rows, LEAST_ROWS_A_SECOND, digits=0))
    return goals


def _bodies(predictions: Path, folder: Path) -> dict[int, Path]:
    """The bodies of requests, by their rows, of rows that evaluation kept."""
    rows = pq.read_table(predictions).column("features").to_pylist()
    bodies = {}
    for count in {rows for _, rows in LOADS.values()}:
        repeated = [list(rows[number % len(rows)].values()) for number in range(count)]
        bodies[count] = folder / f"{count}.json"
        bodies[count].write_text(json.dumps({"data": {"names": list(rows[0]), "ndarray": repeated}}))
    return bodies


def _alternating(model: Path, bodies: dict[int, Path], folder: Path) -> tuple[dict[str, Measured], dict[str, Measured]]:
    """What was measured of ours and of the peer, by load."""
    best: tuple[dict[str, Measured], dict[str, Measured]] = ({}, {})
    for _ in range(ROUNDS):
        for found, command, environment in zip(best, _commands(), _environments(model), strict=True):
            with _served(command, environment, folder) as url:
                for name, (connections, rows) in LOADS.items():
                    measured = _measure(url, connections, bodies[rows])
                    if name not in found or measured.a_second > found[name].a_second:
                        found[name] = measured
    return best


def _commands() -> tuple[list[str], list[str]]:
    venvs = ROOT / ".venvs"
    peer = ["wrapper.Wrapper", "--service-type", "MODEL", "--log-level", "ERROR"]
    return (
        [f"{venvs}/serve/bin/python", "-m", "cd4ml.serving.server"],
        [f"{venvs}/seldon/bin/seldon-core-microservice", *peer],
    )


def _environments(model: Path) -> tuple[dict[str, str], dict[str, str]]:
    ours = {"MODEL_FOLDER": str(model), "MODEL_VERSION": "1", "MODEL_HOST": "127.0.0.1"}
    peer = {"MODEL_FOLDER": str(model), "GRPC_WORKERS": "0"}
    return ours, peer


@contextmanager
def _served(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[str]:
    """The address of a server that is ready, and ends."""
    port, metrics_port = _free_port(), _free_port()
    ports = {"PORT": str(port), "METRICS_PORT": str(metrics_port)}
    of_seldon = {
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(port),
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(metrics_port),
    }
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 (our own)
            command,
            cwd=ROOT / "tests/seldon",  # where the peer's wrapper is
            env={**os.environ, **environment, **ports, **of_seldon},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, folder / "log")
        yield url
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/status", timeout=READY_SECONDS, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    sys.exit(f"{url} was not ready:\n{log.read_text()[-2000:]}")


def _measure(url: str, connections: int, body: Path) -> Measured:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--timeout", "20s", "-s", str(HERE / "post.lua")]
    run = subprocess.run(  # noqa: S603 (its arguments are ours)
        [*command, url + PREDICTIONS, "--", str(body)], check=True, capture_output=True, text=True
    )
    return Measured(**json.loads(run.stdout.splitlines()[-1]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
