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
class Finding:
    """What is known of one pair in one score, in one direction: the better one minus the other.

    Attributes:
        better, worse: names; where the two are alike, as they were given.
        value, low, high: the difference and its 95 % interval, in the score's own unit.
        visible: whether the difference is more than chance explains.
        headline: the verdict in a sentence that a person understands.
        statistics: what it rests on, or what it would take to see more; empty where there is nothing to add.
    """

    better: str
    worse: str
    value: float
    low: float
    high: float
    visible: bool
    headline: str
    statistics: str

    def __str__(self) -> str:
        return f"{self.headline} {self.statistics}".strip()


@dataclass(frozen=True)
class Verdict:
    """What is known of one pair, by score: the difference of `a` minus `b`, and what it means."""

    a: str
    b: str
    differences: dict[str, Difference]
    findings: dict[str, Finding]

    @property
    def sentences(self) -> dict[str, str]:
        """The findings as text."""
        return {title: str(finding) for title, finding in self.findings.items()}


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
        Verdict(a.name, b.name, d, {t: finding(a.name, b.name, t, x, len(pairs)) for t, x in d.items()})
        for (a, b), d in zip(pairs, found, strict=True)
    ]


def ends_of(rows: Predictions) -> tuple[float | None, float]:
    """Return the least and the highest value of the scores that decide: F1 and accuracy, or R², without a least."""
    return (None if rows.problem_type == REGRESSION else 0.0), 1.0


def scores_of(group: Group, title: str) -> np.ndarray:
    """Return the score of each seed, `[seeds]`."""
    rows = group.predictions[0]
    score = scores_for(rows)[title]
    return np.array([score.of_sums(score.terms(rows.labels, chosen).sum(axis=0)) for chosen in group.chosen])


def finding(a: str, b: str, name: str, difference: Difference, pairs: int = 1) -> Finding:
    """Return which of two is better and by how much, or that no difference is visible and what it would take.

    Args:
        a: the one from whose score the other's is subtracted in `difference`.
        b: the other.
        name: of the score, for a person to read.
        difference: of the two.
        pairs: how many were tested side by side.
    """
    d = difference
    ahead = d.value >= 0
    better, worse = (a, b) if ahead else (b, a)
    value, low, high = (d.value, d.low, d.high) if ahead else (-d.value, -d.high, -d.low)
    visible = bool(d.holm < 0.05)
    if visible:
        headline = f"{better} is better than {worse} by {100 * value:.1f} points of {name}."
    elif np.array_equal(d.a, d.b) and d.of_rows == 0:
        return Finding(a, b, value, low, high, False, f"{a} and {b} are alike in {name} in every seed.", "")
    else:
        headline = f"No visible difference in {name} between {better} and {worse}."
    interval = f"95 % interval {_signed(low)} to {_signed(high)}"
    corrected = f", p {_p(d.holm)} corrected for {pairs} pairs" if pairs > 1 else ""
    k = min(len(d.a), len(d.b))
    if visible:
        alone = ", and with one seed each that is said of these two runs alone" if k == 1 else ""
        statistics = f"{interval[0].upper()}{interval[1:]}{corrected}{alone}."
    else:
        points = f"{100 * value:.1f}"
        measured = "they came out alike" if points == "0.0" else f"{better} came out {points} points higher"
        seeds = f"With {k} seed{'s' if k > 1 else ''}{' each' if k == 1 else ''}"
        statistics = f"{seeds} {measured}, {interval}{corrected}; {_what_it_takes(d, k)}."
    return Finding(better, worse, value, low, high, visible, headline, statistics)


def _what_it_takes(d: Difference, seeds: int) -> str:
    if seeds == 1:
        return "of the spread between seeds one seed tells nothing: take at least 3"
    needed = seeds_needed(d)
    if needed is None:
        return (
            f"to see half a point it would take about {_round(rows_needed(d)):,} rows, and these are {d.rows:,}, "
            "however many seeds"
        )
    if needed <= seeds:
        return "half a point would most likely have been seen with these"
    return f"to see half a point you would need about {_round(needed):,}"


def _signed(value: float) -> str:
    """Return a difference in points, never -0.0."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def _p(value: float) -> str:
    return "under 0.001" if value < 0.001 else f"{value:.3f}"


def _round(number: int) -> int:
    """Two digits: an estimate has no more."""
    digits = len(str(number))
    return round(number, min(0, 2 - digits))
