"""The recipes as functions: `train`, `load` and `compare`."""

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_recipes.config.arguments import OWN_CODE, RECIPES
from bert_recipes.config.saved import RUN_FILE
from bert_recipes.errors import UserError, nearest
from bert_recipes.extras import asking_for_extra
from bert_recipes.runs.finished import FinishedComparison, FinishedRun
from bert_recipes.terminal import quiet_libraries, say

if TYPE_CHECKING:
    from bert_recipes.config.parsing import Arguments
    from bert_recipes.inference.rows_predictor import RowsPredictor

# The recipes that end in a run.
TRAINED = ("stock", "custom", "baseline")


@asking_for_extra("br.train")
def train(recipe: str, *, config: str | Path | None = None, **flags: Any) -> FinishedRun:
    """Train by a recipe: the very `train` of `recipes/<recipe>.py`.

    Args:
        recipe: `stock`, `custom` or `baseline`.
        config: a YAML file that sets defaults, as `--config`.
        flags: the recipe's flags by name (`python -m bert_recipes.recipes.custom --help` lists them). `dataset` is
            what the flag takes, or a DataFrame, a `datasets.Dataset`, or a dict of these by split; `classifier`,
            `pooling` and `loss` what the flags take, or the class or function itself, whose source is written into
            the run folder; `callbacks` a list of what the flag takes, of classes and of objects (an object's class is
            what is written down).

    Returns:
        The finished run.

    Raises:
        UserError: what the script would print.
    """
    from bert_recipes.config.parsing import make_arguments

    quiet_libraries()
    if recipe not in TRAINED:
        raise UserError(f"there is no recipe '{recipe}'{nearest(recipe, TRAINED)}: take one of {', '.join(TRAINED)}.")
    objects = {name: flags[name] for name in OWN_CODE if callable(flags.get(name))}
    callbacks = flags.get("callbacks")
    if callbacks is not None and not isinstance(callbacks, list | tuple):
        callbacks = flags["callbacks"] = [callbacks]
    stand_ins: dict[str, Any] = dict.fromkeys(objects, "given.py:object")
    if callbacks is not None:
        stand_ins["callbacks"] = []
    args: Arguments[Any] = make_arguments(RECIPES[recipe], flags | stand_ins, config)
    assert args.start is not None
    args.start = dataclasses.replace(args.start, flags=flags)
    for name, given in objects.items():
        setattr(args.model, name, _named(name, given, Path(str(args.training.output_dir))))
    if callbacks:
        _take_callbacks(args, callbacks)
    script = importlib.import_module(f"bert_recipes.recipes.{recipe}")
    run: FinishedRun = script.train(args)
    # Code that was given a moment ago need not be asked for again.
    run.trust_remote_code = True
    return run


def load(name: str | Path, *, trust_remote_code: bool = False) -> "FinishedRun | RowsPredictor":
    """Return a finished run, or an export or the model in a folder or on the Hub, ready to `predict`.

    Args:
        name: a run folder, the folder of an export, a model folder or a Hub id.
        trust_remote_code: whether code that the model carries may run.

    Raises:
        UserError: there is no such run or model, the run is not finished, or what it needs is not installed.
    """
    quiet_libraries()
    if (Path(name).expanduser() / RUN_FILE).is_file():
        run = FinishedRun(name, trust_remote_code=trust_remote_code)
        _ = run.metrics  # an unfinished run has none
        return run
    from bert_recipes.inference.loading import load_predictor

    return load_predictor(str(name), trust_remote_code=trust_remote_code)


@asking_for_extra("br.compare")
def compare(*runs: FinishedRun | str | Path, output_dir: str | Path = "runs/compare") -> FinishedComparison:
    """Compare finished runs on their validation rows: for every pair the difference, its interval and a verdict.

    Args:
        runs: two or more, or their folders; those that differ in their seeds alone are taken together.
        output_dir: where the report goes.

    Returns:
        The verdicts, as `recipes/compare.py` says them.

    Raises:
        UserError: one is no finished run, or they differ in their data, splits or labels.
    """
    from bert_recipes.owned_folder import holding
    from bert_recipes.runs.comparison import (
        Compared,
        apart_from_corrections,
        compare_runs,
        comparison_folder,
        finished,
        make_runs,
        mean_scores,
    )

    quiet_libraries()
    folders = [Path(run.folder if isinstance(run, FinishedRun) else run).expanduser() for run in runs]
    compared, folder = [Compared.finished(path) for path in folders], Path(output_dir).expanduser()
    with holding(owned := comparison_folder(folder)):
        owned.remove_temporary_files()
        make_runs(compared, [], 1, folder)
        groups, note = apart_from_corrections(finished(compared, [], folder))
        if note:
            say(note)
        command = f"br.compare({', '.join(repr(str(path)) for path in folders)})"
        return FinishedComparison(
            folder, {group.name: mean_scores(group) for group in groups}, compare_runs(groups, folder, command, note)
        )


def _named(flag: str, given: Callable[..., Any], folder: Path) -> str:
    """Return what the flag takes for a classifier, pooling or loss that was given as an object."""
    from bert_recipes.modeling.losses import LOSSES
    from bert_recipes.modeling.own_code import keep_object
    from bert_recipes.modeling.pooling import POOLINGS
    from bert_recipes.runs.folder import CODE_FOLDER

    known: list[dict[str, Any]] = [POOLINGS] if flag == "pooling" else [*LOSSES.values()] if flag == "loss" else []
    names = (name for choices in known for name, choice in choices.items() if choice is given)
    return next(names, None) or keep_object(given, folder / CODE_FOLDER / f"own_{flag}.py", flag)


def _take_callbacks(args: "Arguments[Any]", callbacks: Sequence[Any]) -> None:
    """Write callbacks down as the flag takes them, and keep the objects among them."""
    from transformers import TrainerCallback

    from bert_recipes.modeling.own_code import keep_object
    from bert_recipes.runs.folder import CODE_FOLDER
    from bert_recipes.training.callbacks import CallbackObjects

    folder, specs, objects = Path(str(args.training.output_dir)) / CODE_FOLDER, [], {}
    for i, given in enumerate(callbacks, start=1):
        if isinstance(given, str):
            specs.append(given)
            continue
        is_object = isinstance(given, TrainerCallback)
        spec = keep_object(type(given) if is_object else given, folder / f"own_callback_{i}.py", "callbacks")
        specs.append(spec)
        if is_object:
            objects[spec] = given
    args.training.callbacks = args.training.given["callbacks"] = specs
    args.training.callback_objects = CallbackObjects(objects)
