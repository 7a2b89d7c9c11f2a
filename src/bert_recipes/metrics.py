"""Scores of a classifier as an `evaluate.Metric` of this project's own, computed by scikit-learn.

`evaluate.load("f1")` would fetch its code from a hub at run time; a `Metric` subclass needs no network.
"""

import datasets
import evaluate
import numpy as np
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics


class ClassificationScores(evaluate.Metric):
    """Accuracy, F1, precision, recall, ROC AUC, average precision and the confusion matrix.

    With two labels `f1`, `precision` and `recall` are those of class 1; with more they are macro averages.
    `roc_auc` and `average_precision` (with more labels macro, one against the rest) are left out where a class has
    no row, since they are undefined there.
    """

    def _info(self):
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="",
            inputs_description="predictions: probabilities [num_labels] per row; references: class ids",
            features=datasets.Features(
                {"predictions": datasets.Sequence(datasets.Value("float64")), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions, references):
        probabilities, labels = np.asarray(predictions), np.asarray(references)
        num_labels = probabilities.shape[1]
        chosen = probabilities.argmax(axis=1)
        binary = num_labels == 2
        average = "binary" if binary else "macro"
        classes = list(range(num_labels))
        options = {"labels": None if binary else classes, "average": average, "zero_division": 0.0}
        scores = {
            "accuracy": sklearn_metrics.accuracy_score(labels, chosen),
            "f1": sklearn_metrics.f1_score(labels, chosen, **options),
            "f1_macro": sklearn_metrics.f1_score(labels, chosen, labels=classes, average="macro", zero_division=0.0),
            "precision": sklearn_metrics.precision_score(labels, chosen, **options),
            "recall": sklearn_metrics.recall_score(labels, chosen, **options),
        }
        if len(np.unique(labels)) == num_labels:
            truth = labels if binary else np.eye(num_labels)[labels]
            score = probabilities[:, 1] if binary else probabilities
            scores["roc_auc"] = sklearn_metrics.roc_auc_score(truth, score, average="macro")
            scores["average_precision"] = sklearn_metrics.average_precision_score(truth, score, average="macro")
        scores = {name: float(value) for name, value in scores.items()}
        scores["confusion_matrix"] = sklearn_metrics.confusion_matrix(labels, chosen, labels=classes).tolist()
        return scores


def scores_from_logits(logits: np.ndarray, labels: np.ndarray) -> dict:
    """Return the scores of logits `[rows, num_labels]` against class ids `[rows]`."""
    probabilities = softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return ClassificationScores().compute(predictions=probabilities, references=labels)
