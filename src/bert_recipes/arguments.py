"""What can be set: dataclasses whose fields are both the flags and the keys of the YAML files."""

import argparse
import dataclasses
import difflib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from accelerate.utils import str_to_bool
from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import string_to_bool

from bert_recipes.errors import UserError
from bert_recipes.pooling import POOLINGS


@dataclass
class DataArguments:
    """Where the rows come from and how they become tokens."""

    dataset: list[str] = field(
        default_factory=lambda: ["embedded:fine-foods"],
        metadata={
            "help": "a folder with train/validation/test files (.csv .tsv .jsonl .parquet), one file, a Hub id "
            "(owner/name@revision), embedded:fine-foods or embedded:bbc-news; of several, the first that is here"
        },
    )
    text_column: str | None = field(default=None, metadata={"help": "column of the text (guessed)"})
    text_pair_column: str | None = field(default=None, metadata={"help": "column of the second text of a pair"})
    label_column: str | None = field(default=None, metadata={"help": "column of the label (guessed)"})
    id_column: str | None = field(default=None, metadata={"help": "column of the id (guessed; else the row number)"})
    labels: list[str] | None = field(
        default=None, metadata={"help": "the labels in the order of their class ids (default: sorted)"}
    )
    encoding: str = field(default="utf-8", metadata={"help": "encoding of the files"})
    max_length: int = field(default=128, metadata={"help": "tokens a text is cut to, special tokens included"})
    validation_size: float = field(default=0.1, metadata={"help": "share cut from train where there is no validation"})
    split_seed: int = field(default=42, metadata={"help": "seed of that cut, apart from the seed of the training"})

    def __post_init__(self):
        if isinstance(self.dataset, str):
            self.dataset = [self.dataset]
        if not 0 < self.validation_size < 1:
            raise ValueError(f"--validation_size {self.validation_size} is no share: give a number between 0 and 1.")


@dataclass
class ModelArguments:
    """Which encoder to start from."""

    model: str = field(
        default="embedded:minilm", metadata={"help": "a Hub id (owner/name@revision), a folder, or embedded:minilm"}
    )


@dataclass
class StockArguments(ModelArguments):
    """The stock model brings its own head and loss: there is nothing more to choose."""


@dataclass
class CustomArguments(ModelArguments):
    """The head and the loss over the plain encoder."""

    pooling: str = field(default="pooler", metadata={"help": "hidden states to one vector", "choices": list(POOLINGS)})
    class_weights: list[str] | None = field(
        default=None, metadata={"help": "'balanced', or one weight per class in the order of the class ids"}
    )


@dataclass
class RecipeTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the defaults of these recipes."""

    bf16: bool | None = field(
        default=None, metadata={"help": "bfloat16 autocast (default: where the device has it natively)"}
    )
    overwrite: bool = field(default=False, metadata={"help": "replace a run that stands in --output_dir"})

    def __post_init__(self):
        if self.bf16 is None:
            self.bf16 = not self.fp16 and has_native_bf16(self.use_cpu)
        # Trainer takes bf16 on a CPU only when told that the CPU is meant.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        for name, (wanted, why) in FIXED.items():
            value = getattr(self, name)
            if getattr(value, "value", value) not in wanted:
                raise ValueError(f"--{name} {getattr(value, 'value', value)} cannot be honoured: {why}.")
        if self.metric_for_best_model not in (None, *BEST_METRICS):
            raise ValueError(
                f"--metric_for_best_model {self.metric_for_best_model} is none of {', '.join(BEST_METRICS)}."
            )
        super().__post_init__()
        if str_to_bool(os.environ.get("ACCELERATE_USE_FSDP", "false")) and self.device.type == "cpu":
            raise ValueError("FSDP cannot be honoured on CPUs: launch with recipes/launch/cpu.yaml instead.")
        share_threads()
        if self.n_gpu > 1:
            # Trainer would wrap the model in DataParallel, whose steps are neither fast nor exact.
            self._n_gpu = 1


def share_threads() -> None:
    """Give each process of this machine its share of the cores, where `accelerate launch` left it a single thread."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if processes > 1 and os.environ.get("OMP_NUM_THREADS") == "1":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // processes))


def has_native_bf16(use_cpu: bool = False) -> bool:
    """Whether the device that training would use multiplies bfloat16 matrices in hardware."""
    if torch.cuda.is_available() and not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not hasattr(torch.cpu, "get_capabilities"):  # torch 2.11
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


