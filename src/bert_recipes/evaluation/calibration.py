"""What may be chosen once a model is trained, on validation or out-of-fold rows alone: a threshold, a temperature.

Arrays in, numbers out: probabilities are `[rows, num_labels]`, labels are class ids `[rows]`.
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score, f1_score, precision_recall_curve

BINS = 15


def best_threshold(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Return the threshold on the scores of class 1 (`[rows]`) that gives the best F1, ties to the one nearest 0.5.

    It lies half-way between two neighbouring scores, so that it does not hang on the last digit of one row. None
    where it is undefined: rows of one class alone, or the same score for every row.
    """
    values = np.unique(scores)
    if len(np.unique(labels)) < 2 or len(values) < 2:
        return None
    precision, recall, at = precision_recall_curve(labels, scores)
    # The last point is (1, 0) and has no threshold; F1 is 2PR / (P + R), and 0 where nothing is right.
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    best = at[np.flatnonzero(f1[:-1] >= f1.max() - 1e-12)]
    below = np.concatenate([[0.0], values])[np.searchsorted(values, best)]
    middle = (best + below) / 2
    return float(middle[np.abs(middle - 0.5).argmin()])


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the temperature T > 0 for which `softmax(logits / T)` has the least cross entropy (arXiv:1706.04599).

    It changes no argmax. A constant predictor or one that is right in every row has no best temperature, and the end
    of the range searched, 0.05 to 20, is returned.
    """
    logits = _logits(probabilities)
    rows = np.arange(len(labels))

    def cross_entropy(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean()

    return float(np.exp(minimize_scalar(cross_entropy, bounds=np.log([0.05, 20]), method="bounded").x))


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities at that temperature, `[rows, num_labels]`."""
    return softmax(_logits(probabilities) / temperature, axis=1)


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> dict[str, np.ndarray]:
    """Return rows, mean confidence and accuracy (`[bins]`, NaN where a bin is empty) by confidence.

    The confidence is the probability of the label with the highest one; the bins are equally wide.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    which = np.clip((confidence * bins).astype(int), 0, bins - 1)
    rows = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        return {
            "rows": rows,
            "confidence": np.bincount(which, confidence, minlength=bins) / rows,
            "accuracy": np.bincount(which, right, minlength=bins) / rows,
        }


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Return the mean distance between confidence and accuracy over equally wide bins (arXiv:1706.04599)."""
    found = reliability(labels, probabilities, bins)
    filled = found["rows"] > 0
    distance = np.abs(found["confidence"] - found["accuracy"])[filled]
    return float((distance * found["rows"][filled]).sum() / len(labels))


def brier_score(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean squared error of the probabilities: of class 1 where there are two, else summed over labels.

    These are the conventions of `sklearn.metrics.brier_score_loss`.
    """
    errors = ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1)
    return float(errors.mean() / (2 if probabilities.shape[1] == 2 else 1))


def choose(labels: np.ndarray, probabilities: np.ndarray, folds: np.ndarray | None = None) -> dict[str, Any]:
    """Choose threshold and temperature on these rows, which must be no test rows, and say what they do there.

    Args:
        labels: class ids `[rows]`.
        probabilities: `[rows, num_labels]`.
        folds: the fold of each row, `[rows]`, where the rows are out-of-fold predictions: the scores at the threshold
            are then those of thresholds chosen on the other folds alone, and so not too kind.

    Returns:
        `temperature` and, with two labels, `threshold` (None where it is undefined), and the scores there.
    """
    chosen: dict[str, Any] = {"temperature": fit_temperature(labels, probabilities)}
    if probabilities.shape[1] == 2:
        chosen["threshold"] = best_threshold(labels, probabilities[:, 1])
    if folds is None or chosen.get("threshold") is None:
        return chosen | scores_at(chosen, labels, probabilities)
    over = np.zeros(len(labels), dtype=bool)
    for fold in np.unique(folds):
        inside = folds == fold
        threshold = best_threshold(labels[~inside], probabilities[~inside, 1])
        over[inside] = probabilities[inside, 1] >= (0.5 if threshold is None else threshold)
    return chosen | scores_at(chosen, labels, probabilities) | scores_of_decisions(labels, over)


def scores_at(chosen: dict[str, Any], labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Return what the threshold and the temperature of `choose` give on other rows, such as test's."""
    scores = scores_of_scaled(labels, scaled(probabilities, chosen["temperature"]))
    if chosen.get("threshold") is not None:
        scores |= scores_of_decisions(labels, probabilities[:, 1] >= chosen["threshold"])
    return scores


def scores_of_scaled(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Return how well probabilities are calibrated that `scaled` returned."""
    ece = expected_calibration_error(labels, probabilities)
    return {"ece_scaled": ece, "brier_scaled": brier_score(labels, probabilities)}


def scores_of_decisions(labels: np.ndarray, over: np.ndarray) -> dict[str, Any]:
    """Return the scores of decisions by a threshold: `over` tells which rows reach theirs, `[rows]`."""
    return {
        "f1_at_threshold": float(f1_score(labels, over, zero_division=0.0)),
        "accuracy_at_threshold": float(accuracy_score(labels, over)),
    }


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, np.finfo(float).tiny))
