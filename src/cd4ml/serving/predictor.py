"""The one way to a prediction, whatever the protocol."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson

from cd4ml.errors import DeploymentError
from cd4ml.serving import messages
from cd4ml.serving.application import RefusedError, Request, busy
from cd4ml.serving.asked import Asked, Form
from cd4ml.serving.batches import Batches
from cd4ml.serving.metrics import Metrics
from cd4ml.serving.recording import Recording
from cd4ml.serving.rows import Inputs
from cd4ml.serving.served_model import ServedModel

READ_AT_ONCE_BYTES = 128 * 2**10
"""A body beyond that is read in a thread, so that small requests do not wait for it."""

WARM_UP_ROWS = (1, 64, 1000)
WAITING, WAITING_BYTES = 1024, 32 * 2**20
"""Requests that wait, with those that are being read or predicted, and their bodies."""


class Predictor:
    """A model that answers requests.

    Args:
        model: The model.
        name: Its name in the registry.
        version: Its version there.
        metrics: Count what is predicted.
        recording: Keeps what is asked; None where nothing is kept.
    """

    def __init__(
        self, model: ServedModel, *, name: str, version: str, metrics: Metrics, recording: Recording | None
    ) -> None:
        self.name = name
        self.identity = {"digest": model.digest, "version": version}
        """What every answer says of the model."""
        self.contract = model.contract
        self.encoder = model.encoder
        self._batches = Batches(model.predict, check=self._check, observe=metrics.predicted)
        self._missing_row = self.encoder.missing_rows(1)
        self._reading = ThreadPoolExecutor(1, "read")
        self._waiting = self._waiting_bytes = 0
        self._took, self._recording = metrics.took, recording
        self._classes = orjson.dumps(self.contract.classes).decode()

    async def warm_up(self) -> None:
        """Predicts rows that lack every value, for the first calls take longer.

        Raises:
            DeploymentError: The model does not return from a call, or gives what is no prediction.
        """
        for rows in WARM_UP_ROWS:
            try:
                await self._batches.predict_first(self.encoder.missing_rows(rows))
            except RefusedError as error:
                raise DeploymentError(
                    f"the model cannot be served, tried with {rows:,} rows that lack every value: {error}"
                ) from error

    async def predict(self, request: Request, read: Callable[[Request], Asked[Form]]) -> tuple[Asked[Form], np.ndarray]:
        """Has a request read, its rows predicted, and what comes of it kept.

        Args:
            request: The request.
            read: Of its protocol.

        Returns:
            What `read` gave, and the predictions, float32 [rows], or [rows, classes].

        Raises:
            RefusedError: Too many wait already, the client's mistake, or the model hangs or gives no finite number.
        """
        answering = self._answer(request, read)
        if self._recording and messages.is_kept(request):
            return await self._recording.of(request, answering)
        return await answering

    def headers(self, asked: Asked[Form]) -> dict[str, str]:
        """Those of an answer: the id, where requests are kept."""
        return {messages.PUID: asked.id} if self._recording and asked.id else {}

    async def check(self) -> np.ndarray:
        """Predicts a row whose values are all missing, before all that wait: whoever asks knows that the model answers.

        Raises:
            RefusedError: It hangs, or gives no finite number.
        """
        return await self._batches.predict_first(self._missing_row)

    def check_lives(self) -> None:
        """Makes sure that the model does not hang; says nothing of how many wait.

        Raises:
            RefusedError: It does.
        """
        self._batches.check_lives()

    def metadata(self) -> dict[str, Any]:
        """Says which model this is, and what it takes and gives."""
        inputs = [
            {"name": one.name, "datatype": "FP32" if one.dtype == "float32" else "BYTES", "shape": [-1]}
            for one in self.contract.inputs
        ]
        return {
            "name": self.name,
            "versions": [self.identity["version"]],
            "platform": "cd4ml",
            "inputs": inputs,
            "outputs": [self.output({"shape": [-1, *self.contract.shape]})],
        }

    def output(self, about: dict[str, Any]) -> dict[str, Any]:
        """The tensor of what the model gives, as the Open Inference Protocol has it.

        A parameter is one text there, number or truth value, so that the names of classes are JSON in one.

        Args:
            about: What else is said of it.
        """
        contract = self.contract
        named = {"parameters": {"classes": self._classes}} if contract.shape else {}
        return {"name": contract.output, "datatype": "FP32", **about, **named}

    def said(self, inputs: Inputs) -> dict[str, Any]:
        """What an answer says of the model and of the rows."""
        counted = {"missing": inputs.missing, "unknown": inputs.unknown, "outside": inputs.outside}
        return {**self.identity, **{name: found for name, found in counted.items() if found}}

    async def _answer(self, request: Request, read: Callable[[Request], Asked[Form]]) -> tuple[Asked[Form], np.ndarray]:
        size = len(request.body)
        if self._waiting >= WAITING or self._waiting_bytes + size > WAITING_BYTES:
            raise busy()
        self._waiting += 1
        self._waiting_bytes += size
        started = time.perf_counter()
        try:
            if size <= READ_AT_ONCE_BYTES:
                asked = read(request)
            else:
                asked = await asyncio.get_running_loop().run_in_executor(self._reading, read, request)
            predictions = await self._batches.predict(asked.inputs)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= size
        self._took(time.perf_counter() - started)
        return asked, predictions

    def _check(self, predictions: np.ndarray) -> None:
        finite, shape = np.isfinite(predictions), self.contract.shape
        if predictions.shape[1:] != shape:
            complaint = f"gives {predictions.shape[1:]} for a row, and its contract says {shape}"
        elif not finite.all():
            row = int(np.argwhere(~finite)[0, 0]) + 1
            complaint = f"is no finite number, first in row {row:,}"
        else:
            return
        raise RefusedError(500, f"the model's output {self.contract.output!r} {complaint}", "MODEL_FAILED")
