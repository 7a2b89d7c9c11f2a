"""TF-IDF and a linear model: what a transformer has to beat."""

import itertools
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Self

import numpy as np
from datasets import Dataset
from scipy.sparse import csr_matrix
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier

from bert_recipes.columns import TEXT, TEXT_PAIR
from bert_recipes.data.normalization import rewriting
from bert_recipes.errors import UserError
from bert_recipes.evaluation.metrics import losses_of
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task

# With fewer rows than this, characters that stand in one text alone are counted too.
FEW_ROWS = 100
# What a count is held in, of which the logarithm enters.
MOST_COUNTED = np.iinfo(np.uint16).max
# Rows whose counts are weighed together: what it takes in between is a fraction of the counts.
WEIGHED_TOGETHER = 4096
# With more rows a matrix of rows by rows takes more memory than the counts of short texts.
MOST_ROTATED = 4096
# What all steps of a solver take for a weight, in multiples of what a rotation takes for rows³.
STEPS_OF_A_WEIGHT = 10_000
# A column that stands in more of the rows than this share is multiplied densely.
DENSE = 0.05


class Ngrams:
    """How often words and word pairs, and 2 to 5 characters within words, stand in texts.

    It keeps nothing but numbers for a text, so that hundreds of thousands can be counted once for all folds.

    Args:
        normalize: what is rewritten first, by what `--normalize` calls it.
    """

    def __init__(self, normalize: Collection[str] | None = None) -> None:
        self.rewritten = rewriting(normalize or ())
        words = CountVectorizer(ngram_range=(1, 2), strip_accents="unicode", token_pattern=r"\w+")
        characters = CountVectorizer(analyzer="char_wb", ngram_range=(2, 5))
        numbers = itertools.count()
        self.analyzers = [kind.build_analyzer() for kind in (words, characters)]
        # The column of each n-gram, by kind; one count of columns for both.
        self.columns: list[defaultdict[str, int]] = [defaultdict(numbers.__next__) for _ in self.analyzers]

    @property
    def are_characters(self) -> np.ndarray:
        """Whether a column counts characters, and not words, `[columns]`."""
        found = np.zeros(sum(map(len, self.columns)), bool)
        found[list(self.columns[1].values())] = True
        return found

    def learn(self, texts: Sequence[str]) -> csr_matrix:
        """Return the counts of texts `[texts, columns]`, each new n-gram in a column of its own.

        Raises:
            UserError: no text has a word.
        """
        if not any(re.search(r"\w", text) for text in texts):
            raise UserError("the baseline counts words, and no text of train has one: leave it out.")
        return self._count(texts, [columns.__getitem__ for columns in self.columns])

    def count(self, texts: Sequence[str]) -> csr_matrix:
        """Return the counts of texts `[texts, columns]`, without n-grams that have not been learned."""
        return self._count(texts, [columns.get for columns in self.columns])

    def _count(self, texts: Sequence[str], find: "Sequence[Callable[[str], int | None]]") -> csr_matrix:
        columns, counts, ends = array("i"), array("H"), array("q", [0])
        for text in map(self.rewritten, texts):
            for analyze, column_of in zip(self.analyzers, find, strict=True):
                for ngram, count in Counter(analyze(text)).items():
                    if (column := column_of(ngram)) is not None:
                        columns.append(column)
                        counts.append(min(count, MOST_COUNTED))
            ends.append(len(columns))
        shape = len(texts), sum(map(len, self.columns))
        return csr_matrix((np.asarray(counts), np.asarray(columns), np.asarray(ends)), shape=shape)


class RotatedLogisticRegression(LogisticRegression):
    """A logistic regression that takes few long texts in their own directions, of which there are as many as texts.

    A penalty on the squared weights leaves them in the space that the rows span, and a rotation changes neither. So
    the model is the same, and the solver moves `rows` weights of a class where it would move `columns`: with 1,700
    news articles and 534,000 n-grams it takes 5 seconds and not 25.
    """

    coef_: np.ndarray

    def fit(self, X: csr_matrix, y: np.ndarray) -> Self:  # noqa: N803 - scikit-learn calls it so
        """Fit it to `[rows, columns]` and labels `[rows]`."""
        rows, columns = X.shape
        classes = len(np.unique(y))
        weights = columns * (classes if classes > 2 else 1)
        if rows > MOST_ROTATED or rows**3 > STEPS_OF_A_WEIGHT * weights:
            return super().fit(X, y)
        columns_of_rows = np.bincount(X.indices, minlength=columns)
        is_dense = columns_of_rows > DENSE * rows
        dense, sparse = X[:, is_dense].toarray(), X[:, ~is_dense]
        lengths, directions = np.linalg.eigh((dense @ dense.T + (sparse @ sparse.T).toarray()).astype(float))
        # Of texts that stand there twice, and of rounding.
        is_real = lengths > 1e-6 * lengths[-1]
        scale, directions = np.sqrt(lengths[is_real]), directions[:, is_real]
        super().fit(directions * scale, y)
        self.coef_ = (X.T @ (directions / scale @ self.coef_.T)).T
        self.n_features_in_ = columns
        return self


