"""Scores as `evaluate.Metric`s of this project's own, computed by scikit-learn and scipy; which ones, the task says.

`evaluate.load("f1")` would fetch its code from a hub at run time; a `Metric` subclass needs no network.
"""

from typing import Any

import datasets
import evaluate
import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

from bert_recipes.errors import UserError
from bert_recipes.evaluation.calibration import brier_score, expected_calibration_error
from bert_recipes.evaluation.decoding import probabilities_of
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task

# What can choose the best checkpoint; the first one does by default.
CHOOSING = {
    SINGLE_LABEL: ("f1", "loss", "accuracy", "f1_macro", "precision", "recall", "roc_auc", "average_precision"),
    MULTI_LABEL: ("f1", "loss", "accuracy", "f1_macro", "f1_micro", "precision", "recall", "roc_auc"),
    REGRESSION: ("loss", "mse", "mae", "r2", "pearson", "spearman"),
}
# Scores of the order in which probabilities put the rows, to which labels alone say little.
RANKINGS = {"roc_auc", "average_precision"}
LESS_IS_BETTER = {"loss", "mse", "mae"}


def choosing_score(asked: str | None, task: Task) -> str:
    """Return the score that chooses the best checkpoint: what `--metric_for_best_model` asks, or the task's own.

    Raises:
        UserError: the task has no such score.
    """
    valid = CHOOSING[task.problem_type]
    name = (asked or valid[0]).removeprefix("eval_")
    if name not in valid:
        raise UserError(
            f"--metric_for_best_model {asked} is no score of a {task.name} task: take one of {', '.join(valid)}."
        )
    return name


def _information(description: str | None, references: datasets.Features) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=description,
        citation="",
        inputs_description="predictions: [num_labels] numbers per row; references: the labels",
        features=datasets.Features(
            {"predictions": datasets.List(datasets.Value("float64")), "references": references}
        ),
    )


class ClassificationScores(evaluate.Metric):
    """Accuracy, F1, precision, recall, ROC AUC, average precision, calibration (ECE, Brier) and the confusion matrix.

    With two labels `f1`, `precision` and `recall` are those of class 1; with more they are macro averages.
    `roc_auc` and `average_precision` (with more labels macro, one against the rest) are left out where a class has
    no row, since they are undefined there.
    """

    def _info(self) -> evaluate.MetricInfo:
        return _information(self.__doc__, datasets.Value("int64"))

    def _compute(self, predictions: Any, references: Any) -> dict[str, Any]:
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
        scores["ece"] = expected_calibration_error(labels, probabilities)
        scores["brier"] = brier_score(labels, probabilities)
        scores = {name: float(value) for name, value in scores.items()}
        scores["confusion_matrix"] = sklearn_metrics.confusion_matrix(labels, chosen, labels=classes).tolist()
        return scores


class MultiLabelScores(evaluate.Metric):
    """Micro and macro F1, precision and recall (micro), ROC AUC (macro), and the scores of every label.

    A label is predicted where its probability is over one half. `accuracy` is that of whole rows (every label of the
    row right), `f1` is the micro average, over all labels of all rows. `roc_auc` is left out where a label holds in
    no row or in every one, since it is undefined there.
    """

    def _info(self) -> evaluate.MetricInfo:
        return _information(self.__doc__, datasets.List(datasets.Value("float64")))

    def _compute(self, predictions: Any, references: Any) -> dict[str, Any]:
        probabilities, labels = np.asarray(predictions), np.asarray(references).astype(int)
        chosen = (probabilities > 0.5).astype(int)
        micro = {"average": "micro", "zero_division": 0.0}
        scores = {
            "accuracy": sklearn_metrics.accuracy_score(labels, chosen),
            "f1": sklearn_metrics.f1_score(labels, chosen, **micro),
            "f1_micro": sklearn_metrics.f1_score(labels, chosen, **micro),
            "f1_macro": sklearn_metrics.f1_score(labels, chosen, average="macro", zero_division=0.0),
            "precision": sklearn_metrics.precision_score(labels, chosen, **micro),
            "recall": sklearn_metrics.recall_score(labels, chosen, **micro),
        }
        share = labels.mean(axis=0)
        if ((share > 0) & (share < 1)).all():
            scores["roc_auc"] = sklearn_metrics.roc_auc_score(labels, probabilities, average="macro")
        scores = {name: float(value) for name, value in scores.items()}
        names = ("precision", "recall", "f1", "rows")
        of_labels = sklearn_metrics.precision_recall_fscore_support(labels, chosen, average=None, zero_division=0.0)
        per_label = [dict(zip(names, map(float, values), strict=True)) for values in zip(*of_labels, strict=True)]
        return scores | {"per_label": per_label}


