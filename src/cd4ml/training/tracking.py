"""Tells how far a training is: in the log of its task, and in the store for who asks from elsewhere."""

import os
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from pyarrow import fs

from cd4ml.contracts.progress import Progress, thinned
from cd4ml.errors import Cd4mlError
from cd4ml.names import lasting
from cd4ml.registry import clock, notes, trainings
from cd4ml.storage import S3, arrow, layout, local_path

if TYPE_CHECKING:
    from cd4ml.training.fit import Epoch

EVERY_SECONDS = 10.0
"""How often it is told in the store, at most."""
LINE_SECONDS = 60.0
"""How often in the log, at most, beside the line of each epoch."""
PATIENCE_SECONDS = 3.0
"""How long the end of a training waits for a store that does not answer."""


class Tracker:
    """Tells how far one training is. None of its faults ends the training: the first is told in the log.

    As a context it tells how the training ended that is within. The store is written on a thread of its own, for it may
    be slow: what is to be told meanwhile is left out.
    """

    def __init__(
        self,
        model: str = "",
        *,
        store: str | None = None,
        key: str = "",
        device: str = "",
        device_memory: Callable[[], int | None] = lambda: None,
        show: "Callable[[Sequence[Epoch]], None] | None" = None,
    ) -> None:
        """Names the place; nothing is written yet.

        Args:
            model: The model's name.
            store: A folder, or `s3://bucket/prefix`; without, or where the task is of no run, only the log is written.
            key: Tells the training from others of the task.
            device: What is computed on.
            device_memory: Gives the most bytes that were held of the device's own memory.
            show: Shows all epochs so far elsewhere too.
        """
        self._store, self._name = store, trainings.name(key) if store else ""
        self._next, self._next_line = time.monotonic(), time.monotonic() + LINE_SECONDS
        now = clock.now()
        self._known = Progress(os.environ.get(notes.TASK, ""), model, now, now, device=device)
        self._device_memory, self._show = device_memory, show
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._told_a_fault = False

    def __enter__(self) -> Self:
        if self._name:
            self._thread.submit(self._expire)
        self._write()
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        match error:
            case None:
                self._end("ended")
            case Cd4mlError():
                self._end("failed", said=str(error))
            case Exception():
                self._end("failed", said=f"{type(error).__name__}: {error}")
            case _:  # it was told to end
                self._end("stopped", said="before its end")

    @property
    def due(self) -> bool:
        """Whether it was told last long enough ago."""
        return time.monotonic() >= self._next

    def note(self, curve: "Sequence[Epoch]", *, best: "Epoch | None", **found: Any) -> None:
        """Takes note of how far the training is, to be told when something is.

        Args:
            curve: All epochs so far; where there are none, those of before stay, with the best of them.
            best: The best of them.
            found: Fields of a `Progress`.
        """
        if curve:
            self._show_all(curve)
            self._known = replace(self._known, curve=tuple(one.entry for one in thinned(curve)))
        if best:
            self._known = replace(self._known, best=best.entry, metric=best.metric)
        self._known = replace(self._known, **found)

    def tell(self, curve: "Sequence[Epoch]", *, best: "Epoch | None", **found: Any) -> None:
        """Tells how far the training is; it is given what `note` is."""
        self.note(curve, best=best, **found)
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            print(_line(self._known), flush=True)  # noqa: T201 (the task's log)
        self._write()

    @property
    def unit(self) -> str:
        """What is counted, as the trainer has said it."""
        return self._known.unit

    def _show_all(self, curve: "Sequence[Epoch]") -> None:
        try:
            if self._show:
                self._show(curve)
        except Exception as error:  # whatever it is, the training is worth more
            self._show = None
            print(f"the curves cannot be shown any more ({error}); training goes on", flush=True)  # noqa: T201

    def _end(self, state: Literal["ended", "failed", "stopped"], said: str = "") -> None:
        if self._writing:
            wait([self._writing], PATIENCE_SECONDS)
        self._known = replace(self._known, state=state, said=said or self._known.said, left_seconds=None)
        self._write()
        if self._writing:
            wait([self._writing], PATIENCE_SECONDS)
            self._tell_fault()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _write(self) -> None:
        self._next = time.monotonic() + EVERY_SECONDS
        if not self._name or (self._writing and not self._writing.done()):
            return
        self._tell_fault()
        self._writing = self._thread.submit(self._store_it, replace(self._known, seen_at=clock.now()))

    def _store_it(self, known: Progress) -> None:
        whole = replace(known, memory_bytes=most_resident(), device_memory_bytes=self._device_memory())
        arrow.write(self._folder, self._name, whole.text.encode())

    def _expire(self) -> None:
        """Removes on this machine what is old; in a bucket a rule does that."""
        if self._store and not self._store.startswith(S3):
            with suppress(OSError):
                days = layout.PASSING[trainings.FOLDER]
                arrow.expire(arrow.folder(local_path(self._store) / trainings.FOLDER), days * 24 * 3600)

    @cached_property
    def _folder(self) -> fs.SubTreeFileSystem:
        assert self._store
        return arrow.folder(self._store if self._store.startswith(S3) else local_path(self._store))

    def _tell_fault(self) -> None:
        error = self._writing.exception() if self._writing and self._writing.done() else None
        if error and not self._told_a_fault:
            self._told_a_fault = True
            said = f"how far it is cannot be told in {self._store}/{self._name} ({error}); training goes on"
            print(said, flush=True)  # noqa: T201 (the task's log)


def most_resident() -> int:
    """The most bytes of memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _line(known: Progress) -> str:
    facts = (
        "" if known.loss is None else f"loss {known.loss:.4f}",
        "" if known.rows_per_second is None else f"{known.rows_per_second:,.0f} rows a second",
        "" if known.left_seconds is None else f"at most {lasting(timedelta(seconds=known.left_seconds))} left",
    )
    return f"{known.headline}: {', '.join(filter(None, facts))}"