class Baseline:
    """TF-IDF of words and word pairs and of 2 to 5 characters within words, under a linear model.

    The model is a logistic regression, one for each label where several may hold, or a ridge regression. A count
    enters as 1 + its logarithm times the inverse document frequency of its n-gram in train; those of words have a
    Euclidean norm of 1 in each text, and those of characters as well.

    Args:
        task: of the data.
        seed: of the solver, where it draws.
        normalize: as `Ngrams` takes it.
    """

    def __init__(self, task: Task, seed: int, normalize: Collection[str] | None = None):
        self.task = task
        self.normalize = normalize
        logistic = RotatedLogisticRegression(C=2.0, max_iter=1000, random_state=seed)
        self.model = {
            SINGLE_LABEL: logistic,
            MULTI_LABEL: OneVsRestClassifier(logistic),
            REGRESSION: Ridge(),
        }[task.problem_type]

    def fit(self, texts: Sequence[str], labels: np.ndarray) -> None:
        """Fit it to texts and labels: class ids `[rows]`, or numbers `[rows, num_labels]`.

        Raises:
            UserError: no text has a word.
        """
        self.ngrams = Ngrams(self.normalize)
        self.fit_counts(self.ngrams.learn(texts), self.ngrams.are_characters, labels)

    def fit_counts(self, counts: csr_matrix, are_characters: np.ndarray, labels: np.ndarray) -> None:
        """Fit it to counts `[rows, columns]` of n-grams, of which some may stand in no row.

        Args:
            counts: as `Ngrams` counts.
            are_characters: which columns count characters, `[columns]`.
            labels: class ids `[rows]`, or numbers `[rows, num_labels]`.
        """
        rows, columns = counts.shape
        texts_with = np.zeros(columns, np.int64)
        for ends in _chunks(counts):
            texts_with += np.bincount(counts.indices[ends[0] : ends[-1]], minlength=columns)
        fewest = np.where(are_characters & (rows >= FEW_ROWS), 2, 1)
        frequency = np.log((1 + rows) / (1 + texts_with)) + 1
        # What stands in too few texts weighs nothing, and then the model gives it nothing.
        self.frequency = np.where(texts_with >= fewest, frequency, 0).astype(np.float32)
        self.are_characters = are_characters
        if self.task.problem_type == SINGLE_LABEL and len(np.unique(labels)) == 1:
            # As a fold may have where a label is rare. There is nothing to tell apart.
            self.model = DummyClassifier(strategy="prior")
        if self.task.problem_type == REGRESSION:
            # In float32, which the counts are in, a large mean would leave few digits for what differs.
            self.mean = labels.mean(axis=0)
            labels = labels - self.mean
        weighed = self._weighed(counts)
        del counts  # where nobody else has them either, which is for most of the time that this takes
        self.model.fit(weighed, labels)

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """Return probabilities `[rows, num_labels]`, or the values of a regression."""
        return self.predict_counts(self.ngrams.count(texts))

    def predict_counts(self, counts: csr_matrix) -> np.ndarray:
        """Return what `predict` returns for counts `[rows, columns]` of the columns that it was fitted to."""
        weighed = self._weighed(counts)
        if self.task.problem_type == REGRESSION:
            return self.mean + self.model.predict(weighed).reshape(len(weighed.indptr) - 1, -1)
        found = self.model.predict_proba(weighed)
        if self.task.problem_type == MULTI_LABEL:
            # Of a single label it also tells how likely it does not hold.
            return found[:, -len(self.task.label_names) :]
        # A label of which train has no row, as a fold may have none, is never predicted.
        probabilities = np.zeros((len(found), len(self.task.label_names)))
        probabilities[:, self.model.classes_] = found
        return probabilities / probabilities.sum(axis=1, keepdims=True)  # float32 until here

    def _weighed(self, counts: csr_matrix) -> csr_matrix:
        """Return what the model sees of counts, `[rows, columns]`."""
        values = np.empty(len(counts.data), np.float32)
        for ends in _chunks(counts):
            part = slice(ends[0], ends[-1])
            columns = counts.indices[part]
            tfidf = (1 + np.log(counts.data[part])) * self.frequency[columns]
            # Each row twice: its words, and its characters.
            halves = 2 * np.repeat(np.arange(len(ends) - 1), np.diff(ends)) + self.are_characters[columns]
            norms = np.sqrt(np.bincount(halves, weights=tfidf.astype(float) ** 2, minlength=2 * len(ends) - 2))
            values[part] = tfidf / np.where(norms > 0, norms, 1)[halves]
        return csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)

    def losses(self, predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the per-example losses `[rows]`, the task's usual one, of what `predict` returned."""
        return losses_of(predicted, labels, self.task.problem_type)


def _chunks(counts: csr_matrix) -> Iterator[np.ndarray]:
    """Yield where the counts of some rows start, and the last of them ends, for some rows after another."""
    for start in range(0, counts.shape[0], WEIGHED_TOGETHER):
        yield counts.indptr[start : start + WEIGHED_TOGETHER + 1]


def texts_of(rows: Dataset, joint: str = " ") -> list[str]:
    """Return the texts of rows, each with its second text behind it where there are pairs, and `joint` in between."""
    if TEXT_PAIR not in rows.column_names:
        return rows[TEXT][:]
    return [f"{text}{joint}{pair}" for text, pair in zip(rows[TEXT], rows[TEXT_PAIR], strict=True)]
