"""What the figures of a model server count."""

import asyncio
from collections.abc import Sequence

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from cd4ml.serving.application import Request
from cd4ml.serving.metrics import Metrics
from cd4ml.serving.rows import Inputs


def counted(probabilities: Sequence[float]) -> dict[str, float]:
    """The samples of one batch, without their labels."""
    metrics = Metrics("uptake", "7")
    rows = Inputs(np.zeros((len(probabilities), 1), np.float32), np.empty((len(probabilities), 0), object), {}, {})
    metrics.predicted([rows], np.array(probabilities, np.float32))
    answer = asyncio.run(metrics.protocol().routes["/metrics"]["GET"](Request(b"", [], b"")))
    families = text_string_to_metric_families(answer.content.decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_what_is_no_finite_probability_spoils_no_figure_for_ever():
    found = counted([0.5, float("nan"), float("inf")])

    assert found["cd4ml_predictions_total"] == 1
    assert (found["cd4ml_probability_count"], found["cd4ml_probability_sum"]) == (1, 0.5)
    assert found["cd4ml_batch_rows_sum"] == 3
