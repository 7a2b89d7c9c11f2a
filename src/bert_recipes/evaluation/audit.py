"""Which given labels are likely wrong, by probabilities that were predicted out of fold.

The confident joint and the ranking within each class are those of confident learning (Northcutt, Jiang and Chuang,
arXiv:1911.00068); models and seeds are put together by the mean of their probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabelAudit:
    """What the given labels of some rows look like beside what was predicted for them.

    Attributes:
        scores: how suspicious each given label is, `[rows]`, from 0 to 1.
        suggested: the class that is likeliest for each row, `[rows]`.
        joint: how many rows are estimated to have a label and to be of a class, `[num_labels, num_labels]`.
    """

    scores: np.ndarray
    suggested: np.ndarray
    joint: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """How many rows of each given label are estimated to be wrong, `[num_labels]`."""
        return self.joint.sum(axis=1) - self.joint.diagonal()

    @property
    def order(self) -> np.ndarray:
        """The rows, the most suspicious first, `[rows]`."""
        return np.argsort(-self.scores, kind="stable")


def audit_labels(labels: np.ndarray, probabilities: np.ndarray, weights: Sequence[float] | None = None) -> LabelAudit:
    """Return how suspicious each label is.

    Args:
        labels: given class ids, `[rows]`.
        probabilities: of models that were not trained on the row, `[models, rows, num_labels]`.
        weights: of the models or seeds; by default all count the same.
    """
    mean = np.average(probabilities, axis=0, weights=weights)
    rows = np.arange(len(labels))
    own = mean[rows, labels]
    others = mean.copy()
    others[rows, labels] = -np.inf
    # The normalised margin, from -1 to 1, in which a likelier class stands against the given one.
    scores = (1 + others.max(axis=1) - own) / 2
    return LabelAudit(scores, mean.argmax(axis=1), confident_joint(labels, mean))


def likely_right(labels: np.ndarray, audited: LabelAudit) -> np.ndarray:
    """Return which rows are left when those go that are likely wrong, `[rows]`, at least half of each label's.

    Of each label as many go as are estimated to be wrong, the most suspicious first, and none whose label is the
    likeliest ("prune by class" of the paper).

    Args:
        labels: given class ids, `[rows]`.
        audited: of `audit_labels`.
    """
    right = np.ones(len(labels), dtype=bool)
    doubted = audited.order[(audited.suggested != labels)[audited.order]]
    for label, wrong in enumerate(audited.wrong):
        most = min(round(wrong), (labels == label).sum() // 2)
        right[doubted[labels[doubted] == label][:most]] = False
    return right


def confident_joint(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return how many rows are estimated to have label i and to be of class j, `[num_labels, num_labels]`.

    A row counts for the likeliest of the classes whose probability reaches the mean that rows of this label have for
    it; the counts of a label are then scaled to its rows. Where that mean is below chance, as for a class that the
    models have hardly seen, chance takes its place.

    Args:
        labels: given class ids, `[rows]`.
        probabilities: for each row, out of fold, `[rows, num_labels]`.
    """
    classes = probabilities.shape[1]
    thresholds = np.full(classes, np.inf)  # of a label of which there is no row, which is reached by none
    for label in np.unique(labels):
        thresholds[label] = max(probabilities[labels == label, label].mean(), 1 / classes)
    confident = np.where(probabilities >= thresholds - 1e-12, probabilities, -np.inf)
    reached = np.isfinite(confident).any(axis=1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[reached], confident[reached].argmax(axis=1)), 1)
    given = np.bincount(labels, minlength=classes)
    sums = joint.sum(axis=1)
    # Where no row of a label is confident of anything, all of them are taken to be what they say.
    joint[sums == 0] = np.eye(classes)[sums == 0]
    return joint * (given / joint.sum(axis=1))[:, None]


def audit_values(values: np.ndarray, predicted: np.ndarray, weights: Sequence[float] | None = None) -> np.ndarray:
    """Return how far each value of a regression is from what is predicted, in spreads, `[rows, num_labels]`.

    The spread of a target is that of its residuals, taken from the median of their absolute values, which outliers do
    not move.

    Args:
        values: given, `[rows, num_labels]`.
        predicted: of each model or seed, out of fold, `[models, rows, num_labels]`.
        weights: of the models or seeds; by default all count the same.
    """
    residuals = np.abs(values - np.average(predicted, axis=0, weights=weights))
    spread = np.median(residuals, axis=0) * 1.4826
    return residuals / np.maximum(spread, np.finfo(float).eps * np.maximum(1, np.abs(values).max(axis=0)))
