"""`cd4ml.contracts.moments`: dates and times as models take them."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cd4ml.contracts import moments
from cd4ml.contracts.moments import MISSING
from cd4ml.errors import DataError

OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
WITH_ZONE = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=OFFSETS | st.none())


@given(WITH_ZONE)
def test_a_text_is_the_moment_that_numpy_knows(moment):
    in_utc = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment

    found = moments.of_text(moment.isoformat())

    assert np.datetime64(found, "us") == np.datetime64(in_utc)


@given(st.lists(st.none() | st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), min_size=1))
def test_a_column_and_the_texts_of_its_values_are_the_same_moments(values):
    column = pa.chunked_array([pa.array(values, pa.timestamp("us"))])
    texts = [one and one.isoformat() for one in values]

    found = moments.of_column(column, "at")

    np.testing.assert_array_equal(found, moments.of_column(pa.chunked_array([pa.array(texts, pa.string())]), "at"))
    np.testing.assert_array_equal(found.view("datetime64[us]"), np.array(values, "datetime64[us]"))


@given(st.integers(moments.EARLIEST, moments.LATEST))
def test_a_moment_is_read_as_it_was_written(moment):
    assert moments.of_text(moments.text_of(moment)) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01", 0),
        ("1969-12-31", -86_400_000_000),
        ("1970-01-01T00:00:00.000001", 1),
        ("1970-01-01 01:00+01:00", 0),
        ("19700101T000001Z", 1_000_000),
        ("0001-01-01", moments.EARLIEST),
        ("9999-12-31T23:59:59.999999Z", moments.LATEST),
    ],
)
def test_what_a_text_means(text, moment):
    assert moments.of_text(text) == moment


@pytest.mark.parametrize("text", ["", "2023-02-29", "1.2.2024", "2024", "tomorrow", "12:00", "2024-01-01T25:00"])
def test_what_is_no_date(text):
    with pytest.raises(ValueError, match=r"."):
        moments.of_text(text)


ENDS = st.integers(moments.EARLIEST, moments.EARLIEST + 10**11) | st.integers(moments.LATEST - 10**11, moments.LATEST)
"""Somewhat more than a day from either end."""


@given(ENDS, st.integers(-24 * 60 + 1, 24 * 60 - 1))
def test_texts_have_the_same_ends_as_columns_whatever_their_offset(local, minutes):
    """A time that a calendar shows, and how many minutes that calendar is ahead of UTC."""
    moment = local - minutes * 60 * 10**6
    zone = timezone(timedelta(minutes=minutes))
    text = (datetime(1970, 1, 1) + timedelta(microseconds=local)).replace(tzinfo=zone).isoformat()
    column = pa.chunked_array([pa.array([moment], pa.timestamp("us", "UTC"))])
    try:
        moments.of_column(column, "at")
    except DataError:
        with pytest.raises(ValueError, match=r"is beyond the years 1 to 9999 in UTC"):
            moments.of_text(text)
    else:
        assert moments.of_text(text) == moment


@pytest.mark.parametrize("text", ["9999-12-31T23:59-14:00", "0001-01-01T00:00+14:00"])
def test_a_text_whose_offset_takes_it_beyond_the_calendar_is_told_by_its_row(text):
    with pytest.raises(DataError, match="column 'at' holds a text that is no date or time as ISO 8601, first in row 2"):
        moments.of_column(pa.chunked_array([["2024-01-01", text]]), "at")


DAYS = [date(1, 1, 1), date(1969, 12, 31), date(2024, 2, 29), date(9999, 12, 31), None]
NOON = [None if day is None else datetime(day.year, day.month, day.day, 12) for day in DAYS]


@pytest.mark.parametrize("type_", [pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us")])
def test_a_column_of_any_type_of_dates_is_taken(type_):
    found = moments.of_column(pa.chunked_array([pa.array(DAYS, pa.date32()).cast(type_)]), "day")

    assert moments.is_moment(type_)
    np.testing.assert_array_equal(found.view("datetime64[us]"), np.array(DAYS, "datetime64[us]"))
    assert found[-1] == MISSING


def test_a_zone_changes_nothing_and_nanoseconds_are_cut():
    plain = pa.array(NOON[1:3], pa.timestamp("us"))
    wanted = moments.of_column(pa.chunked_array([plain]), "at")

    for type_ in (pa.timestamp("us", "Asia/Kolkata"), pa.timestamp("ns"), pa.timestamp("ns", "America/New_York")):
        np.testing.assert_array_equal(moments.of_column(pa.chunked_array([plain.cast(type_)]), "at"), wanted)
    finer = pa.array([1_999], pa.timestamp("ns"))
    assert moments.of_column(pa.chunked_array([finer]), "at").tolist() == [1]


@pytest.mark.parametrize("column", [pa.array([], pa.timestamp("us")), pa.nulls(2), pa.array([None, ""])])
def test_a_column_without_moments_is_missing(column):
    assert set(moments.of_column(pa.chunked_array([column]), "at").tolist()) <= {MISSING}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([moments.EARLIEST - 1], pa.timestamp("us")),
        pa.array([0, moments.LATEST + 1], pa.timestamp("us")),
        pa.array([10**17], pa.timestamp("s")),
        pa.array([4_000_000], pa.int32()).cast(pa.date32()),
    ],
)
def test_what_cannot_be_written_as_a_date_is_told(column):
    with pytest.raises(DataError, match="column 'at' holds a moment beyond the years 1 to 9999; clean the source"):
        moments.of_column(pa.chunked_array([column]), "at")


def test_a_text_that_is_no_date_is_told_by_its_row():
    column = pa.chunked_array([["2024-01-01", None], ["2024-01-01", "2023-02-29", "2023-02-29"]])

    with pytest.raises(DataError, match="column 'at' holds a text that is no date or time as ISO 8601, first in row 4"):
        moments.of_column(column, "at")
