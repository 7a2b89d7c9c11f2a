"""Before and after: what differs, and what counts as the same."""

import numpy as np
import pytest

from bert_recipes.evaluation.prediction_files import Predictions
from bert_recipes.runs.parity import in_words, is_near, parity, rows_of
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL


def predictions(labels, probabilities, problem_type, names, **columns):
    ids = [f"r{i}" for i in range(len(labels))]
    losses = np.zeros(len(labels))
    return Predictions(ids, np.array(labels), probabilities, losses, names, problem_type, columns)


def test_flips_scores_and_the_largest_difference():
    before = np.array([[0.9, 0.1], [0.4, 0.6], [0.45, 0.55], [0.2, 0.8]])
    after = before + np.array([[0, 0], [0, 0], [0.1, -0.1], [-0.01, 0.01]])
    found = parity(predictions([0, 1, 1, 1], before, SINGLE_LABEL, ["no", "yes"]), before, after, 0.5)
    assert (found["rows"], found["flips"]) == (4, 1)
    assert found["largest_difference"] == pytest.approx(0.1)
    assert (found["before"]["accuracy"], found["after"]["accuracy"]) == (1.0, 0.75)
    assert (found["before"]["f1_at_threshold"], found["after"]["f1_at_threshold"]) == (1.0, pytest.approx(0.8))
    said = in_words(found | {"rows_of": "validation"})
    assert said.startswith(
        "Against the model, over 4 rows of validation, 1 prediction changed and probabilities differ"
    )
    assert "differ by 1.0e-01 at most: F1 0.8000 (-0.2000), accuracy 0.7500 (-0.2500)" in said


def test_a_row_of_several_labels_flips_once():
    before = np.array([[0.6, 0.6], [0.1, 0.9]])
    found = parity(predictions(np.eye(2), before, MULTI_LABEL, ["a", "b"]), before, before[:, ::-1] - 0.2, None)
    assert found["flips"] == 2
    assert "f1_at_threshold" not in found["before"]


def test_a_regression_has_no_flips_and_is_near_in_units_of_its_values():
    before = np.array([[1000.0], [-3000.0]])
    found = parity(predictions(before, before, REGRESSION, ["price"]), before, before + 0.02, None)
    assert "flips" not in found
    assert "values differ by 2.0e-02 at most" in in_words(found | {"rows_of": "validation"})
    assert is_near(before, before + 0.02, REGRESSION)
    assert not is_near(before, before + 0.04, REGRESSION)
    assert not is_near(before, before + 0.02, SINGLE_LABEL)


def test_what_is_no_number_is_not_near():
    before = np.array([[0.5, 0.5]])
    assert is_near(before, before + 1e-6, SINGLE_LABEL)
    assert not is_near(before, np.array([[np.nan, 0.5]]), SINGLE_LABEL)


def test_rows_are_those_that_the_run_kept():
    columns = {"text": ["fire", "cake"], "text_pair": ["a", "b"], "price": ["1.5", ""]}
    first, second = rows_of(predictions([0, 1], np.eye(2), SINGLE_LABEL, ["no", "yes"], **columns))
    assert (first.id, first.text, first.text_pair) == ("r0", "fire", "a")
    assert second.cells == {"text": "cake", "text_pair": "b", "price": ""}
