"""Tries functions that train models, in the train environment of this machine, before a run waits for them."""

import ast
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cd4ml.contracts import class_labels, document, question
from cd4ml.contracts.dataset import ROWS
from cd4ml.contracts.multiclass import MULTICLASS, WORDS
from cd4ml.contracts.ordinal import ORDINAL, as_text
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
    import pyarrow.parquet as pq

    beside = {"calibration": "none", "threshold": None}  # for which few rows are too few
    few = {"minutes": min(function.minutes, MINUTES), **beside}
    spec = function.model_copy(update=few).model_dump(mode="json", exclude_none=True)
    with tempfile.TemporaryDirectory(prefix="cd4ml-trial-") as folder:
        asked: Mapping[str, Any] = {"spec": spec}
        if values:
            rows, classes = _to_try_with(_some_rows(values), values)
            pq.write_table(rows, Path(folder) / "rows.parquet")
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


def _some_rows(values: Any) -> "pa.Table":
    """Of a run's source, at even distances among the first."""
    from cd4ml.data.ingest import first

    table = first(values.source, LOOKED_AT, values.columns)
    return table.take(list(range(0, table.num_rows, 1 + table.num_rows // MOST_ROWS)))


def _to_try_with(few: "pa.Table", values: Any) -> tuple["pa.Table", list[str]]:
    """Of a few rows those that a function is tried with.

    Returns:
        Them, and the ordered classes that are among those to train on; none where there is no order.

    Raises:
        DataError: They do not tell what the label asks for; the whole source may.
    """
    from cd4ml.training import split

    try:
        if _has_several_classes(few, values):
            few = _without_rare_classes(few, values.label)
            for part in split.for_trial(few):
                _check_several_classes(part, values.label)
        classes = _ordered(split.for_trial(few)[0], values)
        _check_label(few, values, classes)
    except DataError as error:
        raise DataError(
            f"{few.num_rows:,} of the first {LOOKED_AT:,} rows of the source are not enough to try it with: {error}"
        ) from error
    return few, classes


def _has_several_classes(few: "pa.Table", values: Any) -> bool:
    """Whether the label is of three classes or more."""
    name = question.named(values.problem, positive=values.positive, classes=values.classes)
    if name == question.AUTO:
        name = question.ask(few, values.label).problem.name
    return name in (MULTICLASS.name, ORDINAL.name)


def _without_rare_classes(few: "pa.Table", label: str) -> "pa.Table":
    """The rows but those of a class that is not among those to train on; these are others once some rows are gone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from cd4ml.training import split

    while True:
        known = class_labels.distinct(split.for_trial(few)[0], label, remedy=WORDS)
        found = class_labels.texts(few, label, remedy=WORDS)
        rare = sorted(set(pc.unique(found.drop_null()).to_pylist()) - set(known))
        if not rare:
            return few
        few = few.filter(pc.invert(pc.is_in(found, value_set=pa.array(rare))))


def _check_several_classes(part: "pa.Table", label: str) -> None:
    there = class_labels.distinct(part, label, remedy=WORDS)
    if len(there) < 3:
        raise DataError(f"label {label!r}: a part of them has two of its classes alone ({class_labels.shown(there)})")


def _check_label(few: "pa.Table", values: Any, classes: list[str]) -> None:
    """Makes sure that both parts tell what the label asks for."""
    from cd4ml.training import split

    for_train, for_eval = split.for_trial(few)
    asked = question.ask(for_train, values.label, problem=values.problem, positive=values.positive, classes=classes)
    of_eval = _ordered(for_eval, values)
    question.ask(for_eval, values.label, problem=asked.problem.name, positive=asked.positive, classes=of_eval)


def _ordered(few: "pa.Table", values: Any) -> list[str]:
    """Of the ordered classes those that a few rows are of; a rare one need not be among them."""
    if not values.classes:
        return []
    found = class_labels.distinct(few, values.label, remedy=WORDS)
    return [one for one in as_text(values.classes) if one in found]
