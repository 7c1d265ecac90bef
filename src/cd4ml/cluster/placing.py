"""What a task asks of a cluster, as Kubernetes writes it: cores, memory, and the nodes that it may run on."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cd4ml import settings
from cd4ml.errors import ArgumentsError
from cd4ml.names import shown
from cd4ml.settings import Strict, Whole

_CORES = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)|(\d{1,9})m")
_MEMORY = re.compile(r"[1-9]\d{0,8}(Mi|Gi|Ti|M|G|T)")
_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}"
CORES = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": rf"^({_CORES.pattern})$"}]}
"""Of a number of cores, for editors."""
MEMORY = {"pattern": f"^{_MEMORY.pattern}$"}
"""Of an amount of memory, for editors."""

LabelKey = Annotated[str, Field(pattern=f"^{_KEY}$")]
LabelValue = Annotated[str, Field(pattern=f"^({_NAME})?$")]


def cores(quantity: Any) -> Decimal:
    """How many cores a quantity means: 2, 0.5, or `500m`.

    Raises:
        ArgumentsError: It means none.
    """
    found = None if isinstance(quantity, bool) else _CORES.fullmatch(str(quantity))
    number = Decimal(found[1]) if found and found[1] else Decimal(found[2]) / 1000 if found else Decimal()
    if not number:
        raise ArgumentsError(f"{shown(quantity)} is no number of cores; write one as 2, 0.5 or 500m")
    return number


def check_memory(quantity: str) -> None:
    """Makes sure that this is an amount of memory, with its unit: without one, Kubernetes takes bytes.

    Raises:
        ArgumentsError: It is none.
    """
    if not _MEMORY.fullmatch(quantity):
        raise ArgumentsError(f"{shown(quantity)} is no amount of memory; write one as 8G, 16Gi or 500M")


class Toleration(Strict):
    """A taint of nodes that a pod does not mind, in the words of Kubernetes."""

    key: Annotated[str, Field(pattern=f"^({_KEY})?$")] = ""
    """The taint's; empty for every taint."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Whether the taint's value counts."""
    value: LabelValue = ""
    """The taint's."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Empty for every effect."""
    tolerationSeconds: Annotated[Whole, Field(ge=0)] | None = None  # noqa: N815 (as Kubernetes calls it)
    """After which a pod leaves a node that was tainted under it; unsaid: never."""

    @model_validator(mode="after")
    def _is_one(self) -> "Toleration":
        if self.operator == "Exists" and self.value:
            raise ValueError("has a value beside `operator: Exists`, which means any; leave one of them out")
        if self.operator == "Equal" and not self.key:
            raise ValueError("names no taint; write its key, or `operator: Exists` for every taint")
        if self.tolerationSeconds is not None and self.effect != "NoExecute":
            raise ValueError("has tolerationSeconds, which are of `effect: NoExecute` alone; leave them out")
        return self


class _Placed(Strict):
    tolerations: Annotated[tuple[Toleration, ...], Field(strict=False)] = ()
    node_selector: dict[LabelKey, LabelValue] = Field(default={})


TOLERATIONS = {"type": "array", "items": Toleration.model_json_schema()}
"""Of tolerations, for editors."""
NODE_SELECTOR = {"type": "object", "additionalProperties": {"type": "string"}}
"""Of a node selector, for editors."""


def check_tolerations(tolerations: Sequence[Any]) -> None:
    """Makes sure that Kubernetes takes these for tolerations.

    Raises:
        ArgumentsError: With every mistake, each on its line.
    """
    _check("tolerations", tolerations)


def check_node_selector(labels: dict[str, Any]) -> None:
    """Makes sure that Kubernetes takes these for labels of nodes: texts, also where they look like numbers.

    Raises:
        ArgumentsError: With every mistake, each on its line.
    """
    _check("node_selector", labels)


def _check(name: str, content: Any) -> None:
    settings.parse(_Placed, content={name: content}, name=name, error=ArgumentsError, unnamed=name)
