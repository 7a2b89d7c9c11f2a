"""A run in a notebook: its scores, its curves, and a link to its page."""

import base64
from pathlib import Path
from typing import Any

from bert_recipes.config.saved import saved_configuration
from bert_recipes.evaluation.titles import scores_table
from bert_recipes.reporting.pages import PAGE, PLOTS, environment

CURVES = ("loss", "score")


def run_html(folder: Path, metrics: dict[str, Any]) -> str:
    """Return a finished run as HTML that stands alone but for the link to its page.

    Args:
        folder: of the run.
        metrics: what its metrics.json holds.
    """
    header, *rows = scores_table(metrics)
    drawings = [
        # An image, since two drawings in one page would share the names of their clip paths.
        {"name": name, "source": f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"}
        for name in CURVES
        if (path := folder / PLOTS / f"{name}.svg").is_file()
    ]
    recipe = saved_configuration(folder)["recipe"]
    return environment.get_template("notebook.html").render(
        title=f"{folder.name}: {recipe}",
        page=(folder / PAGE).as_posix(),
        folder=folder,
        header=header,
        rows=rows,
        drawings=drawings,
    )
