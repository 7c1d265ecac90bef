"""What training takes from the statistics of the train split."""

from pathlib import Path

from tensorflow_metadata.proto.v0 import statistics_pb2

from cd4ml.training import statistics


def test_a_number_has_the_ends_of_its_parts_each_once_and_a_number_without_has_none(tmp_path: Path) -> None:
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = proto.datasets.add(num_examples=100)
    for name, ends in {"price": (1.5, 1.5, 20, 3e6), "age": ()}.items():
        feature = dataset.features.add()
        feature.path.step.append(name)
        feature.num_stats.common_stats.num_non_missing = 100
        standard, quantiles = statistics_pb2.Histogram.STANDARD, statistics_pb2.Histogram.QUANTILES
        feature.num_stats.histograms.add(type=standard).buckets.add(low_value=0, high_value=9)
        parts = feature.num_stats.histograms.add(type=quantiles)
        for end in ends:
            parts.buckets.add(high_value=end)
    (tmp_path / "train.pb").write_bytes(proto.SerializeToString())

    found = statistics.read(tmp_path)

    assert {name: column.quantiles for name, column in found.items()} == {"price": (1.5, 20.0, 3e6), "age": ()}
