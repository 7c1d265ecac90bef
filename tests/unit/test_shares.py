"""The intervals of shares are those that Newcombe printed of these counts (Statistics in Medicine 17, 1998)."""

import pytest

from cd4ml.contracts.shares import difference_interval, share_interval


@pytest.mark.parametrize(
    ("of", "rows", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (29, 29, (0.8830, 1)),
    ],
)
def test_the_interval_of_a_share_is_wilson_s(of: int, rows: int, interval: tuple[float, float]) -> None:
    assert share_interval(of / rows, rows) == pytest.approx(interval, abs=5e-5)


@pytest.mark.parametrize(
    ("one", "other", "interval"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((6, 7), (2, 7), (0.0582, 0.8062)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((0, 10), (0, 20), (-0.1611, 0.2775)),
        ((10, 10), (0, 20), (0.6791, 1)),
    ],
)
def test_the_interval_of_a_difference_of_shares_is_newcombe_s(
    one: tuple[int, int], other: tuple[int, int], interval: tuple[float, float]
) -> None:
    shares = [(of / rows, rows) for of, rows in (one, other)]

    assert difference_interval(*shares) == pytest.approx(interval, abs=5e-5)
