from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_samples import group, metrics

from cd4ml.evaluation import fairness, summary
from cd4ml.evaluation.summary import ModelSummary, Summary


@pytest.fixture
def found() -> Summary:
    """A candidate (AUC 0.8) that passes over the south, beside a baseline (0.75)."""
    candidate = (
        group("overall", auc=0.8),
        group("region=north", auc=0.82, rate=0.63),
        group("region=south", auc=0.6, rate=0.22),
        group("gender=female,region=south", auc=0.55),
    )
    baseline = tuple(replace(one, model="baseline", metrics=metrics(0.75)) for one in candidate)
    return Summary(
        label="took",
        rows=200,
        rows_evaluated=100,
        thresholds=(0.5,),
        models={
            "candidate": ModelSummary("sha256:c", candidate[0].metrics),
            "baseline": ModelSummary("sha256:b", baseline[0].metrics),
        },
        slices=candidate + baseline,
        fairness=tuple(fairness.compare(candidate, [["region"]], [0.5])),
    )


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Summary], Path]:
    def write(content: Summary) -> Path:
        summary.write(content, tmp_path)
        return tmp_path

    return write
