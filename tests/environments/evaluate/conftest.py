import functools
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MethodType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.transforms import core
from evaluated_samples import (
    make_grade_model,
    make_grades,
    make_model,
    make_price_model,
    make_prices,
    make_table,
)

from cd4ml.evaluation.evaluate import evaluate


@pytest.fixture(scope="session", autouse=True)
def _signatures_read_once() -> Iterator[None]:
    """Beam reads the arguments of the same methods 44,000 times a pipeline, a third of what a small one costs."""
    read = core.get_function_args_defaults
    of_function = functools.cache(read)

    def of(function: Any) -> tuple[list[str], list[Any]]:
        if not isinstance(function, MethodType) or not inspect.isfunction(function.__func__):
            return read(function)
        arguments, defaults = of_function(function.__func__)
        return arguments[1:], list(defaults)  # without self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "get_function_args_defaults", of)
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    history = [
        {"epoch": 1, "seconds": 1.0, "loss": 0.6, "auc": 0.7, "eval_loss": 0.6, "eval_auc": 0.7},
        {"epoch": 2, "seconds": 1.0, "loss": 0.5, "auc": 0.8, "eval_loss": 0.5, "eval_auc": 0.8},
    ]
    made = {
        "candidate": make_model(root / "candidate", 2.0, passed_over="south"),
        "baseline": make_model(root / "baseline", 0.5),
        "broken": make_model(root / "broken", float("nan")),
    }
    (made["candidate"] / "history.json").write_text(json.dumps(history))
    return made


@pytest.fixture(scope="session")
def run(models, tmp_path_factory) -> Callable[..., Any]:
    """Evaluates the candidate beside the baseline, with some arguments changed; gives the folder too."""

    def run(table: pa.Table | None = None, **changes: Any) -> Any:
        folder = tmp_path_factory.mktemp("evaluated")
        pq.write_table(make_table() if table is None else table, folder / "test")
        arguments = {
            "test": folder / "test",
            "candidate": models["candidate"],
            "baseline": models["baseline"],
            "champion": "",
            "champion_digest": "",
            "judged": 1,
            "trend": [],
            "label": "took",
            "slices": ["level"],
            "sensitive": ["region"],
            "thresholds": [0.5, 0.25],
            "runner": [],
            "folder": folder / "evaluation",
            "report_file": folder / "report.html",
        }
        return evaluate(**{**arguments, **changes}), folder

    return run


@pytest.fixture(scope="session")
def evaluated(run) -> Any:
    return run()


@pytest.fixture(scope="session")
def price_models(tmp_path_factory) -> dict[str, Path]:
    """Models of a number: one that gives the south too much, and one that knows little."""
    root = tmp_path_factory.mktemp("price_models")
    names = ("loss", "root_mean_squared_error", "eval_loss", "eval_root_mean_squared_error")
    history = [{"epoch": one, "seconds": 1.0, **dict.fromkeys(names, 9.0 - one)} for one in (1, 2)]
    made = {
        "candidate": make_price_model(root / "candidate", favoured="south"),
        "baseline": make_price_model(root / "baseline", weight=2.0),
        "broken": make_price_model(root / "broken", weight=float("nan")),
    }
    (made["candidate"] / "history.json").write_text(json.dumps(history))
    return made


@pytest.fixture(scope="session")
def run_prices(run, price_models) -> Callable[..., Any]:
    """Evaluates the models of a number, with some arguments changed."""

    def run_prices(table: pa.Table | None = None, **changes: Any) -> Any:
        models = {role: price_models[role] for role in ("candidate", "baseline")}
        return run(make_prices() if table is None else table, **{**models, "label": "price", **changes})

    return run_prices


@pytest.fixture(scope="session")
def prices(run_prices) -> Any:
    return run_prices()


@pytest.fixture(scope="session")
def grade_models(tmp_path_factory) -> dict[str, Path]:
    """Models of three classes: one that takes gold from the south, and one that knows little."""
    root = tmp_path_factory.mktemp("grade_models")
    names = ("loss", "log_loss", "eval_loss", "eval_log_loss")
    history = [{"epoch": one, "seconds": 1.0, **dict.fromkeys(names, 1.0 / one)} for one in (1, 2)]
    made = {
        "candidate": make_grade_model(root / "candidate", passed_over="south"),
        "baseline": make_grade_model(root / "baseline", weight=0.4),
        "broken": make_grade_model(root / "broken", weight=float("nan")),
    }
    (made["candidate"] / "history.json").write_text(json.dumps(history))
    return made


@pytest.fixture(scope="session")
def run_grades(run, grade_models) -> Callable[..., Any]:
    """Evaluates the models of three classes, with some arguments changed."""

    def run_grades(table: pa.Table | None = None, **changes: Any) -> Any:
        models = {role: grade_models[role] for role in ("candidate", "baseline")}
        return run(make_grades() if table is None else table, **{**models, "label": "grade", **changes})

    return run_grades


@pytest.fixture(scope="session")
def grades(run_grades) -> Any:
    return run_grades()
