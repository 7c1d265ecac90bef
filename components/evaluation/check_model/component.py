"""Gate: is this model good enough to publish?"""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def check_model(
    evaluation: dsl.Input[artifacts.Evaluation],
    limits: dict,
    store: str,
    verdict: dsl.Output[artifacts.ModelVerdict],
) -> None:
    """Fails the run unless the evaluated candidate keeps every limit.

    Args:
        evaluation: What `evaluate_model` wrote (layout: `cd4ml.contracts.evaluation`).
        limits: Limits by metric, and under `fairness`, `required_slices` and `bootstrap`, as in `docs/limits.md`.
        store: The store, where the record of the run ends when a limit is not kept.

    Returns:
        verdict: The digests of the candidate, the test split and the limits, and each limit with its slice, what was
            measured, the interval and the reason.
    """
    given = dict(locals())
    from cd4ml.evaluation import gate
    from cd4ml.registry.notes import noting

    with noting(store, given):
        judged = gate.judge(evaluation.path, limits, store=store, file=verdict.path)
    verdict.metadata.update(judged.metadata)
