import subprocess
import sys
import time

import beam_runners
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.portability import python_urns
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml.errors import DataError
from cd4ml.validation import statistics
from cd4ml.validation.quiet_tfdv import stats_impl, tfdv
from cd4ml.validation.statistics_on_beam import on_beam

ROWS = 2000
VALUES = 5000
"""Of a text column: more than TFDV in memory counts, fewer than are counted here."""


def table(rows=ROWS):
    random = np.random.default_rng(3)
    spend = random.gamma(2, 10, rows).astype(np.float32).astype(np.float64)  # TFDV reads no others from CSV
    return pa.table(
        {
            "region": random.choice(["north", "south", "west"], rows),
            "city": pa.array([f"c{number:05}" for number in random.zipf(1.3, rows) % VALUES]),
            "age": pa.array(random.integers(15, 80, rows), mask=random.random(rows) < 0.1),
            "spend": pa.array(spend, mask=random.random(rows) < 0.2),
            "newsletter": random.random(rows) < 0.3,
            "offered_at": pa.array(np.arange(rows) * 10**9, pa.timestamp("us", tz="UTC")),
            "notes": pa.nulls(rows),
        }
    )


def batch(rows):
    return rows.combine_chunks().to_batches()[0]


def features(found):
    return {feature.path.step[0]: feature for feature in found.datasets[0].features}


def without_quantiles(feature):
    """What has to be the same however the rows are cut; a mean is summed in another order."""
    copy = type(feature).FromString(feature.SerializeToString())
    kind = getattr(copy, copy.WhichOneof("stats"))
    kind.common_stats.ClearField("num_values_histogram")
    if copy.HasField("num_stats"):
        for field in ("histograms", "mean", "std_dev", "median"):
            kind.ClearField(field)
    copy.ClearField("custom_stats")
    return copy


def assert_same(one, other):
    """All that is counted is equal; means to rounding; medians lie within TFDV's error by rank."""
    assert [*features(one)] == [*features(other)]
    assert one.datasets[0].num_examples == other.datasets[0].num_examples
    for name, feature in features(one).items():
        assert without_quantiles(feature) == without_quantiles(features(other)[name])
        numbers, others = feature.num_stats, features(other)[name].num_stats
        assert numbers.mean == pytest.approx(others.mean, rel=1e-12)
        assert numbers.std_dev == pytest.approx(others.std_dev, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, ROWS), max_size=6))
def test_any_cut_into_batches_has_the_same_counts_means_and_values_as_one_batch(cuts):
    rows = table()
    found = statistics.Partial()
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), ROWS], strict=True):
        found.add(batch(rows).slice(first, last - first))

    assert_same(found.statistics("train"), statistics.compute(rows, "train"))


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(1, ROWS - 1), min_size=1, max_size=4, unique=True))
def test_partial_statistics_are_merged_as_if_one_had_seen_all_rows(cuts):
    rows = table()
    whole = statistics.Partial()
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), ROWS], strict=True):
        part = statistics.Partial()
        part.add(batch(rows).slice(first, last - first))
        whole.merge(part)

    assert_same(whole.statistics("train"), statistics.compute(rows, "train"))


def test_quantiles_of_many_batches_lie_within_the_error_of_tfdv(monkeypatch):
    monkeypatch.setattr(statistics, "BATCH_ROWS", 1000)
    rows = table(20_000)

    spend = features(statistics.compute(rows, "train"))["spend"].num_stats

    there = np.sort(rows["spend"].drop_null().to_numpy())
    (quantiles,) = [one for one in spend.histograms if one.type == one.QUANTILES]
    shares = np.searchsorted(there, [bucket.high_value for bucket in quantiles.buckets]) / len(there)
    assert np.abs(shares - np.linspace(0.1, 1, 10)).max() <= 0.01
    assert abs(np.searchsorted(there, spend.median) / len(there) - 0.5) <= 0.01


def test_files_in_parts_have_the_statistics_of_the_whole_table(tmp_path, monkeypatch):
    rows = table()
    monkeypatch.setattr(statistics, "BATCH_ROWS", 300)
    for number, first in enumerate((0, 700)):
        part = rows.slice(first, 700 if number == 0 else ROWS)
        pq.write_table(part, tmp_path / f"{number}.parquet", row_group_size=250)

    found = statistics.of_files([tmp_path / "0.parquet", tmp_path / "1.parquet"], "train")

    assert_same(found, tfdv_in_memory(rows))
    assert found.datasets[0].name == "train"


def tfdv_in_memory(rows):
    """TFDV's own statistics of the whole at once, but for the sketch of values, which keeps too few."""
    return stats_impl.generate_statistics_in_memory(statistics.as_lists(batch(rows)), statistics.OPTIONS)


def test_more_values_than_tfdv_keeps_in_memory_are_counted_exactly():
    rows = table(50_000)

    city = features(statistics.compute(rows, "train"))["city"].string_stats

    values, counts = np.unique(batch(rows)["city"].to_numpy(zero_copy_only=False), return_counts=True)
    counted = dict(zip(values, counts, strict=True))
    assert city.unique == len(values) > 1024
    assert [bucket.sample_count for bucket in city.rank_histogram.buckets] == sorted(counts, reverse=True)[:1000]
    assert all(counted[bucket.label] == bucket.sample_count for bucket in city.rank_histogram.buckets)


