"""TFMA's numbers for whole columns at once: an `EvalConfig` and batches of columns in, TFMA's own files out."""

from cd4ml.evaluation.executor.evaluation import Evaluation, run

__all__ = ["Evaluation", "run"]
