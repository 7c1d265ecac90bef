"""The router: `python -m cd4ml.serving.router`.

    TRAFFIC_FILE     says who is answered by which arm (`cd4ml.contracts.traffic`); it may change at any time
    CAPTURE_FOLDER   takes what is kept of requests and feedback (layout: `cd4ml.contracts.captured`); unset: nothing is
                     both lie on this machine, or in a bucket (s3://..., as the variables AWS_* say)
    CAPTURE_DAYS     how many days stay of what is kept in a folder (90); of a bucket a rule removes what is old
    CAPTURE_SECONDS  after which what waits is written (5); a router that is killed loses what came since
    CAPTURE_FEATURES the features whose values are kept, besides those that TRAFFIC_FILE says are captured; those of the
                     models where nothing is said
    CAPTURE_PERSONAL, CAPTURE_KEY   as a model server has them (`cd4ml.serving.server`)
    MODEL_HOST       the address to listen on; 127.0.0.1 keeps the router to this machine
    PORT             takes what a model server takes, and feedback (9000)
    PORT_BESIDE      1: where a model server or a router may listen at PORT already, which is about to end
    METRICS_PORT     answers /prometheus, and /traffic: what is followed of the file (6000)

A request goes whole to one arm. `/health/ping` says that the router lives, `/health/status` that every arm with a
weight can answer.
"""

import asyncio
import os
import sys

import uvloop

from cd4ml.errors import Cd4mlError, EnvironmentSetupError
from cd4ml.serving import capture, kept_values, listening
from cd4ml.serving.application import Application
from cd4ml.serving.arms import Arms
from cd4ml.serving.capture import Capture
from cd4ml.serving.kept_values import Masks
from cd4ml.serving.listening import Port, serve
from cd4ml.serving.router_metrics import RouterMetrics
from cd4ml.serving.routing import Router, watched
from cd4ml.serving.traffic_file import TrafficFile


def main() -> None:
    """Routes, in one process."""
    listening.prepare()
    try:
        kept, masks = capture.of_environment(), kept_values.of_environment()
        uvloop.run(_route(TrafficFile(_traffic_file()), kept, masks))
    except Cd4mlError as error:
        sys.exit(str(error))


async def _route(file: TrafficFile, kept: Capture | None, masks: Masks) -> None:
    metrics, arms = RouterMetrics(), Arms()
    named = kept_values.names("CAPTURE_FEATURES")
    router = Router(file, arms=arms, capture=kept, masks=masks, metrics=metrics, named=named)
    watching = watched(file, capture=kept, metrics=metrics)
    requests = listening.bind_named("PORT", 9000, beside=os.environ.get("PORT_BESIDE") == "1")
    ports = [
        Port(Application(router.protocols, metrics.observe), requests),
        Port(Application([watching], lambda *_: None), listening.bind_named("METRICS_PORT", 6000)),
    ]
    async with asyncio.TaskGroup() as group:
        meanwhile = [group.create_task(file.follow())]
        if kept:
            meanwhile.append(group.create_task(kept.keep()))
        told = await serve(ports)
        await router.mirrors.close()
        for task in meanwhile:
            task.cancel()
    await arms.close()
    if kept:
        await kept.close(told)


def _traffic_file() -> str:
    try:
        return os.environ["TRAFFIC_FILE"]
    except KeyError as error:
        raise EnvironmentSetupError("TRAFFIC_FILE: name the file that says who is answered by which arm") from error


if __name__ == "__main__":
    main()
