"""The weights of several models' predictions, learned on out-of-fold rows alone and scored on rows they have not seen.

Arrays in, numbers out: probabilities are `[members, rows, num_labels]`, or the values of a regression.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize, nnls

from bert_recipes.evaluation import calibration
from bert_recipes.evaluation.decoding import mean_probabilities
from bert_recipes.evaluation.metrics import likelihoods_of
from bert_recipes.task import REGRESSION, SINGLE_LABEL

# A smaller weight changes no prediction that anyone would notice, and its model need not be loaded.
LEAST_WEIGHT = 1e-3


@dataclass(frozen=True)
class Blend:
    """Several models as one, and how good they are on rows that had no part in it.

    Attributes:
        weights: learned on all rows, `[members]`.
        weights_without: learned without each fold, `[folds, members]`.
        probabilities: `[rows, num_labels]`; those of a fold are weighted by what was learned without it.
        chosen: of a task with one label a row, the threshold and the temperature of all rows, as
            `calibration.choose` returns them; the scores at them are those of what was chosen without each fold.
    """

    weights: np.ndarray
    weights_without: np.ndarray
    probabilities: np.ndarray
    chosen: dict[str, Any]


def best_weights(members: np.ndarray, labels: np.ndarray, problem_type: str) -> np.ndarray:
    """Return the weights `[members]`, none negative and one in all, whose mean predicts these rows best.

    Best is the least log-loss, with several labels the mean of that of each; in a regression the least squared error,
    each target measured by its own spread. Both have no other minimum than the best, up to ties.

    Args:
        members: out-of-fold probabilities.
        labels: class ids `[rows]`, or `[rows, num_labels]` numbers for several labels or a regression.
        problem_type: what transformers calls the task.
    """
    if problem_type == REGRESSION:
        weights = _of_least_squares(members - labels, labels.std(axis=0))
    else:
        likelihoods = [likelihoods_of(member, labels, problem_type).ravel() for member in members]
        weights = _of_mixture(np.array(likelihoods))
    weights = np.where(weights < LEAST_WEIGHT, 0.0, weights)
    return weights / weights.sum()


def _of_mixture(likelihoods: np.ndarray) -> np.ndarray:
    """Return the weights of the mixture with the greatest likelihood; `likelihoods` are `[members, items]`."""
    count = len(likelihoods)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = weights @ likelihoods
        return -np.log(mixed).mean(), -(likelihoods / mixed).mean(axis=1)

    alike = np.full(count, 1 / count)
    of_sum = {"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": lambda weights: np.ones(count)}
    found = minimize(
        loss,
        alike,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints=of_sum,
        options={"ftol": 1e-10, "maxiter": 1000},
    )
    return found.x if found.fun <= loss(alike)[0] else alike


def _of_least_squares(errors: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return the weights whose mean has the least squared error; `errors` are `[members, rows, targets]`.

    With weights of one in all the error of the mean is the mean of the errors, and the row of ones below only scales
    what non-negative least squares would return (Lawson and Hanson 1974, chapter 23).
    """
    scaled = errors / np.where(spread > 0, spread, 1) / np.sqrt(errors[0].size)
    columns = scaled.reshape(len(errors), -1).T
    # By the triangle of QR there are as many rows as members, however many there were.
    triangle = np.linalg.qr(columns, mode="r")
    rows = np.vstack([triangle, np.ones(len(errors))])
    return nnls(rows, np.append(np.zeros(len(triangle)), 1.0))[0]


def learn(members: np.ndarray, labels: np.ndarray, folds: np.ndarray, problem_type: str) -> Blend:
    """Learn weights, threshold and temperature on all rows, and score what is learned without each fold on that fold.

    Args:
        members: out-of-fold probabilities.
        labels: as `best_weights` takes them.
        folds: the fold of each row, `[rows]`.
        problem_type: what transformers calls the task.
    """
    weights = best_weights(members, labels, problem_type)
    single = problem_type == SINGLE_LABEL
    chosen = calibration.choose(labels, mean_probabilities(members, weights)) if single else {}
    probabilities, scaled = np.empty_like(members[0]), np.empty_like(members[0])
    over, weights_without = np.zeros(len(labels), dtype=bool), []
    for fold in np.unique(folds):
        inside = folds == fold
        weights_without.append(best_weights(members[:, ~inside], labels[~inside], problem_type))
        mixed = mean_probabilities(members, weights_without[-1])
        probabilities[inside] = mixed[inside]
        if single:
            outside = calibration.choose(labels[~inside], mixed[~inside])
            scaled[inside] = calibration.scaled(mixed[inside], outside["temperature"])
            threshold = outside.get("threshold")
            over[inside] = mixed[inside, 1] >= (0.5 if threshold is None else threshold)
    if single:
        chosen |= calibration.scores_of_scaled(labels, scaled)
    if chosen.get("threshold") is not None:
        chosen |= calibration.scores_of_decisions(labels, over)
    return Blend(weights, np.array(weights_without), probabilities, chosen)
