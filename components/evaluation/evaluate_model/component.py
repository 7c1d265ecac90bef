"""How good is a model, for whom, and is it better than the one before?"""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import EVALUATE


@dsl.component(base_image=EVALUATE, install_kfp_package=False)
def evaluate_model(
    test: dsl.Input[artifacts.Split],
    candidate: dsl.Input[artifacts.TrainedModel],
    baseline: dsl.Input[artifacts.TrainedModel],
    champion: str,
    champion_digest: str,
    judged: int,
    trend: list,
    label: str,
    slices: list,
    sensitive: list,
    thresholds: list,
    runner: list,
    store: str,
    evaluation: dsl.Output[artifacts.Evaluation],
    metrics: dsl.Output[dsl.Metrics],
    roc: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Measures a candidate beside a baseline and the champion on every row: TFMA's numbers, exact areas, intervals.

    Args:
        test: The test split, which training never saw.
        candidate: What `train_model` wrote.
        baseline: What `train_model` wrote for the model that the candidate has to beat.
        champion: Where the model in production lies in the store; empty where there is none.
        champion_digest: Of its files.
        judged: How many candidates the test split has judged, with this one; the report warns of too many.
        trend: The primary metric of the versions that were published before, as `register_candidate` gives it.
        label: The column to predict.
        slices: Columns, or lists of columns to cross, by which the models are measured.
        sensitive: Columns whose groups must be treated fairly.
        thresholds: Probabilities above which a row counts as positive, the first for pictures; of two classes.
        runner: A runner of Beam and its options, on which TFMA itself computes; empty computes in this task.
        store: The store, which keeps a note of what was read and written.

    Returns:
        evaluation: All numbers, TFMA's own files and known predictions (layout: `cd4ml.contracts.evaluation`).
        metrics: The candidate's metrics, its change against the others, its weakest slice and fairness gaps.
        roc: The candidate's ROC curve, and its confusion matrix at the first threshold; of three classes and more the
            matrix alone; empty of a number.
        report: All of it for people.
    """
    given = dict(locals())
    from cd4ml.evaluation.evaluate import evaluate
    from cd4ml.registry.notes import noting

    with noting(store, given):
        evaluated = evaluate(
            test.path,
            candidate=candidate.path,
            baseline=baseline.path,
            champion=champion,
            champion_digest=champion_digest,
            judged=judged,
            trend=trend,
            label=label,
            slices=slices,
            sensitive=sensitive,
            thresholds=thresholds,
            runner=runner,
            folder=evaluation.path,
            report_file=report.path,
        )
    evaluation.metadata.update(evaluated.metadata)
    metrics.metadata.update(evaluated.metrics)
    evaluated.log_classes(roc)
