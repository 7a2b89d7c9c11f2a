"""Figures of a run, each as PNG and SVG under `plots/` and as SVG inside the page; how every figure looks.

The colours are those of Okabe and Ito, which colour-blind people tell apart. In the page they are CSS variables, so
that one drawing serves light and dark.
"""

import contextlib
import functools
import io
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bert_recipes.reporting.backend  # noqa: F401

# isort: split
import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from sklearn.metrics import precision_recall_curve, roc_curve

from bert_recipes.evaluation.calibration import reliability
from bert_recipes.files import writing
from bert_recipes.reporting import fonts

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK, FAINT, PAPER = "#1b1f24", "#8b949e", "#ffffff"
# What stands for each colour in the page.
VARIABLES = {c: f"var(--c{i + 1})" for i, c in enumerate(COLOURS)} | {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    PAPER: "var(--paper)",
}
CURVE_POINTS = 400
LEAST_SPAN = 0.04  # of an axis of scores
# Of a confusion matrix: more would be too small to read, and a drawing of a million cells.
MOST_CLASSES = 40
# Every text of every figure has this size, and every figure but a large matrix this width, in inches.
POINTS, WIDTH = 9.5, 4.2
# Drawn in place of characters that no font here has, and put back in the SVG: a browser knows more fonts.
# Braille, arrows, operators and boxes, which DejaVu Sans has: enough for all letters of a large matrix.
STAND_INS = [chr(code) for code in (*range(0x2801, 0x2900), *range(0x2190, 0x2300), *range(0x2500, 0x2600))]
STYLE: dict[Any, Any] = {
    "font.family": [fonts.BASE],
    "font.size": POINTS,
    "axes.labelsize": POINTS,
    "xtick.labelsize": POINTS,
    "ytick.labelsize": POINTS,
    "legend.title_fontsize": POINTS,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a label may hold a $
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": POINTS,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
}

# Rows of a group whose share of errors is drawn.
LEAST_OF_GROUP = 20

# Text takes its font when it is made: every figure is made within the style.
styled = matplotlib.rc_context(STYLE)


@dataclass(frozen=True)
class Saved:
    """A figure as it was written: its SVG for the page, its colours as variables, and what no font could draw."""

    svg: str
    undrawn: set[str]


def save(figure: Figure, folder: Path, name: str) -> Saved:
    """Write `name`.png and `name`.svg into `folder`."""
    folder.mkdir(exist_ok=True)
    undrawn = _choose_fonts(figure)
    with matplotlib.rc_context(STYLE), writing(folder / f"{name}.png", "wb") as file, _instead(figure, undrawn, "?"):
        # Laid out once, the same for both: with a layout engine savefig draws twice.
        figure.set_dpi(200)
        if layout := figure.get_layout_engine():
            layout.execute(figure)
            figure.set_layout_engine(None)
        figure.savefig(file, format="png", dpi=200)
    drawing = io.StringIO()
    # The salt names the drawing's clip paths: no two drawings of a page may share one.
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}), _instead(figure, undrawn, *STAND_INS) as back:
        figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
    svg = drawing.getvalue().translate(back)
    with writing(folder / f"{name}.svg") as file:
        file.write(svg)
    # Only in styles: a label may be spelled like a colour.
    svg = re.sub(r'style="[^"]*"', lambda style: _with_variables(style[0]), svg[svg.index("<svg") :])
    width, height = figure.get_size_inches() * 72
    kind = ' class="wide"' if width > 72 * WIDTH + 1 else ""
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img"{kind} style="--points: {width:g}">'
    return Saved(re.sub(r"<svg [^>]*>", head, svg, count=1), undrawn)


def _texts(figure: Figure) -> list[Text]:
    # Ticks are made when they are asked for, and findobj asks for them.
    return [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]


def _choose_fonts(figure: Figure) -> set[str]:
    """Let a figure's texts be drawn in fonts that have their characters; return those that none has."""
    texts = _texts(figure)
    families, undrawn = fonts.families_for(text.get_text() for text in texts)
    for text in texts if len(families) > 1 else ():
        text.set_fontfamily(families)
    return undrawn


