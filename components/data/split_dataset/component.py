"""A version of a dataset becomes train, eval and test."""

from typing import NamedTuple

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def split_dataset(
    uri: str,
    version: int,
    digest: str,
    key: str,
    split: dict,
    store: str,
    train: dsl.Output[artifacts.Split],
    eval: dsl.Output[artifacts.Split],
    test: dsl.Output[artifacts.Split],
    schema: dsl.Output[artifacts.Schema],
    before: dsl.Output[artifacts.Reference],
    provenance: dsl.Output[artifacts.Provenance],
    start: dsl.Output[artifacts.TrainedModel],
    curated_schema: str = "",
    schema_digest: str = "",
    reference: str = "",
    reference_digest: str = "",
    champion: str = "",
    champion_digest: str = "",
) -> NamedTuple("Splits", drawn=dict):  # type: ignore[valid-type]
    """Splits a version of a dataset by key, group, stratum or time, and hands on what it is held against.

    Args:
        uri: Where the dataset's table lies.
        version: Of the dataset.
        digest: Of the version's content, so that the splits of other content are not reused.
        key: The column that tells rows apart.
        split: How, as `{by: group, column: customer}`; the arguments of the pipeline say what there is.
        store: The store, which keeps a note of what was read and written.
        curated_schema: A path or `s3://` URI of a schema that people keep; empty where there is none.
        schema_digest: Of its content, so that an earlier one is not reused.
        reference: The rows that the last model was trained on, as it keeps them; empty where there is none.
        reference_digest: Of their content, so that earlier ones are not reused.
        champion: Where the version lies whose weights the candidate begins with; empty where there is none.
        champion_digest: Of its files.

    Returns:
        train: The rows to train on, a Parquet file.
        eval: The rows to choose by while training, a Parquet file.
        test: The rows to evaluate on, a Parquet file.
        schema: The schema that people keep, a TFDV text proto; an empty file where there is none.
        before: The rows that the last model was trained on; an empty file where there is none.
        provenance: How the version was read, and what has changed since the one before.
        start: The model whose weights the candidate begins with; an empty file where there is none.
        drawn: What `split` means: what it says beside the defaults.
    """
    given = dict(locals())
    from cd4ml.data import champion as champions
    from cd4ml.data import curated, references
    from cd4ml.data import provenance as history
    from cd4ml.data import split as splitting
    from cd4ml.registry.notes import noting

    with noting(store, given) as returned:
        curated.copy(curated_schema, schema_digest, schema.path)
        references.copy(reference, reference_digest, before.path)
        tested = splitting.Drawn(uri, version, key, split)
        champions.hand_on(champion, champion_digest, tested=tested, target=start.path)
        parts = splitting.write_splits(
            uri, version=version, digest=digest, key=key, split=split, train=train.path, eval=eval.path, test=test.path
        )
        history.of_version(uri, version, before=before.path).write(provenance.path)
        returned["drawn"] = splitting.meaning(split)
    for artifact, part in zip((train, eval, test), parts, strict=True):
        artifact.metadata.update(part.metadata)
    return (returned["drawn"],)
