"""The model server: `python -m cd4ml.serving.server`.

    MODEL_FOLDER     the model (layout: `cd4ml.contracts.model`); by default where the init container puts it
    MODEL_VERSION    its version in the registry; every answer names it, and the digest of the model
    MODEL_HOST       the address to listen on; 127.0.0.1 keeps the server to this machine

A request is `{"data": {"names": [...], "ndarray": [[...], ...]}}`, one list a row, null or "" for a missing
value; columns that the model does not know are ignored. The answer has the one column `probability`.

Its ports come from Seldon's operator: `PREDICTIVE_UNIT_HTTP_SERVICE_PORT` (9000) and
`PREDICTIVE_UNIT_METRICS_SERVICE_PORT` (6000), where Prometheus asks /metrics or /prometheus.
"""

import asyncio
import gc
import logging
import os
import resource
from pathlib import Path
from socket import socket

from tornado.netutil import bind_sockets

THREADS = 2
"""That predict: one more than Python computes in at a time, so that many rows do not hold up a few."""
BACKLOG = 1024
"""Connections that the kernel holds until they are taken."""


def main() -> None:
    """Serves one model, in one process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("tornado").setLevel(logging.WARNING)  # below, it tells what a client sent
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    sockets = _bind("PREDICTIVE_UNIT_HTTP_SERVICE_PORT", 9000)
    metrics_sockets = _bind("PREDICTIVE_UNIT_METRICS_SERVICE_PORT", 6000)

    folder, version = Path(os.environ.get("MODEL_FOLDER", "/mnt/models")), os.environ.get("MODEL_VERSION", "")
    gc.disable()  # next to nothing of what is imported is garbage, and the search for it takes a quarter of the time
    from cd4ml.serving import protocol
    from cd4ml.serving.listening import Listener, Queue, serve
    from cd4ml.serving.served_model import ServedModel

    model, metrics = ServedModel(folder, version), protocol.Metrics()
    gc.freeze()
    gc.enable()
    predicting, beside = Queue(THREADS), Queue(1)

    def queue(path: str) -> Queue:
        return beside if path in protocol.BESIDE_PREDICTIONS else predicting

    async def run() -> None:
        listener = Listener(protocol.predictions(model, metrics), queue)
        metrics_listener = Listener(protocol.prometheus(metrics), queue)
        await serve([(listener, sockets), (metrics_listener, metrics_sockets)], [predicting, beside])

    asyncio.run(run())


def _bind(variable: str, default: int) -> list[socket]:
    host = os.environ.get("MODEL_HOST", "0.0.0.0")  # noqa: S104 (a container's port)
    sockets: list[socket] = bind_sockets(int(os.environ.get(variable, default)), host, backlog=BACKLOG)
    return sockets


if __name__ == "__main__":
    main()
