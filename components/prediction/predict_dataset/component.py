"""What does a published model say of a whole table?"""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import EVALUATE


@dsl.component(base_image=EVALUATE, install_kfp_package=False)
def predict_dataset(
    model: str,
    source: str,
    store: str,
    predictions: dsl.Output[artifacts.Predictions],
    metrics: dsl.Output[dsl.Metrics],
    output: str = "",
    key: list = [],  # noqa: B006 (KFP reads the default, nothing changes it)
    run: str = "",
    revision: str = "",
) -> None:
    """Predicts every row of a source or a dataset; goes on where it was ended, and does nothing where nothing changed.

    Args:
        model: `NAME@VERSION`, or `NAME`: the champion.
        source: A path, an `s3://` URI or a web address; or an object as JSON: of a source (docs/data.md), or
            `{"dataset": "NAME@VERSION"}`.
        store: The store that holds the registry and the datasets, and takes the predictions.
        output: What the table of predictions is called; as the dataset or the file where empty.
        key: Columns that stand beside the predictions; where empty those that tell the rows of a dataset apart, else
            the number of the row.
        run: The run's name, for the table's commit.
        revision: The revision of the code, for the table's commit.

    Returns:
        predictions: Which version of which table they are, and what the model did not know (layout:
            `cd4ml.contracts.predicted`).
        metrics: The rows, the mean of what the model gives, missing values and values that the model does not know.
    """
    from cd4ml.prediction import batch

    found = batch.predict(model, source=source, store=store, output=output, key=key, run=run, revision=revision).write(
        predictions.path
    )
    predictions.metadata.update(found.metadata)
    metrics.metadata.update(found.metrics)
