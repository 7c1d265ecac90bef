"""Puts requests that come at once into one call of the model, which takes as long for many rows as for one.

Nobody waits for a batch to fill: what has come when the model is free is the next batch, so that one client alone is
answered as fast as without.

A call has a bound of rows, so that a model that hangs can be told from one that has much to do. Nothing ends a call;
who waits for one that hangs is told so, and so is whoever asks whether the server lives, to start it again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from queue import SimpleQueue
from threading import Thread

import numpy as np

from cd4ml.serving.application import RefusedError
from cd4ml.serving.rows import Inputs

BATCH_ROWS = 1024
"""Of several requests in one call; a larger one is a batch of its own."""
CALL_ROWS = 10_000
"""Of one call; a larger batch takes several."""
CALL_SECONDS = 20.0
"""A call that takes longer hangs."""
LOOK_SECONDS = 1.0
"""How often a model that is busy is looked at."""

logger = logging.getLogger(__name__)

Predict = Callable[[Inputs], np.ndarray]
Outcome = np.ndarray | Exception


@dataclass(frozen=True, eq=False)
class _Waiting:
    inputs: Inputs
    predicted: "asyncio.Future[np.ndarray]"
    counts: bool


class Batches:
    """The requests that wait for the one thread that predicts.

    Args:
        predict: The model.
        check: Raises an error where predictions are none.
        observe: Is told the requests and the predictions of each batch that counts, in the thread that predicts.
    """

    def __init__(
        self,
        predict: Predict,
        *,
        check: Callable[[np.ndarray], None],
        observe: Callable[[Sequence[Inputs], np.ndarray], None],
    ) -> None:
        self._predict = predict
        self._check = check
        self._observe = observe
        self._waiting: deque[_Waiting] = deque()
        self._batch: Sequence[_Waiting] = ()
        """What the thread has in hand; none where it is idle."""
        self._called: float | None = None
        """When the call began that the model is in."""
        self._look: asyncio.TimerHandle | None = None
        self._batches: SimpleQueue[tuple[asyncio.AbstractEventLoop, Sequence[_Waiting]]] = SimpleQueue()
        Thread(target=self._work, name="predict", daemon=True).start()  # a daemon, for one that hangs never ends

    def check_lives(self) -> None:
        """Makes sure that the model does not hang.

        Raises:
            RefusedError: It does.
        """
        called = self._called
        if called is not None and time.monotonic() - called > CALL_SECONDS:
            raise _hangs()

    async def predict(self, inputs: Inputs) -> np.ndarray:
        """The predictions of a request's rows, as the model gives them: float32 [rows, ...]."""
        return await self._join(inputs, self._waiting.append, counts=True)

    async def predict_first(self, inputs: Inputs) -> np.ndarray:
        """The same, before all that wait, and not counted: for who asks whether the model is well."""
        return await self._join(inputs, self._waiting.appendleft, counts=False)

    async def _join(self, inputs: Inputs, join: Callable[[_Waiting], None], *, counts: bool) -> np.ndarray:
        self.check_lives()
        loop = asyncio.get_running_loop()
        one = _Waiting(inputs, loop.create_future(), counts)
        join(one)
        if len(self._waiting) == 1 and not self._batch:
            loop.call_soon(self._begin)  # so that what has come by now is one batch
        return await one.predicted

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._batch = self._next()
        self._batches.put((loop, self._batch))
        if self._look is None:
            self._look = loop.call_later(LOOK_SECONDS, self._look_after)

    def _look_after(self) -> None:
        """Answers all that wait for a call that hangs; a batch that takes several calls may hang in a later one too."""
        self._look = None
        try:
            self.check_lives()
        except RefusedError as hangs:
            late = [one for one in (*self._batch, *self._waiting) if not one.predicted.done()]
            self._waiting.clear()
            if late:
                logger.error("%s", hangs)
            for one in late:
                one.predicted.set_exception(_hangs())
        if self._batch:
            self._look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_after)

    def _answer(self, outcomes: Sequence[Outcome]) -> None:
        batch, self._batch = self._batch, ()
        if self._waiting:
            self._begin()
        for one, outcome in zip(batch, outcomes, strict=True):
            if one.predicted.done():
                continue  # its client is gone
            if isinstance(outcome, Exception):
                one.predicted.set_exception(outcome)
            else:
                one.predicted.set_result(outcome)

    def _next(self) -> list[_Waiting]:
        batch = [self._waiting.popleft()]
        rows = batch[0].inputs.rows
        while batch[0].counts and self._waiting and rows + self._waiting[0].inputs.rows <= BATCH_ROWS:
            batch.append(self._waiting.popleft())
            rows += batch[-1].inputs.rows
        return batch

    def _work(self) -> None:
        while True:
            loop, batch = self._batches.get()
            loop.call_soon_threadsafe(self._answer, self._outcomes(batch))

    def _outcomes(self, batch: Sequence[_Waiting]) -> Sequence[Outcome]:
        """What came of each request; one that the model fails on spoils no other."""
        requests = [one.inputs for one in batch]
        try:
            predictions = self._called_for(_together(requests))
            self._check(predictions)
            if batch[0].counts:
                self._observe(requests, predictions)
        except Exception as error:
            return [error] if len(batch) == 1 else [self._outcomes([one])[0] for one in batch]
        ends = list(accumulate(one.rows for one in requests))
        return [predictions[start:end] for start, end in pairwise([0, *ends])]

    def _called_for(self, inputs: Inputs) -> np.ndarray:
        parts = []
        try:
            for start in range(0, inputs.rows, CALL_ROWS):
                self._called = time.monotonic()
                parts.append(self._predict(inputs.part(start, start + CALL_ROWS)))
        finally:
            self._called = None
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _hangs() -> RefusedError:
    complaint = f"the model has not returned from a call for {CALL_SECONDS:.0f} s; it answers nobody until it does"
    return RefusedError(503, complaint, "MODEL_HANGS", headers={"Retry-After": f"{CALL_SECONDS:.0f}"})


def _together(batch: Sequence[Inputs]) -> Inputs:
    if len(batch) == 1:
        return batch[0]
    numbers, texts, dates = zip(*((one.numbers, one.texts, one.dates) for one in batch), strict=True)
    return Inputs(np.concatenate(numbers), np.concatenate(texts), np.concatenate(dates), {}, {})
