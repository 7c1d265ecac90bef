"""Gate: may a model be trained on this dataset?"""

from kfp import dsl

from cd4ml.components import artifacts
from cd4ml.images import TOOLS


@dsl.component(base_image=TOOLS, install_kfp_package=False)
def check_dataset(
    dataset: dsl.Input[artifacts.DatasetVersion],
    findings: dsl.Input[artifacts.Findings],
    statistics: dsl.Input[artifacts.Statistics],
    schema: dsl.Input[artifacts.Schema],
    reference: dsl.Input[artifacts.Reference],
    problem: str,
    positive: str,
    limits: dict,
    store: str,
    verdict: dsl.Output[artifacts.DatasetVerdict],
) -> None:
    """Fails the run unless the dataset keeps every limit.

    Args:
        dataset: The version that `ingest_dataset` wrote (layout: `cd4ml.contracts.dataset`).
        findings: What `validate_dataset` wrote (layout: `cd4ml.contracts.findings`).
        statistics: What it wrote beside them; noted in the store, which validation does not ask.
        schema: The same.
        reference: The same.
        problem: The same.
        positive: The same.
        limits: `anomalies`, `personal_data` and `leaks` at most (0 where not given), `min_rows` and
            `min_class_rows` by split, `min_group_share`, `max_label_rate_gap`, `max_copies`, `max_proxy_auc`,
            `min_alike`, `drift`, `freshness` (docs/limits.md); shares and rates are fractions in [0, 1].
        store: The store, where the record of the run ends when a limit is not kept.

    Returns:
        verdict: The dataset's digest and each limit with what was measured (layout: `cd4ml.contracts.verdict`).
    """
    given = dict(locals())
    from cd4ml.registry.notes import noting
    from cd4ml.validation import gate

    with noting(store, given):
        judged = gate.judge(findings.path, limits, dataset=dataset.path, store=store, file=verdict.path)
    verdict.metadata.update(judged.metadata)
