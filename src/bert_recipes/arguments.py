"""What can be set: dataclasses whose fields are both the flags and the keys of the YAML files."""

import argparse
import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from bert_recipes.errors import UserError, nearest
from bert_recipes.help import NO_MEANING, asks_for_help, print_help

if TYPE_CHECKING:
    from bert_recipes.training_arguments import RecipeTrainingArguments

# Named here too, since --help is to answer without importing torch.
TASKS = ("binary", "multi-class", "multi-label", "regression")
POOLING_NAMES = ("pooler", "cls", "mean", "max", "mean_max", "attention", "cls_last4", "layer_mix")


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
    label_column: list[str] | None = field(
        default=None,
        metadata={"help": "column of the label (guessed), or several: one per label or target"},
    )
    id_column: str | None = field(default=None, metadata={"help": "column of the id (guessed; else the row number)"})
    task: str | None = field(
        default=None, metadata={"help": "what the labels are (guessed from them)", "choices": list(TASKS)}
    )
    label_delimiter: str | None = field(
        default=None, metadata={"help": "what parts the labels in one cell of a multi-label column (guessed)"}
    )
    labels: list[str] | None = field(
        default=None, metadata={"help": "the labels in the order of their class ids (default: sorted)"}
    )
    encoding: str = field(default="utf-8", metadata={"help": "encoding of the files"})
    max_length: int = field(default=128, metadata={"help": "tokens a text is cut to, special tokens included"})
    validation_size: float = field(default=0.1, metadata={"help": "share cut from train where there is no validation"})
    split_seed: int = field(default=42, metadata={"help": "seed of that cut, apart from the seed of the training"})
    folds: int | None = field(
        default=None, metadata={"help": "cross-validate: cut train into that many folds, validate on each in turn"}
    )
    decision: str = field(
        default="argmax",
        metadata={
            "help": "binary: whether submission.csv holds the likelier label, or decides by the F1-best threshold of "
            "the validation or out-of-fold rows",
            "choices": ["argmax", "threshold"],
        },
    )

    def __post_init__(self):
        # A program may give a single one as it is.
        if isinstance(self.dataset, str):
            self.dataset = [self.dataset]
        if isinstance(self.label_column, str):
            self.label_column = [self.label_column]
        if not 0 < self.validation_size < 1:
            raise ValueError(f"--validation_size {self.validation_size} is no share: give a number between 0 and 1.")
        if self.folds is not None and self.folds < 2:
            raise ValueError(f"--folds {self.folds}: give 2 or more, or leave it out.")


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
class BaselineArguments(ModelArguments):
    """The baseline takes the configurations of the other recipes, and leaves what is about a network alone."""


@dataclass
class CustomArguments(ModelArguments):
    """The head and the loss over the plain encoder."""

    pooling: str = field(
        default="pooler",
        metadata={"help": f"hidden states to one vector: {', '.join(POOLING_NAMES)}, or your own as file.py:Name"},
    )
    head_layers: int = field(default=0, metadata={"help": "hidden layers between pooling and classifier"})
    head_size: int | None = field(default=None, metadata={"help": "their width (the encoder's hidden size)"})
    head_activation: str = field(default="gelu", metadata={"help": "their activation"})
    head_dropout: float | None = field(default=None, metadata={"help": "dropout in the head (the encoder's own)"})
    dropout_samples: int = field(
        default=1, metadata={"help": "dropout masks over the classifier's input, whose losses are averaged"}
    )
    loss: str | None = field(
        default=None,
        metadata={
            "help": "cross_entropy, focal, r_drop; bce, focal, asymmetric for several labels; mse, huber for a "
            "regression; or your own as file.py:name (default: the first of the task's)"
        },
    )
    loss_options: list[str] | None = field(
        default=None, metadata={"help": "keyword arguments of the loss, as in gamma=1.5"}
    )
    class_weights: list[str] | None = field(
        default=None, metadata={"help": "'balanced', or one weight per class in the order of the class ids"}
    )
    pos_weight: list[str] | None = field(
        default=None, metadata={"help": "multi-label: 'balanced', or what each label counts where it holds"}
    )
    freeze_embeddings: bool = field(default=False, metadata={"help": "leave the embeddings as they are"})
    freeze_layers: int = field(default=0, metadata={"help": "leave that many layers as they are, from below"})
    reinit_layers: int = field(default=0, metadata={"help": "begin that many layers anew, from the top"})
    layer_decay: float = field(
        default=1.0, metadata={"help": "learning rate of a layer as a share of that of the layer above"}
    )
    head_learning_rate: float | None = field(
        default=None, metadata={"help": "learning rate of pooling, head and classifier (that of the encoder)"}
    )
    lora_rank: int | None = field(
        default=None, metadata={"help": "train low-rank matrices beside the frozen encoder (the extra 'lora')"}
    )
    lora_alpha: int = field(default=16, metadata={"help": "scale of these, over their rank"})

    def __post_init__(self):
        for name in ("head_layers", "freeze_layers", "reinit_layers"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} {getattr(self, name)} is no count: give 0 or more.")
        for name in ("head_size", "dropout_samples", "lora_rank", "lora_alpha"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} is too small: give 1 or more.")
        if self.head_dropout is not None and not 0 <= self.head_dropout < 1:
            raise ValueError(f"--head_dropout {self.head_dropout} is no share: give 0 or more, and less than 1.")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"--layer_decay {self.layer_decay}: give more than 0, and at most 1.")
        if self.head_layers == 0 and (self.head_size is not None or self.head_activation != "gelu"):
            raise ValueError("--head_size and --head_activation are of hidden layers: give --head_layers too.")
        if self.head_learning_rate is not None and not self.head_learning_rate > 0:
            raise ValueError(f"--head_learning_rate {self.head_learning_rate}: give more than 0.")
        if self.lora_rank is not None:
            for name in ("freeze_embeddings", "freeze_layers", "reinit_layers"):
                if getattr(self, name):
                    raise ValueError(f"--lora_rank freezes the whole encoder: leave out --{name}.")


