"""Reports whose figures are blank, for tests of something else: rendering them is half of a tiny run's time."""

import os

from PIL import Image

from bert_recipes.files import writing
from bert_recipes.reporting import plots

# Renders what `leave_blank` leaves blank.
save = plots.save


def save_blank(figure, folder, name):
    """Write the files that `plots.save` writes, without what was drawn into `figure`."""
    folder.mkdir(exist_ok=True)
    with writing(folder / f"{name}.png", "wb") as file:
        Image.new("RGB", (1, 1)).save(file, format="png")
    svg = '<svg viewBox="0 0 1 1"></svg>'
    with writing(folder / f"{name}.svg") as file:
        file.write(svg)
    return plots.Saved(svg, set())


def leave_blank():
    """Render no figure in this process, nor in those of `support.started`."""
    plots.save = save_blank
    os.environ["BLANK_FIGURES"] = "1"


def render():
    """Undo `leave_blank`."""
    plots.save = save
    del os.environ["BLANK_FIGURES"]
