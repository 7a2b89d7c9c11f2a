"""Figures of a comparison."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from scipy.stats import t as student_t

from bert_recipes.reporting.plots import COLOURS, FAINT, INK, WIDTH, keep_within, new_figure, short, styled
from bert_recipes.reporting.verdicts import Finding

MARKERS = "osD^vP"


@styled
def seeds_as_dots(scores: dict[str, np.ndarray], title: str, ends: tuple[float | None, float]) -> Figure:
    """One row per recipe: every seed's score as a dot; of several the mean with its 95 % interval (Student's t).

    Args:
        scores: of each seed, by recipe.
        title: of the score.
        ends: the least and the highest value that the score can have.
    """
    figure, axes = new_figure(WIDTH, 0.9 + 0.5 * len(scores))
    for i, values in enumerate(scores.values()):
        colour = COLOURS[i % len(COLOURS)]
        k = len(values)
        if k > 1:
            half = student_t.ppf(0.975, k - 1) * values.std(ddof=1) / np.sqrt(k)
            # Student's t knows nothing of the ends of a score.
            bar = np.clip([values.mean() - half, values.mean() + half], *ends)
            axes.plot(bar, [i, i], color=colour, linewidth=7, alpha=0.22, solid_capstyle="butt")
            axes.plot([values.mean()], [i], "|", color=INK, markersize=17, markeredgewidth=2, zorder=3)
        # Apart a little, so that like scores do not hide each other.
        axes.plot(
            values,
            i + 0.09 * ((np.arange(k) % 3) - 1) * (k > 1),
            "o",
            color=colour,
            alpha=0.7,
            markersize=6,
            mew=0,
            clip_on=False,
        )
    axes.set_yticks(range(len(scores)), [short(name) for name in scores])
    axes.set(xlabel=title, ylim=(len(scores) - 0.4, -0.6))
    keep_within(axes.xaxis, *ends)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.tick_params(axis="y", length=0)
    return figure


@styled
def differences(findings: list[Finding], title: str) -> Figure:
    """One row per pair: the difference in points, its 95 % interval, and colour where it is visible."""
    figure, axes = new_figure(WIDTH, 0.9 + 0.5 * len(findings))
    axes.axvline(0, color=FAINT, linewidth=1.2)
    for i, finding in enumerate(findings):
        colour = COLOURS[0] if finding.visible else FAINT
        axes.plot([100 * finding.low, 100 * finding.high], [i, i], color=colour, linewidth=2.2)
        axes.plot([100 * finding.value], [i], "o", color=colour, markersize=8)
    names = [f"{short(finding.better, 14)}\nover {short(finding.worse, 14)}" for finding in findings]
    axes.set_yticks(range(len(findings)), names)
    axes.set(xlabel=f"difference in points of {title}", ylim=(len(findings) - 0.4, -0.6))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.tick_params(axis="y", length=0)
    return figure


@styled
def cost_and_score(
    cost: dict[str, float], score: dict[str, float], title: str, ends: tuple[float | None, float]
) -> Figure:
    """Mean score against the seconds that training took, on a logarithmic axis."""
    figure, axes = new_figure()
    for i, name in enumerate(score):
        # Names beside the points would overlap where scores are alike, as they often are.
        axes.plot(
            [cost[name]],
            [score[name]],
            MARKERS[i % len(MARKERS)],
            color=COLOURS[i % len(COLOURS)],
            markersize=8,
            alpha=0.85,
            clip_on=False,
            label=short(name),
        )
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.3)
    keep_within(axes.yaxis, *ends)
    low, high = min(cost.values()), max(cost.values())
    # Not so near that a second between two of them fills the figure.
    axes.set_xlim(min(0.8 * low, axes.get_xlim()[0]), max(1.25 * high, axes.get_xlim()[1]))
    low, high = axes.get_xlim()
    # Where all take about as long, 1, 2 and 5 of each decade may leave not one tick.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high / low > 8 else MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.set(xlabel="seconds to train, one run", ylabel=f"mean {title}")
    figure.legend(loc="outside upper left", ncols=2 if len(score) < 5 else 3, frameon=False)
    return figure
