"""The configurations that come with the project, wherever it is installed."""

import os
from importlib.resources import files
from pathlib import Path

FOLDER = Path("recipes/configs")


def find_configuration(path: Path) -> Path:
    """Return the file that `--config path` means: the one there or, if none is, the shipped one of that name.

    So `recipes/configs/quickstart.yaml` and `quickstart.yaml` work outside of a clone of the project too. A `~` is the
    user's home, as make leaves it.
    """
    path = Path(os.path.expanduser(path))
    if path.exists() or path.parent not in (FOLDER, Path()):
        return path
    shipped = Path(str(files("bert_recipes.recipes"))) / "configs" / path.name
    return shipped if shipped.is_file() else path
