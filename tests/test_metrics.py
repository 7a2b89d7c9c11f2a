"""The scores are scikit-learn's."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

from bert_recipes.metrics import scores_from_logits


def draw(num_labels, rows=60):
    generator = np.random.default_rng(num_labels)
    return generator.normal(size=(rows, num_labels)), generator.integers(0, num_labels, rows)


@pytest.mark.parametrize("num_labels", [2, 5])
def test_scores(num_labels):
    logits, labels = draw(num_labels)
    scores = scores_from_logits(logits, labels)
    chosen, average = logits.argmax(1), "binary" if num_labels == 2 else "macro"
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(labels, chosen))
    for name in ("f1", "precision", "recall"):
        score = getattr(metrics, f"{name}_score")(labels, chosen, average=average)
        assert scores[name] == pytest.approx(score)
    assert scores["f1_macro"] == pytest.approx(metrics.f1_score(labels, chosen, average="macro"))
    assert scores["confusion_matrix"] == metrics.confusion_matrix(labels, chosen).tolist()
    probabilities = softmax(logits, axis=1)
    if num_labels == 2:
        assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, probabilities[:, 1]))
        assert scores["average_precision"] == pytest.approx(
            metrics.average_precision_score(labels, probabilities[:, 1])
        )
    else:
        assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))


def test_what_is_undefined_is_left_out():
    logits, _ = draw(2)
    scores = scores_from_logits(logits, np.zeros(60, dtype=int))
    assert "roc_auc" not in scores
    assert "average_precision" not in scores
    assert scores["f1"] == 0.0
    assert np.shape(scores["confusion_matrix"]) == (2, 2)
