"""Weights of known mixtures, and scores that have not seen their own fold."""

import numpy as np
import pytest
from scipy.special import expit

from bert_recipes.evaluation import calibration
from bert_recipes.evaluation.blending import best_weights, learn
from bert_recipes.evaluation.metrics import likelihoods_of, losses_of
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL

ROWS, FOLDS = 2000, 5


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def two_classes(logits):
    return np.stack([1 - expit(logits), expit(logits)], axis=1)


def views(rng, rows=ROWS):
    """Labels, and two models that err on different rows, since each sees half of what decides."""
    halves = rng.normal(size=(2, rows))
    labels = (rng.random(rows) < expit(2 * halves.sum(axis=0))).astype(int)
    return labels, [two_classes(1.5 * half) for half in halves]


def test_noise_gets_nothing_and_two_that_err_differently_share(rng):
    labels, (a, b) = views(rng)
    noise = two_classes(rng.normal(size=ROWS))
    weights = best_weights(np.array([a, noise, b]), labels, SINGLE_LABEL)
    assert weights[1] < 0.02
    assert weights[0] == pytest.approx(0.5, abs=0.1)
    assert weights.sum() == pytest.approx(1)


def test_the_weights_of_a_mixture_are_found(rng):
    # Each label is drawn by one of two models, the first one in three of ten rows: the likeliest weights say so.
    members = np.array([rng.dirichlet(np.full(3, 0.3), size=20_000) for _ in range(2)])
    drawn_by = (rng.random(20_000) > 0.3).astype(int)
    mixed = members[drawn_by, np.arange(20_000)]
    labels = (mixed.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1).clip(0, 2)
    np.testing.assert_allclose(best_weights(members, labels, SINGLE_LABEL), [0.3, 0.7], atol=0.02)


@pytest.mark.parametrize("scale", [1e-4, 1e6])
def test_no_other_weights_are_better(scale, rng):
    """The gradient is the same for all that have a weight, and nowhere better for those that have none."""
    labels, found = views(rng)
    worse = [two_classes(rng.normal(size=ROWS) + 0.3 * (2 * labels - 1)) for _ in range(3)]
    members = np.array([*found, *worse])
    weights = best_weights(members, labels, SINGLE_LABEL)
    likelihoods = np.array([likelihoods_of(member, labels, SINGLE_LABEL) for member in members])
    gain = (likelihoods / (weights @ likelihoods)).mean(axis=1)
    assert gain[weights > 0] == pytest.approx(1, abs=1e-3)
    assert gain.max() < 1 + 1e-3
    truth = scale * rng.normal(size=(300, 2)) * [1, 50]
    values = truth + scale * rng.normal(size=(4, 300, 2)) * np.array([1, 2, 3, 9])[:, None, None] * [1, 50]
    errors = (values - truth) / truth.std(axis=0)
    weights = best_weights(values, truth, REGRESSION)
    slope = np.einsum("mrt,nrt,n->m", errors, errors, weights)
    assert slope[weights > 0] == pytest.approx(slope[weights > 0].mean(), rel=1e-3)
    assert slope.min() >= slope[weights > 0].mean() * (1 - 1e-2)
    assert list(weights) == sorted(weights, reverse=True)


def test_of_several_labels_every_label_counts_alike(rng):
    labels = (rng.random((ROWS, 4)) < [0.5, 0.3, 0.1, 0.02]).astype(float)
    good = np.clip(0.7 * labels + 0.3 * rng.random((ROWS, 4)), 0.05, 0.95)
    noise = rng.random((ROWS, 4))
    np.testing.assert_allclose(best_weights(np.array([noise, good]), labels, MULTI_LABEL), [0, 1], atol=0.02)


def test_a_regression_weighs_by_inverse_variance(rng):
    truth = rng.normal(size=(20_000, 1))
    values = np.array([truth + rng.normal(size=truth.shape) * spread for spread in (1, 2)])
    np.testing.assert_allclose(best_weights(values, truth, REGRESSION), [0.8, 0.2], atol=0.02)


def test_members_that_are_alike_or_right_in_every_row(rng):
    labels, (a, _) = views(rng, rows=50)
    np.testing.assert_allclose(best_weights(np.array([a, a]), labels, SINGLE_LABEL), [0.5, 0.5])
    certain = np.eye(2)[labels]
    assert best_weights(np.array([certain, 1 - certain]), labels, SINGLE_LABEL) == pytest.approx([1, 0])
    truth = np.ones((9, 1))
    assert best_weights(np.array([truth, truth + 1]), truth, REGRESSION) == pytest.approx([1, 0])


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL, REGRESSION])
def test_what_is_predicted_of_a_fold_knows_nothing_of_its_labels(problem_type, rng):
    folds = np.arange(60) % FOLDS
    labels = {
        SINGLE_LABEL: rng.integers(0, 2, 60),
        MULTI_LABEL: rng.integers(0, 2, (60, 2)).astype(float),
        REGRESSION: rng.normal(size=(60, 2)),
    }[problem_type]
    members = rng.dirichlet([1, 1], size=(3, 60))
    before = learn(members, labels, folds, problem_type)
    inside = folds == 2
    others = labels.copy()
    others[inside] = 1 - labels[inside]
    after = learn(members, others, folds, problem_type)
    np.testing.assert_array_equal(after.probabilities[inside], before.probabilities[inside])
    np.testing.assert_array_equal(after.weights_without[2], before.weights_without[2])
    assert not np.array_equal(after.weights, before.weights)
    assert not np.array_equal(after.probabilities[~inside], before.probabilities[~inside])


def test_nothing_is_learned_from_random_labels(rng):
    """Of many members that guess some fit the rows by chance; on rows that had no part in it they guess as before."""
    labels, folds = rng.integers(0, 2, 200), np.arange(200) % FOLDS
    members = np.array([two_classes(2 * rng.normal(size=200)) for _ in range(60)])
    found = learn(members, labels, folds, SINGLE_LABEL)
    kept = np.average(members, axis=0, weights=found.weights)
    in_sample = losses_of(kept, labels, SINGLE_LABEL).mean()
    nested = losses_of(found.probabilities, labels, SINGLE_LABEL).mean()
    assert in_sample < np.log(2) - 0.02
    assert nested > np.log(2)
    # Nor do threshold and temperature have scores of rows that they were chosen on.
    fitted = calibration.choose(labels, kept)
    assert found.chosen["accuracy_at_threshold"] < fitted["accuracy_at_threshold"]
    assert found.chosen["brier_scaled"] > fitted["brier_scaled"]
    assert (found.chosen["threshold"], found.chosen["temperature"]) == (fitted["threshold"], fitted["temperature"])


def test_the_threshold_of_a_fold_is_that_of_the_other_folds(rng):
    labels, (a, b) = views(rng, rows=100)
    folds = np.arange(100) % 2
    found = learn(np.array([a, b]), labels, folds, SINGLE_LABEL)
    over = np.zeros(100, dtype=bool)
    for fold in (0, 1):
        mixed = np.average([a, b], axis=0, weights=found.weights_without[fold])[:, 1]
        threshold = calibration.best_threshold(labels[folds != fold], mixed[folds != fold])
        over[folds == fold] = mixed[folds == fold] >= threshold
    assert found.chosen["accuracy_at_threshold"] == np.mean(over == labels)
