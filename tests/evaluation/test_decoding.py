"""From logits to probabilities and predictions."""

import numpy as np

from bert_recipes.evaluation.decoding import label_texts_of, predictions_of, probabilities_of
from bert_recipes.task import MULTI_LABEL, REGRESSION


def test_logits_to_answers():
    logits = np.array([[0.0, 2.0], [-1.0, -3.0]])
    p = probabilities_of(logits, MULTI_LABEL)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-logits)))
    assert predictions_of(p, ["a", "b"], MULTI_LABEL) == ["b", ""]
    assert predictions_of(logits, ["x", "y"], REGRESSION) == ["0|2", "-1|-3"]
    p = probabilities_of(logits, "single_label_classification")
    np.testing.assert_allclose(p.sum(1), 1)
    assert predictions_of(p, ["a", "b"], "single_label_classification") == ["b", "a"]


def test_values_are_spelt_as_they_came():
    given = np.array([[0.7, 20240115.25], [-1e-9, 3.0], [123456789.0, 0.1]])
    assert label_texts_of(given, ["x", "y"], REGRESSION) == ["0.7|20240115.25", "-1e-09|3", "123456789|0.1"]
