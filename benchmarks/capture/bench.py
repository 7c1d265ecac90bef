"""What it costs a request that a model server keeps it: a server that does and two that do not, asked in turns.

    make bench NAME=capture

The model has twenty features, which are all kept, and a request has one row. The servers run all the time; each turn
asks one after the other, in the order that chance gives, so that what the machine does besides falls on all of them
alike. After some turns there are new servers, for two processes that do the same differ too.

The shorter a turn, the less the machine changes within it. The median is told by turns of a twentieth of a second; what
is kept is then written in whichever turn it falls. The 99th percentile feels that, and has turns of two seconds: what
is kept is written once in them, and the rest in a pause after them.

Of each turn the ratio to the first server that keeps nothing is taken. Their median over all turns is told with an
interval that has it in 95 % of all runs, whatever their distribution. What the second server that keeps nothing gives
says how little can be told apart.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from closing import at_most, close
from rich.console import Console
from rich.table import Table

from cd4ml.contracts import captured
from cd4ml.deployment import verify
from cd4ml.deployment.targets import servers

HERE = Path(__file__).parent
PYTHON = Path(sys.prefix).parent / "serve" / "bin" / "python"
ROUNDS = int(os.environ.get("CD4ML_BENCH_ROUNDS", "4"))
"""Each with new servers."""
WRITE_SECONDS = 2.0
"""How often what is kept is written."""
SERVERS = ("with", "without", "without again")
MOST_P50 = 1.05
READY_SECONDS = 90
Turn = dict[str, dict[str, float]]
"""What each of the servers gave."""


@dataclass(frozen=True)
class Load:
    """How the servers are asked, and the figure that is told by it."""

    connections: int
    figure: str
    turns: int
    """Of a round."""
    seconds: float
    """Of a turn, for each server."""
    pause: float
    """After the server that keeps."""


LOADS = tuple(
    load
    for connections in (1, 8)
    for load in (
        Load(connections, "p50", turns=150, seconds=0.05, pause=0),
        Load(connections, "p99", turns=8, seconds=WRITE_SECONDS, pause=WRITE_SECONDS + 0.5),
    )
)


@dataclass(frozen=True)
class Ratio:
    """What a figure is to that without capture."""

    of_turns: list[float]

    @property
    def median(self) -> float:
        """Of the turns."""
        return median(self.of_turns)

    @property
    def interval(self) -> tuple[float, float]:
        """Of the median, at 95 %: so many turns are below it by chance (the binomial distribution, as a normal one)."""
        ordered, turns = sorted(self.of_turns), len(self.of_turns)
        place = max(0, int((turns - 1.96 * turns**0.5) / 2))
        return ordered[place], ordered[-1 - place]


def main() -> None:
    """Measures, prints a table, and as the last line JSON."""
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = [str(PYTHON), str(HERE / "model.py"), str(folder)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)  # noqa: S603 (our own program)
        found = _measured(folder)
        kept = captured.requests(folder / "capture").count_rows()
    _print(found)
    _close(found, lost=_requests(found, "with") - kept, busy=busy)


def _measured(folder: Path) -> dict[Load, list[Turn]]:
    os.environ["CAPTURE_SECONDS"] = str(WRITE_SECONDS)
    found: dict[Load, list[Turn]] = {load: [] for load in LOADS}
    for _ in range(ROUNDS):
        with ExitStack() as running:
            ports = [running.enter_context(_served(folder, name)) for name in SERVERS]
            for load in LOADS:
                found[load] += _asked(folder, load, ports)
    return found


def _asked(folder: Path, load: Load, ports: list[int]) -> list[Turn]:
    arguments = [folder / "body.json", load.connections, load.turns, load.seconds, load.pause, *ports]
    command = [PYTHON, HERE / "clients.py", *arguments]
    done = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own)
    return [dict(zip(SERVERS, turn, strict=True)) for turn in json.loads(done.stdout)]


@contextmanager
def _served(folder: Path, name: str) -> Iterator[int]:
    """The port of a server that is ready, and ends."""
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
        capture=folder / "capture" if name == "with" else None,
    )
    try:
        verify.wait_until_ready(server.url, READY_SECONDS, alive=lambda: server.process() is not None)
        yield server.port
    finally:
        servers.stop(server, folder / f"{name}.json")


def _requests(found: dict[Load, list[Turn]], *names: str) -> int:
    return round(sum(turn[name]["requests"] for turns in found.values() for turn in turns for name in names))


def _ratio(found: dict[Load, list[Turn]], load: Load, name: str = "with") -> Ratio:
    return Ratio([turn[name][load.figure] / turn["without"][load.figure] for turn in found[load]])


def _middle(found: dict[Load, list[Turn]], load: Load, name: str) -> float:
    return median(turn[name][load.figure] for turn in found[load])


def _print(found: dict[Load, list[Turn]]) -> None:
    table = Table("connections", "figure", *SERVERS, "ratio, median", "interval", "of the same", "interval")
    for load in LOADS:
        values = [f"{_middle(found, load, name):.3f} ms" for name in SERVERS]
        ratios = [_ratio(found, load, name) for name in ("with", "without again")]
        said = [(f"{one.median:.3f}", "{:.3f} to {:.3f}".format(*one.interval)) for one in ratios]
        table.add_row(str(load.connections), load.figure, *values, *said[0], *said[1])
    Console(width=140).print(table)


def _close(found: dict[Load, list[Turn]], *, lost: int, busy: float) -> None:
    medians, tails = LOADS[:2]
    p50, p99 = _ratio(found, medians), _ratio(found, tails)
    close(
        "capture",
        ratio=round(p50.median, 3),
        seconds=round(_middle(found, medians, "with") / 1000, 6),
        peer_seconds=round(_middle(found, medians, "without") / 1000, 6),
        rows=_requests(found, *SERVERS),
        goals=[
            at_most("p50 with capture to without, 1 connection", p50.median, MOST_P50),
            at_most("p99 likewise, the lower end of its interval", p99.interval[0], 1.0),
            at_most("requests that were not kept", max(0, lost), 0, digits=0),
        ],
        p99_ratio=round(p99.median, 3),
        load_before=round(busy, 1),
    )


if __name__ == "__main__":
    main()
