"""Captured values of features, which are texts, as what a model or a column of its dataset takes."""

import decimal
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cd4ml.contracts import captured_values
from cd4ml.contracts.model import Input

MOMENT = datetime(2026, 2, 28, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("type_", "texts", "values"),
    [
        (pa.float64(), ["1.5", "", "inf", "much", None], [1.5, None, None, None, None]),
        (pa.float32(), ["1.5", "1e300"], [1.5, None]),
        (pa.int64(), ["5", "5.0", "31.5", "1e30", "true"], [5, 5, None, None, 1]),
        (
            pa.int64(),
            [f"{2**53 + 1}", f"{2**63 - 1}", f"{-(2**63)}", f"{2**63}", "9" * 30],
            [2**53 + 1, 2**63 - 1, -(2**63), None, None],
        ),
        (pa.uint64(), [f"{2**64 - 1}", f"{2**64}", "-1234567890123456"], [2**64 - 1, None, None]),
        (pa.uint8(), ["255", "256", "-1", "1234567890123456"], [255, None, None, None]),
        (pa.bool_(), ["true", "0", "1", "2", "yes"], [True, False, True, None, None]),
        (pa.string(), ["a", "", "inf"], ["a", None, "inf"]),
        (pa.date32(), ["2026-02-28", "2026-02-28T01:00:00Z", "soon"], [date(2026, 2, 28)] * 2 + [None]),
        (pa.timestamp("us"), ["2026-02-28T01:00:00Z", "2026-02-28T02:00:00+01:00"], [MOMENT.replace(tzinfo=None)] * 2),
        (pa.timestamp("us", "UTC"), ["2026-02-28T01:00:00", ""], [MOMENT, None]),
        (pa.timestamp("s", "UTC"), ["2026-02-28T01:00:00.5Z"], [MOMENT]),
        (pa.timestamp("ns"), ["9999-01-01"], [None]),
        (pa.decimal128(6, 2), ["1.50", "x", "123456.7"], [decimal.Decimal("1.50"), None, None]),
    ],
    ids=str,
)
def test_a_column_takes_what_it_can_have_and_the_rest_is_missing(
    type_: pa.DataType, texts: list[str | None], values: list[Any]
) -> None:
    found = captured_values.of_type(pa.array(texts, pa.string()), type_)

    assert found.values.type == type_
    assert found.values.to_pylist() == values
    assert found.unreadable.tolist() == [bool(text) and one is None for text, one in zip(texts, values, strict=True)]


@pytest.mark.parametrize(
    ("kind", "texts", "numbers"),
    [
        ("number", ["1.5", "inf", "", None], [1.5, np.nan, np.nan, np.nan]),
        ("boolean", ["true", "1", "0", "2"], [1, 1, 0, np.nan]),
        ("date", ["1970-01-01T00:00:01Z", "soon"], [1e6, np.nan]),
    ],
)
def test_a_model_takes_numbers_truths_and_moments(kind: Any, texts: list[str | None], numbers: list[float]) -> None:
    found = captured_values.typed(pa.array(texts, pa.string()), Input("x", kind))

    np.testing.assert_array_equal(found.numbers, numbers)
