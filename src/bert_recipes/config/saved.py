"""The configuration that a run folder keeps, and how two configurations differ."""

import ast
import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bert_recipes.config.arguments import RECIPES, DataArguments, ModelArguments
from bert_recipes.config.defaults import DEFAULTS
from bert_recipes.config.help import training_arguments
from bert_recipes.config.values import checked_values
from bert_recipes.errors import UserError
from bert_recipes.files import read_yaml

RUN_FILE, METRICS_FILE = "run.yaml", "metrics.json"
# What may differ between two starts of one run: where it stands and how it is shown, not what comes out.
NOT_COMPARED = {"output_dir", "disable_tqdm", "logging_dir", "push_to_hub", "hub_model_id", "hub_private_repo"}

# What run.yaml of a blend calls the recipe.
BLEND = "blend"

# What is said to one start of a run, and is no part of its configuration.
OF_A_START = {"overwrite", "resume_from_checkpoint"}


def saved_configuration(folder: Path) -> dict[str, Any]:
    """Return what `run.yaml` of a run folder says.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        raise UserError(f"{folder} is no run: it has no {RUN_FILE}.")
    values = read_yaml(path)
    recipe = values.get("recipe")
    parts = (DataArguments, RECIPES.get(recipe, ModelArguments) if isinstance(recipe, str) else ModelArguments)
    return checked_values(values, parts, str(path))


def places_of(named: str, folder: Path) -> list[Path]:
    """Return where that may be which the run in a folder names: from the working directory, or a folder above it."""
    given = Path(named).expanduser()
    return [given, *(parent / given for parent in folder.resolve().parents)]


def processes_of(checkpoint: Path) -> int:
    """Return how many processes left a checkpoint: each its own state of the random numbers."""
    return len(list(checkpoint.glob("rng_state*.pth")))


def configuration_of_model(name: str) -> dict[str, Any]:
    """Return the configuration of the run that `name` is, or whose `model/` it is; nothing, where there is none."""
    folder = Path(name).expanduser()
    for path in (folder, folder.parent if folder.name == "model" else None):
        if path and (path / RUN_FILE).is_file():
            return saved_configuration(path)
    return {}


def differences(there: Mapping[str, Any], here: Mapping[str, Any], ignored: Collection[str] = ()) -> str:
    """Return, for a sentence, which keys differ and how; nothing, where none does.

    A key that one side lacks has its default there.
    """
    found = differing(there, here, ignored)
    return "; ".join(f"{key} is {_shown(a)} there and {_shown(b)} here" for key, (a, b) in found.items())


def differing(
    there: Mapping[str, Any], here: Mapping[str, Any], ignored: Collection[str] = NOT_COMPARED
) -> dict[str, tuple[Any, Any]]:
    """Return the keys that differ, sorted, with the value on either side; a lacking key has its default."""
    keys = sorted(key for key in {*there, *here} - set(ignored) if there.get(key) != here.get(key))
    default = _defaults() if keys else {}
    pairs = {key: (there.get(key, default.get(key)), here.get(key, default.get(key))) for key in keys}
    return {key: (a, b) for key, (a, b) in pairs.items() if _as_parsed(a) != _as_parsed(b)}


def _as_parsed(value: Any) -> Any:
    """Return a value as YAML and the command line read it: for them `no` is False."""
    return False if value == "no" else value


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _defaults() -> dict[str, Any]:
    """Return what a key that a configuration lacks stands for."""
    parts: tuple[type[DataArguments | ModelArguments], ...] = (DataArguments, *RECIPES.values())
    own = {
        field.name: field.default_factory() if callable(field.default_factory) else field.default
        for part in parts
        for field in dataclasses.fields(part)
    }
    return {name: _read(default) for name, default, _ in training_arguments()} | DEFAULTS | own


def _read(default: str) -> Any:
    """Return the value that a default of the source of `TrainingArguments` spells out."""
    try:
        return ast.literal_eval(default)
    except (ValueError, SyntaxError):
        return default


def check_same_configuration(
    folder: Path,
    what: str,
    there: Mapping[str, Any],
    here: Mapping[str, Any],
    ignored: Collection[str] = (),
    onward: str = "",
) -> None:
    """Check that a folder holds `what` of the same configuration.

    Args:
        folder: of the run or the search.
        what: it holds, as in `a run`.
        there: the configuration that it was opened with.
        here: the one that is asked for.
        ignored: keys that may differ beside those that say where a run stands and how it is shown.
        onward: what else can be done about it, for the end of the sentence.

    Raises:
        UserError: it does not; what differs is named.
    """
    if found := differences(there, here, NOT_COMPARED.union(ignored)):
        raise UserError(
            f"{folder} holds {what} of another configuration ({found}): name another --output_dir, or replace it with "
            f"--overwrite{onward or '.'}"
        )
