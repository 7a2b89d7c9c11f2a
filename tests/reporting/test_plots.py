"""Figures: one type size, ends where the quantities end, ticks that a person reads."""

import re

import numpy as np
import pytest
from matplotlib.text import Text

from bert_recipes.reporting import comparison_plots, plots
from bert_recipes.reporting.verdicts import Finding

HISTORY = [{"step": step, "loss": 1 / step} for step in range(1, 30)] + [
    {"step": 30, "eval_loss": 0.0, "eval_f1": 0.0}
]
LABELS = np.arange(80) % 2
SCORES = np.linspace(0, 1, 80)
BOTH = np.stack([1 - SCORES, SCORES], axis=1)
SEEDS = {"stock": np.array([0.1, 0.5]), "custom": np.array([0.9, 0.99])}
FINDING = Finding("stock", "custom", 0.01, -0.01, 0.03, False, "", "")
FIGURES = {
    "loss": lambda: plots.loss_curves([HISTORY]),
    "score": lambda: plots.score_curves([HISTORY], "f1", "F1"),
    "confusion 2": lambda: plots.confusion(np.full((2, 2), 12_345), ["a", "b"]),
    "confusion 12": lambda: plots.confusion(np.full((12, 12), 12_345), ["a"] * 12),
    "confusion 40": lambda: plots.confusion(np.eye(40, dtype=int), ["a"] * 40),
    "precision": lambda: plots.precision_recall(LABELS, SCORES, "a", 0.4),
    "roc": lambda: plots.roc(LABELS, SCORES, "a", 0.4),
    "reliability": lambda: plots.reliability_diagram(LABELS, BOTH, BOTH),
    "scores": lambda: plots.score_histogram(LABELS, SCORES, ["a", "b"], 0.4),
    "confidence": lambda: plots.confidence_histogram(LABELS == 1, SCORES),
    "length": lambda: plots.error_by_length(np.arange(80) % 7, LABELS == 1),
    "residuals": lambda: plots.residuals(SCORES * 1e6, SCORES, "a"),
    "seeds": lambda: comparison_plots.seeds_as_dots(SEEDS, "F1", (0.0, 1.0)),
    "differences": lambda: comparison_plots.differences([FINDING], "F1"),
    "cost": lambda: comparison_plots.cost_and_score(
        {"stock": 2.0, "custom": 900.0}, {"stock": 0.8, "custom": 0.9}, "F1", (0.0, 1.0)
    ),
}


def drawn(name, folder):
    figure = FIGURES[name]()
    plots.save(figure, folder, "figure")
    return figure


def numbers(axis):
    return [
        float(tick.get_text().replace("\N{MINUS SIGN}", "-"))
        for tick in axis.get_ticklabels()
        if tick.get_text() and axis.get_view_interval()[0] <= tick.get_position()[axis.axis_name == "y"]
    ]


@pytest.mark.parametrize("name", FIGURES)
def test_all_type_is_of_one_size_and_without_tex(name, tmp_path):
    figure = drawn(name, tmp_path)
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert {text.get_fontsize() for text in texts} == {plots.POINTS}
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert set(re.findall(r"font(?:-size)?: ([\d.]+)px", svg)) == {str(plots.POINTS)}
    assert "mathdefault" not in svg
    assert "$" not in svg


@pytest.mark.parametrize("name", sorted(FIGURES.keys() - {"confusion 12", "confusion 40"}))
def test_all_but_large_matrices_are_of_one_width(name, tmp_path):
    assert drawn(name, tmp_path).get_size_inches()[0] == plots.WIDTH


@pytest.mark.parametrize("name", ["loss", "score", "length"])
def test_what_cannot_be_negative_has_no_ticks_below_zero(name, tmp_path):
    (axes,) = drawn(name, tmp_path).axes
    assert axes.get_ylim()[0] == 0
    assert axes.get_xlim()[0] >= 0


def test_intervals_end_where_the_score_ends(tmp_path):
    (axes,) = drawn("seeds", tmp_path).axes
    assert axes.get_xlim() == (0, 1)
    for line in axes.lines:
        assert min(line.get_xdata()) >= 0
        assert max(line.get_xdata()) <= 1


@pytest.mark.parametrize("name", ["length", "loss", "score"])
def test_words_and_steps_are_counted_in_whole_numbers(name, tmp_path):
    (axes,) = drawn(name, tmp_path).axes
    ticks = numbers(axes.xaxis)
    assert len(ticks) >= 3
    assert all(tick == int(tick) for tick in ticks)


@pytest.mark.parametrize("seconds", [(2.0, 900.0), (3.1, 3.4), (60.0, 61.0), (0.02, 5.0)])
def test_the_axis_of_seconds_has_plain_ticks(seconds, tmp_path):
    cost = dict(zip(("stock", "custom"), seconds, strict=True))
    figure = comparison_plots.cost_and_score(cost, {"stock": 0.8, "custom": 0.9}, "F1", (0.0, 1.0))
    plots.save(figure, tmp_path, "figure")
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    inside = [tick for tick in numbers(axes.xaxis) if low <= tick <= high]
    assert len(inside) >= 2


def test_a_score_of_one_evaluation_is_not_stretched(tmp_path):
    (axes,) = drawn("score", tmp_path).axes
    low, high = axes.get_ylim()
    assert high - low >= plots.LEAST_SPAN / 2