class RegressionScores(evaluate.Metric):
    """Mean squared and mean absolute error, R², Pearson's and Spearman's correlation; means over several targets.

    A correlation is left out where predictions or labels are constant, and R² where there is a single row, since they
    are undefined there.
    """

    def _info(self) -> evaluate.MetricInfo:
        return _information(self.__doc__, datasets.List(datasets.Value("float64")))

    def _compute(self, predictions: Any, references: Any) -> dict[str, Any]:
        predicted, labels = np.asarray(predictions), np.asarray(references)
        scores = {
            "mse": sklearn_metrics.mean_squared_error(labels, predicted),
            "mae": sklearn_metrics.mean_absolute_error(labels, predicted),
        }
        if len(labels) > 1:
            scores["r2"] = sklearn_metrics.r2_score(labels, predicted)
        if len(labels) > 1 and (np.ptp(predicted, axis=0) > 0).all() and (np.ptp(labels, axis=0) > 0).all():
            columns = list(zip(predicted.T, labels.T, strict=True))
            scores["pearson"] = np.mean([stats.pearsonr(*pair).statistic for pair in columns])
            scores["spearman"] = np.mean([stats.spearmanr(*pair).statistic for pair in columns])
        return {name: float(value) for name, value in scores.items()}


def losses_of(probabilities: np.ndarray, labels: np.ndarray, problem_type: str) -> np.ndarray:
    """Return the per-example losses `[rows]`, the task's usual one, of probabilities or a regression's values.

    Args:
        probabilities: `[rows, num_labels]`.
        labels: class ids `[rows]`, or `[rows, num_labels]` numbers for several labels or a regression.
        problem_type: what transformers calls the task.
    """
    if problem_type == REGRESSION:
        return ((probabilities - labels) ** 2).mean(axis=1)
    losses = -np.log(likelihoods_of(probabilities, labels, problem_type))
    return losses.mean(axis=1) if problem_type == MULTI_LABEL else losses


def likelihoods_of(probabilities: np.ndarray, labels: np.ndarray, problem_type: str) -> np.ndarray:
    """Return the probability of what is true, never 0: of each row, or of each row's labels `[rows, num_labels]`."""
    tiny = np.finfo(np.float32).eps
    if problem_type == MULTI_LABEL:
        return np.clip(np.where(labels > 0.5, probabilities, 1 - probabilities), tiny, 1 - tiny)
    return np.maximum(probabilities[np.arange(len(labels)), labels], tiny)


METRICS: dict[str, type[evaluate.Metric]] = {
    SINGLE_LABEL: ClassificationScores,
    MULTI_LABEL: MultiLabelScores,
    REGRESSION: RegressionScores,
}


def scores_from_probabilities(
    probabilities: np.ndarray, labels: np.ndarray, problem_type: str = SINGLE_LABEL
) -> dict[str, Any]:
    """Return the scores of probabilities `[rows, num_labels]`, or of a regression's values.

    Args:
        probabilities: as `probabilities_of` returns them.
        labels: class ids `[rows]`, or `[rows, num_labels]` numbers for several labels or a regression.
        problem_type: what transformers calls the task.
    """
    return METRICS[problem_type]().compute(predictions=probabilities, references=labels)


def scores_from_logits(logits: np.ndarray, labels: np.ndarray, problem_type: str = SINGLE_LABEL) -> dict[str, Any]:
    """Return the scores of a model's logits `[rows, num_labels]`; otherwise as `scores_from_probabilities`."""
    return scores_from_probabilities(probabilities_of(logits, problem_type), labels, problem_type)
