"""What to do with a finished run: the other side of the fork, the competition."""

import shlex
from pathlib import Path

from bert_recipes.runs.settings import RunSettings
from bert_recipes.runs.submission import competition_of

# The recipe to try after each, and why.
NEXT = {
    "stock": ("custom", "the other side of the fork"),
    "custom": ("stock", "the other side of the fork"),
    "baseline": ("stock", "which has this to beat"),
}


def next_steps(run: RunSettings) -> list[str]:
    """Return sentences with commands that work where the run was started."""
    said = []
    recipe, why = NEXT[run.recipe]
    if run.start and (line := run.start.line(recipe)):
        said.append(f"Next: {line}, {why}.")
    if run.submission:
        competition, message = competition_of(run.data.source), run.recipe
        if run.start and run.start.config:
            message = f"{run.recipe}, {Path(run.start.config).name}"
        submit = ["kaggle", "competitions", "submit", "-c", competition, "-f", str(run.folder.submission)]
        said.append(f"To submit: {shlex.join([*submit, '-m', message])}")
    return said
