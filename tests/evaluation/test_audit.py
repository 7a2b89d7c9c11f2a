"""How suspicious labels and values are."""

import numpy as np
import pytest

from bert_recipes.evaluation.audit import audit_labels, audit_values, confident_joint, likely_right


def noisy(seed, rows=600, classes=3, flipped=60):
    """Return labels of which some are flipped, which ones, and probabilities of two models that mostly know better."""
    random = np.random.default_rng(seed)
    true = random.integers(classes, size=rows)
    labels = true.copy()
    wrong = random.choice(rows, flipped, replace=False)
    labels[wrong] = (true[wrong] + random.integers(1, classes, flipped)) % classes
    logits = random.normal(size=(2, rows, classes))
    logits[:, np.arange(rows), true] += 3
    exp = np.exp(logits)
    return labels, np.isin(np.arange(rows), wrong), exp / exp.sum(axis=2, keepdims=True)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_labels_come_first_and_their_number_is_estimated(seed):
    labels, wrong, probabilities = noisy(seed)
    found = audit_labels(labels, probabilities)
    assert wrong[found.order[:60]].mean() > 0.85
    assert 40 < found.wrong.sum() < 100
    assert (found.scores > 0.5).tolist() == (found.suggested != labels).tolist()


def test_two_models_find_more_than_one_and_weights_choose_between_them():
    labels, wrong, probabilities = noisy(0)
    both, first = (wrong[audit_labels(labels, asked).order[:60]].sum() for asked in (probabilities, probabilities[:1]))
    assert both > first
    alone = audit_labels(labels, probabilities[:1]).scores
    np.testing.assert_allclose(audit_labels(labels, probabilities, [1, 0]).scores, alone)


def test_what_is_likely_wrong_is_left_out_of_a_second_fit():
    labels, wrong, probabilities = noisy(0)
    audited = audit_labels(labels, probabilities)
    right = likely_right(labels, audited)
    assert wrong[~right].mean() > 0.8
    assert (audited.suggested != labels)[~right].all()
    assert abs(np.bincount(labels[~right], minlength=3) - audited.wrong).max() < 1


def test_of_each_label_half_of_the_rows_stay():
    # All of label 1 are taken for label 0.
    labels = np.array([0] * 8 + [1] * 5)
    probabilities = np.tile([0.9, 0.1], (13, 1))
    right = likely_right(labels, audit_labels(labels, probabilities[None]))
    assert right[:8].all()
    assert right[8:].sum() >= 3


def test_the_confident_joint_counts_the_likeliest_class_that_reaches_its_labels_mean():
    # Means of a label's own class: 0.7 for label 0, 0.8 for label 1.
    labels = np.array([0, 0, 0, 1, 1])
    own = np.array([0.9, 1.0, 0.2, 0.2, 0.2])
    joint = confident_joint(labels, np.stack([own, 1 - own], axis=1))
    np.testing.assert_allclose(joint, [[2, 1], [0, 2]])


def test_the_counts_of_a_label_are_scaled_to_its_rows_and_labels_without_rows_are_left_alone():
    # The third row of label 0 reaches no mean: the two that do stand for all three.
    labels = np.array([0, 0, 0, 2])
    probabilities = np.array([[0.9, 0.0, 0.1], [0.9, 0.0, 0.1], [0.5, 0.1, 0.4], [0.1, 0.1, 0.8]])
    np.testing.assert_allclose(confident_joint(labels, probabilities), [[3, 0, 0], [0, 0, 0], [0, 0, 1]])


def test_values_far_from_what_is_predicted_come_first():
    random = np.random.default_rng(0)
    values = random.normal(size=(200, 1))
    predicted = np.stack([values + random.normal(scale=0.1, size=values.shape) for _ in range(2)])
    values[[3, 50]] += 2.0
    values[50] += 20.0
    spreads = audit_values(values, predicted)
    assert np.argsort(-spreads[:, 0])[:2].tolist() == [50, 3]
    assert spreads[3, 0] > 10
    assert np.median(spreads) == pytest.approx(1 / 1.4826)
    assert audit_values(np.zeros((3, 1)), np.zeros((1, 3, 1))).ravel().tolist() == [0.0, 0.0, 0.0]


def test_each_target_has_a_spread_of_its_own():
    random = np.random.default_rng(0)
    values = random.normal(size=(100, 2)) * [1.0, 1000.0]
    predicted = (values + random.normal(size=values.shape) * [0.1, 100.0])[None]
    values[7, 0] += 3.0
    spreads = audit_values(values, predicted)
    assert (spreads > 8).nonzero()[0].tolist() == [7]
    assert (spreads > 8).nonzero()[1].tolist() == [0]


def test_a_class_that_the_models_have_hardly_seen_leaves_the_estimate_of_the_others_alone():
    random = np.random.default_rng(0)
    true = random.integers(2, size=500)
    own = random.uniform(0.6, 1.0, size=500)
    probabilities = np.zeros((501, 3))
    probabilities[np.arange(500), true] = own
    probabilities[np.arange(500), 1 - true] = 1 - own
    probabilities[500] = [0.5, 0.5, 0.0]
    joint = confident_joint(np.append(true, 2), probabilities)
    assert joint.sum(axis=1)[:2] - joint.diagonal()[:2] == pytest.approx([0, 0])
