"""The scores are scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax
from sklearn import metrics

from bert_recipes.evaluation.metrics import scores_from_logits
from bert_recipes.task import MULTI_LABEL, REGRESSION


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


def test_scores_of_several_labels():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(60, 3)), generator.integers(0, 2, (60, 3)).astype(float)
    scores = scores_from_logits(logits, labels, MULTI_LABEL)
    chosen = logits > 0
    assert scores["accuracy"] == pytest.approx((chosen == labels).all(axis=1).mean())
    assert scores["f1"] == scores["f1_micro"] == pytest.approx(metrics.f1_score(labels, chosen, average="micro"))
    assert scores["f1_macro"] == pytest.approx(metrics.f1_score(labels, chosen, average="macro"))
    assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, expit(logits)))
    for i, of_label in enumerate(scores["per_label"]):
        assert of_label["f1"] == pytest.approx(metrics.f1_score(labels[:, i], chosen[:, i]))
        assert of_label["rows"] == labels[:, i].sum()
    labels[:, 1] = 0
    scores = scores_from_logits(logits, labels, MULTI_LABEL)
    assert "roc_auc" not in scores
    assert scores["per_label"][1]["recall"] == 0.0


def test_scores_of_a_regression():
    generator = np.random.default_rng(0)
    labels = generator.normal(size=(60, 2))
    predicted = labels + generator.normal(size=(60, 2))
    scores = scores_from_logits(predicted, labels, REGRESSION)
    assert scores["mse"] == pytest.approx(((labels - predicted) ** 2).mean())
    assert scores["mae"] == pytest.approx(np.abs(labels - predicted).mean())
    assert scores["r2"] == pytest.approx(metrics.r2_score(labels, predicted))
    correlations = [np.corrcoef(predicted[:, i], labels[:, i])[0, 1] for i in (0, 1)]
    assert scores["pearson"] == pytest.approx(np.mean(correlations))
    ranks = [pd.DataFrame({"a": predicted[:, i], "b": labels[:, i]}).corr("spearman").iloc[0, 1] for i in (0, 1)]
    assert scores["spearman"] == pytest.approx(np.mean(ranks))
    constant = scores_from_logits(np.ones((60, 2)), labels, REGRESSION)
    assert "pearson" not in constant
    assert constant["mse"] == pytest.approx(((labels - 1) ** 2).mean())
