"""Minutes of load on one machine while versions come and go: not a request may fail, and memory may not grow.

    MINUTES=10 make bench NAME=load

Clients ask the endpoint of a small model all the time, at 16 connections, half of them made anew for each request, and
one model server that stays, at 4; and twice a minute at 300 more, made at once. Meanwhile versions are rolled out
behind the endpoint's router in turns: `replace`, a canary and a shadow that hold, a canary and a shadow that are
undone, one whose process is killed at any moment and undone by the next start, and two that go back to the version
before by command, for which a server has to start, or which is warm still. Memory is what a process shares with none
(USS), asked every two seconds; it grows by so much a minute as a line through the second half of the samples does.
"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import linear_regression, median
from typing import Any, TypeAlias

import httpx
import psutil
from closing import at_most, close
from rich.console import Console
from rich.table import Table

from cd4ml.contracts import model
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.verdict import MODEL_GATE, Check, Outcome, Verdict
from cd4ml.deployment import on_this_machine, rollout, strategies, verify
from cd4ml.deployment.targets import servers
from cd4ml.deployment.targets.machine import Machine
from cd4ml.deployment.targets.router import Place
from cd4ml.errors import DeploymentError
from cd4ml.registry import deployments
from cd4ml.storage import Store, open_store

HERE = Path(__file__).parent
PYTHON = Path(sys.prefix).parent / "serve" / "bin" / "python"
MINUTES = float(os.environ.get("MINUTES", "10"))
CONNECTIONS, STEADY_CONNECTIONS, PAUSE_SECONDS = 16, 4, 0.05
NAME = "soak"
LOOK_SECONDS = 2
Samples: TypeAlias = list[tuple[float, float]]
"""Minutes, and MiB."""
MOST_GROWTH = 0.5
"""MiB a minute."""
MOST_SECONDS_BACK = 30
CD4ML = Path(sys.prefix) / "bin" / "cd4ml"
KEPT = {"error_rate": {"max_increase": 0.1}, "mean_prediction": {"max_change": 0.1}, "within": "3 minutes"}
CANARY = [{"traffic": 20}, {"analyse": KEPT}, {"traffic": 60}, {"hold": "PT5S"}]
WATCHED = [{"traffic": 100}, {"watch": {"error_rate": {"max": 0.02}, "for": "10 minutes"}}]
SHADOW = [
    {"mirror": 50},
    {
        "analyse": {
            "error_rate": {"max_increase": 0.1},
            "prediction_difference": {"max_mean": 0.1},
            "within": "3 minutes",
        }
    },
]


class Rollouts:
    """Versions that come and go, each by a rollout; what came of them.

    Args:
        store: Takes the versions, and the history.
        folder: Has the models, and takes the logs.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._number = 0
        self.held = self.undone = self.killed = 0
        self.seconds_back: dict[str, list[float]] = {"a server starts": [], "warm": []}
        """How long it took from the command until callers had the version before."""
        self.surprises: list[str] = []
        """What ought not to have been."""

    def first(self) -> str:
        """Serves a model, and a second one by dividing requests, which brings the router; where callers ask."""
        port = servers.free_port()
        self._roll_out("replace", port=port)
        self._url = self._roll_out([{"traffic": 50}])
        return self._url

    def turns(self) -> list[Callable[[], None]]:
        """All kinds."""
        return [
            lambda: self._holds("replace"),
            lambda: self._holds(CANARY),
            lambda: self._is_undone(CANARY),
            self._kill,
            lambda: self._holds(SHADOW),
            self._roll_back,
            self._kill,
            lambda: self._is_undone(SHADOW),
            self._abort,
        ]

    def _holds(self, way: Any) -> None:
        try:
            self._roll_out(way)
            self.held += 1
        except DeploymentError as error:
            self.surprises.append(f"rollout {self._number} does not hold: {error}")

    def _is_undone(self, way: Any) -> None:
        try:
            self._roll_out(way, kind="other")
            self.surprises.append(f"rollout {self._number} holds")
        except DeploymentError:
            self.undone += 1

    def _kill(self) -> None:
        """A rollout whose process is killed after up to 12 seconds; the next start finishes or undoes it."""
        process = self._beside(CANARY)
        time.sleep(random.uniform(0.5, 12))  # noqa: S311 (a moment)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        on_this_machine.recover(self._store, NAME)
        self.killed += 1
        if Machine(self._store, NAME).current() is None:
            self.surprises.append(f"after rollout {self._number} was killed nothing is served")

    def _roll_back(self) -> None:
        """Back to the version before, whose server has ended, by the command."""
        started = time.monotonic()
        done = self._command("rollback", NAME, "--runs", self._folder / "runs", "--reason", "a benchmark")
        self.seconds_back["a server starts"].append(time.monotonic() - started)
        if done.returncode:
            self.surprises.append(f"after rollout {self._number} the one before does not come back: {done.stderr}")

    def _abort(self) -> None:
        """A rollout that has all requests, and is ended by the command while the version before is warm."""
        before = self._answering()
        process = self._beside(WATCHED)
        _until(lambda: self._answering() != before)
        started = time.monotonic()
        self._command("abort", NAME, self._deployment(), "--reason", "a benchmark")
        _until(lambda: self._answering() == before)
        self.seconds_back["warm"].append(time.monotonic() - started)
        os.waitpid(process, 0)

    def _command(self, *words: object) -> subprocess.CompletedProcess[str]:
        command = [str(CD4ML), "deployments", *map(str, words), "--store", self._store.location]
        return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own program)

    def _deployment(self) -> int:
        """The number of the last one."""
        return next(deployments.newest_first(self._store, NAME)).begun.number

    def _answering(self) -> str:
        """The version that answers."""
        asked = {"data": {"names": ["age", "region"], "ndarray": [[30.0, "south"]]}}
        answer = httpx.post(self._url, json=asked, timeout=MOST_SECONDS_BACK)
        version: str = answer.json()["meta"]["tags"]["version"]
        return version

    def _beside(self, way: Any) -> int:
        """A rollout in a process of its own."""
        process = os.fork()
        if process == 0:
            try:
                self._roll_out(way)
            finally:
                os._exit(0)
        self._number += 1
        return process

    def _roll_out(self, way: Any, *, kind: str = "good", port: int = 0) -> str:
        """Publishes and deploys a version; where callers ask."""
        self._number += 1
        published = self._publish(self._folder / kind)
        here = Machine(self._store, NAME)
        served = here.server()
        deployed, _ = rollout.roll_out(
            here,
            strategies.parse(way),
            version=published,
            run=f"bench-{self._number}",
            port=served.public_port if served else port,
            log_file=self._folder / f"{self._number}.log",
        )
        return deployed.endpoint

    def _publish(self, made: Path) -> Version:
        digest, about = model.digest(made / "model"), DatasetReference("made", 0, "sha256:d")
        version = Version(NAME, self._number, digest, "2026-01-01", "bench", "", about)
        files = {one: made / one for one in ("model", "predictions.parquet")}
        judged = Check("auc", "at least 0.5", 0.8, Outcome.PASSED, "0.8 is at least 0.5")
        verdict = Verdict(MODEL_GATE, {"model": digest}, (judged,))
        self._store.add_folder(version.folder, {**files, "version.json": version.text, "verdict.json": verdict.text})
        return version


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.1)


