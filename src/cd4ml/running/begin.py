"""Begins the record of a run, once its arguments are checked."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cd4ml.registry import notes, records
from cd4ml.running.arguments import Means, check, model_of
from cd4ml.running.run_file import RunFile
from cd4ml.training import search

_IN_A_POD = "KUBERNETES_SERVICE_HOST"


def run(name: str, given: Mapping[str, Any]) -> list[str]:
    """Checks what the run of this task was given, as the command line does, and records it.

    Args:
        name: The run's name.
        given: The pipeline's arguments, as KFP has them.

    Returns:
        The places of its sweep beside the candidate's own, by number; none where there is no sweep.

    Raises:
        ArgumentsError: With every mistake, one a line.
    """
    pipeline = os.environ[records.PIPELINE]
    model = model_of(pipeline)
    texts = model.named(Means.TEXT_IN_KFP)
    fields = model.model_fields
    arguments = {
        name: _meant(value, is_number=fields[name].annotation is int) if name in texts else value
        for name, value in given.items()
    }
    values = check(RunFile(Path("arguments"), pipeline, arguments), model, in_a_cluster=_IN_A_POD in os.environ)
    store, places = values.value(Means.STORE), search.places(arguments.get("sweep", {}))
    records.begin(store, name=name, arguments=values.model_dump(mode="json", exclude_none=True))
    with notes.noting(store, {}) as returned:
        returned["Output"] = places
    return places


def _meant(text: str, is_number: bool) -> Any:
    """What a text stands for that KFP takes in place of a number, a list or an object; a column may be called `7`."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if is_number or isinstance(found, dict | list) else text
