"""What the router adds to a request: the same arm, asked by itself and through the router, in turns.

    make bench NAME=router

The arm answers at once, so all that is measured is the way. The router knows its callers by a feature, and captures
features and predictions; the mirror is a second arm that is shown everything.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles

import psutil
from closing import at_most, close
from rich.console import Console
from rich.table import Table

from cd4ml.contracts.traffic import Arm, Sticky, Traffic

PAIRS = int(os.environ.get("BENCH_PAIRS", "3000"))
GOAL_MS = 1.0
SECONDS_TO_START = 60
PYTHON = Path(sys.prefix).parent / "serve" / "bin" / "python"
PATH = "/api/v1.0/predictions"
ROW = ["p17", 40, "south", True, 12.5]
NAMES = ["player_id", "age", "region", "subscribed", "spend"]
ARM = """
import sys, uvicorn
ANSWER = b'{"data":{"names":["probability"],"ndarray":[[0.53]]},"meta":{"tags":{"version":"7"}}}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
async def answer(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
uvicorn.run(answer, port=int(sys.argv[1]), lifespan="off", access_log=False, log_level="warning")
"""


def main() -> None:
    """Measures with and without a mirror, prints a table, and as the last line JSON."""
    table = Table("router", "direct, median", "routed, median", "added, median", "routed, 99%", "CPU a request", "peak")
    added, peak = {}, 0.0
    for kind, mirrored in (("one arm", False), ("one arm and a mirror", True)):
        with tempfile.TemporaryDirectory() as folder, _routed(Path(folder), mirrored) as (direct, routed, router):
            _ask(direct, routed, PAIRS // 10)
            before = sum(router.cpu_times()[:2])
            pairs = _ask(direct, routed, PAIRS)
            cpu = (sum(router.cpu_times()[:2]) - before) / PAIRS
            peak = max(peak, router.memory_info().rss / 2**20)
        added[kind] = median(through - alone for alone, through in pairs) * 1000
        alone, through = (sorted(one[side] * 1000 for one in pairs) for side in (0, 1))
        table.add_row(
            kind,
            *(
                f"{value:.2f} ms"
                for value in (median(alone), median(through), added[kind], quantiles(through, n=100)[98])
            ),
            f"{cpu * 1000:.2f} ms",
            f"{peak:.0f} MiB",
        )
    Console().print(table)
    goals = [at_most(f"added to the median, {kind}", ms, GOAL_MS) for kind, ms in added.items()]
    close(
        "router",
        seconds=round(max(added.values()) / 1000, 6),
        peak_mib=round(peak),
        rows=PAIRS,
        goals=goals,
    )


def _ask(direct: int, routed: int, pairs: int) -> list[tuple[float, float]]:
    """The seconds of requests to two ports, in turns."""
    body = json.dumps({"data": {"names": NAMES, "ndarray": [ROW]}}).encode()
    connections = [HTTPConnection("127.0.0.1", port) for port in (direct, routed)]
    for connection in connections:
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def seconds(connection: HTTPConnection) -> float:
        started = time.perf_counter()
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}")
        return time.perf_counter() - started

    return [(seconds(connections[0]), seconds(connections[1])) for _ in range(pairs)]


@contextlib.contextmanager
def _routed(folder: Path, mirrored: bool) -> Iterator[tuple[int, int, psutil.Process]]:
    """The ports of an arm and of a router before it, and the router's process."""
    arm, mirror, routed, metrics = (_free_port() for _ in range(4))
    arms = [Arm("arm", f"http://127.0.0.1:{arm}", 1)]
    if mirrored:
        arms.append(Arm("mirror", f"http://127.0.0.1:{mirror}", 0, mirror=True))
    Traffic(tuple(arms), Sticky(feature="player_id"), tuple(NAMES[1:])).write(folder / "traffic.json")
    settings = {
        "TRAFFIC_FILE": str(folder / "traffic.json"),
        "CAPTURE_FOLDER": str(folder / "capture"),
        "MODEL_HOST": "127.0.0.1",
        "PORT": str(routed),
        "METRICS_PORT": str(metrics),
    }
    with contextlib.ExitStack() as started:
        for port in (arm, mirror):
            started.enter_context(_process([PYTHON, "-c", ARM, str(port)], {}))
        router = started.enter_context(_process([PYTHON, "-m", "cd4ml.serving.router"], settings))
        for port in (arm, mirror, routed):
            _wait(port)
        yield arm, routed, psutil.Process(router.pid)


@contextlib.contextmanager
def _process(command: list[str | Path], settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # noqa: S603 (our own program, without a shell)
        command, env={**os.environ, **settings}, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait(port: int) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing answers at port {port} after {SECONDS_TO_START} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
