"""A version of a dataset becomes train, eval and test."""

from typing import Any, NamedTuple

from kfp import dsl

from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def split_dataset(
    uri: str,
    version: int,
    digest: str,
    key: str,
    split: dict[str, Any],
    train: dsl.Output[dsl.Dataset],
    eval: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
) -> NamedTuple("Splits", drawn=dict):  # type: ignore[valid-type]
    """Splits a version of a dataset by a hash of its key, or by time.

    Args:
        uri: Where the dataset's table lies.
        version: Of the dataset.
        digest: Of the version's content, so that the splits of other content are not reused.
        key: The column that tells rows apart.
        split: `by: key` with `seed`, or `by: time` with `column`; `eval` and `test` are fractions of the rows.

    Returns:
        train: The rows to train on, a Parquet file.
        eval: The rows to choose by while training, a Parquet file.
        test: The rows to evaluate on, a Parquet file.
        drawn: What `split` means: what it says beside the defaults.
    """
    from cd4ml.data.split import meaning, write_splits

    parts = write_splits(uri, version, digest, key, split, train.path, eval.path, test.path)
    for artifact, part in zip((train, eval, test), parts, strict=True):
        artifact.metadata.update(part.metadata)
    return (meaning(split),)
