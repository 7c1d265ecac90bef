"""Tries functions that train models, in the train environment of this machine, before a run waits for them."""

import ast
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cd4ml.contracts import class_labels, document, question
from cd4ml.contracts.dataset import ROWS
from cd4ml.contracts.multiclass import WORDS
from cd4ml.contracts.ordinal import as_text
from cd4ml.errors import DataError, TrainingError
from cd4ml.names import nearest
from cd4ml.running.arguments import Arguments, Means
from cd4ml.running.asking import CrashedError, ask
from cd4ml.training import trainers
from cd4ml.training.trainers import Function

if TYPE_CHECKING:
    import pyarrow as pa

MINUTES = 1.0
"""How long a function may take with few rows."""
SECONDS = 60 * MINUTES + 240
"""How long all may take, with what is imported, and what TensorFlow does before it hears of the time."""
LOOKED_AT, MOST_ROWS = 50_000, 1500
"""Rows of a source that are read, and how many of them a function is tried with."""


def of_file(file: Path, name: str) -> list[Function]:
    """The functions of a file, to be tried without settings.

    Args:
        file: A Python file.
        name: Of the one that is meant; where empty, all that have one argument, `job`.

    Raises:
        TrainingError: It is none, or has none.
    """
    try:
        found = ast.parse(file.read_bytes(), str(file))
    except (OSError, SyntaxError, ValueError) as error:
        raise TrainingError(f"{file}: cannot be read as Python ({error}); name another file, or mend it") from error
    functions = {one.name: one.args for one in found.body if isinstance(one, ast.FunctionDef)}
    named = [one for one, takes in functions.items() if [each.arg for each in takes.args] == ["job"]]
    if name and name not in functions:
        raise TrainingError(f"{file}: has no function {name!r}; {nearest(name, functions)}")
    if not name and not named:
        raise TrainingError(f"{file}: has no function `def ...(job):`; write one (docs/your-model.md)")
    specs = ({"function": f"{file.stem}:{one}"} for one in ([name] if name else named))
    return [_function(trainers.with_code(spec, file.parent)) for spec in specs]


def installed(function: str) -> Function:
    """The function of an installed package: `acme.models:wide`.

    Raises:
        TrainingError: It is not of this form.
    """
    return _function({"function": function})


def of_run(values: Arguments) -> list[Function]:
    """The functions that the models of a run name."""
    models = (getattr(values, name) for name in values.named(Means.SPECIFICATION))
    return [one for one in models if isinstance(one, Function)]


def try_out(function: Function, values: Any = None) -> dict[str, str]:
    """Tries a function; what was found, by a word for each.

    Args:
        function: What to try.
        values: The arguments of the run that names it, whose source gives the rows; None makes some up.

    Raises:
        TrainingError: The function cannot be used, or what it gives cannot.
        DataError: The source cannot be read, or its first rows do not tell what the label asks for.
        EnvironmentSetupError: The train environment is not on this machine.
    """
    beside = {"calibration": "none", "threshold": None}  # for which few rows are too few
    few = {"minutes": min(function.minutes, MINUTES), **beside}
    spec = function.model_copy(update=few).model_dump(mode="json", exclude_none=True)
    with tempfile.TemporaryDirectory(prefix="cd4ml-trial-") as folder:
        asked: Mapping[str, Any] = {"spec": spec}
        if values:
            classes = _write_rows(values, Path(folder) / "rows.parquet")
            keys = [values.key] if isinstance(values.key, str) else values.key
            exclude = [name for name in (*keys, *values.exclude) if name != ROWS]
            of_label = {"label": values.label, "problem": values.problem, "positive": values.positive}
            asked = {**asked, **of_label, "classes": classes, "exclude": exclude}
        document.write(Path(folder) / "asked.json", asked)
        try:
            found: dict[str, str] = ask("train", "cd4ml.training.trial", folder, seconds=SECONDS)
        except DataError as error:
            raise TrainingError(str(error)) from error
        except subprocess.TimeoutExpired as error:
            raise TrainingError(
                f"{function.function}: has not ended within {SECONDS:g} seconds, and was killed; have it do less"
            ) from error
        except CrashedError as error:
            if error.told:
                raise TrainingError(error.told) from error
            last = f" ({error.last})" if error.last else ""
            raise TrainingError(
                f"{function.function}: ended the process that it ran in, with {error.code}{last}; mend it"
            ) from error
    return found


def _function(spec: Mapping[str, Any]) -> Function:
    found = trainers.parse(spec)
    assert isinstance(found, Function)
    return found


def _write_rows(values: Any, file: Path) -> list[str]:
    """Some rows of a run's source, at even distances among the first.

    Returns:
        The ordered classes that are among those to train on; none where there is no order.
    """
    import pyarrow.parquet as pq

    from cd4ml.data.ingest import first

    table = first(values.source, LOOKED_AT, values.columns)
    few = table.take(list(range(0, table.num_rows, 1 + table.num_rows // MOST_ROWS)))
    pq.write_table(few, file)
    return _check_label(few, values)


def _check_label(few: "pa.Table", values: Any) -> list[str]:
    """Makes sure that a few rows tell what the label asks for; the whole source may, where they do not."""
    from cd4ml.training import split

    try:
        for_train, for_eval = split.for_trial(few)
        classes, of_eval = (_there(part, values) for part in (for_train, for_eval))
        asked = question.ask(for_train, values.label, problem=values.problem, positive=values.positive, classes=classes)
        question.ask(for_eval, values.label, problem=asked.problem.name, positive=asked.positive, classes=of_eval)
    except DataError as error:
        raise DataError(
            f"{few.num_rows:,} of the first {LOOKED_AT:,} rows of the source are not enough to try it with: {error}"
        ) from error
    return classes


def _there(few: "pa.Table", values: Any) -> list[str]:
    """Of the ordered classes those that a few rows are of; a rare one need not be among them."""
    if not values.classes:
        return []
    found = class_labels.distinct(few, values.label, remedy=WORDS)
    return [one for one in as_text(values.classes) if one in found]