def test_columns_whose_names_have_dots_are_kept_apart(tmp_path):
    rows = pa.table({"a": [1, 2], "a.b": ["x", "y"], "a b": [1.5, None]})
    pq.write_table(rows, tmp_path / "0.parquet")

    assert_same(statistics.of_files([tmp_path / "0.parquet"], "train"), tfdv_in_memory(rows))


def test_a_runner_of_beam_computes_the_same(tmp_path):
    files = {"train": tmp_path / "train.parquet", "test": tmp_path / "test.parquet"}
    pq.write_table(table(), files["train"], row_group_size=300)
    pq.write_table(table(50), files["test"])

    found = on_beam(files, tmp_path / "statistics", runner="DirectRunner")

    for split, file in files.items():
        assert_same(found[split], statistics.of_files([file], split))
        assert found[split].datasets[0].name == split
    assert {*tmp_path.rglob("*")} == {*files.values()}


@pytest.mark.parametrize(("runner", "message"), beam_runners.REFUSED)
def test_a_runner_that_beam_does_not_take_is_refused(tmp_path, runner, message):
    pq.write_table(table(), tmp_path / "train.parquet")

    with pytest.raises(DataError, match=message):
        on_beam({"train": tmp_path / "train.parquet"}, tmp_path / "out", runner=runner[0], options=runner[1:])


def test_workers_that_cannot_read_a_file_are_told(tmp_path):
    pq.write_table(table(), tmp_path / "train.parquet")
    content = bytearray((tmp_path / "train.parquet").read_bytes())
    content[4:2000] = bytes(1996)
    (tmp_path / "train.parquet").write_bytes(content)

    with pytest.raises(DataError, match=r"(?s)runner: DirectRunner failed: .*its workers must reach the files"):
        on_beam({"train": tmp_path / "train.parquet"}, tmp_path / "out", runner="DirectRunner")
    assert [*tmp_path.rglob("*")] == [tmp_path / "train.parquet"]


@pytest.fixture
def job_server(tmp_path_factory):
    """The port of the job server that comes with Beam."""
    port = tmp_path_factory.mktemp("server") / "port"
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", "--port_file", str(port)]
    with subprocess.Popen(command) as server:
        while not port.exists():
            assert server.poll() is None
            time.sleep(0.1)
        yield port.read_text()
        server.kill()


def test_a_job_server_that_ends_in_the_middle_is_told(tmp_path, job_server):
    pq.write_table(table(), tmp_path / "train.parquet")
    worker = [f"--environment_type={python_urns.SUBPROCESS_SDK}", "--environment_config=kill -9 $PPID"]
    options = [f"--job_endpoint=localhost:{job_server}", *worker]

    with pytest.raises(DataError, match=r"(?s)runner: PortableRunner failed: .*its workers must reach the files"):
        on_beam({"train": tmp_path / "train.parquet"}, tmp_path / "out", runner="PortableRunner", options=options)
    assert [*tmp_path.rglob("*")] == [tmp_path / "train.parquet"]


def test_a_file_of_other_columns_is_refused_by_name(tmp_path):
    pq.write_table(pa.table({"age": [1]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"age": ["old"]}), tmp_path / "1.parquet")

    with pytest.raises(DataError, match=r"1\.parquet: column 'age' is not as in the first file"):
        statistics.of_files([tmp_path / "0.parquet", tmp_path / "1.parquet"], "train")


def test_a_file_that_is_cut_off_is_told(tmp_path):
    file = tmp_path / "0.parquet"
    pq.write_table(table(), file)
    content = bytearray(file.read_bytes())
    content[4:2000] = bytes(1996)
    file.write_bytes(content)

    with pytest.raises(DataError, match=r"0\.parquet: cannot be read as Parquet"):
        statistics.of_files([file], "train")


def test_a_table_without_rows_has_columns_all_the_same():
    found = statistics.compute(table().slice(0, 0), "train")

    assert (found.datasets[0].num_examples, [*features(found)]) == (0, table().column_names)


def test_statistics_are_those_of_a_csv_file_read_by_tfdv(tmp_path):
    rows = table().drop(["offered_at", "newsletter", "notes"])
    rows.to_pandas(integer_object_nulls=True).to_csv(tmp_path / "rows.csv", index=False)

    theirs = features(tfdv.generate_statistics_from_csv(str(tmp_path / "rows.csv")))

    for name, feature in features(statistics.compute(rows, "train")).items():
        ours, other = without_quantiles(feature), without_quantiles(theirs[name])
        assert ours.num_stats == other.num_stats
        assert ours.string_stats.common_stats == other.string_stats.common_stats
        assert ours.string_stats.unique == other.string_stats.unique
        assert ours.string_stats.top_values == other.string_stats.top_values
