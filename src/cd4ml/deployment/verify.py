"""Is the deployed model the one that was evaluated? Asked over HTTP, with rows whose answers are known.

Servers of this machine and of the cluster are asked, so never through a proxy (`trust_env=False`).
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from cd4ml.contracts import predictions as known
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.release import Verification, Version
from cd4ml.errors import DeploymentError
from cd4ml.registry import models
from cd4ml.storage import Store, local_copy

LATENCY_REQUESTS = 200
PREDICTIONS = "/api/v1.0/predictions"
NOT_KEPT = {"Seldon-Skip-Logging": "true"}
"""By which a server knows that what it is asked is no caller's, and keeps nothing of it."""
HEALTH = "/api/v1.0/health/status"
"""Answers with Seldon's executor before the model, and without."""


def wait_until_ready(url: str, seconds: float, alive: Callable[[], bool]) -> None:
    """Waits for a model server to answer.

    Args:
        url: The server's address.
        seconds: How long to wait.
        alive: Says whether it still makes sense to wait.

    Raises:
        DeploymentError: It did not answer in time, or it ended.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not alive():
            raise DeploymentError(f"the model server of {url} ended before it was ready")
        try:
            if httpx.get(f"{url}{HEALTH}", timeout=seconds, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise DeploymentError(f"the model server of {url} was not ready after {seconds:.0f} s")


def verify_version(store: Store, version: Version, url: str) -> Verification:
    """Holds an endpoint against what evaluation got of a published version.

    Raises:
        DeploymentError: Another model answers, an answer is an error, or a prediction differs.
    """
    problem = models.contract(store, version).problem
    with local_copy(store.uri(f"{version.folder}/predictions.parquet")) as predictions:
        return verify(url, version.digest, predictions, problem=problem)


def verify(url: str, digest: str, predictions: Path, *, problem: Problem) -> Verification:
    """Holds an endpoint against what evaluation got.

    Args:
        url: The server's address.
        digest: Of the model that ought to answer.
        predictions: What evaluation kept (layout: `cd4ml.contracts.predictions`).
        problem: That the model answers; says how far apart predictions may be.

    Raises:
        DeploymentError: Another model answers, an answer is an error, or a prediction differs.
    """
    evaluated = known.read(predictions)
    names, rows, expected = evaluated.names, evaluated.rows, evaluated.outputs
    with _asking(url) as client:
        served = _predict(client, digest=digest, names=names, rows=rows)
        if served.size != expected.size:
            raise DeploymentError(
                f"{url} gives {served.shape[1]} numbers for a row, evaluated {expected.size // len(rows)}; deploy the "
                "model that was evaluated"
            )
        served = served.reshape(expected.shape)
        milliseconds = [
            _timed(client, digest=digest, names=names, row=rows[index % len(rows)]) for index in range(LATENCY_REQUESTS)
        ]
    differences, allowed = np.abs(served - expected), problem.tolerance(expected)
    beyond = np.nan_to_num(differences, nan=np.inf) - allowed
    worst = np.unravel_index(beyond.argmax(), beyond.shape)
    if beyond[worst] > 0:
        row, *place = map(int, worst)
        which = f", probability {place[0] + 1} of {expected.shape[1]}," if place else ""
        raise DeploymentError(
            f"{url} does not predict what evaluation did: row {row}{which} gives {served[worst]:.7g}, "
            f"evaluated {expected[worst]:.7g} (allowed difference {allowed[worst]:.1g})"
        )
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return Verification(url + PREDICTIONS, digest, len(rows), float(differences.max()), float(p50), float(p99))


def check_serves(store: Store, version: Version, url: str) -> None:
    """Makes sure that a published version answers at an address, by one row.

    Raises:
        DeploymentError: Another model answers, or an answer is an error.
    """
    with local_copy(store.uri(f"{version.folder}/predictions.parquet")) as predictions:
        evaluated = known.read(predictions)
    with _asking(url) as client:
        _predict(client, digest=version.digest, names=evaluated.names, rows=evaluated.rows[:1])


def example_request(predictions: Path) -> str:
    """The JSON of a request for one row that `verify` knows the answer of."""
    evaluated = known.read(predictions)
    return json.dumps({"data": {"names": evaluated.names, "ndarray": evaluated.rows[:1]}})


@contextmanager
def _asking(url: str) -> Iterator[httpx.Client]:
    try:
        with httpx.Client(base_url=url, headers=NOT_KEPT, timeout=30, trust_env=False) as client:
            yield client
    except httpx.RequestError as error:
        raise DeploymentError(f"{url} does not answer ({error}); is the model deployed?") from error


def _predict(client: httpx.Client, *, digest: str, names: list[str], rows: list[list[Any]]) -> np.ndarray:
    """The predictions, each answer from the model that it ought to come from (float64 [rows, numbers])."""
    response = client.post(PREDICTIONS, json={"data": {"names": names, "ndarray": rows}})
    if not response.is_success:
        raise DeploymentError(f"{response.url} answered {response.status_code}: {response.text[:300]}")
    try:
        answer = response.json()
        model = answer["meta"]["tags"]["digest"]
        served = np.atleast_1d(np.asarray(answer["data"]["ndarray"], dtype=np.float64))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DeploymentError(f"{response.url} answered no predictions: {response.text[:300]}") from error
    if model != digest:
        raise DeploymentError(f"{client.base_url} serves the model {model}, not {digest}")
    if len(served) != len(rows):
        raise DeploymentError(f"{response.url} answered {len(served)} predictions for {len(rows)} rows")
    return served.reshape(len(rows), -1)


def _timed(client: httpx.Client, *, digest: str, names: list[str], row: list[Any]) -> float:
    start = time.perf_counter()
    _predict(client, digest=digest, names=names, rows=[row])
    return (time.perf_counter() - start) * 1000
