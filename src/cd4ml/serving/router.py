"""The router: `python -m cd4ml.serving.router`.

    TRAFFIC_FILE     says who is answered by which arm (`cd4ml.contracts.traffic`); it may change at any time
    CAPTURE_FOLDER   takes what is kept of requests and feedback (layout: `cd4ml.contracts.captured`); unset: nothing is
                     both lie on this machine, or in a bucket (s3://..., as the variables AWS_* say)
    CAPTURE_DAYS     how many days stay of what is kept in a folder (90); of a bucket a rule removes what is old
    CAPTURE_SECONDS  after which what waits is written (5); a router that is killed loses what came since
    MODEL_HOST       the address to listen on; 127.0.0.1 keeps the router to this machine
    PORT             takes what a model server takes, and feedback (9000)
    PORT_BESIDE      1: where a model server or a router may listen at PORT already, which is about to end
    METRICS_PORT     answers /prometheus, and /traffic: what is followed of the file (6000)

A request goes whole to one arm. `/health/ping` says that the router lives, `/health/status` that every arm with a
weight can answer.
"""

import asyncio
import math
import os
import sys

import uvloop

from cd4ml.errors import Cd4mlError, EnvironmentSetupError
from cd4ml.serving import listening
from cd4ml.serving.application import Application
from cd4ml.serving.arms import Arms
from cd4ml.serving.capture import Capture
from cd4ml.serving.listening import Port, serve
from cd4ml.serving.router_metrics import RouterMetrics
from cd4ml.serving.routing import Router, watched
from cd4ml.serving.traffic_file import TrafficFile
from cd4ml.storage import layout

MOST_OFTEN, MOST_SELDOM = 0.1, 600.0
"""Seconds between two writes of the capture."""
MOST_DAYS = 36_500


def main() -> None:
    """Routes, in one process."""
    listening.prepare()
    try:
        capture = _capture()
        uvloop.run(_route(TrafficFile(_traffic_file()), capture))
    except Cd4mlError as error:
        sys.exit(str(error))


async def _route(file: TrafficFile, capture: Capture | None) -> None:
    metrics, arms = RouterMetrics(), Arms()
    router = Router(file, arms=arms, capture=capture, metrics=metrics)
    watching = watched(file, capture=capture, metrics=metrics)
    requests = listening.bind_named("PORT", 9000, beside=os.environ.get("PORT_BESIDE") == "1")
    ports = [
        Port(Application(router.protocols, metrics.observe), requests),
        Port(Application([watching], lambda *_: None), listening.bind_named("METRICS_PORT", 6000)),
    ]
    async with asyncio.TaskGroup() as group:
        meanwhile = [group.create_task(file.follow())]
        if capture:
            meanwhile.append(group.create_task(capture.keep()))
        await serve(ports)
        await router.mirrors.close()
        for task in meanwhile:
            task.cancel()
    await arms.close()
    if capture:
        await capture.close()


def _traffic_file() -> str:
    try:
        return os.environ["TRAFFIC_FILE"]
    except KeyError as error:
        raise EnvironmentSetupError("TRAFFIC_FILE: name the file that says who is answered by which arm") from error


def _capture() -> Capture | None:
    folder = os.environ.get("CAPTURE_FOLDER")
    seconds = _number("CAPTURE_SECONDS", 5, least=MOST_OFTEN, most=MOST_SELDOM)
    days = _number("CAPTURE_DAYS", layout.PASSING["captures"], least=1, most=MOST_DAYS)
    return Capture(folder, seconds, int(days)) if folder else None


def _number(variable: str, default: float, *, least: float, most: float) -> float:
    """What a variable of the environment says.

    Raises:
        EnvironmentSetupError: No number, or one that is too small or too great.
    """
    given = os.environ.get(variable, str(default))
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise EnvironmentSetupError(f"{variable}: {given!r} is not a number from {least} to {most}")
    return number


if __name__ == "__main__":
    main()
