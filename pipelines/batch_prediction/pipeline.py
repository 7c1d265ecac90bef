"""The rows of a table, predicted by a published model: for a schedule."""

from kfp import dsl

from cd4ml.components.prediction.predict_dataset.component import predict_dataset
from cd4ml.pipelines.batch_prediction.arguments import BatchPrediction
from cd4ml.pipelines.tasks import ending_after, heavy, with_credentials, with_store, with_trusted_keys
from cd4ml.running.arguments import described_by


@dsl.pipeline(name="batch-prediction", display_name="Predict a dataset", pipeline_config=ending_after(hours=2 * 24))
@described_by(BatchPrediction)
def batch_prediction(
    model: str,
    source: str,
    store: str,
    output: str = "",
    key: list = [],  # noqa: B006 (KFP reads the default, nothing changes it)
    revision: str = "",
) -> None:
    """Predicts every row of a source or a dataset by a published model, into a Delta table of the store."""
    predicted = predict_dataset(
        model=model,
        source=source,
        store=store,
        output=output,
        key=key,
        run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        revision=revision,
    )
    heavy(predicted, "Predict dataset", cpu="4", memory="4G", cached=False)
    with_store(predicted)
    with_credentials(predicted)
    with_trusted_keys(predicted)
