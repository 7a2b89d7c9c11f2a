"""How near an export comes to its model: the same rows, predicted by both."""

from typing import Any

import numpy as np

from bert_recipes.evaluation.calibration import scores_of_decisions
from bert_recipes.evaluation.decoding import predictions_of
from bert_recipes.evaluation.metrics import scores_from_probabilities
from bert_recipes.evaluation.prediction_files import Predictions
from bert_recipes.evaluation.titles import MAIN_SCORES, TITLES
from bert_recipes.inference.rows import TextRow
from bert_recipes.task import REGRESSION

# Between two engines in float32 the order of sums differs, and nothing else.
MOST_APART = 1e-5


def rows_of(predictions: Predictions) -> list[TextRow]:
    """Return the rows that a run was validated on, as it kept them, to be predicted again."""
    columns = predictions.columns
    cells = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [
        TextRow(identifier, row["text"], row.get("text_pair"), row)
        for identifier, row in zip(predictions.ids, cells, strict=True)
    ]


def difference(before: np.ndarray, after: np.ndarray) -> float:
    """Return the largest absolute difference of probabilities, or of a regression's values."""
    return float(np.abs(after - before).max())


def is_near(before: np.ndarray, after: np.ndarray, problem_type: str) -> bool:
    """Whether all probabilities are as near as those of two engines in float32; values, in units of their largest."""
    largest = max(1.0, float(np.abs(before).max())) if problem_type == REGRESSION else 1.0
    # Written so that a NaN is not near.
    return difference(before, after) <= MOST_APART * largest


def parity(rows: Predictions, before: np.ndarray, after: np.ndarray, threshold: float | None) -> dict[str, Any]:
    """Return what parity.json says of an export.

    Args:
        rows: the rows with their labels.
        before: probabilities by the model in float32, `[rows, num_labels]`.
        after: by the export.
        threshold: that the run chose, where it did.
    """
    found: dict[str, Any] = {"rows": len(rows.ids), "largest_difference": difference(before, after)}
    if rows.problem_type != REGRESSION:
        texts = [predictions_of(part, rows.label_names, rows.problem_type) for part in (before, after)]
        found["flips"] = sum(a != b for a, b in zip(*texts, strict=True))
    return found | {
        "before": _scores(rows, before, threshold),
        "after": _scores(rows, after, threshold),
    }


def _scores(rows: Predictions, probabilities: np.ndarray, threshold: float | None) -> dict[str, float]:
    scores = scores_from_probabilities(probabilities, rows.labels, rows.problem_type)
    if threshold is not None:
        scores |= scores_of_decisions(rows.labels, probabilities[:, 1] >= threshold)
    return {name: scores[name] for name in TITLES if name in scores}


def in_words(found: dict[str, Any]) -> str:
    """Return a sentence on what `parity` returned."""
    scores = ", ".join(
        f"{TITLES[name]} {score:.4f} ({score - found['before'][name]:+.4f})"
        for name, score in found["after"].items()
        if name in MAIN_SCORES
    )
    flips = found.get("flips")
    what = "values" if flips is None else f"{flips:,} prediction{'s' * (flips != 1)} changed and probabilities"
    return (
        f"Against the model, over {found['rows']:,} rows of {found['rows_of']}, {what} differ by "
        f"{found['largest_difference']:.1e} at most: {scores}."
    )
