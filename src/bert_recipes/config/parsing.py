"""Flags laid over a YAML file, and the configuration that repeats the run."""

import argparse
import dataclasses
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from bert_recipes.config.aliases import called_here
from bert_recipes.config.arguments import OF_THE_HEAD, RECIPES, DataArguments, ModelArguments, replaced_by
from bert_recipes.config.defaults import DEFAULTS
from bert_recipes.config.help import asks_for_help, flag_groups, print_help
from bert_recipes.config.shipped import find_configuration
from bert_recipes.config.start import Start
from bert_recipes.config.unsupported import FIXED, NO_MEANING
from bert_recipes.config.values import checked_values
from bert_recipes.errors import UserError, in_one_line, nearest
from bert_recipes.files import read_yaml

if TYPE_CHECKING:
    from bert_recipes.config.training_arguments import RecipeTrainingArguments

M = TypeVar("M", bound=ModelArguments)
# What a configuration says of a finished model, of which the baseline saves none.
OF_A_MODEL = ("refit", "push_to_hub", "hub_model_id", "hub_private_repo", "hub_token")


@dataclass
class Arguments(Generic[M]):
    """A recipe's arguments.

    Attributes:
        data: where the rows come from.
        model: the recipe's own choices.
        training: for the Trainer.
        name: of the recipe, or of a script that is none.
        start: how it was started, where that is known.
        given: names of what was set, by a flag, in the YAML file or from Python; the rest is at its default.
    """

    data: DataArguments
    model: M
    training: "RecipeTrainingArguments"
    name: str = ""
    start: Start | None = None
    given: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.name = self.name or self.model.recipe

    @property
    def configuration(self) -> dict[str, Any]:
        """What `--config` would take to repeat the run.

        All of this project's own values, and of Trainer's those that differ from Trainer's defaults.
        """
        own = {
            field.name: getattr(part, field.name)
            for part in (self.data, self.model)
            for field in dataclasses.fields(part)
            if field.init
        }
        return {"recipe": self.name, **own, **self.training.configuration}


def parse_arguments(
    model_class: type[M], doc: str | None, name: str = "", argv: list[str] | None = None
) -> Arguments[M]:
    """Read a recipe's flags, laid over its YAML file.

    Args:
        model_class: the dataclass of the recipe's own choices.
        doc: the recipe's docstring, for `--help`.
        name: the recipe's name, by default the one of `model_class`; its default `--output_dir` is `runs/<name>`.
        argv: the command line without the program's name; by default the process's own.

    Raises:
        UserError: an unknown flag or key (naming the nearest valid one), or a value of the wrong type.
    """
    name = name or model_class.recipe
    argv = list(sys.argv[1:] if argv is None else argv)
    if asks_for_help(argv):
        print_help(doc, flag_groups((DataArguments, model_class), DEFAULTS | {"output_dir": f"runs/{name}"}, FIXED))
        sys.exit()
    from bert_recipes.config.training_arguments import FlagParser, RecipeTrainingArguments

    classes = (DataArguments, model_class, RecipeTrainingArguments)
    parser = FlagParser(classes)
    valid = {action.dest for action in parser._actions}
    given = {word.split("=")[0].removeprefix("--") for word in argv if word.startswith("--")}
    config = _ConfigParser().path(argv)
    defaults = _defaults(config, valid, name, classes, given)
    parser.set_defaults(**defaults)
    namespace, unknown = parser.parse_known_args(argv)
    for flag in unknown:
        if flag.startswith("-"):
            name = flag.split("=")[0]
            raise UserError(f"there is no flag {name}{_nearest(name.lstrip('-'), valid, '--')}.")
    if unknown:
        raise UserError(f"'{unknown[0]}' belongs to no flag.")
    return _build(model_class, name, vars(namespace), Start.by_command(argv, config), defaults)


