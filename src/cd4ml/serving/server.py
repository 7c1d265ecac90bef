"""The model server: `python -m cd4ml.serving.server`.

    MODEL_FOLDER     the model (layout: `cd4ml.contracts.model`); by default where the init container puts it
    MODEL_NAME       its name in the registry
    MODEL_VERSION    its version there; every answer names it, and the digest of the model
    MODEL_DIGEST     the digest that it must have; another model is not served
    CD4ML_TRUSTED_KEYS    one of which must have signed the version (`cd4ml.contracts.signature`): then the folder that
                     holds the model's holds all files of the version
    MODEL_HOST       the address to listen on; 127.0.0.1 keeps the server to this machine
    PORT             where requests are answered (9000)
    FURTHER_PORT     where they are answered too from a SIGHUP on, beside a server that still listens there
    METRICS_PORT     where Prometheus asks /metrics or /prometheus (6000)

It speaks Seldon's protocol (`cd4ml.serving.seldon_protocol`) and the Open Inference Protocol
(`cd4ml.serving.open_inference`), and takes many rows as Arrow (`cd4ml.serving.arrow_body`).
"""

import gc
import logging
import os
import sys
from pathlib import Path
from socket import socket

from cd4ml.contracts import signature
from cd4ml.errors import Cd4mlError
from cd4ml.serving import listening

logger = logging.getLogger("cd4ml.serving")


def main() -> None:
    """Serves one model, in one process."""
    listening.prepare()
    logging.getLogger("absl").setLevel(logging.WARNING)  # TensorFlow's
    try:
        serve(listening.bind_named("PORT", 9000), listening.bind_named("METRICS_PORT", 6000))
    except Cd4mlError as error:
        logger.error("%s", error)
        sys.exit(1)


def serve(requests: socket, metrics_requests: socket) -> None:
    """Loads the model and serves it until the process is told to end.

    Args:
        requests: Where requests are answered.
        metrics_requests: Where Prometheus asks.

    Raises:
        Cd4mlError: There is no model to serve, another than there ought to be, or one that nobody has signed.
    """
    folder, name = Path(os.environ.get("MODEL_FOLDER", "/mnt/models")), os.environ.get("MODEL_NAME", "model")
    version, digest = os.environ.get("MODEL_VERSION", ""), os.environ.get("MODEL_DIGEST", "")
    signature.check(folder.parent, str(folder.parent), version=f"{name}/{version}")
    gc.disable()  # next to nothing of what is imported is garbage, and the search for it takes a quarter of the time
    import uvloop

    from cd4ml.serving import openapi
    from cd4ml.serving.application import Application
    from cd4ml.serving.metrics import Metrics
    from cd4ml.serving.open_inference import OpenInference
    from cd4ml.serving.predictor import Predictor
    from cd4ml.serving.seldon_protocol import SeldonProtocol
    from cd4ml.serving.served_model import ServedModel

    model = ServedModel(folder, digest)
    metrics = Metrics(name, version, model.contract)
    predictor = Predictor(model, name=name, version=version, metrics=metrics)
    gc.freeze()
    gc.enable()
    protocols = [
        OpenInference(predictor).protocol(),
        openapi.protocol(predictor),
        SeldonProtocol(predictor).protocol(),
    ]
    application = Application(protocols, metrics.answered)
    exposition = Application([metrics.protocol()], metrics.answered)

    def further() -> listening.Port:
        return listening.Port(application, listening.bind_named("FURTHER_PORT", 0, beside=True))

    async def run() -> None:
        await predictor.warm_up()
        ports = [listening.Port(application, requests), listening.Port(exposition, metrics_requests)]
        await listening.serve(ports, further if "FURTHER_PORT" in os.environ else None)

    uvloop.run(run())


if __name__ == "__main__":
    main()
