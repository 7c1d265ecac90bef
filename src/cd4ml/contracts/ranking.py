"""The areas under a model's curves, exactly: from the order of its scores, with no thresholds between."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Areas:
    """The areas by group, and how far each row moves them.

    Attributes:
        auc: float64 [groups], the share of pairs of a positive and a negative row in which the positive has the higher
            score; a tie counts half. Not a number where a group has one class.
        auc_pr: float64 [groups], average precision as `sklearn.metrics.average_precision_score` defines it: the
            precision at each score, weighted by the recall that it adds. Not a number where a group has one class.
        auc_influence: float64 [rows], the derivative of the group's `auc` by what the row counts; the squares of a
            group add up to the variance of its `auc` (for the AUC, the estimate of DeLong et al. 1988).
        auc_pr_influence: float64 [rows], the same of `auc_pr`.
    """

    auc: np.ndarray
    auc_pr: np.ndarray
    auc_influence: np.ndarray
    auc_pr_influence: np.ndarray


def auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The AUC of all rows together, as `areas` has it, in a third of the time."""
    order = np.argsort(scores)
    score, counts = scores[order], np.ones(len(scores)) if weights is None else weights[order].astype(np.float64)
    of_positives = counts * labels[order].astype(bool)
    first = np.flatnonzero(np.append(True, score[1:] != score[:-1]))
    positives, rows = (np.add.reduceat(one, first) for one in (of_positives, counts))
    negatives = rows - positives
    below = np.cumsum(negatives) - negatives / 2
    with np.errstate(invalid="ignore"):
        return float((positives * below).sum() / (positives.sum() * negatives.sum()))


def areas(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    order: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> Areas:
    """Computes the areas of each group of rows.

    Args:
        labels: [rows], true or 1 where a row is positive.
        scores: float [rows], the higher the likelier positive; finite.
        groups: int [rows], the group of each row, from 0; None where all are one.
        order: int [rows], what sorts the scores; None sorts here. Of many groupings of the same rows it is the same.
        weights: float [rows], what each row counts; None for once.
    """
    order = np.argsort(scores, kind="stable") if order is None else order
    groups = np.zeros(len(scores), np.int64) if groups is None else groups
    by_group = order[np.argsort(groups[order], kind="stable")]  # by group, and within it by rising score
    group, score = groups[by_group], scores[by_group]
    counts = np.ones(len(scores)) if weights is None else weights[by_group].astype(np.float64)
    positive = labels[by_group].astype(bool)

    first = np.flatnonzero(np.append(True, (group[1:] != group[:-1]) | (score[1:] != score[:-1])))
    tie = np.cumsum(np.bincount(first, minlength=len(scores))) - 1  # the rows of one score in one group
    group_of_tie = group[first]
    positives, negatives = (np.add.reduceat(counts * kind, first) for kind in (positive, ~positive))
    size = int(groups.max()) + 1
    all_positives, all_negatives = (np.bincount(group_of_tie, one, size) for one in (positives, negatives))
    starts = np.flatnonzero(np.append(True, group_of_tie[1:] != group_of_tie[:-1]))

    def through(values: np.ndarray) -> np.ndarray:
        """The sum over the ties of the group up to each one, with it."""
        sums = np.cumsum(values)
        before = np.zeros(size)
        before[group_of_tie[starts]] = sums[starts] - values[starts]
        within: np.ndarray = sums - before[group_of_tie]
        return within

    below = through(negatives) - negatives / 2
    above = all_positives[group_of_tie] - through(positives) + positives / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = np.bincount(group_of_tie, positives * below, size) / (all_positives * all_negatives)
        of_positive = (below / all_negatives[group_of_tie] - auc[group_of_tie]) / all_positives[group_of_tie]
        of_negative = (above / all_positives[group_of_tie] - auc[group_of_tie]) / all_negatives[group_of_tie]
        auc_influence = np.where(positive, of_positive[tie], of_negative[tie])

        found = above + positives / 2  # at this score or above
        selected = found + all_negatives[group_of_tie] - through(negatives) + negatives
        precision = found / selected
        auc_pr = np.bincount(group_of_tie, positives * precision, size) / all_positives
        auc_pr[all_negatives == 0] = np.nan
        own = precision - auc_pr[group_of_tie] + through(positives / selected)
        others = through(positives * precision / selected)
        auc_pr_influence = (np.where(positive, own[tie], 0) - others[tie]) / all_positives[group]

    back = np.empty_like(by_group)
    back[by_group] = np.arange(len(by_group))
    return Areas(auc, auc_pr, auc_influence[back], auc_pr_influence[back])