@dataclass
class SearchArguments(CustomArguments):
    """The custom recipe's choices that stay as they are, and how many trials to make of the others."""

    trials: int = field(default=20, metadata={"help": "trials in all, those of an earlier start included"})

    def __post_init__(self):
        super().__post_init__()
        if self.trials < 1:
            raise ValueError(f"--trials {self.trials}: give 1 or more.")


def _reports_to(args, tracker: str | None) -> bool:
    trackers = [args.report_to] if isinstance(args.report_to, str) else args.report_to or []
    return any((name != "none" and tracker in (None, name)) or name == "all" for name in trackers)


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
    "hub_strategy": (("every_save",), "a run is pushed once, when it is finished"),
    "hub_always_push": ((False,), "a run is pushed once, when it is finished"),
    "hub_revision": ((None,), "a run is pushed to the main branch"),
    "average_tokens_across_devices": ((True,), "a step's loss is divided once, by the whole step"),
    "accelerator_config": ((None,), "a recipe cuts its own batches"),
    "save_only_model": ((False,), "a run could not go on from such a checkpoint"),
    "ignore_data_skip": ((False,), "a run that goes on sees the rows that an undisturbed one would"),
    "enable_jit_checkpoint": ((False,), "SIGTERM saves a checkpoint here without it"),
    "save_on_each_node": ((False,), "all machines share one run folder"),
    "dataloader_in_order": ((True,), "a step must have the same rows whenever it is repeated"),
    "length_column_name": (("length",), "a recipe counts the tokens itself"),
    "eval_use_gather_object": ((False,), "logits are gathered as tensors"),
    "use_liger_kernel": ((False,), "it has no kernels for encoders, and Trainer would go on without"),
    "liger_kernel_config": ((None,), "it has no kernels for encoders"),
    "use_cache": ((False,), "an encoder keeps no cache"),
    "parallelism_config": ((None,), "a recipe deals rows to processes, and never parts of one row"),
    "local_rank": ((-1,), "the launcher tells each process its rank by the environment"),
}
# What has a meaning beside another value only: (what must hold, which that is).
NEEDED = {
    "hub_model_id": (lambda args: args.push_to_hub, "it needs --push_to_hub"),
    "hub_token": (lambda args: args.push_to_hub, "it needs --push_to_hub"),
    "hub_private_repo": (lambda args: args.push_to_hub, "it needs --push_to_hub"),
    "run_name": (lambda args: _reports_to(args, None), "it needs --report_to"),
    "project": (lambda args: _reports_to(args, "trackio"), "it needs --report_to trackio"),
    "trackio_space_id": (lambda args: _reports_to(args, "trackio"), "it needs --report_to trackio"),
    "trackio_bucket_id": (lambda args: _reports_to(args, "trackio"), "it needs --report_to trackio"),
    "trackio_static_space_id": (lambda args: _reports_to(args, "trackio"), "it needs --report_to trackio"),
    "dataloader_persistent_workers": (lambda args: args.dataloader_num_workers, "it needs --dataloader_num_workers"),
    "dataloader_multiprocessing_context": (
        lambda args: args.dataloader_num_workers,
        "it needs --dataloader_num_workers",
    ),
    "activation_checkpointing_kwargs": (
        lambda args: args.gradient_checkpointing or getattr(args, "activation_checkpointing", False),
        "it needs --gradient_checkpointing",
    ),
    "gradient_checkpointing_kwargs": (
        lambda args: args.gradient_checkpointing or getattr(args, "activation_checkpointing", False),
        "it needs --gradient_checkpointing",
    ),
    "ddp_timeout": (lambda args: not args.use_cpu or args.ddp_timeout == 1800, "a CPU has a fixed one"),
    "optim_args": (
        lambda args: not str(getattr(args.optim, "value", args.optim)).startswith(("adamw_torch", "adafactor")),
        "the optimizer of --optim takes none",
    ),
    "optim_target_modules": (
        lambda args: str(getattr(args.optim, "value", args.optim)).startswith(("galore", "apollo")),
        "it is for GaLore and APOLLO",
    ),
}
DEFAULTS = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "logging_steps": 10,
    "train_sampling_strategy": "group_by_length",
    "per_device_eval_batch_size": 64,
    "report_to": "none",
    "label_names": ["labels"],
    "ddp_find_unused_parameters": False,
}


