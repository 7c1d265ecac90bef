"""What it costs a request that a model server keeps it: a server that does and one that does not, asked in turns.

    make bench NAME=capture

The model has twenty features, which are all kept, and a request has one row. Both servers run all the time; each turn
asks the one and then the other, in the order that chance gives, and waits until all that was kept is written. Of each
turn the ratio of the medians, and of the 99th percentiles, is taken. Their median over nine turns is told with an
interval that has it in 96 % of all runs, whatever their distribution: from the second smallest to the second largest.
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from closing import at_most, close
from rich.console import Console
from rich.table import Table

from cd4ml.contracts import captured
from cd4ml.deployment import verify
from cd4ml.deployment.targets import servers

HERE = Path(__file__).parent
PYTHON = Path(sys.prefix).parent / "serve" / "bin" / "python"
SECONDS = float(os.environ.get("CD4ML_BENCH_SECONDS", "4"))
TURNS = 9
WRITTEN_SECONDS = 1.0
"""How often what is kept is written: several times a turn."""
LOADS = {"1 connection": 1, "8 connections": 8}
MOST_P50 = 1.05
READY_SECONDS = 90
Turn = dict[str, dict[str, Any]]
"""What the clients of both servers say, by `with` and `without`."""


@dataclass(frozen=True)
class Ratio:
    """What a figure is with capture to without."""

    of_turns: list[float]

    @property
    def median(self) -> float:
        """Of the turns."""
        return median(self.of_turns)

    @property
    def interval(self) -> tuple[float, float]:
        """Of the median, at 96 % of nine turns."""
        ordered = sorted(self.of_turns)
        return ordered[1], ordered[-2]


def main() -> None:
    """Measures, prints a table, and as the last line JSON."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = [str(PYTHON), str(HERE / "model.py"), str(folder)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)  # noqa: S603 (our own program)
        found = _measured(folder)
        kept, asked = captured.requests(folder / "capture").count_rows(), _requests(found)
    _print(found)
    _close(found, lost=asked - kept, load=load)


def _measured(folder: Path) -> dict[str, list[Turn]]:
    with _served(folder, None) as without, _served(folder, folder / "capture") as kept:
        ports = {"without": without, "with": kept}
        for port in ports.values():
            _ask(folder, port, 8, seconds=2)
        time.sleep(2 * WRITTEN_SECONDS)
        return {name: [_turn(folder, ports, connections) for _ in range(TURNS)] for name, connections in LOADS.items()}


def _turn(folder: Path, ports: dict[str, int], connections: int) -> Turn:
    turn = {}
    for name in random.sample(list(ports), 2):
        turn[name] = _ask(folder, ports[name], connections, seconds=SECONDS)
        time.sleep(2 * WRITTEN_SECONDS)
    return turn


def _ask(folder: Path, port: int, connections: int, *, seconds: float) -> dict[str, Any]:
    command = [PYTHON, HERE / "clients.py", port, connections, seconds, folder / "body.json"]
    done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)  # noqa: S603 (our own)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def _served(folder: Path, capture: Path | None) -> Iterator[int]:
    """The port of a server that is ready, and ends."""
    name = "with" if capture else "without"
    os.environ["CAPTURE_SECONDS"] = str(WRITTEN_SECONDS)
    server = servers.start(
        folder / f"{name}.json",
        name="uptake",
        model_folder=folder / "model",
        digest="",
        port=servers.free_port(),
        log=folder / f"{name}.log",
        run="bench",
        kept=True,
        number=None,
        capture=capture,
    )
    try:
        verify.wait_until_ready(server.url, READY_SECONDS, alive=lambda: server.process() is not None)
        yield server.port
    finally:
        servers.stop(server, folder / f"{name}.json")


def _requests(found: dict[str, list[Turn]]) -> int:
    return sum(turn["with"]["requests"] for turns in found.values() for turn in turns)


def _ratio(turns: list[Turn], figure: str) -> Ratio:
    return Ratio([turn["with"][figure] / turn["without"][figure] for turn in turns])


def _print(found: dict[str, list[Turn]]) -> None:
    table = Table("load", "figure", "without", "with", "ratio, median", "interval")
    for name, turns in found.items():
        for figure in ("p50", "p99", "requests"):
            ratio, unit = _ratio(turns, figure), "" if figure == "requests" else " ms"
            both = [median(turn[one][figure] for turn in turns) for one in ("without", "with")]
            low, high = ratio.interval
            said = [f"{one:,.0f}" if figure == "requests" else f"{one:.3f}{unit}" for one in both]
            table.add_row(name, figure, *said, f"{ratio.median:.3f}", f"{low:.3f} to {high:.3f}")
    Console(width=100).print(table)


def _close(found: dict[str, list[Turn]], *, lost: int, load: float) -> None:
    one = found["1 connection"]
    p50, p99 = _ratio(one, "p50"), _ratio(one, "p99")
    close(
        "capture",
        ratio=round(p50.median, 3),
        seconds=round(median(turn["with"]["p50"] for turn in one) / 1000, 6),
        rows=_requests(found),
        goals=[
            at_most("p50 with capture to without, 1 connection", p50.median, MOST_P50),
            at_most("p99 likewise, the lower end of its interval", p99.interval[0], 1.0),
            at_most("requests that were not kept", max(0, lost), 0, digits=0),
        ],
        p99_ratio=round(p99.median, 3),
        load_before=round(load, 1),
    )


if __name__ == "__main__":
    main()
