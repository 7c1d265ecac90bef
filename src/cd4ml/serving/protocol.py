"""What the model server is asked and answers: Seldon's protocol for one model, and nothing beside it.

A client's mistake is a 4xx that says what is wrong; 500 is a fault of ours. Both have Seldon's form of a failure. No
answer permits a web page of another origin to read it, and no value of a request gets into the log.
"""

import logging
import os
import threading
import traceback
from typing import Any

from flask import Flask, Response, jsonify, request
from seldon_core import seldon_methods
from seldon_core.flask_utils import SeldonMicroserviceException, get_request
from seldon_core.metrics import SeldonMetrics
from werkzeug.exceptions import HTTPException, UnsupportedMediaType

from cd4ml.serving.served_model import ServedModel

PREDICTIONS = {"/predict": ["GET", "POST"], "/api/v1.0/predictions": ["POST"], "/api/v0.1/predictions": ["POST"]}
PING = "/health/ping"
HEALTH = ("/health/status", "/api/v1.0/health/status")
METADATA = ("/metadata", "/api/v1.0/metadata")
METRICS = ("/metrics", "/prometheus")
BESIDE_PREDICTIONS = frozenset({PING, *HEALTH, *METADATA, *METRICS})
"""What is answered at once, however many wait for predictions."""
LONGEST_COMPLAINT = 1000

logger = logging.getLogger(__name__)


class Metrics(SeldonMetrics):  # type: ignore[misc]
    """Seldon's metrics for the threads of one process.

    Seldon's own lie in a process beside it, several round trips a request away; two threads lose counts there.
    """

    def __init__(self) -> None:
        self.data: dict[int, dict[Any, Any]] = {}
        self.worker_id_func = os.getpid
        self._lock = threading.RLock()
        self._extra_default_labels: dict[str, str] = {}

    def __del__(self) -> None:
        """Seldon's ends its process here."""

    def update(self, custom_metrics: list[dict[str, Any]], method: str) -> None:
        """Counts what an answer says of itself."""
        with self._lock:
            super().update(custom_metrics, method)

    def collect(self) -> list[Any]:
        """What Prometheus reads."""
        with self._lock:
            return list(super().collect())


def predictions(model: ServedModel, metrics: Metrics) -> Flask:
    """The application that predicts, and says what it is and how it does."""
    app = _application()
    metadata = seldon_methods.init_metadata(model)

    def predict() -> Response:
        return jsonify(seldon_methods.predict(model, _message(), metrics))

    def health() -> Response:
        return jsonify(seldon_methods.health_status(model, metrics))

    def describe() -> Response:
        return jsonify(metadata)

    app.add_url_rule(PING, "ping", lambda: "pong")
    for path, methods in PREDICTIONS.items():
        app.add_url_rule(path, view_func=predict, methods=methods)
    for path in HEALTH:
        app.add_url_rule(path, view_func=health)
    for path in METADATA:
        app.add_url_rule(path, view_func=describe)
    return app


def prometheus(metrics: Metrics) -> Flask:
    """The application that Prometheus asks."""
    app = _application()

    def expose() -> Response:
        text, kind = metrics.generate_metrics()
        return Response(text, mimetype=kind)

    for path in METRICS:
        app.add_url_rule(path, view_func=expose)
    return app


def failure(complaint: str, reason: str) -> dict[str, Any]:
    """Seldon's form of a failed request."""
    content: dict[str, Any] = SeldonMicroserviceException(complaint[:LONGEST_COMPLAINT], reason=reason).to_dict()
    return content


def _application() -> Flask:
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False

    def told(error: SeldonMicroserviceException) -> tuple[dict[str, Any], int]:
        return failure(error.message, error.reason), error.status_code

    def refused(error: HTTPException) -> Response:
        response = error.get_response()
        response.data = app.json.dumps(failure(error.description, error.name.upper().replace(" ", "_")))
        response.content_type = "application/json"
        return response

    def failed(error: Exception) -> tuple[dict[str, Any], int]:
        # Without its message, which may hold values of the request.
        logger.error("%s answering %s\n%s", type(error).__name__, request.url_rule, _places(error))
        return failure("the model server failed; its log says where", "MICROSERVICE_INTERNAL_ERROR"), 500

    app.register_error_handler(SeldonMicroserviceException, told)
    app.register_error_handler(HTTPException, refused)
    app.register_error_handler(Exception, failed)
    return app


def _places(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__))


def _message() -> Any:
    if request.content_encoding not in (None, "", "identity"):
        raise UnsupportedMediaType("send the body as it is, without a Content-Encoding")
    try:
        return get_request()
    except (ValueError, RecursionError) as error:
        raise SeldonMicroserviceException("the request is not JSON, or nested too deeply") from error
