"""Asks a model server by Seldon's own client: `ask.py PORT`; prints what came of it as JSON."""

import json
import sys

import numpy as np
from google.protobuf import json_format
from seldon_core.seldon_client import SeldonClient

ROWS = np.array([[40, "south", True], [25.5, "north", False]], dtype=object)
NAMES = ["age", "region", "subscribed"]


def main() -> None:
    """As a microservice, and as it asks through a gateway."""
    address = f"127.0.0.1:{sys.argv[1]}"
    of_microservice = SeldonClient(microservice_endpoint=address).microservice(
        data=ROWS, names=NAMES, method="predict", payload_type="ndarray", transport="rest"
    )
    through_a_gateway = SeldonClient(gateway="seldon", gateway_endpoint=address, deployment_name="uptake").predict(
        data=ROWS, names=NAMES, payload_type="ndarray", transport="rest", client_return_type="dict"
    )
    answers = {
        "microservice": json_format.MessageToDict(of_microservice.response),
        "gateway": through_a_gateway.response,
    }
    print(json.dumps(answers))  # noqa: T201


if __name__ == "__main__":
    main()