@contextlib.contextmanager
def _instead(figure: Figure, undrawn: set[str], *others: str) -> Iterator[dict[int, int]]:
    """Draw others for the characters `undrawn`; yield what translates them back."""
    texts = {text: text.get_text() for text in _texts(figure)} if undrawn else {}
    taken = set().union(*texts.values())
    free = [other for other in others if other not in taken] or others
    there = dict(zip(sorted(undrawn), itertools.cycle(free), strict=False))
    table = str.maketrans(there)
    axes = [axis for of in figure.axes for axis in (of.xaxis, of.yaxis)] if undrawn else []
    named = {axis: shown for axis in axes if isinstance(shown := axis.get_major_formatter(), FuncFormatter)}
    for text, content in texts.items():
        text.set_text(content.translate(table))
    for axis, shown in named.items():
        # Ticks take their text from here each time that they are drawn.
        axis.set_major_formatter(FuncFormatter(functools.partial(_translated, shown, table)))
    yield {ord(other): ord(character) for character, other in there.items()}
    for axis, shown in named.items():
        axis.set_major_formatter(shown)
    for text, content in texts.items():
        text.set_text(content)


def _translated(shown: FuncFormatter, table: dict[int, str], value: float, at: int | None) -> str:
    return shown(value, at).translate(table)


def _with_variables(style: str) -> str:
    style = re.sub("#[0-9a-f]{6}", lambda colour: VARIABLES.get(colour[0], colour[0]), style)
    return re.sub(r"font: (\S+) [^;\"]*", r"font-size: \1", style)


def new_figure(width: float = WIDTH, height: float = 2.9) -> tuple[Figure, Axes]:
    """Return a figure that is read at its own size on a phone, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(True)
    return figure, axes


def short(name: str, most: int = 18) -> str:
    """Return a name cut to at most that many characters."""
    return name if len(name) <= most else name[: most - 1] + "…"


def keep_within(axis: Axis, low: float | None, high: float | None) -> None:
    """Let an axis end where its quantity ends; what is drawn on the end itself stays whole."""
    start, end = axis.get_view_interval()
    axis.set_view_interval(
        start if low is None or start >= low else low,
        end if high is None or end <= high else high,
        ignore=True,
    )


@styled
def loss_curves(log_histories: list[list[dict[str, Any]]]) -> Figure:
    """Loss by optimizer step: of training, smoothed, and of validation; a line for each fold where there are some."""
    figure, axes = new_figure()
    alone = len(log_histories) == 1
    for i, log_history in enumerate(log_histories):
        train = np.array([(e["step"], e["loss"]) for e in log_history if "loss" in e])
        validation = np.array([(e["step"], e["eval_loss"]) for e in log_history if "eval_loss" in e])
        if len(train):
            if alone:
                axes.plot(*train.T, color=COLOURS[0], alpha=0.25, linewidth=1)
            width = max(1, len(train) // 15)
            smooth = np.convolve(train[:, 1], np.full(width, 1 / width), mode="valid")
            label = f"training, mean of {width}" if width > 1 else "training"
            axes.plot(
                train[width - 1 :, 0],
                smooth,
                color=COLOURS[0],
                alpha=1 if alone else 0.6,
                label=label if i == 0 else None,
            )
        if len(validation):
            style: dict[str, Any] = {
                "color": COLOURS[1],
                "alpha": 1 if alone else 0.6,
                "label": "validation" if i == 0 else None,
            }
            axes.plot(*validation.T, marker="o", markersize=5, **style)
    axes.set(xlabel="optimizer step", ylabel="loss per example")
    axes.set_xlim(left=0)
    keep_within(axes.yaxis, 0, None)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.legend()
    return figure


@styled
def score_curves(log_histories: list[list[dict[str, Any]]], name: str, title: str) -> Figure:
    """A score on validation by optimizer step, the best one named; a line for each fold, where there are folds."""
    figure, axes = new_figure()
    lines = [
        np.array([(e["step"], e[f"eval_{name}"]) for e in history if f"eval_{name}" in e]) for history in log_histories
    ]
    for points in lines:
        axes.plot(*points.T, color=COLOURS[1], marker="o", markersize=5, alpha=1 if len(lines) == 1 else 0.6)
    if len(lines) == 1:
        step, best = lines[0][lines[0][:, 1].argmax()]
        axes.annotate(f"{best:.4f}", (step, best), xytext=(0, 7), textcoords="offset points", ha="center")
    axes.margins(y=0.2)
    low, high = axes.get_ylim()
    if high - low < LEAST_SPAN:
        # A hair's breadth would be drawn as a cliff.
        axes.set_ylim((low + high - LEAST_SPAN) / 2, (low + high + LEAST_SPAN) / 2)
    # F1 from 0 to 1, a correlation from -1, with room for the name of the best.
    keep_within(axes.yaxis, 0 if name == "f1" else -1, 1.05)
    axes.set(xlabel="optimizer step", ylabel=f"{title} on validation")
    # Also of a single point, whose own limits would be fractions of a step.
    axes.set_xlim(0, 1.05 * max(points[-1, 0] for points in lines))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    return figure


@styled
def confusion(matrix: np.ndarray, names: list[str]) -> Figure:
    """Rows by label and prediction; each cell's depth is its share of the label's rows.

    Of more than `MOST_CLASSES` labels those with few rows are counted together.
    """
    if len(names) > MOST_CLASSES:
        matrix, names = _rare_ones_together(matrix, names)
    n = len(names)
    side = min(9.0, max(3.0, 1.4 + 0.42 * n))
    figure, axes = new_figure(WIDTH if n <= 6 else side + 0.8, side)
    axes.grid(False)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    small = n > 20
    for i in range(n):
        for j in range(n):
            # Rectangles, not an image: they stay sharp, and follow the page's colours.
            axes.add_patch(
                matplotlib.patches.Rectangle((j, i), 1, 1, color=COLOURS[0], alpha=0.08 + 0.62 * share[i, j], lw=0)
            )
            if not small:
                rows = f"{matrix[i, j]:,}" if n <= 3 or matrix[i, j] < 10_000 else f"{matrix[i, j] / 1000:.0f}k"
                cell = f"{rows}\n{share[i, j]:.0%}" if n <= 6 else rows
                axes.text(j + 0.5, i + 0.5, cell, ha="center", va="center", color=INK)
    at = np.arange(n) + 0.5
    shown = [short(name) for name in names]
    axes.set(xlim=(0, n), ylim=(n, 0), xlabel="prediction", ylabel="label")
    axes.set_xticks(at, shown, rotation=0 if n < 5 and max(map(len, shown)) < 12 else 90)
    axes.set_yticks(at, shown)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _rare_ones_together(matrix: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Return a confusion matrix and its names with the labels that have the fewest rows as one, the last."""
    by_rows = np.argsort(-(matrix.sum(axis=0) + matrix.sum(axis=1)), kind="stable")
    kept = np.sort(by_rows[: MOST_CLASSES - 1])
    place = np.full(len(names), len(kept))
    place[kept] = np.arange(len(kept))
    together = np.zeros((len(kept) + 1, len(kept) + 1), dtype=matrix.dtype)
    np.add.at(together, (place[:, None], place[None, :]), matrix)
    return together, [*(names[i] for i in kept), f"{len(names) - len(kept)} others"]


