"""Is the data what it should be?"""

from typing import NamedTuple

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import VALIDATE


@dsl.component(base_image=VALIDATE, install_kfp_package=False)
def validate_dataset(
    train: dsl.Input[artifacts.Split],
    eval: dsl.Input[artifacts.Split],
    test: dsl.Input[artifacts.Split],
    label: str,
    key: str,
    curated_schema: dsl.Input[artifacts.Schema],
    before: dsl.Input[artifacts.Reference],
    provenance: dsl.Input[artifacts.Provenance],
    statistics: dsl.Output[artifacts.Statistics],
    schema: dsl.Output[artifacts.Schema],
    anomalies: dsl.Output[artifacts.Anomalies],
    findings: dsl.Output[artifacts.Findings],
    reference: dsl.Output[artifacts.Reference],
    report: dsl.Output[dsl.HTML],
    sensitive: list = [],  # noqa: B006 (KFP reads the default, nothing changes it)
    slices: list = [],  # noqa: B006
    exclude: list = [],  # noqa: B006
    dates: list = [],  # noqa: B006
    time_column: str = "",
    runner: list = [],  # noqa: B006
    waivers: list = [],  # noqa: B006
    problem: str = "auto",
    positive: str = "",
    classes: list = [],  # noqa: B006
) -> NamedTuple("Question", problem=str, positive=str):  # type: ignore[valid-type]
    """Validates the splits with TFDV, audits them (docs/audit.md), and says what has changed (docs/drift.md).

    Args:
        train: The rows to train on.
        eval: The rows to choose by while training.
        test: The rows to evaluate on.
        label: The column to predict.
        key: The column that tells rows apart.
        curated_schema: The schema that people keep, a TFDV text proto; inferred from train where the file is empty.
        before: The rows that the last model was trained on; an empty file where there is none.
        provenance: How the version was read, and what has changed since the one before.
        sensitive: Columns whose groups must be treated fairly.
        slices: Columns, or lists of columns to cross, by which models are evaluated.
        exclude: Columns that no model sees.
        dates: Columns that a model sees as dates or times.
        time_column: The column that says when a row came to be; empty where there is none.
        runner: A runner of Beam and its options, on which the statistics are computed; empty computes in this task.
        waivers: Why findings do not count, until when, and who says so (docs/audit.md).
        problem: What the label asks for; `auto` finds it (docs/training.md).
        positive: The value of the label that counts as positive; found where it is empty.
        classes: The values of the label in their order; empty where they have none (docs/training.md).

    Returns:
        statistics: TFDV's statistics by split (layout: `cd4ml.validation.statistics`).
        schema: The schema that the splits were held against, a TFDV text proto.
        anomalies: TFDV's anomalies by split (layout: `cd4ml.validation.schema`).
        findings: What was found (layout: `cd4ml.contracts.findings`).
        reference: A sample of the rows to train on, for later ones to be held against.
        report: All of it for people.
        problem: What the label asks for; empty where it is of no use.
        positive: The value of the label that counts as positive; empty but of two classes.
    """
    from cd4ml.validation.validate import Outputs, validate

    found = validate(
        {"train": train.path, "eval": eval.path, "test": test.path},
        label_column=label,
        key=key,
        curated_schema=curated_schema.path,
        before=before.path,
        provenance=provenance.path,
        sensitive=sensitive,
        slices=slices,
        exclude=exclude,
        dates=dates,
        time_column=time_column,
        runner=runner,
        waivers=waivers,
        problem=problem,
        positive=positive,
        classes=classes,
        outputs=Outputs(
            statistics=statistics.path,
            schema=schema.path,
            anomalies=anomalies.path,
            findings=findings.path,
            reference=reference.path,
            report=report.path,
        ),
    )
    statistics.metadata.update(found.metadata)
    findings.metadata.update(found.metadata)
    return (found.problem, found.positive)
