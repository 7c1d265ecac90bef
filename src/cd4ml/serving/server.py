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
    CAPTURE_FOLDER   takes what is kept of requests and feedback (layout: `cd4ml.contracts.captured`), on this machine
                     or in a bucket (s3://..., as the variables AWS_* say); unset: nothing is kept
    CAPTURE_SHARE    of which share of the requests (1; 0: nothing is kept)
    CAPTURE_FEATURES the features whose values are kept, `a,b` or as a list in JSON; those of the model where nothing is
                     said
    CAPTURE_PERSONAL those of them that are personal, besides what the model's contract marks as such
    CAPTURE_KEY      a secret by which values of these are hashed; without it they are left out
    CAPTURE_SECONDS  after which what waits is written (5); a server that is killed loses what came since
    CAPTURE_DAYS     how many days stay of what is kept in a folder (90)

It speaks Seldon's protocol (`cd4ml.serving.seldon_protocol`) and the Open Inference Protocol
(`cd4ml.serving.open_inference`), and takes many rows as Arrow (`cd4ml.serving.arrow_body`).
"""

import asyncio
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

    from cd4ml.serving import feedback, openapi, recording
    from cd4ml.serving.application import Application
    from cd4ml.serving.metrics import Metrics
    from cd4ml.serving.open_inference import OpenInference
    from cd4ml.serving.predictor import Predictor
    from cd4ml.serving.seldon_protocol import SeldonProtocol
    from cd4ml.serving.served_model import ServedModel

    kept = recording.capture_of_environment()
    model = ServedModel(folder, digest)
    metrics = Metrics(name, version, model.contract)
    record = recording.of_environment(kept, model.contract, version) if kept else None
    told = feedback.routes(kept, took=metrics.capturing(kept)) if kept else {}
    predictor = Predictor(model, name=name, version=version, metrics=metrics, recording=record)
    gc.freeze()
    gc.enable()
    protocols = [
        OpenInference(predictor).protocol(),
        openapi.protocol(predictor),
        SeldonProtocol(predictor, told).protocol(),
    ]
    application = Application(protocols, metrics.answered)
    exposition = Application([metrics.protocol()], metrics.answered)

    def further() -> listening.Port:
        return listening.Port(application, listening.bind_named("FURTHER_PORT", 0, beside=True))

    async def run() -> None:
        await predictor.warm_up()
        ports = [listening.Port(application, requests), listening.Port(exposition, metrics_requests)]
        keeping = asyncio.create_task(kept.keep()) if kept else None
        ended = await listening.serve(ports, further if "FURTHER_PORT" in os.environ else None)
        if kept and keeping:
            keeping.cancel()
            await kept.close(ended)

    uvloop.run(run())


if __name__ == "__main__":
    main()
