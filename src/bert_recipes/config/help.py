"""What `--help` of a recipe prints, at once: torch and transformers, which take seconds, are not imported.

The texts of this project's own flags are in `config.arguments`, those of Trainer's in transformers' source.
"""

import argparse
import ast
import dataclasses
import importlib.util
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bert_recipes.config.arguments import DataArguments, ModelArguments
from bert_recipes.config.unsupported import NO_MEANING
from bert_recipes.errors import UserError
from bert_recipes.extras import INSTALL_TRAIN

# The flags of TrainingArguments that most runs set; the others follow after them.
OFTEN = (
    "output_dir",
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "warmup_steps",
    "weight_decay",
    "label_smoothing_factor",
    "bf16",
    "fp16",
    "seed",
    "eval_strategy",
    "metric_for_best_model",
    "load_best_model_at_end",
    "early_stopping_patience",
    "early_stopping_threshold",
    "callbacks",
    "report_to",
    "push_to_hub",
)
# What these recipes do otherwise than TrainingArguments says.
OTHERWISE = {
    "resume_from_checkpoint": (
        "None",
        "go on from this checkpoint of the interrupted run in output_dir, as in "
        "runs/custom/checkpoints/checkpoint-100; without it a run goes on from its last one",
    ),
    "bf16": ("by the device", "bfloat16 autocast; by default where the device has it natively"),
    "fp16": (
        "by the device",
        "float16 autocast with loss scaling; by default on a V100 or T4, which have no bfloat16",
    ),
    "metric_for_best_model": ("by the task", "score that chooses the checkpoint: F1, or the loss of a regression"),
    "logging_nan_inf_filter": ("False", "Log nan and inf losses as 0."),
    "train_sampling_strategy": (
        "group_by_length",
        "The order of the rows: group_by_length, random or sequential.",
    ),
}
# What `RecipeTrainingArguments` adds to it.
ADDED = {
    "early_stopping_patience": ("None", "stop after this many evaluations in a row without a better score"),
    "early_stopping_threshold": ("0.0", "what the score must change by to count as better"),
    "callbacks": ("None", "your own callbacks of the Trainer, as file.py:Name; one or several"),
    "cuda_graphs": ("by the device", "launch the encoder's kernels as CUDA graphs; by default on one GPU"),
}


def asks_for_help(argv: list[str]) -> bool:
    """Whether a command line, without the program's name, asks for `--help`."""
    return not {"-h", "--help"}.isdisjoint(argv)


def command_name() -> str:
    """Return how this process was started: `python script.py` or `python -m package.module`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name}" if spec else f"python {sys.argv[0]}"


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag as it is told.

    Attributes:
        name: without its dashes.
        default: as text; nothing where it is unset.
        text: what it does.
        choices: what it takes, where these are few.
    """

    name: str
    default: str
    text: str
    choices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class FlagGroup:
    """Flags that belong together, under a title and with a sentence about them."""

    title: str
    text: str | None
    flags: list[Flag]


def flag_groups(
    own: tuple[type[DataArguments | ModelArguments], ...], defaults: dict[str, Any], refused: dict[str, Any]
) -> list[FlagGroup]:
    """Return every flag of a recipe, by groups.

    Args:
        own: the dataclasses of this project's own flags.
        defaults: of the flags of `TrainingArguments` that have another one here.
        refused: names of the flags of `TrainingArguments` that cannot be honoured.
    """
    groups = []
    for part in own:
        flags = []
        for field in dataclasses.fields(part):
            if field.init:
                default = field.default_factory() if callable(field.default_factory) else field.default
                choices = tuple(field.metadata.get("choices") or ())
                flags.append(Flag(field.name, _shown(default), field.metadata["help"], choices))
        groups.append(FlagGroup(part.title, part.__doc__, flags))
    of_trainer = {
        name: Flag(name, _shown(default), text)
        for name, (default, text) in (
            (name, OTHERWISE.get(name, (defaults.get(name, default), text)))
            for name, default, text in (
                *training_arguments(),
                *((name, default, text) for name, (default, text) in ADDED.items()),
            )
        )
        if name not in refused.keys() - OTHERWISE.keys() | NO_MEANING | {"debug"}  # which is general
    }
    groups.append(FlagGroup("training", "What most runs set.", [of_trainer[name] for name in OFTEN]))
    others = [flag for name, flag in of_trainer.items() if name not in OFTEN]
    groups.append(FlagGroup("more training", "Every other flag of TrainingArguments that is honoured.", others))
    return groups


def _shown(default: Any) -> str:
    if isinstance(default, list):
        return " ".join(default)
    return "" if default in (None, "None") else str(default)


def print_help(doc: str | None, groups: list[FlagGroup]) -> None:
    """Print a recipe's usage, its docstring and every flag with its default."""
    parser = argparse.ArgumentParser(
        prog=command_name(),
        usage="%(prog)s [--config FILE] [--FLAG VALUE ...]",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    general = parser.add_argument_group("in general")
    general.add_argument("--config", metavar="FILE", help="a YAML file that sets defaults; flags win")
    general.add_argument("--overwrite", action="store_true", help="replace a run that stands in --output_dir")
    general.add_argument("--debug", action="store_true", help="show the traceback of an error")
    general.add_argument("-h", "--help", action="store_true", help="show this text")
    for group in groups:
        shown = parser.add_argument_group(group.title, group.text)
        for flag in group.flags:
            choices = f"; {', '.join(flag.choices)}" if flag.choices else ""
            default = f" [{flag.default}]" if flag.default else ""
            # argparse takes % for a format.
            text = textwrap.shorten(f"{flag.text}{choices}{default}", 400).replace("%", "%%")
            shown.add_argument(f"--{flag.name}", metavar=flag.name.rsplit("_", 1)[-1].upper(), help=text)
    parser.print_help()


def training_arguments() -> Iterator[tuple[str, str, str]]:
    """Yield name, default and help of every field of transformers' `TrainingArguments`, as its source has them."""
    package = importlib.util.find_spec("transformers")
    if package is None or package.origin is None:
        raise UserError(f"transformers is not installed: {INSTALL_TRAIN} (in a checkout, make setup).")
    tree = ast.parse(Path(package.origin).with_name("training_args.py").read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments")
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(node.value, ast.Call):
            given = {keyword.arg: keyword.value for keyword in node.value.keywords}
            default = given.get("default")
            # A default that is computed is known to transformers alone.
            shown = str(default.value) if isinstance(default, ast.Constant) else "None"
            yield node.target.id, shown, _help(given.get("metadata"))


def _help(metadata: ast.expr | None) -> str:
    """Return the text under "help" of a field's metadata; of one that is computed the parts that stand there."""
    if not isinstance(metadata, ast.Dict):
        return ""
    keys_and_values = zip(metadata.keys, metadata.values, strict=True)
    entries = {key.value: value for key, value in keys_and_values if isinstance(key, ast.Constant)}
    parts = [node.value for node in ast.walk(entries["help"]) if isinstance(node, ast.Constant)]
    return " ".join(" ".join(str(part) for part in parts).split())
