"""A team's table becomes a version of a dataset."""

from typing import NamedTuple

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def ingest_dataset(
    source: str,
    store: str,
    name: str,
    key: str,
    dataset: dsl.Output[artifacts.DatasetVersion],
    time_column: str = "",
    mode: str = "",
    owner: str = "",
    duplicates: str = "keep",
    columns: dict = {},  # noqa: B006 (KFP reads the default, nothing changes it)
    curated_schema: str = "",
    run: str = "",
    revision: str = "",
    model: str = "",
    warm_start: bool = False,
) -> NamedTuple(  # type: ignore[valid-type]
    "Ingested",
    uri=str,
    version=int,
    rows=int,
    digest=str,
    key=str,
    schema_digest=str,
    reference=str,
    reference_digest=str,
    champion=str,
    champion_digest=str,
):
    """Adds a table to the store as the latest version of a dataset; nothing new when nothing changed.

    Args:
        source: A path, an `s3://` URI or a web address of files; or an object as JSON, `{"file": …}` (docs/data.md).
        store: The store that holds the datasets.
        name: The dataset's name in the store.
        key: The column that tells rows apart; several as a list in JSON; or `rows`, all of them.
        time_column: The column that says when a row came to be; empty where there is none.
        mode: How the rows go together with those of the version before: `replace`, `append` or `merge`; where empty
            they take their place, unless most of those would be lost.
        owner: Who answers for the data.
        duplicates: Whether of equal rows all are kept or one, where the key is `rows`: `keep` or `drop`.
        columns: What becomes of columns that the dataset is not to hold as the source has them: by the column `drop`,
            `{hash: NAME OF A KEY}` or `{buckets: [18, 30, 50]}` (docs/data.md).
        curated_schema: A path or `s3://` URI of a schema that people keep, to take note of; empty where there is none.
        run: The run's name, for the version's commit.
        revision: The revision of the code, for the version's commit.
        model: The name of the model that is trained on it, whose last version says what the rows were before.
        warm_start: Whether the candidate is to begin with the weights of the champion.

    Returns:
        dataset: Which version of which dataset it is (layout: `cd4ml.contracts.dataset`).
        uri: Where its Delta Lake table lies.
        version: Its number.
        rows: How many it has.
        digest: Of its content.
        key: The column that tells rows apart, for later tasks.
        schema_digest: Of the content of the schema that people keep; empty where there is none.
        reference: Where the rows lie that the last version of the model was trained on; empty where there is none.
        reference_digest: Of their content.
        champion: Where the champion's version lies; empty where the candidate begins anew, or there is none.
        champion_digest: Of its files.
    """
    given = dict(locals())
    from cd4ml.data import champion, curated, ingest, references
    from cd4ml.registry.notes import noting

    with noting(store, given) as returned:
        found = ingest.ingest(
            source,
            store=store,
            name=name,
            key=key,
            time_column=time_column,
            mode=mode,
            owner=owner,
            duplicates=duplicates,
            columns=columns,
            run=run,
            revision=revision,
        ).write(dataset.path)
        returned.update(uri=found.uri, version=found.version, rows=found.rows, digest=found.digest)
        returned.update(key=found.key_column, schema_digest=curated.digest(curated_schema))
        before = references.last(store, name=model, dataset_digest=found.digest)
        returned["reference"], returned["reference_digest"] = before
        start = champion.find(store, model, wanted=warm_start)
        returned["champion"], returned["champion_digest"] = start
    dataset.metadata.update(found.metadata)
    return tuple(returned.values())