# What a recipe always does: (the values that agree with it, why no other can be honoured).
FIXED = {
    "resume_from_checkpoint": ((None,), "a run goes on by itself from the last checkpoint in its --output_dir"),
    "prediction_loss_only": ((False,), "there would be nothing to score"),
    "batch_eval_metrics": ((False,), "scores are computed over all rows, in their order"),
    "eval_do_concat_batches": ((True,), "scores are computed over all rows, in their order"),
    "bf16_full_eval": ((False,), "what is written down is what the saved model gives in float32"),
    "fp16_full_eval": ((False,), "what is written down is what the saved model gives in float32"),
    "remove_unused_columns": ((True,), "the model takes tokens, not texts and ids"),
    "label_names": ((None, ["labels"]), "the labels travel as 'labels' here"),
    "include_for_metrics": (([],), "scores are computed from logits and labels alone"),
    "train_sampling_strategy": (
        ("random", "sequential", "group_by_length"),
        "take random, sequential or group_by_length",
    ),
    "auto_find_batch_size": (
        (False,),
        "it changes the step; lower --per_device_train_batch_size and raise --gradient_accumulation_steps alike",
    ),
    "push_to_hub": ((False,), "share the finished run's model/ folder instead"),
    "average_tokens_across_devices": ((True,), "a step's loss is divided once, by the whole step"),
    "accelerator_config": ((None,), "a recipe cuts its own batches"),
    "save_only_model": ((False,), "a run could not go on from such a checkpoint"),
    "ignore_data_skip": ((False,), "a run that goes on sees the rows that an undisturbed one would"),
}
BEST_METRICS = (
    *("loss", "accuracy", "f1", "f1_macro", "precision", "recall", "roc_auc", "average_precision"),
    *("eval_loss", "eval_accuracy", "eval_f1", "eval_f1_macro", "eval_precision", "eval_recall", "eval_roc_auc"),
    "eval_average_precision",
)
DEFAULTS = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "f1",
    "logging_steps": 10,
    "train_sampling_strategy": "group_by_length",
    "report_to": "none",
    "label_names": ["labels"],
    "ddp_find_unused_parameters": False,
}


@dataclass
class Arguments:
    """A recipe's arguments, and the configuration that `--config` would take to repeat the run."""

    data: DataArguments
    model: ModelArguments
    training: RecipeTrainingArguments
    configuration: dict


def parse_arguments(
    model_class: type[ModelArguments], doc: str, name: str, argv: list[str] | None = None
) -> Arguments:
    """Read a recipe's flags, laid over its YAML file.

    Args:
        model_class: the dataclass of the recipe's own choices.
        doc: the recipe's docstring, for `--help`.
        name: the recipe's name; its default `--output_dir` is `runs/<name>`.
        argv: the command line without the program's name; by default the process's own.

    Raises:
        UserError: an unknown flag or key (naming the nearest valid one), or a value of the wrong type.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _Parser(
        (DataArguments, model_class, RecipeTrainingArguments),
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        conflict_handler="resolve",
    )
    parser.add_argument("--config", help="a YAML file that sets defaults; flags win")
    # A flag that may be left out for the device to decide would always ask for a value.
    parser.add_argument("--bf16", nargs="?", const=True, type=string_to_bool, help="bfloat16 autocast (by the device)")
    # TrainingArguments has a `debug` of its own, which always takes a value; alone, the flag asks for the traceback.
    parser.add_argument(
        "--debug", nargs="*", default=[], help="show the traceback of an error; with a value, Trainer's"
    )
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--config")
    config, _ = own.parse_known_args(argv)
    valid = {a.dest for a in parser._actions}
    defaults = {**DEFAULTS, "output_dir": f"runs/{name}"}
    if config.config:
        defaults |= _read_yaml(Path(config.config), valid, name)
    parser.set_defaults(**{k: v for k, v in defaults.items() if k in valid})
    namespace, unknown = parser.parse_known_args(argv)
    for flag in unknown:
        if flag.startswith("-"):
            raise UserError(f"there is no flag {flag}{_nearest(flag.lstrip('-').split('=')[0], valid, '--')}.")
    if unknown:
        raise UserError(f"'{unknown[0]}' belongs to no flag.")
    values = vars(namespace) | {"debug": " ".join(namespace.debug)}
    for flag in ("do_train", "do_eval", "do_predict"):
        if values[flag]:
            raise UserError(f"--{flag} has no meaning here: a recipe trains, evaluates and predicts.")
    parts, configuration = [], {"recipe": name}
    for part in (DataArguments, model_class, RecipeTrainingArguments):
        fields = {f.name: values[f.name] for f in dataclasses.fields(part) if f.init and f.name in values}
        configuration |= _chosen(part, fields)
        try:
            parts.append(part(**fields))
        except (ValueError, TypeError, ImportError) as error:
            raise UserError(str(error).splitlines()[0]) from error
    configuration["bf16"] = parts[-1].bf16
    return Arguments(*parts, configuration)


def _chosen(part: type, values: dict) -> dict:
    """All of this project's own values, and of Trainer's those that differ from Trainer's defaults."""
    if not issubclass(part, TrainingArguments):
        return values
    defaults = {
        f.name: f.default_factory() if callable(f.default_factory) else f.default for f in dataclasses.fields(part)
    }
    plain = {name: getattr(value, "value", value) for name, value in values.items()}
    return {k: v for k, v in plain.items() if v != getattr(defaults[k], "value", defaults[k]) and k != "overwrite"}


class _Parser(HfArgumentParser):
    def error(self, message):
        raise UserError(message)


def _read_yaml(path: Path, valid: set[str], recipe: str) -> dict:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"--config {path} must hold keys and values.")
    if values.pop("recipe", recipe) != recipe:
        raise UserError(f"--config {path} is of another recipe than {recipe}: run recipes/ with that name.")
    if isinstance(values.get("dataset"), str):
        values["dataset"] = [values["dataset"]]
    for key in values:
        if key not in valid:
            raise UserError(f"{path}: there is no key '{key}'{_nearest(str(key), valid, '')}.")
    return values


def _nearest(word: str, valid: set[str], prefix: str) -> str:
    for other in ModelArguments.__subclasses__():
        if word in {f.name for f in dataclasses.fields(other)} - valid:
            return f" in this recipe: it is one of the {other.__name__.removesuffix('Arguments').lower()} recipe's"
    near = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"; did you mean {prefix}{near[0]}" if near else ""
