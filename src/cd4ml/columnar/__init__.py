"""TFMA's numbers for whole columns at once: an `EvalConfig` and batches of columns in, TFMA's own files out.

It stands alone: of cd4ml it imports the errors, and no more. docs/columnar.md has an example.
"""

from cd4ml.columnar.evaluation import Evaluation, run
from cd4ml.columnar.on_beam import run_on_beam

__all__ = ["Evaluation", "run", "run_on_beam"]
