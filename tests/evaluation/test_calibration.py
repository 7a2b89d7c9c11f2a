"""Thresholds, temperatures and what they are worth."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, f1_score

from bert_recipes.evaluation import calibration


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    p = 1 / (1 + np.exp(-(rng.normal(size=400) * 2 + 3 * (2 * labels - 1) - 1)))
    return labels, np.stack([1 - p, p], axis=1)


def test_no_threshold_on_these_rows_has_a_better_f1(rows):
    labels, p = rows
    threshold = calibration.best_threshold(labels, p[:, 1])
    best = max(f1_score(labels, p[:, 1] >= cut) for cut in p[:, 1])
    assert f1_score(labels, p[:, 1] >= threshold) == pytest.approx(best, abs=1e-12)
    assert best > f1_score(labels, p[:, 1] >= 0.5)


def test_a_threshold_lies_between_scores():
    assert calibration.best_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])) == pytest.approx(0.4)


@pytest.mark.parametrize("labels", [np.zeros(4, dtype=int), np.array([0, 1, 0, 1])])
def test_no_threshold_where_it_is_undefined(labels):
    scores = np.full(4, 0.3) if labels.any() else np.array([0.1, 0.2, 0.3, 0.4])
    assert calibration.best_threshold(labels, scores) is None
    chosen = calibration.choose(labels, np.stack([1 - scores, scores], axis=1))
    assert chosen["threshold"] is None
    assert "f1_at_threshold" not in chosen


def test_the_temperature_is_found_again():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 3)) * 2
    labels = np.array([rng.choice(3, p=row) for row in softmax(logits, axis=1)])
    overconfident = softmax(logits * 2.5, axis=1)
    assert calibration.fit_temperature(labels, overconfident) == pytest.approx(2.5, rel=0.03)
    scaled = calibration.scaled(overconfident, 2.5)
    np.testing.assert_allclose(scaled, softmax(logits, axis=1), atol=1e-6)
    before = calibration.expected_calibration_error(labels, overconfident)
    assert calibration.expected_calibration_error(labels, scaled) < 0.02 < before


def test_calibration_error_by_hand():
    p = np.array([[0.3, 0.7], [0.3, 0.7], [0.05, 0.95], [0.95, 0.05]])
    # The bin of 0.7: one of two right; that of 0.95: both.
    assert calibration.expected_calibration_error(np.array([1, 0, 1, 0]), p) == pytest.approx(0.5 * 0.2 + 0.5 * 0.05)


def test_the_brier_score_is_scikit_learns(rows):
    labels, p = rows
    assert calibration.brier_score(labels, p) == pytest.approx(brier_score_loss(labels, p[:, 1]))
    three = softmax(np.random.default_rng(0).normal(size=(50, 3)), axis=1)
    labels = np.arange(50) % 3
    expected = np.mean([sum((row[c] - (c == y)) ** 2 for c in range(3)) for row, y in zip(three, labels, strict=True)])
    assert calibration.brier_score(labels, three) == pytest.approx(expected)


def test_out_of_fold_scores_take_the_other_folds_thresholds(rows):
    labels, p = rows
    folds = np.arange(len(labels)) % 5
    over = np.zeros(len(labels), dtype=bool)
    for fold in range(5):
        inside = folds == fold
        over[inside] = p[inside, 1] >= calibration.best_threshold(labels[~inside], p[~inside, 1])
    chosen = calibration.choose(labels, p, folds)
    assert chosen["f1_at_threshold"] == pytest.approx(f1_score(labels, over))
    assert chosen["threshold"] == calibration.best_threshold(labels, p[:, 1])


def test_what_is_chosen_is_applied_to_other_rows_as_it_is(rows):
    labels, p = rows
    chosen = {"threshold": 0.9, "temperature": 2.0}
    scores = calibration.scores_at(chosen, labels, p)
    assert scores["f1_at_threshold"] == pytest.approx(f1_score(labels, p[:, 1] >= 0.9))
    assert scores["brier_scaled"] == pytest.approx(calibration.brier_score(labels, calibration.scaled(p, 2.0)))
