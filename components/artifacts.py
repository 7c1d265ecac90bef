"""What passes between components, by type: a verdict about data cannot be wired where one about a model belongs.

A type is its `schema_title`: KFP's compiler refuses an output of one where an input asks for another, and takes no
namespaces but `system` and `google`. The layout of each is documented in the module that it names.
"""

from kfp import dsl

VERSION = "0.0.1"


class DatasetVersion(dsl.Dataset):  # type: ignore[misc]
    """Which version of which dataset (layout: `cd4ml.data.ingest`)."""

    schema_title = "system.Cd4mlDatasetVersion"
    schema_version = VERSION


class Split(dsl.Dataset):  # type: ignore[misc]
    """Rows of a version of a dataset, a Parquet file that names its origin (`cd4ml.contracts.dataset`)."""

    schema_title = "system.Cd4mlSplit"
    schema_version = VERSION


class Statistics(dsl.Artifact):  # type: ignore[misc]
    """TFDV's statistics by split (layout: `cd4ml.validation.statistics`)."""

    schema_title = "system.Cd4mlStatistics"
    schema_version = VERSION


class Schema(dsl.Artifact):  # type: ignore[misc]
    """A schema of TFDV, a text proto."""

    schema_title = "system.Cd4mlSchema"
    schema_version = VERSION


class Anomalies(dsl.Artifact):  # type: ignore[misc]
    """TFDV's anomalies by split (layout: `cd4ml.validation.schema`)."""

    schema_title = "system.Cd4mlAnomalies"
    schema_version = VERSION


class Reference(dsl.Dataset):  # type: ignore[misc]
    """A sample of the rows to train on, for later rows to be held against (layout: `cd4ml.contracts.reference`)."""

    schema_title = "system.Cd4mlReference"
    schema_version = VERSION


class Provenance(dsl.Artifact):  # type: ignore[misc]
    """How a version of a dataset came to be (layout: `cd4ml.contracts.provenance`)."""

    schema_title = "system.Cd4mlProvenance"
    schema_version = VERSION


class Findings(dsl.Artifact):  # type: ignore[misc]
    """What the audit of a dataset found (layout: `cd4ml.contracts.findings`)."""

    schema_title = "system.Cd4mlFindings"
    schema_version = VERSION


class DatasetVerdict(dsl.Artifact):  # type: ignore[misc]
    """The verdict of a gate about data (layout: `cd4ml.contracts.verdict`)."""

    schema_title = "system.Cd4mlDatasetVerdict"
    schema_version = VERSION


class TrainedModel(dsl.Model):  # type: ignore[misc]
    """A model, its contract and its history (layout: `cd4ml.contracts.model`)."""

    schema_title = "system.Cd4mlTrainedModel"
    schema_version = VERSION


class Evaluation(dsl.Artifact):  # type: ignore[misc]
    """All numbers of an evaluation, TFMA's files and known predictions (layout: `cd4ml.contracts.evaluation`)."""

    schema_title = "system.Cd4mlEvaluation"
    schema_version = VERSION


class ModelVerdict(dsl.Artifact):  # type: ignore[misc]
    """The verdict of a gate about a model (layout: `cd4ml.contracts.verdict`)."""

    schema_title = "system.Cd4mlModelVerdict"
    schema_version = VERSION


class Predictions(dsl.Dataset):  # type: ignore[misc]
    """A version of a table of predictions (layout: `cd4ml.contracts.predicted`)."""

    schema_title = "system.Cd4mlPredictions"
    schema_version = VERSION


class PublishedVersion(dsl.Artifact):  # type: ignore[misc]
    """A version of a model in the registry (layout: `cd4ml.registry.models`)."""

    schema_title = "system.Cd4mlPublishedVersion"
    schema_version = VERSION


class Deployment(dsl.Artifact):  # type: ignore[misc]
    """Where a version is served, and what it answered (layout: `cd4ml.deployment.release`)."""

    schema_title = "system.Cd4mlDeployment"
    schema_version = VERSION


class Verification(dsl.Artifact):  # type: ignore[misc]
    """What a served model answered (layout: `cd4ml.deployment.verify`)."""

    schema_title = "system.Cd4mlVerification"
    schema_version = VERSION


class Windows(dsl.Dataset):  # type: ignore[misc]
    """Windows of what production did, a folder each (layout: `cd4ml.monitoring.handed`)."""

    schema_title = "system.Cd4mlWindows"
    schema_version = VERSION


class WindowsQuality(dsl.Artifact):  # type: ignore[misc]
    """How right a model was within windows, a file each (layout: `cd4ml.contracts.window_quality`)."""

    schema_title = "system.Cd4mlWindowsQuality"
    schema_version = VERSION


class WindowsDrift(dsl.Artifact):  # type: ignore[misc]
    """How windows differ from training, a file each (layout: `cd4ml.contracts.window_drift`)."""

    schema_title = "system.Cd4mlWindowsDrift"
    schema_version = VERSION


class WindowsVerdict(dsl.Artifact):  # type: ignore[misc]
    """The verdict of a gate about windows (layout: `cd4ml.contracts.verdict`)."""

    schema_title = "system.Cd4mlWindowsVerdict"
    schema_version = VERSION
