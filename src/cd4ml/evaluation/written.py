"""The limits of a model as a part of other settings: as a person writes them, the metrics beside the other parts."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from cd4ml.contracts import problems
from cd4ml.contracts.chosen import CHOSEN
from cd4ml.evaluation import limits

THRESHOLD = rf"(0*\.[0-9]+|{CHOSEN})"
DESCRIPTION = (
    "By metric, at a threshold as `precision@0.5` or `precision@chosen`, of a class as `class_recall@north`, and by "
    "the parts beside metrics (docs/limits.md)."
)


class _Flat:
    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_grouped, handler(source))

    @staticmethod
    def __get_pydantic_json_schema__(schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        flat = dict(handler.resolve_ref_schema(handler(schema)))
        parts = dict(flat["properties"])
        metric = parts.pop("metrics")["additionalProperties"]
        known = problems.metrics().values()
        at_thresholds = "|".join(one.name for one in known if one.at_thresholds)
        of_classes = "|".join(one.name for one in known if one.of_classes)
        plain = (one.name for one in known if not one.at_thresholds and not one.of_classes)
        properties = dict.fromkeys(plain, metric) | parts
        own = {"title": "ModelLimits", "description": DESCRIPTION, "properties": properties}
        patterns = {f"^({at_thresholds})@{THRESHOLD}$": metric, f"^({of_classes})@.+$": metric}
        return {**flat, **own, "patternProperties": patterns}


def _grouped(written: Any) -> dict[str, Any]:
    if not isinstance(written, Mapping):
        raise PydanticKnownError("dict_type")
    return limits.grouped(written)


ModelLimits = Annotated[limits.Limits, _Flat]
