"""What a person reads for the name of a score in `metrics.json`."""

from collections.abc import Iterable, Mapping
from typing import Any

# In the order in which a page lists them.
TITLES = {
    "f1": "F1",
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "precision": "precision",
    "recall": "recall",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "f1_at_threshold": "F1 at the threshold",
    "accuracy_at_threshold": "accuracy at the threshold",
    "ece_scaled": "ECE, temperature-scaled",
    "brier_scaled": "Brier score, temperature-scaled",
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "r2": "R²",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "loss": "loss",
}
# Those of a short table: at the terminal and on a model card.
MAIN_SCORES = (
    *("accuracy", "f1", "f1_macro", "precision", "recall", "roc_auc"),
    *("pearson", "spearman", "r2", "mae", "mse"),
)
SCORED_SPLITS = ("validation", "test")


def scores_table(scores: Mapping[str, Any]) -> list[list[str]]:
    """Return a header and one row for each split that has scores, validation first.

    Args:
        scores: by split, as metrics.json has them.
    """
    splits = [split for split in SCORED_SPLITS if split in scores]
    names = [name for name in MAIN_SCORES if any(name in scores[split] for split in splits)]
    rows = [
        ["" if (score := scores[split].get(name)) is None else f"{score:.4f}" for name in names] for split in splits
    ]
    header = ["split", *(TITLES[name] for name in names)]
    return [header, *([split, *row] for split, row in zip(splits, rows, strict=True))]


def in_a_line(scores: Mapping[str, Any], names: Iterable[str], prefix: str = "") -> str:
    """Return those of the scores `names` that there are, as in `accuracy 0.8293, F1 0.7970`."""
    there = {TITLES[name]: scores[f"{prefix}{name}"] for name in names if f"{prefix}{name}" in scores}
    return ", ".join(f"{title} {score:.4f}" for title, score in there.items())
