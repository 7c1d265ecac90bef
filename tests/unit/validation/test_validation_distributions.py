import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cd4ml.contracts.findings import day, number
from cd4ml.validation import distributions, outliers

SECONDS = st.integers(-(10**12), 10**12)
VALUES = {
    "number": st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "time": st.one_of(SECONDS, st.sampled_from(["0001-01-01", "1900-01-01", "9999-12-31"]).map(outliers._second)),
}


@st.composite
def columns(draw):
    """Splits of a column: any values, most of them often of few kinds."""
    kind = draw(st.sampled_from(sorted(VALUES)))
    few = draw(st.lists(VALUES[kind], min_size=1, max_size=4))
    one = st.one_of(VALUES[kind], st.sampled_from(few))
    sizes = {"train": 80, "eval": 10, "test": 10}
    drawn = {split: draw(st.lists(one, max_size=size)) for split, size in sizes.items()}
    times = draw(st.sampled_from([1, 30]))
    return {split: np.repeat(np.array(values, np.float64), times) for split, values in drawn.items()}, kind


def splits(values):
    values = np.asarray(values, np.float64)
    return {"train": values[: len(values) // 2], "test": values[len(values) // 2 :]}


def measure(values, kind="number"):
    return distributions.measure(splits(values), kind, outliers.find(np.asarray(values, np.float64), kind))


@settings(max_examples=300)
@given(columns())
@example((splits([5e-324] * 3 + [0.0]), "number"))
@example((splits([1.7e308, -1.7e308] * 40), "number"))
@example((splits([2.0**63, -(2.0**63)] * 40), "integer"))
def test_every_value_is_in_a_bucket_or_is_said_to_be_left_out(column):
    values, kind = column
    whole = np.concatenate([*values.values()])
    found = distributions.measure(values, kind, outliers.find(whole, kind))

    if not np.isfinite(whole).any():
        assert found is None
        return
    assert np.isfinite(found.edges).all()
    assert len(found.edges) >= 2
    assert (np.diff(found.edges) > 0).all()
    drawn = sum(counts.sum() for counts in found.counts.values())
    assert drawn + found.spike_rows + found.below + found.above + found.infinite == (~np.isnan(whole)).sum()
    assert drawn > 0
    for split, counts in found.counts.items():
        assert found.rows[split] == (~np.isnan(values[split])).sum()
        assert 0 <= counts.min() <= counts.sum() <= found.rows[split]


@settings(max_examples=100)
@given(columns())
def test_what_is_far_from_all_others_is_the_smaller_part_and_counted(column):
    values, kind = column
    whole = np.concatenate([*values.values()])
    finite = whole[np.isfinite(whole)]

    for one in outliers.find(whole, kind):
        assert one.rows == ((finite >= one.low) & (finite <= one.high)).sum()
        assert one.of == len(finite)
        if one.usual is not None:
            assert (finite == one.usual).any()


random = np.random.default_rng(3)
AGES = random.integers(18, 88, 2000).astype(float)


def with_some(values, rows, value):
    values = np.array(values)
    values[random.choice(len(values), rows, replace=False)] = value
    return values


@pytest.mark.parametrize("value", [9999, -999, 1e9, 1e308])
@pytest.mark.parametrize("rows", [1, 5, 400])
def test_a_number_that_lies_far_from_all_others_is_found_and_left_out(value, rows):
    ages = with_some(AGES, rows, value)

    (found,) = outliers.find(ages, "number")
    histogram = measure(ages)

    assert (found.rows, found.of, found.low, found.high) == (rows, 2000, value, value)
    assert found.usual == (18 if value < 0 else 87)
    assert (histogram.below, histogram.above) == ((rows, 0) if value < 0 else (0, rows))
    assert np.count_nonzero(sum(histogram.counts.values())) > 20
    assert not histogram.logarithmic


@pytest.mark.parametrize(("usual", "far", "found"), [(10, [1e6], 1), (9, [1e6], 0), (100, [1e6, 2e6] * 50, 0)])
def test_ten_different_values_tell_what_is_usual_and_more_than_a_tenth_are_no_outliers(usual, far, found):
    values = np.array([*np.repeat(np.arange(usual, dtype=float), 500 // usual), *far])

    assert len(outliers.find(values, "number")) == found


def test_a_tenth_of_the_values_may_be_outliers():
    values = np.array([*np.repeat(np.arange(100.0), 9), *np.linspace(1e6, 2e6, 100)])

    assert [one.rows for one in outliers.find(values, "number")] == [100]
    assert outliers.find(np.array([*values, 1.5e6]), "number") == ()


def test_outliers_at_both_ends_are_told_one_by_one():
    values = with_some(with_some(random.normal(size=2000), 3, 1e6), 2, -1e4)

    assert [(one.rows, one.are_above) for one in outliers.find(values, "number")] == [(2, False), (3, True)]


def test_one_outlier_among_millions_is_found_and_all_rows_are_counted():
    values = random.random(2_000_000)
    values[1_234_567] = 1e6

    (found,) = outliers.find(values, "number")
    histogram = measure(values)

    assert (found.rows, found.of) == (1, 2_000_000)
    assert histogram.above + sum(counts.sum() for counts in histogram.counts.values()) == 2_000_000


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(random.normal(size=5000), id="normal"),
        pytest.param(random.exponential(size=5000), id="exponential"),
        pytest.param(random.lognormal(0, 3, 5000), id="lognormal"),
        pytest.param(random.pareto(1, 5000), id="pareto"),
        pytest.param(random.standard_cauchy(5000), id="cauchy"),
        pytest.param(np.where(random.random(5000) < 0.9, 0, random.lognormal(8, 2, 5000)), id="claims"),
        pytest.param(random.poisson(0.1, 5000), id="counts"),
        pytest.param(random.choice([1, 10, 100, 1000], 5000), id="powers of ten"),
        pytest.param(random.choice([0, 1], 5000, p=[0.999, 0.001]), id="rare"),
        pytest.param(np.r_[random.normal(0, 1, 2500), random.normal(1e6, 1, 2500)], id="two clusters"),
        pytest.param(np.full(5000, 3.5), id="constant"),
        pytest.param(np.zeros(0), id="none"),
    ],
)
def test_a_long_tail_a_rare_value_and_two_clusters_are_no_outliers(values):
    assert outliers.find(values, "number") == ()


DAYS = random.integers(outliers._second("1930-01-01"), outliers._second("2010-01-01"), 2000) // 86_400 * 86_400.0


@pytest.mark.parametrize("placeholder", ["9999-12-31", "9999-01-01", "2999-12-31", "0001-01-01", "1900-01-01"])
@pytest.mark.parametrize("rows", [1, 200, 1300])
def test_a_day_that_stands_for_a_missing_one_is_found_and_left_out(placeholder, rows):
    moments = with_some(DAYS, rows, outliers._second(placeholder))

    (found,) = outliers.find(moments, "time")

    assert (found.rows, day(found.low), day(found.high)) == (rows, placeholder, placeholder)
    assert found.are_above == (placeholder > "2010")
    assert measure(moments, "time").below + measure(moments, "time").above == rows


def test_a_column_of_placeholders_alone_is_told_and_drawn():
    moments = np.full(50, outliers._second("9999-12-31"))

    (found,) = outliers.find(moments, "time")

    assert (found.rows, found.usual) == (50, None)
    assert sum(counts.sum() for counts in measure(moments, "time").counts.values()) == 50


@pytest.mark.parametrize("first", ["0001-12-20", "1900-01-01", "1970-01-01", "2199-06-01"])
@pytest.mark.parametrize("step", [3600, 86_400, 86_400 * 28])
def test_a_series_that_begins_or_goes_on_at_such_a_day_is_no_alarm(first, step):
    assert outliers.find(outliers._second(first) + step * np.arange(1000.0), "time") == ()


def test_a_value_that_nearly_all_rows_have_is_left_out_and_the_rest_is_seen():
    claims = np.where(random.random(5000) < 0.97, 0, random.normal(500, 50, 5000))

    histogram = measure(claims)

    assert histogram.spike == 0
    assert histogram.spike_rows == (claims == 0).sum()
    assert histogram.edges[0] > 200
    assert np.count_nonzero(sum(histogram.counts.values())) > 15


def test_of_two_values_none_is_left_out_however_rare_the_other():
    histogram = measure(random.choice([0, 1], 5000, p=[0.996, 0.004]), "integer")

    assert histogram.spike is None
    assert histogram.edges.tolist() == [-0.5, 0.5, 1.5]


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        (random.normal(size=5000), False),
        (random.exponential(size=5000), False),
        (random.lognormal(0, 3, 5000), True),
        (-random.pareto(0.5, 5000), True),
        (random.standard_cauchy(5000) ** 3, True),
        (10 ** random.uniform(-300, 300, 5000), True),
    ],
)
def test_orders_of_magnitude_are_seen_on_a_logarithmic_axis(values, logarithmic):
    histogram = measure(values)
    counts = sum(histogram.counts.values())

    assert histogram.logarithmic == logarithmic
    assert counts.max() < 0.5 * len(values)
    assert histogram.below + histogram.above <= 0.011 * len(values)


def test_the_edges_of_a_logarithmic_axis_are_a_factor_apart():
    histogram = measure(10 ** random.uniform(-3, 3, 5000))

    assert histogram.logarithmic
    assert np.diff(np.log10(histogram.edges)) == pytest.approx(6 / (len(histogram.edges) - 1), rel=0.05)


def test_a_long_tail_is_cut_where_it_would_leave_the_picture_empty_and_a_short_one_is_not():
    assert measure(random.uniform(size=5000)).above == 0
    assert measure(random.normal(size=500)).above == 0
    assert 0 < measure(random.lognormal(0, 1, 5000)).above <= 25


def test_whole_numbers_have_buckets_around_them():
    histogram = measure(np.arange(100).repeat(7), "integer")

    assert set(np.diff(histogram.edges)) == {5}
    assert (histogram.edges[0], histogram.edges[-1]) == (-0.5, 99.5)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (95_000, "95,000"),
        (1.7e308, "1.7e+308"),
        (5e-324, "4.94066e-324"),
        (0.1, "0.1"),
        (0, "0"),
        (-12.5, "-12.5"),
        (np.inf, "infinite"),
        (9_999_999, "9,999,999"),
    ],
)
def test_numbers_are_written_for_people(value, written):
    assert number(value) == written


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        ("2026-03-01T23:59", "2026-03-01"),
        ("0001-01-01", "0001-01-01"),
        ("-0500-01-01", "-500-01-01"),
        ("12000-01-01", "12000-01-01"),
    ],
)
def test_days_are_written_of_every_year(moment, written):
    assert day(np.datetime64(moment, "s").astype(np.int64)) == written
