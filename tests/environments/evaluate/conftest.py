import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluated_samples import make_model, make_table

from cd4ml.evaluation.evaluate import evaluate


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
