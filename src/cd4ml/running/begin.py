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
from cd4ml.training.trainers import dates_of

_IN_A_POD = "KUBERNETES_SERVICE_HOST"


def run(name: str, given: Mapping[str, Any]) -> dict[str, list[str]]:
    """Checks what the run of this task was given, as the command line does, and records it.

    Args:
        name: The run's name.
        given: The pipeline's arguments, as KFP has them.

    Returns:
        What follows from them for the other tasks, as `follows` has it.

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
    store, found = values.value(Means.STORE), follows(arguments)
    records.begin(store, name=name, arguments=values.model_dump(mode="json", exclude_none=True))
    with notes.noting(store, {}) as returned:
        returned.update(found)
    return found


def follows(arguments: Mapping[str, Any]) -> dict[str, list[str]]:
    """What of arguments of training other tasks than those that are given them need.

    Args:
        arguments: They, without mistakes.

    Returns:
        As `places` those of the sweep beside the candidate's own, by number, none where there is no sweep; as `dates`
        the columns that the models see as such.
    """
    sweep = arguments.get("sweep") or {}
    seen = [arguments.get(model, {}).get("dates") for model in ("baseline", "candidate")]
    tried = sweep.get("ranges", {}).get("dates", ())
    dates = {name for one in (*seen, *tried) for name in dates_of(one)}
    return {"places": search.places(sweep), "dates": sorted(dates)}


def _meant(text: str, is_number: bool) -> Any:
    """What a text stands for that KFP takes in place of a number, a list or an object; a column may be called `7`."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if is_number or isinstance(found, dict | list) else text
