"""What a model server takes and answers, as OpenAPI has it: `/openapi.json`, with the features of its own model."""

from typing import Any

from cd4ml.contracts.model import Input
from cd4ml.serving import arrow_body
from cd4ml.serving.application import JSON, Answer, Protocol, Request
from cd4ml.serving.json_body import answer, failure
from cd4ml.serving.predictor import Predictor
from cd4ml.version import VERSION

PATH = "/openapi.json"
TYPES = {"number": "number", "category": "string", "text": "string", "boolean": "boolean", "date": "string"}
DATE = {"description": "as ISO 8601, in UTC where it has no offset", "examples": ["2027-02-28T09:30:00Z", "2027-02-28"]}
REFUSED = {
    "400": "the request is wrong; the answer says where",
    "413": "the request is too large",
    "429": "too many requests wait",
    "500": "the model gives no finite number, or the server failed",
    "503": "a call of the model hangs",
}


def protocol(predictor: Predictor) -> Protocol:
    """The path of the page."""
    page = answer(describe(predictor))

    async def show(_: Request) -> Answer:
        return page

    return Protocol("openapi", {PATH: {"GET": show}}, failure, prefix=PATH)


def describe(predictor: Predictor) -> dict[str, Any]:
    """The page's content."""
    version = predictor.identity["version"]
    rows = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}, "minItems": 1}
    data = {
        "type": "object",
        "required": ["names", "ndarray"],
        "properties": {
            "names": {"type": "array", "items": {"type": "string"}},
            "ndarray": {"type": "array", "items": {"type": "array"}},
        },
    }
    tensors = {"type": "array", "items": {"type": "object", "required": ["name", "datatype", "shape", "data"]}}
    seldon = {"type": "object", "properties": {"data": data, "jsonData": rows}}
    open_inference = {"type": "object", "required": ["inputs"], "properties": {"inputs": tensors}}
    fields = {one.name: _field(one) for one in predictor.contract.inputs}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": predictor.name,
            "version": version or VERSION,
            "description": f"Gives {predictor.contract.gives}.",
        },
        "paths": {
            "/api/v1.0/predictions": {"post": _prediction("Predicts, by Seldon's protocol", seldon)},
            f"/v2/models/{predictor.name}/infer": {
                "post": _prediction("Predicts, by the Open Inference Protocol", open_inference)
            },
            "/metadata": {"get": _look("Says which model this is")},
            "/health/ping": {"get": _look("Says that the server lives")},
            "/health/status": {"get": _look("Says that the model predicts")},
        },
        "components": {"schemas": {"Row": {"type": "object", "required": list(fields), "properties": fields}}},
    }


def _field(one: Input) -> dict[str, Any]:
    known: dict[str, Any] = {"examples": list(one.vocabulary[:5])} if one.vocabulary else {}
    if one.kind == "date":
        known = DATE
    return {"type": [TYPES[one.kind], "null"], **known}


def _prediction(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    content = {JSON: {"schema": schema}, arrow_body.TYPE: {}}
    refused = {status: {"description": why} for status, why in REFUSED.items()}
    return {**_look(summary, **refused), "requestBody": {"required": True, "content": content}}


def _look(summary: str, **refused: Any) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "as it should be"}, **refused}}
