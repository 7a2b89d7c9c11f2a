"""What the pages of a run and of a comparison share."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bert_recipes.errors import some
from bert_recipes.reporting import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"
PLOTS = "plots"
environment = Environment(
    loader=PackageLoader("bert_recipes.reporting"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.filters["p_value"] = lambda p: "< 0.0001" if p < 1e-4 else f"{p:.4f}"


class Drawings(dict[str, Markup]):
    """Drawings by name, each also a file under `plots/` of a folder."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder / PLOTS
        self.undrawn: set[str] = set()

    def add(self, name: str, figure: "Figure") -> None:
        """Write a figure's files and keep its drawing for the page."""
        saved = plots.save(figure, self.folder, name)
        self[name] = Markup(saved.svg)
        self.undrawn |= saved.undrawn

    @property
    def undrawn_said(self) -> list[str]:
        """A sentence where no font of this machine has some of the characters, else none."""
        if not self.undrawn:
            return []
        return [
            f"No font of this machine has {some([f'“{c}”' for c in sorted(self.undrawn)])}: the page shows such "
            f"letters in your browser's fonts, and the PNG files under {PLOTS}/ show “?” for them. With a font that "
            "has them installed (for Korean, `apt-get install fonts-nanum`) they are drawn."
        ]


def title_of(folder: Path, recipe: str) -> str:
    """Return a run's title: its folder's name, and its recipe where that says more."""
    return recipe if folder.name == recipe else f"{folder.name}: {recipe}"


def shown_score(value: float | None) -> str:
    """Return a score for a table: four decimals, or, of a number in the data's own unit, its first digits."""
    if value is None:
        return ""
    if abs(value) < 100:
        return f"{value:.4f}"
    return f"{value:,.2f}" if abs(value) < 10_000 else f"{value:,.0f}"


def is_chosen_there(configuration: dict[str, Any]) -> bool:
    """Whether a run kept the checkpoint with the best score on the very rows that score it."""
    return configuration["recipe"] != "baseline" and configuration.get("load_best_model_at_end", False)


environment.filters["score"] = shown_score
# Never -0.00.
environment.filters["points"] = lambda difference: f"{round(100 * difference, 2) + 0.0:+.2f}"
