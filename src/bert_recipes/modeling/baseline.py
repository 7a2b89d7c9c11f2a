"""TF-IDF and a linear model: what a transformer has to beat."""

import re

import numpy as np
from datasets import Dataset
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline, make_union

from bert_recipes.columns import TEXT, TEXT_PAIR
from bert_recipes.errors import UserError
from bert_recipes.evaluation.metrics import losses_of
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task

# With fewer rows than this, characters that stand in one text alone are counted too.
FEW_ROWS = 100


class Baseline:
    """TF-IDF of words and word pairs and of 2 to 5 characters within words, under a linear model.

    The model is a logistic regression, one for each label where several may hold, or a ridge regression.

    Args:
        task: of the data.
        seed: of the solver, where it draws.
    """

    def __init__(self, task: Task, seed: int):
        self.task = task
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode", token_pattern=r"\w+")
        self.characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2)
        logistic = LogisticRegression(C=2.0, max_iter=1000, random_state=seed)
        linear = {
            SINGLE_LABEL: logistic,
            MULTI_LABEL: OneVsRestClassifier(logistic),
            REGRESSION: Ridge(),
        }[task.problem_type]
        self.pipeline = make_pipeline(make_union(words, self.characters), linear)

    def fit(self, texts: list[str], labels: np.ndarray) -> None:
        """Fit it to texts and labels: class ids `[rows]`, or numbers `[rows, num_labels]`.

        Raises:
            UserError: no text has a word.
        """
        if not any(re.search(r"\w", text) for text in texts):
            raise UserError("the baseline counts words, and no text of train has one: leave it out.")
        if len(texts) < FEW_ROWS:
            self.characters.set_params(min_df=1)
        if self.task.problem_type == SINGLE_LABEL and len(np.unique(labels)) == 1:
            # As a fold may have where a label is rare. There is nothing to tell apart.
            self.pipeline = make_pipeline(self.pipeline[0], DummyClassifier(strategy="prior"))
        self.pipeline.fit(texts, labels)

    def predict(self, texts: list[str]) -> np.ndarray:
        """Return probabilities `[rows, num_labels]`, or the values of a regression."""
        if self.task.problem_type == REGRESSION:
            return self.pipeline.predict(texts).reshape(len(texts), -1)
        found = self.pipeline.predict_proba(texts)
        if self.task.problem_type == MULTI_LABEL:
            # Of a single label it also tells how likely it does not hold.
            return found[:, -len(self.task.label_names) :]
        # A label of which train has no row, as a fold may have none, is never predicted.
        probabilities = np.zeros((len(texts), len(self.task.label_names)))
        probabilities[:, self.pipeline.classes_] = found
        return probabilities

    def losses(self, predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the per-example losses `[rows]`, the task's usual one, of what `predict` returned."""
        return losses_of(predicted, labels, self.task.problem_type)


def texts_of(rows: Dataset, joint: str = " ") -> list[str]:
    """Return the texts of rows, each with its second text behind it where there are pairs, and `joint` in between."""
    if TEXT_PAIR not in rows.column_names:
        return rows[TEXT][:]
    return [f"{text}{joint}{pair}" for text, pair in zip(rows[TEXT], rows[TEXT_PAIR], strict=True)]
