"""What to do with a finished run: the other side of the fork, the competition, another training of its model."""

import itertools
import shlex
from pathlib import Path
from typing import Any

from bert_recipes.config.saved import RUN_FILE, differing, saved_configuration
from bert_recipes.data.seen_rows import seen_before
from bert_recipes.runs.settings import RunSettings
from bert_recipes.runs.submission import competition_of

# The recipe to try after each, and why.
NEXT = {
    "stock": ("custom", "the other side of the fork"),
    "custom": ("stock", "the other side of the fork"),
    "baseline": ("stock", "which has this to beat"),
}
HOW_LONG = {"num_train_epochs", "max_steps"}
# What somebody who asks for a longer training may ask for beside.
SCHEDULE = {"learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay"}


def next_steps(run: RunSettings) -> list[str]:
    """Return sentences with commands that work where the run was started."""
    said = []
    recipe, why = NEXT[run.recipe]
    usual, changes = Path("runs") / recipe, {}
    if usual.exists():
        mine = run.folder.path
        changes["output_dir"] = _free(usual if mine.name == run.recipe else mine.with_name(f"{mine.name}-{recipe}"))
    if run.start and not _is_of_a_run(run.configuration["model"]) and (line := run.start.line(recipe, changes)):
        said.append(f"Next: {line}, {why}.")
    if run.submission:
        message = run.recipe
        if run.start and run.start.config:
            message = f"{run.recipe}, {Path(run.start.config).name}"
        said.append(how_to_submit(run.data.source, run.folder.submission, message))
    return said


def how_to_submit(source: str, submission: Path, message: str) -> str:
    """Return a sentence with the command that submits a file to the competition that data came from."""
    submit = ["kaggle", "competitions", "submit", "-c", competition_of(source), "-f", str(submission)]
    return f"To submit: {shlex.join([*submit, '-m', message])}"


def _free(folder: Path) -> str:
    """Return the folder, or the first `<folder>-2`, `<folder>-3`, … that is not there yet."""
    places = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return str(next(place for place in itertools.chain([folder], places) if not place.exists()))


def _is_of_a_run(model: str) -> bool:
    """Whether `--model` is a run, or the model in one: the other recipe has another encoder to start from."""
    folder = Path(model).expanduser()
    return any((part / RUN_FILE).is_file() for part in (folder, folder.parent))


def train_on(run: RunSettings) -> str:
    """Return, for the end of a sentence, the command that trains on from the finished run in the folder of a new one.

    That is nothing where there is none, where it has no model, or where more than a longer training is asked for: then
    the new run is not meant to go on with it. Nor is it proposed where the model may have seen rows that would
    validate it, as that of all rows has seen those of every fold.
    """
    folder = run.folder
    needed = (folder.run_file, folder.metrics_file, folder.model / "config.json")
    if run.start is None or run.configuration["folds"] or not all(file.is_file() for file in needed):
        return ""
    # The name where it is one: `.` has none that a number could be put to.
    path = folder.path if folder.path.name.strip(".") else folder.path.resolve()
    if seen_before(str(path), run.data, run.digests):
        return ""
    differ = differing(saved_configuration(folder.path), run.configuration)
    changes: dict[str, Any] = {"model": str(path)}
    _, model = differ.pop("model", (None, None))
    from_itself = model is not None and Path(model).resolve() in (folder.path.resolve(), folder.model.resolve())
    if not from_itself:
        longer = {name: differ.pop(name) for name in HOW_LONG & differ.keys()}
        # What is asked for in all, less what is done; a run that is as long in the other unit tells nothing of it.
        more = {n: asked - done for n, (done, asked) in longer.items() if done and asked and asked > done > 0}
        if model is not None or more.keys() != longer.keys() or differ.keys() - (SCHEDULE if more else set()):
            return ""
        changes |= {name: int(count) if count == int(count) else round(count, 6) for name, count in more.items()}
    changes["output_dir"] = _free(path)
    return f"; its model is trained on, with a schedule of its own, by: {run.start.but_with(run.recipe, changes)}"