@styled
def precision_recall(labels: np.ndarray, scores: np.ndarray, name: str, threshold: float | None) -> Figure:
    """Precision against recall of class 1, with one half and the chosen threshold marked."""
    figure, axes = new_figure()
    precision, recall, at = precision_recall_curve(labels, scores)
    keep = _thin(len(at))
    axes.plot(recall[keep], precision[keep], color=COLOURS[0])
    share = labels.mean()
    axes.axhline(share, color=FAINT, linestyle="--", linewidth=1)
    axes.text(0.01, share, f"share of the label: {share:.2f}", va="bottom", color=INK)

    def point(cut: float) -> tuple[float, float]:
        over = scores >= cut
        right = (over & (labels == 1)).sum()
        return right / max((labels == 1).sum(), 1), right / max(over.sum(), 1)

    _mark(axes, point, threshold)
    axes.set(xlabel=f"recall of “{short(name)}”", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03))
    return figure


@styled
def roc(labels: np.ndarray, scores: np.ndarray, name: str, threshold: float | None) -> Figure:
    """True positive rate against false positive rate of class 1, with one half and the chosen threshold marked."""
    figure, axes = new_figure()
    false, true, _ = roc_curve(labels, scores)
    keep = _thin(len(false))
    axes.plot(false[keep], true[keep], color=COLOURS[0])
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1)

    def point(cut: float) -> tuple[float, float]:
        over = scores >= cut
        return over[labels == 0].mean(), over[labels == 1].mean()

    _mark(axes, point, threshold)
    axes.set(
        xlabel="false positive rate", ylabel=f"true positive rate of “{short(name)}”", xlim=(0, 1), ylim=(0, 1.03)
    )
    return figure


def _mark(axes: Axes, point: Callable[[float], tuple[float, float]], threshold: float | None) -> None:
    marks = [(0.5, "s", COLOURS[4], "one half")]
    if threshold is not None:
        marks.append((threshold, "o", COLOURS[1], f"best F1: {threshold:.3f}"))
    for cut, marker, colour, label in marks:
        axes.plot(*point(cut), marker, color=colour, markersize=8, label=label, zorder=3)
    axes.legend(title="threshold", loc="lower right" if len(marks) else None)


def _thin(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, CURVE_POINTS).astype(int))