@dataclass
class Arguments:
    """A recipe's arguments, and the configuration that `--config` would take to repeat the run."""

    data: DataArguments
    model: ModelArguments
    training: "RecipeTrainingArguments"
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
    if asks_for_help(argv):
        print_help(doc, (DataArguments, model_class), DEFAULTS | {"output_dir": f"runs/{name}"}, FIXED)
        sys.exit()
    # Here, not above: they take seconds to import, and --help needs none of it.
    from bert_recipes.training_arguments import FlagParser, RecipeTrainingArguments

    classes = (DataArguments, model_class, RecipeTrainingArguments)
    parser = FlagParser(classes)
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--config")
    config, _ = own.parse_known_args(argv)
    valid = {a.dest for a in parser._actions}
    defaults = {**DEFAULTS, "output_dir": f"runs/{name}"}
    if config.config:
        defaults |= _read_yaml(Path(config.config), valid, name, (DataArguments, model_class))
        if any(word.split("=")[0] == "--dataset" for word in argv):
            # Those of the file's own data set: the one of the flag has its own.
            defaults.pop("labels", None)
    parser.set_defaults(**{k: v for k, v in defaults.items() if k in valid})
    namespace, unknown = parser.parse_known_args(argv)
    for flag in unknown:
        if flag.startswith("-"):
            raise UserError(f"there is no flag {flag}{_nearest(flag.lstrip('-').split('=')[0], valid, '--')}.")
    if unknown:
        raise UserError(f"'{unknown[0]}' belongs to no flag.")
    values = vars(namespace) | {"debug": " ".join(namespace.debug)}
    for flag in sorted(NO_MEANING):
        if values[flag]:
            raise UserError(f"--{flag} has no meaning here: a recipe trains, evaluates and predicts.")
    parts, configuration = [], {"recipe": name}
    for part in classes:
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
    if issubclass(part, (DataArguments, ModelArguments)):
        return values
    defaults = {
        f.name: f.default_factory() if callable(f.default_factory) else f.default for f in dataclasses.fields(part)
    }
    plain = {name: getattr(value, "value", value) for name, value in values.items()}
    return {
        name: value
        for name, value in plain.items()
        # A recipe's own default is written down whatever it was set to: left out, it would come back.
        if name != "overwrite" and (name in DEFAULTS or value != getattr(defaults[name], "value", defaults[name]))
    }


def _read_yaml(path: Path, valid: set[str], recipe: str, own: tuple[type, ...]) -> dict:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"--config {path} must hold keys and values.")
    of = values.pop("recipe", recipe)
    if recipe == "baseline":
        # It takes what the others are configured with, and has no use for their heads and losses.
        others = {f.name for other in ModelArguments.__subclasses__() for f in dataclasses.fields(other)}
        values = {key: value for key, value in values.items() if key in valid or key not in others}
    elif of != recipe:
        raise UserError(f"--config {path} is of another recipe than {recipe}: run recipes/ with that name.")
    for key in values:
        if key not in valid:
            raise UserError(f"{path}: there is no key '{key}'{_nearest(str(key), valid, '')}.")
    for field_ in (f for part in own for f in dataclasses.fields(part)):
        if values.get(field_.name) is not None:
            values[field_.name] = _as_flag(values[field_.name], field_, path)
    return values


def _as_flag(value, of: dataclasses.Field, path: Path):
    """Return a value of a YAML file as the flag of that name would give it."""
    if "list" in str(of.type):
        if isinstance(value, dict):
            value = [f"{name}={option}" for name, option in value.items()]
        return [str(one) for one in value] if isinstance(value, list) else [str(value)]
    if isinstance(value, list | dict):
        raise UserError(f"{path}: {of.name} is {value}, and takes one value.")
    choices = of.metadata.get("choices")
    if choices and value not in choices:
        raise UserError(f"{path}: {of.name} is {value}{nearest(str(value), choices)}: take {', '.join(choices)}.")
    return value


def _nearest(word: str, valid: set[str], prefix: str) -> str:
    for other in ModelArguments.__subclasses__():
        if word in {f.name for f in dataclasses.fields(other)} - valid:
            return f" in this recipe: it is one of the {other.__name__.removesuffix('Arguments').lower()} recipe's"
    return nearest(word, valid, prefix)