def main() -> None:
    """Loads, prints a table, and as the last line JSON."""
    os.environ[servers.KEEP_SERVING] = "1"
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = open_store(folder / "store")
        for kind, shift in (("good", 0.0), ("other", 2.0)):
            command = [str(PYTHON), str(HERE / "model.py"), str(folder / kind), str(shift)]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)  # noqa: S603 (our own program)
        rollouts = Rollouts(store, folder)
        try:
            asked, memory = _load(rollouts, store, folder)
        finally:
            Machine(store, NAME).remove()
            servers.end(servers.Server, folder / "steady.json")
    _print(asked, memory=memory, rollouts=rollouts)
    _close(asked, memory=memory, rollouts=rollouts, load=load)


def _load(rollouts: Rollouts, store: Store, folder: Path) -> tuple[dict[str, Any], dict[str, Samples]]:
    """What came of the requests to the endpoint and to a server that stays, and the memory of router and server."""
    url, steady = rollouts.first(), _steady(folder)
    place = Place(Path(store.location) / ".serving" / NAME)
    router = place.router()
    assert router
    with (
        _asking(url, CONNECTIONS) as asked,
        _asking(f"{steady.url}{verify.PREDICTIONS}", STEADY_CONNECTIONS) as asked_steady,
        _watched({"router": router.pid, "server": steady.pid}) as memory,
    ):
        end = time.monotonic() + MINUTES * 60
        for turn in itertools.cycle(rollouts.turns()):
            if time.monotonic() > end:
                break
            turn()
    if place.router() != router:
        rollouts.surprises.append("the router is not the one that it was")
    both = {"the endpoint": asked, "a server that stays": asked_steady}
    return both | {f"{name}, 300 at once": one.pop("at_once") for name, one in both.items()}, memory


