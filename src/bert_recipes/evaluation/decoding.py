"""From logits to probabilities, and from probabilities to predictions."""

from collections.abc import Sequence

import numpy as np

from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL

# Between the labels, or the values, that one row has.
JOINT = "|"


def probabilities_of(logits: np.ndarray, problem_type: str) -> np.ndarray:
    """Return what logits `[rows, num_labels]` say: probabilities in float64, or a regression's values as they are."""
    logits = np.asarray(logits, dtype=np.float64)
    if problem_type == REGRESSION:
        return logits
    # Not SciPy's: prediction from an export does without SciPy, which is larger than all that it needs.
    if problem_type == MULTI_LABEL:
        return np.exp(-np.logaddexp(0, -logits))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def mean_probabilities(
    parts: Sequence[np.ndarray] | np.ndarray, weights: Sequence[float] | np.ndarray | None = None
) -> np.ndarray:
    """Return what several models predict together: the mean of probabilities or values, `[rows, num_labels]` each.

    Args:
        parts: what each of them predicts.
        weights: of each, which sum to one; by default all weigh the same.
    """
    return np.average(parts, axis=0, weights=weights)


def label_texts_of(labels: np.ndarray, label_names: list[str], problem_type: str) -> list[str]:
    """Return labels as `predictions_of` spells predictions, `[rows]`; values with all digits that they came with.

    Args:
        labels: class ids `[rows]`; of several labels or a regression, numbers `[rows, num_labels]`.
        label_names: `[num_labels]`.
        problem_type: what transformers calls the task.
    """
    if problem_type == REGRESSION:
        return [JOINT.join(f"{value:.15g}" for value in row) for row in labels]
    as_probabilities = np.eye(len(label_names))[labels] if labels.ndim == 1 else labels
    return predictions_of(as_probabilities, label_names, problem_type)


def predictions_of(probabilities: np.ndarray, label_names: list[str], problem_type: str) -> list[str]:
    """Return one prediction per row as text: the likeliest label, all labels over one half, or the values.

    Labels and values of one row are joined by `|`.
    """
    if problem_type == SINGLE_LABEL:
        return [label_names[i] for i in probabilities.argmax(axis=1)]
    if problem_type == MULTI_LABEL:
        rows = ((name for name, p in zip(label_names, row, strict=True) if p > 0.5) for row in probabilities)
        return [JOINT.join(held) for held in rows]
    return [JOINT.join(f"{value:.8g}" for value in row) for row in probabilities]
