"""What is written to a file of predictions is read again."""

import numpy as np
import pytest

from bert_recipes.errors import UserError
from bert_recipes.evaluation.prediction_files import VALIDATION_FILE, Predictions
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL

TEXTS = ['a "quoted", one', "two\nlines", "<script>alert(1)</script>"]


def example(problem_type):
    labels, probabilities, names = {
        SINGLE_LABEL: (np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.25, 0.75], [0.6, 0.4]]), ["text", "loss"]),
        MULTI_LABEL: (np.eye(3)[:, :2], np.array([[0.9, 0.1], [0.6, 0.75], [0.1, 0.4]]), ["fire", "flood"]),
        REGRESSION: (np.array([[0.5], [1.25], [-3.0]]), np.array([[0.1], [1.0], [2.0]]), ["stars"]),
    }[problem_type]
    return Predictions(
        ["7", "08", "x"],
        labels,
        probabilities,
        np.array([0.1, 0.2, 3.5]),
        names,
        problem_type,
        {"text": TEXTS, "keyword": ["", "NA", "fire"]},
    )


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL, REGRESSION])
def test_what_is_written_is_read_again(problem_type, tmp_path):
    rows = example(problem_type)
    rows.write(tmp_path)
    again = Predictions.read(tmp_path, rows.label_names, problem_type)
    assert again.ids == rows.ids
    assert again.columns == rows.columns
    np.testing.assert_array_equal(again.labels, rows.labels)
    np.testing.assert_allclose(again.probabilities, rows.probabilities, atol=1e-8)
    np.testing.assert_allclose(again.losses, rows.losses, atol=1e-8)


def test_what_is_wrong():
    assert example(SINGLE_LABEL).wrong.tolist() == [False, False, True]
    assert example(MULTI_LABEL).wrong.tolist() == [False, True, False]


def test_300_labels_are_shortened(tmp_path):
    (tmp_path / VALIDATION_FILE).write_text("id,text\n1,a\n")
    with pytest.raises(UserError, match="label-015 and 284 more: run it again") as caught:
        Predictions.read(tmp_path, [f"label-{i:03}" for i in range(300)], SINGLE_LABEL)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "is no complete run: it has no validation_predictions.csv"),
        (lambda path: path.write_text(""), "is damaged"),
        (lambda path: path.write_text("id,text\n1,a\n"), "has not the columns id, label, prediction, loss"),
        (lambda path: path.write_text(path.read_text().replace("0.75", "maybe")), "is damaged"),
        (lambda path: path.write_text(path.read_text().replace("7,text", "7,other")), "is damaged"),
    ],
)
def test_a_damaged_file_is_one_sentence(damage, sentence, tmp_path):
    rows = example(SINGLE_LABEL)
    rows.write(tmp_path)
    damage(tmp_path / VALIDATION_FILE)
    with pytest.raises(UserError, match=sentence):
        Predictions.read(tmp_path, rows.label_names, SINGLE_LABEL)
