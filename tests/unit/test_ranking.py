"""The areas are those of their definitions, and of scikit-learn 1.9.1, whose figures stand here."""

import numpy as np
import pytest

from cd4ml.contracts.ranking import areas, auc


def pair_count(labels, scores, weights):
    """The share of pairs of a positive and a negative row that are in order; half of those that are tied."""
    above = np.sign(scores[labels][:, None] - scores[~labels][None, :]) / 2 + 0.5
    of_pair = weights[labels][:, None] * weights[~labels][None, :]
    return (above * of_pair).sum() / of_pair.sum()


def average_precision(labels, scores, weights):
    """The precision at each positive row's score, of what is at that score or above."""
    chosen = scores[None, :] >= scores[labels][:, None]
    precision = (chosen * weights * labels).sum(axis=1) / (chosen * weights).sum(axis=1)
    return (weights[labels] * precision).sum() / weights[labels].sum()


def drawn(rate: float, rows: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores that are the chance of each."""
    random = np.random.default_rng(seed)
    scores = random.beta(1, 1 / rate - 1, rows)
    labels = random.random(rows) < scores
    labels[:2] = True, False
    return labels, scores


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01, 0.001, 0.0003])
@pytest.mark.parametrize(
    "change",
    [
        lambda scores: scores,
        lambda scores: scores.astype(np.float32),
        lambda scores: scores.round(2),  # ties
        lambda scores: 0.5 + 1e-9 * scores,  # a narrow band
    ],
    ids=["spread", "float32", "ties", "narrow"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_areas_are_those_of_their_definitions(rate, change, weighted):
    labels, scores = drawn(rate)
    scores = change(scores)
    weights = np.random.default_rng(1).choice([0.25, 1, 3], len(scores)) if weighted else np.ones(len(scores))

    found = areas(labels, scores, weights=weights if weighted else None)

    assert found.auc[0] == pytest.approx(pair_count(labels, scores, weights), abs=1e-12)
    assert auc(labels, scores, weights if weighted else None) == found.auc[0]
    assert found.auc_pr[0] == pytest.approx(average_precision(labels, scores, weights), abs=1e-12)


# roc_auc_score and average_precision_score of drawn(rate, 200_000), the scores rounded to six digits.
@pytest.mark.parametrize(
    ("rate", "of_roc", "of_precision"),
    [
        (0.5, 0.832634457315533, 0.832718870396176),
        (0.1, 0.764901691920001, 0.264935457477535),
        (0.01, 0.748487984781265, 0.0287375771681935),
        (0.001, 0.765159910484442, 0.00425439223703347),
        (0.0003, 0.735401925059512, 0.00180304714357292),
    ],
)
def test_the_areas_are_those_of_scikit_learn(rate, of_roc, of_precision):
    labels, scores = drawn(rate, rows=200_000)

    found = areas(labels, scores.round(6))

    assert found.auc[0] == pytest.approx(of_roc, abs=1e-12)
    assert found.auc_pr[0] == pytest.approx(of_precision, abs=1e-12)


def test_each_group_has_its_own_areas_and_one_class_has_none():
    labels, scores = drawn(0.2, rows=400)
    groups = np.random.default_rng(2).integers(0, 4, 400)
    labels[groups == 3] = True

    found = areas(labels, scores, groups)

    assert len(found.auc) == len(found.auc_pr) == 4
    for group in range(3):
        own = groups == group
        assert found.auc[group] == pytest.approx(pair_count(labels[own], scores[own], np.ones(own.sum())))
        assert found.auc_pr[group] == pytest.approx(average_precision(labels[own], scores[own], np.ones(own.sum())))
    assert np.isnan([found.auc[3], found.auc_pr[3], auc(labels[groups == 3], scores[groups == 3])]).all()


@pytest.mark.parametrize("change", [lambda one: one**3, lambda one: one / 1000, lambda one: np.log(one) - 7])
def test_two_models_of_one_order_differ_by_exactly_nothing(change):
    labels, scores = drawn(0.001, rows=50_000)
    groups = np.random.default_rng(3).integers(0, 3, 50_000)

    one, other = areas(labels, scores, groups), areas(labels, change(scores), groups)

    assert (one.auc - other.auc).tolist() == (one.auc_pr - other.auc_pr).tolist() == [0, 0, 0]
    assert not (one.auc_influence - other.auc_influence).any()


def test_the_influence_of_a_row_is_how_far_its_weight_moves_the_area():
    labels, scores = drawn(0.3, rows=60)
    scores = scores.round(1)
    groups = np.arange(60) % 2
    found = areas(labels, scores, groups)

    for row in range(60):
        weights = np.ones(60)
        weights[row] += 1e-6
        moved = areas(labels, scores, groups, weights=weights)
        assert (moved.auc - found.auc)[groups[row]] / 1e-6 == pytest.approx(found.auc_influence[row], abs=1e-6)
        assert (moved.auc_pr - found.auc_pr)[groups[row]] / 1e-6 == pytest.approx(found.auc_pr_influence[row], abs=1e-6)


def test_the_order_of_the_rows_does_not_matter():
    labels, scores = drawn(0.1)
    turned = np.random.default_rng(4).permutation(len(labels))

    assert auc(labels, scores.round(1)) == auc(labels[turned], scores.round(1)[turned])
