"""What the pages of a run and of a comparison share."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

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
environment.filters["score"] = lambda value: "" if value is None else f"{value:.4f}"


class Drawings(dict[str, Markup]):
    """Drawings by name, each also a file under `plots/` of a folder."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder / PLOTS

    def add(self, name: str, figure: "Figure") -> None:
        """Write a figure's files and keep its drawing for the page."""
        self[name] = Markup(plots.save(figure, self.folder, name))


def is_chosen_there(configuration: dict[str, Any]) -> bool:
    """Whether a run kept the checkpoint with the best score on the very rows that score it."""
    return configuration["recipe"] != "baseline" and configuration.get("load_best_model_at_end", False)
