"""Is one better than the other, and is it really? Intervals and tests for the difference of two sets of predictions.

Every score here is a function of sums over rows (true positives, squares, ...): `Score.terms` gives the terms of each
row, `Score.of_sums` the score of their sums. So a bootstrap sample is a matrix product, and rows that are alike in
every term are drawn together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

RESAMPLES = 10_000
# Rows times resamples held at once, in float64: 64 MB.
CHUNK = 8_000_000


@dataclass(frozen=True)
class Score:
    """A score of sums over rows.

    Attributes:
        name: as in metrics.json.
        terms: `(labels, predictions) -> [rows, terms]`.
        of_sums: `[..., terms] -> [...]`.
    """

    name: str
    terms: Callable[[np.ndarray, np.ndarray], np.ndarray]
    of_sums: Callable[[np.ndarray], np.ndarray]


def _f1(sums: np.ndarray) -> np.ndarray:
    true_positive, predicted, actual = sums[..., 0], sums[..., 1], sums[..., 2]
    return 2 * true_positive / np.maximum(predicted + actual, 1)


def _terms_of_class(labels: np.ndarray, predictions: np.ndarray, which: int) -> np.ndarray:
    actual, predicted = labels == which, predictions == which
    return np.stack([actual & predicted, predicted, actual], axis=1).astype(float)


def f1(num_labels: int, several: bool = False) -> Score:
    """F1 of class 1 where there are two labels, the macro average where there are more.

    Where several labels may hold at once (labels and predictions `[rows, num_labels]`), the micro average.
    """
    if several:

        def totals(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
            both = ((labels > 0.5) & (predictions > 0.5)).sum(axis=1)
            return np.stack([both, (predictions > 0.5).sum(axis=1), (labels > 0.5).sum(axis=1)], axis=1).astype(float)

        return Score("f1", totals, _f1)
    if num_labels == 2:
        return Score("f1", lambda labels, predictions: _terms_of_class(labels, predictions, 1), _f1)

    def terms(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return np.concatenate([_terms_of_class(labels, predictions, c) for c in range(num_labels)], axis=1)

    def macro(sums: np.ndarray) -> np.ndarray:
        return _f1(sums.reshape(*sums.shape[:-1], num_labels, 3)).mean(axis=-1)

    return Score("f1", terms, macro)


def accuracy() -> Score:
    """The share of rows that are right, in all of their labels."""

    def terms(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return np.stack([_right(labels, predictions), np.ones(len(labels))], axis=1).astype(float)

    return Score("accuracy", terms, lambda sums: sums[..., 0] / np.maximum(sums[..., 1], 1))


def r_squared() -> Score:
    """The share of the variance that a regression explains, the mean over its targets `[rows, targets]`."""

    def terms(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return np.concatenate([(labels - predictions) ** 2, labels, labels**2, np.ones((len(labels), 1))], axis=1)

    def of_sums(sums: np.ndarray) -> np.ndarray:
        errors, values, squares = np.split(sums[..., :-1], 3, axis=-1)
        spread = squares - values**2 / np.maximum(sums[..., -1:], 1)
        return (1 - errors / np.maximum(spread, np.finfo(float).tiny)).mean(axis=-1)

    return Score("r2", terms, of_sums)


def _right(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    same = labels == predictions
    return same if same.ndim == 1 else same.all(axis=1)


@dataclass(frozen=True)
class Difference:
    """How much better A is than B: scores and intervals in the score's own unit, 0 to 1.

    Attributes:
        a, b: the score of each seed's run.
        value: mean of `a` minus mean of `b`.
        low, high: the 95 % interval of `value`.
        p: two-sided bootstrap p-value of no difference; `holm` is set once all pairs are known.
        of_rows: standard error of `value` from the rows alone, as if every seed had been run.
        rows: how many rows it rests on.
        mcnemar: p-value of McNemar's test on the averaged predictions.
    """

    a: np.ndarray
    b: np.ndarray
    value: float
    low: float
    high: float
    p: float
    of_rows: float
    rows: int
    mcnemar: float
    holm: float = float("nan")
    mcnemar_holm: float = float("nan")


def compare(
    score: Score,
    labels: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    averaged: tuple[np.ndarray, np.ndarray],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Bootstrap the difference of two recipes over rows and seeds, and test it with McNemar's test.

    Each resample draws rows with replacement, the same for A and B (paired), and seeds, k-1 of k with replacement,
    which gives the variance of a mean of k without bias (Rao and Wu 1988, doi:10.1080/01621459.1988.10478591). With
    one seed nothing is known of the spread between seeds, and the interval is that of these two runs alone.

    Args:
        score: what is compared.
        labels: class ids `[rows]`, or `[rows, num_labels]`.
        a: predictions of A in that form, for each seed; likewise `b`, whose number of seeds may differ.
        b: predictions of B.
        averaged: predictions of A and of B, each from its seeds' mean probabilities. McNemar's test needs
            independent rows, and the same row under five seeds is not five rows.
        resamples: bootstrap samples.
        seed: of the draws.
    """
    terms = np.stack([score.terms(labels, predictions) for predictions in (*a, *b)], axis=1)
    patterns, count = np.unique(terms.reshape(len(labels), -1), axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    sampled = []
    for start in range(0, resamples, step := max(1, CHUNK // len(count))):
        drawn = rng.multinomial(len(labels), count / len(labels), size=min(step, resamples - start))
        sampled.append(score.of_sums((drawn.astype(float) @ patterns).reshape(len(drawn), *terms.shape[1:])))
    scores = np.concatenate(sampled)
    of_a, of_b = scores[:, : len(a)], scores[:, len(a) :]
    of_rows = float((of_a.mean(axis=1) - of_b.mean(axis=1)).std(ddof=1))
    difference = _draw_seeds(of_a, rng) - _draw_seeds(of_b, rng)
    low, high = np.quantile(difference, [0.025, 0.975])
    exact = score.of_sums(terms.sum(axis=0))
    below, above = (difference <= 0).sum(), (difference >= 0).sum()
    return Difference(
        a=exact[: len(a)],
        b=exact[len(a) :],
        value=float(exact[: len(a)].mean() - exact[len(a) :].mean()),
        low=float(low),
        high=float(high),
        p=float(min(1.0, 2 * (min(below, above) + 1) / (resamples + 1))),
        of_rows=of_rows,
        rows=len(labels),
        mcnemar=mcnemar_p(labels, *averaged),
    )


def _draw_seeds(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return, for each resample `[resamples, seeds]`, the mean score of seeds drawn with replacement."""
    resamples, seeds = scores.shape
    if seeds == 1:
        return scores[:, 0]
    weights = rng.multinomial(seeds - 1, [1 / seeds] * seeds, size=resamples) / (seeds - 1)
    return (weights * scores).sum(axis=1)


def mcnemar_p(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Return the p-value of McNemar's exact test: do A and B err equally often, on the rows where one errs?"""
    right_a, right_b = _right(labels, a), _right(labels, b)
    table = [
        [(right_a & right_b).sum(), (right_a & ~right_b).sum()],
        [(~right_a & right_b).sum(), (~right_a & ~right_b).sum()],
    ]
    return float(mcnemar(table, exact=True).pvalue)


def holm(p_values: list[float]) -> list[float]:
    """Return the p-values corrected for their number (Holm 1979)."""
    return multipletests(p_values, method="holm")[1].tolist()


def seeds_needed(difference: Difference, effect: float = 0.005, power: float = 0.8) -> int | None:
    """Return how many seeds of each would show a true difference of `effect` in `power` of the cases, at 5 %.

    None where no number would, since the rows alone leave more doubt than that: `rows_needed` tells how many would.
    """
    between = _between_seeds(difference)
    if between is None:
        return None
    room = _standard_error(effect, power) ** 2 - difference.of_rows**2
    return max(2, int(np.ceil(between / room))) if room > 0 else None


def rows_needed(difference: Difference, effect: float = 0.005, power: float = 0.8) -> int:
    """Return how many rows would show a true difference of `effect` with these seeds' spread averaged away."""
    return int(np.ceil(difference.rows * (difference.of_rows / _standard_error(effect, power)) ** 2))


def _between_seeds(difference: Difference) -> float | None:
    if min(len(difference.a), len(difference.b)) < 2:
        return None
    return float(difference.a.var(ddof=1) + difference.b.var(ddof=1))


def _standard_error(effect: float, power: float) -> float:
    return effect / (norm.ppf(0.975) + norm.ppf(power))
