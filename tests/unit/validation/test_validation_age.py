"""How old data may be: by their newest row, and by when they came."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.findings import Findings
from cd4ml.contracts.verdict import Verdict
from cd4ml.data import erasure
from cd4ml.data.ingest import ingest
from cd4ml.data.versions import Datasets
from cd4ml.errors import DataError
from cd4ml.registry import clock
from cd4ml.storage import open_store
from cd4ml.validation import gate, limits

NOW = datetime.now(UTC).replace(microsecond=0)
WEEK = {"max_age": "7 days"}


class Data:
    """A source, the dataset that it becomes, and the gate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, *ages: timedelta | None, zone: Any = UTC, **how: Any) -> DatasetVersion:
        """Ingests rows of these ages as they are now."""
        times = [age if age is None else (NOW - age).replace(tzinfo=zone) for age in ages]
        rows = {"id": [str(one) for one in ages], "at": pa.array(times, pa.timestamp("us", zone and "UTC"))}
        pq.write_table(pa.table(rows), self.folder / "rows.parquet")
        return self.again(**how)

    def again(self, time_column: str = "at", **how: Any) -> DatasetVersion:
        """Ingests what the source holds."""
        source, store = self.folder / "rows.parquet", self.folder / "store"
        found = ingest(str(source), store=str(store), name="rows", key="id", time_column=time_column, **how)
        return found.write(self.folder / "dataset")

    def check(self, **freshness: str) -> Verdict:
        version = DatasetVersion.read(self.folder / "dataset")
        found = Findings("rows", version.version, version.digest, "took", "true", 0.5, {"train": 9}, (), ())
        found.write(self.folder / "findings")
        return gate.check(self.folder / "findings", {"freshness": freshness}, dataset=self.folder / "dataset")


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path)


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Moves the clock on."""

    def moved(by: timedelta) -> None:
        monkeypatch.setattr(clock, "now", lambda: clock.written(NOW + by))

    return moved


def days(number: float) -> timedelta:
    return timedelta(days=number)


def test_a_dataset_grows_too_old_though_it_is_the_same(data: Data, after: Callable[[timedelta], None]) -> None:
    after(days(0))
    data.take(days(20), days(2), None)
    assert data.check(**WEEK).passed

    after(days(7))
    again = data.again()

    at = f"{NOW - days(2):%Y-%m-%d %H:%M} UTC"
    assert again.version == 0
    assert data.check(**WEEK).reasons == [f"the newest row is 9 days old ({at}), the limit is 7 days"]


def test_a_check_says_how_old_the_data_are_where_it_passes_too(data: Data, after: Callable[[timedelta], None]) -> None:
    after(days(0))
    data.take(timedelta(hours=30, minutes=5))

    (check,) = [one for one in data.check(**WEEK).checks if one.name.startswith("age")]

    assert (check.name, check.limit) == ("age of the newest row, in days", "at most 7 days")
    assert check.value == pytest.approx(1.25, abs=0.01)
    assert check.reason.startswith("the newest row is 1 day 6 hours old (")


def test_a_source_that_is_not_read_again_is_as_old_as_when_it_came(
    data: Data, after: Callable[[timedelta], None]
) -> None:
    arrived = data.take(days(0)).arrived
    assert data.check(max_arrival_age="36 hours").passed

    after(days(2.5))
    assert data.again().arrived == arrived
    (reason,) = data.check(max_arrival_age="36 hours").reasons
    assert reason.startswith("the latest version is 2 days 1")
    assert reason.endswith("the limit is 1 day 12 hours")


def test_content_that_comes_again_is_as_old_as_when_it_first_came(data: Data) -> None:
    first = data.take(days(1))
    time.sleep(1.1)
    second = data.take(days(2), mode="replace")
    again = data.take(days(1), mode="replace")

    assert (first.version, second.version, again.version) == (0, 1, 0)
    assert first.arrived == again.arrived < second.arrived


def test_rows_of_the_future_are_told_and_do_not_count_as_fresh(data: Data, after: Callable[[timedelta], None]) -> None:
    after(days(0))
    data.take(days(9), days(-400), days(-30))

    verdict = data.check(**WEEK)

    assert verdict.reasons == [
        f"the newest row is 9 days old ({NOW - days(9):%Y-%m-%d %H:%M} UTC), the limit is 7 days"
    ]
    (told,) = verdict.warnings
    assert told.startswith(
        f"'at' of 2 rows was in the future when they came, the last {NOW + days(400):%Y-%m-%d %H:%M} UTC"
    )


def test_rows_whose_time_has_come_count(data: Data, after: Callable[[timedelta], None]) -> None:
    after(days(0))
    data.take(days(9), days(-30))

    after(days(31))

    assert data.check(**WEEK).passed
    assert data.check(**WEEK).warnings == ()


def test_the_rows_that_stay_count_as_well(data: Data, after: Callable[[timedelta], None]) -> None:
    after(days(0))
    data.take(days(1))
    data.take(days(20), mode="append")

    assert data.check(**WEEK).passed


def test_times_without_a_zone_are_in_utc(data: Data, after: Callable[[timedelta], None]) -> None:
    after(days(0))

    version = data.take(days(9), zone=None)

    assert version.newest == clock.written(NOW - days(9))


@pytest.mark.parametrize(
    ("ages", "time_column", "why"),
    [
        ([days(1)], "", "the dataset names no `time_column`"),
        ([None], "at", "no row has a time that is not in the future, or rows were erased"),
        ([days(-1)], "at", "no row has a time that is not in the future, or rows were erased"),
    ],
)
def test_an_age_that_nothing_tells_does_not_keep_the_limit(
    data: Data, after: Callable[[timedelta], None], ages: list[timedelta | None], time_column: str, why: str
) -> None:
    after(days(0))
    data.take(*ages, time_column=time_column)

    assert data.check(**WEEK).reasons == [
        f"age of the newest row, in days: {why}, so the limit 'at most 7 days' could not be checked"
    ]


def test_findings_about_another_version_are_refused(data: Data) -> None:
    data.take(days(1))
    data.check(**WEEK)
    data.take(days(2), mode="replace")

    with pytest.raises(DataError, match="run validate_dataset again"):
        gate.check(data.folder / "findings", {}, dataset=data.folder / "dataset")


@pytest.mark.parametrize(
    ("written", "span"),
    [
        ("7 days", days(7)),
        ("1 day", days(1)),
        ("36 hours", timedelta(hours=36)),
        ("2 weeks", days(14)),
        ("90 minutes", timedelta(minutes=90)),
        ("P7D", days(7)),
        ("PT36H", timedelta(hours=36)),
    ],
)
def test_a_span_is_written_in_words_or_as_iso_8601_has_it(written: str, span: timedelta) -> None:
    found = limits.parse({"freshness": {"max_age": written}}).freshness

    assert found
    assert found.max_age == span


@pytest.mark.parametrize("written", ["7", 7, "7 dais", "a week", "-7 days", "0 days", "-P7D", "P", "99999999999 weeks"])
def test_what_is_no_span_is_told(written: Any) -> None:
    with pytest.raises(DataError, match=r"freshness\.max_age: "):
        limits.parse({"freshness": {"max_age": written}})


def test_a_limit_of_freshness_that_says_nothing_is_told() -> None:
    with pytest.raises(DataError, match="freshness: write at least one of `max_age` and `max_arrival_age`"):
        limits.parse({"freshness": {}})


def test_a_row_that_was_erased_does_not_make_data_fresh(data: Data) -> None:
    data.take(days(9), days(1))
    dataset = Datasets(open_store(data.folder / "store")).find("rows")
    erasure.erase(dataset, column="id", values=[str(days(1))], reason="asked for")

    data.again()  # the source has the row still

    [check] = [one for one in data.check(**WEEK).checks if "newest row" in one.name]
    assert not check.outcome.lets_pass
    assert "or rows were erased" in check.reason