def _steady(folder: Path) -> servers.Server:
    """A model server that stays."""
    one = folder / "good" / "model"
    server = servers.start(
        folder / "steady.json",
        name=NAME,
        model_folder=one,
        digest=model.digest(one),
        port=servers.free_port(),
        log=folder / "steady.log",
        run="bench",
        kept=True,
        number=None,
    )
    verify.wait_until_ready(server.url, 90, alive=lambda: server.process() is not None)
    return server


@contextmanager
def _asking(url: str, connections: int) -> Iterator[dict[str, Any]]:
    """Clients ask as long as the context lasts; what came of it, once it is over."""
    command = [str(PYTHON), str(HERE / "clients.py"), url, str(connections), str(PAUSE_SECONDS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own program)
    found: dict[str, Any] = {}
    try:
        yield found
    finally:
        process.terminate()
        found.update(json.loads(process.communicate()[0]))


@contextmanager
def _watched(processes: dict[str, int]) -> Iterator[dict[str, Samples]]:
    """The minutes and the MiB of processes, as long as the context lasts."""
    samples: dict[str, Samples] = {name: [] for name in processes}
    over, started = threading.Event(), time.monotonic()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            for name, pid in processes.items():
                used = psutil.Process(pid).memory_full_info().uss / 2**20
                samples[name].append(((time.monotonic() - started) / 60, used))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def _growth(samples: Samples) -> float:
    """MiB a minute, of the second half."""
    late = samples[len(samples) // 2 :]
    return linear_regression(*zip(*late, strict=True)).slope


def _print(asked: dict[str, Any], *, memory: dict[str, Samples], rollouts: Rollouts) -> None:
    table = Table("asked", "requests", "failed", "p50", "p95", "p99", "99.9%", "slowest")
    for name, one in asked.items():
        quantiles = (f"{one[which]:.0f} ms" for which in ("p50", "p95", "p99", "p999", "slowest"))
        table.add_row(name, f"{one['requests']:,}", f"{_failed(one)}", *quantiles)
    used = Table("memory", "at a tenth", "at the half", "at the end", "grows by")
    for name, samples in memory.items():
        tenth, half = len(samples) // 10, len(samples) // 2
        parts = (samples[tenth:][:10], samples[half:][:10], samples[-10:])
        figures = [f"{median(mib for _, mib in part):.1f} MiB" for part in parts]
        used.add_row(name, *figures, f"{_growth(samples):+.2f} MiB a minute")
    back = Table("back to the version before", "times", "slowest")
    for name, seconds in rollouts.seconds_back.items():
        back.add_row(name, f"{len(seconds)}", f"{max(seconds, default=0):.1f} s")
    console = Console(width=100)
    console.print(table)
    console.print(used)
    console.print(back)
    console.print(f"{rollouts.held} rollouts held, {rollouts.undone} were undone, {rollouts.killed} were killed")
    for words in (*rollouts.surprises, *(words for one in asked.values() for words in one["first_failures"])):
        console.print(words, markup=False)


def _close(asked: dict[str, Any], *, memory: dict[str, Samples], rollouts: Rollouts, load: float) -> None:
    growths = {f"MiB a minute, {name}": _growth(samples) for name, samples in memory.items()}
    close(
        "load",
        seconds=asked["the endpoint"]["p50"] / 1000,
        peak_mib=round(max(mib for _, mib in memory["router"])),
        rows=sum(one["requests"] for one in asked.values()),
        goals=[
            at_most("failed requests", sum(map(_failed, asked.values())), 0, digits=0),
            *(at_most(name, growth, MOST_GROWTH, digits=2) for name, growth in growths.items()),
            *(
                at_most(f"seconds back to the version before, {name}", max(seconds), MOST_SECONDS_BACK, digits=1)
                for name, seconds in rollouts.seconds_back.items()
                if seconds
            ),
            at_most("rollouts that did not end as they ought to", len(rollouts.surprises), 0, digits=0),
        ],
        minutes=MINUTES,
        load_before=round(load, 1),
    )


def _failed(one: dict[str, Any]) -> int:
    return sum(one["failed"].values())


if __name__ == "__main__":
    main()