@styled
def reliability_diagram(labels: np.ndarray, probabilities: np.ndarray, scaled: np.ndarray | None) -> Figure:
    """Accuracy against confidence in bins of equal width, the points as large as their share of the rows."""
    figure, axes = new_figure()
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1)
    shown = [(probabilities, COLOURS[0], "o", "as predicted")]
    if scaled is not None:
        shown.append((scaled, COLOURS[1], "s", "temperature-scaled"))
    for values, colour, marker, label in shown:
        found = reliability(labels, values)
        filled = found["rows"] > 0
        size = 12 + 150 * found["rows"][filled] / found["rows"].max()
        x, y = found["confidence"][filled], found["accuracy"][filled]
        axes.plot(x, y, color=colour, linewidth=1, alpha=0.5)
        axes.scatter(x, y, s=size, color=colour, marker=marker, alpha=0.75, label=label, lw=0)
    low = 1 / probabilities.shape[1]
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(max(0, low - 0.05), 1.02), ylim=(0, 1.05))
    legend = axes.legend(loc="lower right")
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([30])
    return figure


@styled
def score_histogram(labels: np.ndarray, scores: np.ndarray, names: list[str], threshold: float | None) -> Figure:
    """How the probability of class 1 is spread over the rows of each class."""
    figure, axes = new_figure()
    edges = np.linspace(0, 1, 41)
    for which, colour in ((0, COLOURS[0]), (1, COLOURS[1])):
        count, _ = np.histogram(scores[labels == which], edges)
        axes.stairs(count, edges, fill=True, color=colour, alpha=0.45, label=f"label “{short(names[which])}”")
        axes.stairs(count, edges, color=colour, linewidth=1.4)
    if threshold is not None:
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1, label=f"threshold {threshold:.3f}")
    axes.set(xlabel=f"probability of “{short(names[1])}”", ylabel="rows", xlim=(0, 1))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    figure.legend(loc="outside upper left", ncols=2)
    return figure


@styled
def confidence_histogram(right: np.ndarray, confidence: np.ndarray) -> Figure:
    """How the confidence is spread over the rows that are right and those that are wrong."""
    figure, axes = new_figure()
    edges = np.linspace(0, 1, 41)
    for inside, colour, label in ((right, COLOURS[0], "right"), (~right, COLOURS[1], "wrong")):
        count, _ = np.histogram(confidence[inside], edges)
        axes.stairs(count, edges, fill=True, color=colour, alpha=0.45, label=label)
        axes.stairs(count, edges, color=colour, linewidth=1.4)
    axes.set(xlabel="confidence", ylabel="rows", xlim=(0, 1))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.legend()
    return figure


@styled
def error_by_length(lengths: np.ndarray, wrong: np.ndarray) -> Figure:
    """Share of wrong rows by length in words, in groups of about as many rows, with 95 % intervals (Wilson)."""
    figure, axes = new_figure()
    order = np.argsort(lengths, kind="stable")
    groups = [g for g in np.array_split(order, min(10, max(1, len(order) // LEAST_OF_GROUP))) if len(g)]
    x = np.array([lengths[g].mean() for g in groups])
    n = np.array([len(g) for g in groups])
    share = np.array([wrong[g].mean() for g in groups])
    low, high = wilson(share, n)
    axes.errorbar(
        x, share, yerr=[share - low, high - share], fmt="o", color=COLOURS[1], ecolor=FAINT, capsize=2, markersize=5
    )
    axes.axhline(wrong.mean(), color=FAINT, linestyle="--", linewidth=1, label=f"all rows: {wrong.mean():.1%}")
    axes.set(xlabel="words in the text", ylabel="share of rows that are wrong")
    axes.set_ylim(0, min(1.04, 1.1 * high.max()))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside upper left")
    return figure


def wilson(share: np.ndarray, n: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of Wilson's 95 % interval of a share of `n` rows."""
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At a share of 0 or 1 the end is that share but for rounding.
    return np.minimum(middle - half, share), np.maximum(middle + half, share)


@styled
def residuals(values: np.ndarray, predicted: np.ndarray, name: str) -> Figure:
    """Predicted against true values of one target of a regression; at most 2,000 rows are drawn."""
    figure, axes = new_figure()
    some = np.random.default_rng(0).permutation(len(values))[:2000]
    axes.plot(values[some], predicted[some], "o", color=COLOURS[0], alpha=0.35, markersize=3, markeredgewidth=0)
    ends = [min(values.min(), predicted.min()), max(values.max(), predicted.max())]
    axes.plot(ends, ends, color=FAINT, linestyle="--", linewidth=1)
    axes.set(xlabel=f"{short(name)} in the data", ylabel="predicted")
    return figure
