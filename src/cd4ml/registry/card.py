"""The model card: what a model is for, what it was made from, how good it is and for whom, in Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from cd4ml.gates import Verdict

if TYPE_CHECKING:
    from cd4ml.model import Contract
    from cd4ml.registry.models import Version


def text(version: Version, contract: Contract, verdict: Verdict, evaluation: str) -> str:
    """The card of a version.

    Args:
        version: What is published.
        contract: What the model takes and gives.
        verdict: What the gate said of it.
        evaluation: What `evaluate_model` wrote.
    """
    environment = Environment(  # noqa: S701 (Markdown, not HTML)
        loader=PackageLoader("cd4ml.registry", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    summary = json.loads((Path(evaluation) / "summary.json").read_text(encoding="utf-8"))
    return environment.get_template("card.md.j2").render(
        version=version, contract=contract, verdict=verdict, summary=summary
    )
