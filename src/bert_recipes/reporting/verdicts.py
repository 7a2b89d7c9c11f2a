"""Which one is better, and is it really? The verdict on every pair of compared runs, in numbers and in sentences."""

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bert_recipes.evaluation.prediction_files import Predictions
from bert_recipes.evaluation.significance import (
    Difference,
    Score,
    accuracy,
    compare,
    f1,
    holm,
    r_squared,
    rows_needed,
    seeds_needed,
)
from bert_recipes.evaluation.titles import TITLES
from bert_recipes.task import REGRESSION


@dataclass(frozen=True)
class Group:
    """The finished runs of one thing: a run for each seed."""

    name: str
    folders: list[Path]
    metrics: list[dict[str, Any]]
    predictions: list[Predictions]

    @property
    def chosen(self) -> np.ndarray:
        """What each run predicts, `[seeds, rows]`, or `[seeds, rows, num_labels]`."""
        return np.stack([p.predicted for p in self.predictions])

    @property
    def averaged(self) -> np.ndarray:
        """What the mean of the seeds' probabilities predicts, `[rows]` or `[rows, num_labels]`."""
        mean = np.mean([p.probabilities for p in self.predictions], axis=0)
        return dataclasses.replace(self.predictions[0], probabilities=mean).predicted


@dataclass(frozen=True)
class Verdict:
    """What is known of one pair: the difference in each score, and a sentence for each."""

    a: str
    b: str
    differences: dict[str, Difference]
    sentences: dict[str, str]


def scores_for(rows: Predictions) -> dict[str, Score]:
    """Return the scores that decide, by the name that a person reads."""
    several = rows.labels.ndim == 2
    regression = rows.problem_type == REGRESSION
    found = [r_squared()] if regression else [f1(len(rows.label_names), several), accuracy()]
    return {TITLES[score.name]: score for score in found}


def verdicts(groups: list[Group]) -> list[Verdict]:
    """Compare every pair; the p-values are corrected for the number of pairs (Holm)."""
    rows = groups[0].predictions[0]
    pairs = list(itertools.combinations(groups, 2))
    found: list[dict[str, Difference]] = [{} for _ in pairs]
    for title, score in scores_for(rows).items():
        raw = [compare(score, rows.labels, a.chosen, b.chosen, (a.averaged, b.averaged)) for a, b in pairs]
        corrected = holm([d.p for d in raw])
        mcnemar = holm([d.mcnemar for d in raw]) if rows.problem_type != REGRESSION else [float("nan")] * len(raw)
        for of_pair, d, p, m in zip(found, raw, corrected, mcnemar, strict=True):
            of_pair[title] = dataclasses.replace(d, holm=p, mcnemar_holm=m)
    return [
        Verdict(a.name, b.name, d, {t: verdict(a.name, b.name, t, x, len(pairs)) for t, x in d.items()})
        for (a, b), d in zip(pairs, found, strict=True)
    ]


def scores_of(group: Group, title: str) -> np.ndarray:
    """Return the score of each seed, `[seeds]`."""
    rows = group.predictions[0]
    score = scores_for(rows)[title]
    return np.array([score.of_sums(score.terms(rows.labels, chosen).sum(axis=0)) for chosen in group.chosen])


def verdict(a: str, b: str, name: str, difference: Difference, pairs: int = 1) -> str:
    """Return one sentence that a person understands: which is better and by how much, or what it would take to see."""
    d = difference
    k = min(len(d.a), len(d.b))
    seeds = f"{k} seed{'s' if k > 1 else ''}"
    corrected = f", p {_p(d.holm)} corrected for {pairs} pairs" if pairs > 1 else ""
    better, worse = (a, b) if d.value > 0 else (b, a)
    low, high = (d.low, d.high) if d.value > 0 else (-d.high, -d.low)
    if d.holm < 0.05:
        alone = "; with one seed each, that is said of these two runs alone" if k == 1 else ""
        return (
            f"{better} is better than {worse} by {100 * abs(d.value):.1f} points of {name} "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f}{corrected}){alone}."
        )
    if np.array_equal(d.a, d.b) and d.of_rows == 0:
        return f"{a} and {b} are alike in {name} in every seed."
    points = f"{100 * abs(d.value):.1f}"
    measured = "they came out alike" if points == "0.0" else f"{better} came out {points} points higher"
    interval = f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    start = f"No difference in {name} between {a} and {b} can be seen with {seeds}: {measured}, {interval}{corrected}"
    needed = seeds_needed(d)
    if k == 1:
        return f"{start}; with one seed each nothing is known of the spread between seeds: take at least 3."
    if needed is None:
        return (
            f"{start}; to see half a point it would take about {_round(rows_needed(d)):,} rows, and these are "
            f"{d.rows:,}, however many seeds."
        )
    if needed <= k:
        return f"{start}; half a point would most likely have been seen with these."
    return f"{start}; to see half a point you would need about {_round(needed):,}."


def _p(value: float) -> str:
    return "under 0.001" if value < 0.001 else f"{value:.3f}"


def _round(number: int) -> int:
    """Two digits: an estimate has no more."""
    digits = len(str(number))
    return round(number, min(0, 2 - digits))
