"""Predictions that are right in a given share of the rows, and the comparison of two sets of them."""

import numpy as np

from bert_recipes.evaluation import significance as s

LABELS = np.random.default_rng(0).integers(0, 2, 600)


def guesses(labels, right, seeds, draw):
    """Predictions that are right in a share of the rows, `[seeds, rows]`."""
    return np.stack([np.where(draw.random(len(labels)) < right, labels, 1 - labels) for _ in range(seeds)])


def compared(score, labels, a, b, **kwargs):
    """Compare two sets of predictions `[seeds, rows]`; McNemar's test takes the first seed of each."""
    return s.compare(score, labels, a, b, (a[0], b[0]), **kwargs)
