"""What was predicted of each row before it taught, measured as an evaluation measures a test split.

The candidate is the model that learns online, the champion the published one, on the same rows.
"""

import sys
from pathlib import Path

import pyarrow.parquet as pq

from cd4ml.contracts import model
from cd4ml.contracts.evaluation import CANDIDATE, SUMMARY, Summary
from cd4ml.contracts.learning import ABOUT, LEARNT, MODEL, PREDICTED, ROWS, Learning, Lesson
from cd4ml.errors import TrainingError
from cd4ml.evaluation import evaluate as evaluation
from cd4ml.evaluation.evaluated import Evaluated
from cd4ml.replies import reply

EVALUATION, REPORT = "evaluation", "report.html"


def evaluate(folder: Path) -> Evaluated:
    """Evaluates what was learnt, by the slices, the sensitive columns and the thresholds of the published version.

    Args:
        folder: Holds `lesson`, `learnt` and the published version's `summary.json`; takes `evaluation` (layout:
            `cd4ml.contracts.evaluation`) and `report.html`.

    Raises:
        TrainingError: No row was predicted by what had learnt something.
        EvaluationError: The rows do not allow an evaluation.
    """
    lesson, learnt = folder / "lesson", folder / "learnt"
    about, published = Lesson.read(lesson / ABOUT), Summary.read(folder / SUMMARY)
    if not Learning.read(learnt / LEARNT).judged:
        raise TrainingError(
            "every row was asked before the first labels were known, so that nothing tells what learning is worth; "
            "learn from windows of a longer time"
        )
    there = set(pq.read_schema(learnt / ROWS).names)
    kinds = {tuple(sorted(one.values)) for one in published.of(CANDIDATE).values() if one.values}
    return evaluation.evaluate(
        learnt / ROWS,
        candidate=learnt / MODEL,
        baseline="",
        champion=str(lesson / MODEL),
        champion_digest=about.digest,
        judged=1,
        trend=[],
        label=model.read_contract(learnt / MODEL).label,
        slices=[list(kind) for kind in sorted(kinds) if there.issuperset(kind)],
        sensitive=[name for name in published.sensitive if name in there],
        thresholds=published.thresholds or (0.5,),
        runner=(),
        folder=folder / EVALUATION,
        report_file=folder / REPORT,
        predicted_before=learnt / PREDICTED,
    )


def main(folder: str) -> int:
    """Evaluates, and prints what was found; the exit status."""
    return reply(lambda: evaluate(Path(folder)).metrics)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
