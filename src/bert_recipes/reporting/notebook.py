"""A run or a comparison in a notebook: scores, curves or verdicts, and a link to its page."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_recipes.config.saved import saved_configuration
from bert_recipes.evaluation.titles import scores_table
from bert_recipes.reporting.pages import PAGE, PLOTS, environment, title_of
from bert_recipes.reporting.verdicts import Verdict

CURVES = ("loss", "score")


def run_html(folder: Path, metrics: dict[str, Any]) -> str:
    """Return a finished run as HTML that stands alone but for the link to its page.

    Args:
        folder: of the run.
        metrics: what its metrics.json holds.
    """
    header, *rows = scores_table(metrics)
    return environment.get_template("notebook.html").render(
        title=title_of(folder, saved_configuration(folder)["recipe"]),
        page=(folder / PAGE).as_posix(),
        folder=folder,
        header=header,
        rows=rows,
        drawings=_drawings(folder, CURVES),
    )


def comparison_html(folder: Path, scores: Mapping[str, Mapping[str, str]], verdicts: Sequence[Verdict]) -> str:
    """Return a comparison as HTML that stands alone but for the link to its page.

    Args:
        folder: of the comparison.
        scores: of each run by score, for a person to read.
        verdicts: for every pair.
    """
    titles = list(next(iter(scores.values())))
    return environment.get_template("notebook_comparison.html").render(
        page=(folder / PAGE).as_posix(),
        folder=folder,
        header=["", *titles],
        rows=[[name, *(of[title] for title in titles)] for name, of in scores.items()],
        findings=[finding for v in verdicts for finding in v.findings.values()],
        drawings=_drawings(folder, ("differences",)),
    )


def _drawings(folder: Path, names: Iterable[str]) -> list[dict[str, str]]:
    return [
        # An image, since two drawings in one page would share the names of their clip paths.
        {"name": name, "source": f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"}
        for name in names
        if (path := folder / PLOTS / f"{name}.svg").is_file()
    ]
