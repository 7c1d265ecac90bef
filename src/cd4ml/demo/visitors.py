"""Callers of a served model, who ask one row after another until the context ends."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, Self

import httpx
import pyarrow as pa

PAUSE_SECONDS = 0.01
AWAY_SECONDS = 0.5


@dataclass
class Visitors:
    """They ask again and again; what was answered has a place each."""

    url: str
    """Where the model is served."""
    rows: pa.Table
    """What they ask for, in turns."""
    names: list[str]
    """The columns that the model takes."""
    when: Callable[[], bool]
    """Whether it is time to begin; asked twice a second until it is."""
    answered: dict[str, int] = field(default_factory=dict)
    """By the id of the request the place of its row."""
    failed: int = 0
    _ended: Event = field(default_factory=Event)
    _threads: list[Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        given = self.rows.select(self.names).to_pylist()
        half = len(given) // 2
        for begin in (0, half):
            turns = itertools.cycle(range(begin, begin + half))
            self._threads.append(Thread(target=self._ask, args=(given, turns), daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for one in self._threads:
            one.join()

    def _ask(self, given: list[dict[str, Any]], turns: "itertools.cycle[int]") -> None:
        while not self.when():
            if self._ended.wait(AWAY_SECONDS):
                return
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not self._ended.wait(PAUSE_SECONDS):
                place = next(turns)
                body = {"data": {"names": self.names, "ndarray": [list(given[place].values())]}}
                try:
                    answer = client.post(f"{self.url}/api/v1.0/predictions", json=body)
                except httpx.TransportError:
                    self.failed += 1
                    self._ended.wait(AWAY_SECONDS)
                    continue
                if answer.status_code == httpx.codes.OK:
                    self.answered[answer.headers.get("seldon-puid", "")] = place
                else:
                    self.failed += 1