class _ConfigParser(argparse.ArgumentParser):
    """Reads `--config` alone, before the defaults of the other flags are known."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.add_argument("--config")

    def path(self, argv: list[str]) -> str | None:
        """Return what the flag says.

        Raises:
            UserError: it has no value.
        """
        config: str | None = self.parse_known_args(argv)[0].config
        return config

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UserError(f"{message}: give a YAML file.")


def make_arguments(model_class: type[M], values: Mapping[str, Any], config: str | Path | None = None) -> Arguments[M]:
    """Return a recipe's arguments from Python: `values` are what the flags of these names take.

    Args:
        model_class: the dataclass of the recipe's own choices.
        values: by the names of the flags.
        config: a YAML file, over which they are laid.

    Raises:
        UserError: as `parse_arguments`.
    """
    from bert_recipes.config.training_arguments import RecipeTrainingArguments

    classes = (DataArguments, model_class, RecipeTrainingArguments)
    valid = {field.name for part in classes for field in dataclasses.fields(part) if field.init}
    for key in values:
        if key not in valid:
            raise UserError(f"there is no argument '{key}'{_nearest(key, valid, '')}.")
    laid_over = {key for key, value in values.items() if value is not None}
    defaults = _defaults(config, valid, model_class.recipe, classes, laid_over)
    given = checked_values(values, classes, "the arguments")
    start = Start(str(config) if config else None, values, from_python=True)
    return _build(model_class, model_class.recipe, defaults | given, start, defaults)


def _defaults(
    config: str | Path | None, valid: set[str], name: str, parts: tuple[type, ...], given: Collection[str]
) -> dict[str, Any]:
    """Return the defaults, with the YAML file's values over them; `given` are the names of what is laid over these."""
    defaults: dict[str, Any] = {"output_dir": None}
    if config:
        defaults |= _read_configuration(Path(config), valid, name, parts)
        replaced = replaced_by(given, defaults)
        defaults = {key: value for key, value in defaults.items() if key not in replaced}
        if of_the_head := replaced & OF_THE_HEAD:
            from bert_recipes import terminal  # --help needs no rich

            terminal.say(f"--classifier takes the place of {', '.join(sorted(of_the_head))} in {config}.")
    return {key: value for key, value in defaults.items() if key in valid}


def _build(
    model_class: type[M], name: str, values: Mapping[str, Any], start: Start, configured: Iterable[str]
) -> Arguments[M]:
    from bert_recipes.config.training_arguments import RecipeTrainingArguments

    values = dict(values)
    values["output_dir"] = values.get("output_dir") or f"runs/{name}"
    if isinstance(values.get("debug"), list):
        values["debug"] = " ".join(values["debug"])
    for flag in sorted(NO_MEANING):
        if values.get(flag):
            raise UserError(f"--{flag} has no meaning here: a recipe trains, evaluates and predicts.")
    if values.get("push_to_hub") and not model_class.saves_model:
        raise UserError(f"--push_to_hub cannot be honoured: recipes/{model_class.recipe}.py ends with no model.")
    data = _part(DataArguments, values)
    model = _part(model_class, values)
    given = frozenset({*configured, *start.flags})
    return Arguments(data, model, _part(RecipeTrainingArguments, values), name, start, given)


P = TypeVar("P")


def _part(part: type[P], values: Mapping[str, Any]) -> P:
    fields = dataclasses.fields(part)  # type: ignore[arg-type]
    given = {field.name: values[field.name] for field in fields if field.init and field.name in values}
    try:
        return part(**given)
    except (ValueError, TypeError, ImportError, LookupError, AttributeError, ArithmeticError, OSError) as error:
        raise UserError(in_one_line(error)) from error


def _read_configuration(path: Path, valid: set[str], recipe: str, parts: tuple[type, ...]) -> dict[str, Any]:
    values = read_yaml(find_configuration(path), f"--config {path}")
    of = values.pop("recipe", recipe)
    if recipe == "baseline":
        # It takes what the others are configured with, and has no use for their heads and losses.
        others = {field.name for other in RECIPES.values() for field in dataclasses.fields(other)}
        values = {key: value for key, value in values.items() if key in valid or key not in others}
        for key in OF_A_MODEL:
            values.pop(key, None)
    elif of != recipe:
        raise UserError(f"--config {path} is of another recipe than {recipe}: run recipes/ with that name.")
    for key in values:
        if key not in valid:
            raise UserError(f"{path}: there is no key '{key}'{_nearest(str(key), valid, '')}.")
    return checked_values(values, parts, str(path))


def _nearest(word: str, valid: set[str], prefix: str) -> str:
    for name, other in RECIPES.items():
        if word in {field.name for field in dataclasses.fields(other)} - valid:
            return f" in this recipe: it is one of the {name} recipe's"
    return called_here(word, valid, prefix) or nearest(word, valid, prefix)
