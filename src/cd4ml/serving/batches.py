"""Puts requests that come at once into one call of the model, which takes as long for many rows as for one.

Nobody waits for a batch to fill: what has come when the model is free is the next batch, so that one client alone is
answered as fast as without.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise

import numpy as np

from cd4ml.serving.rows import Inputs

BATCH_ROWS = 1024
"""Of several requests in one call; a larger one is a batch of its own."""

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
        observe: Is told the requests and the probabilities of each batch that counts, in the thread that predicts.
    """

    def __init__(self, predict: Predict, observe: Callable[[Sequence[Inputs], np.ndarray], None]) -> None:
        self._predict = predict
        self._observe = observe
        self._thread = ThreadPoolExecutor(1, "predict")
        self._waiting: deque[_Waiting] = deque()
        self._working = False

    async def predict(self, inputs: Inputs) -> np.ndarray:
        """The probabilities of a request's rows, float32 [rows]."""
        return await self._join(inputs, self._waiting.append, counts=True)

    async def predict_first(self, inputs: Inputs) -> np.ndarray:
        """The same, before all that wait, and not counted: for who asks whether the model is well."""
        return await self._join(inputs, self._waiting.appendleft, counts=False)

    async def _join(self, inputs: Inputs, join: Callable[[_Waiting], None], *, counts: bool) -> np.ndarray:
        loop = asyncio.get_running_loop()
        one = _Waiting(inputs, loop.create_future(), counts)
        join(one)
        if not self._working:
            self._working = True
            loop.call_soon(self._begin)  # so that what has come by now is one batch
        return await one.predicted

    def _begin(self) -> None:
        batch = self._next()
        loop = asyncio.get_running_loop()
        work = self._thread.submit(self._outcomes, batch)
        work.add_done_callback(lambda done: loop.call_soon_threadsafe(partial(self._answer, batch, done.result())))

    def _answer(self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
        self._working = bool(self._waiting)
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

    def _outcomes(self, batch: Sequence[_Waiting]) -> Sequence[Outcome]:
        """What came of each request; one that the model fails on spoils no other."""
        requests = [one.inputs for one in batch]
        try:
            probabilities = self._predict(_together(requests))
            if batch[0].counts:
                self._observe(requests, probabilities)
        except Exception as error:
            return [error] if len(batch) == 1 else [self._outcomes([one])[0] for one in batch]
        ends = list(accumulate(one.rows for one in requests))
        return [probabilities[start:end] for start, end in pairwise([0, *ends])]


def _together(batch: Sequence[Inputs]) -> Inputs:
    if len(batch) == 1:
        return batch[0]
    return Inputs(np.concatenate([one.numbers for one in batch]), np.concatenate([one.texts for one in batch]), {}, {})
