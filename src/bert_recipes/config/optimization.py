"""What libraries would refuse once a run is under way: optimizers, schedulers, compilers, files of settings."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DynamoBackend, is_deepspeed_available
from transformers import TrainingArguments
from transformers.optimization import get_scheduler
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from bert_recipes.errors import UserError, in_one_line, nearest

# Built wherever there is torch: nothing to try.
PLAIN_OPTIMIZERS = {"adamw_torch", "adamw_torch_fused"}
PLAIN_SCHEDULERS = {"linear", "cosine", "constant", "constant_with_warmup"}
# They are made of a model's own layers, without which nothing can be tried, by packages of these names.
OF_LAYERS = {"galore": "galore_torch", "apollo": "apollo_torch", "lomo": "lomo_optim", "adalomo": "lomo_optim"}
# Settings that may also be a file of JSON.
FILES = ("deepspeed", "fsdp_config")
STEPS = 1000  # of a training that never is
REFUSED = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError, AssertionError)


def check_settings(args: TrainingArguments) -> None:
    """Check what `TrainingArguments` takes as JSON, and the compiler, before it works on them.

    Raises:
        UserError: a text is no JSON, a file or a package is not there, or torch knows no such compiler.
    """
    for name in args._VALID_DICT_FIELDS:
        value = getattr(args, name)
        if isinstance(value, str):
            _check_json(name, value)
    if args.deepspeed and not is_deepspeed_available():
        raise UserError("--deepspeed cannot be honoured: its package is not installed: pip install deepspeed.")
    _check_choice("torch_compile_backend", args.torch_compile_backend, [one.value.lower() for one in DynamoBackend])
    if args.torch_compile_mode is not None:
        from torch._inductor import list_mode_options

        _check_choice("torch_compile_mode", args.torch_compile_mode, list(list_mode_options()))


def _check_json(name: str, value: str) -> None:
    text, what = value, f"--{name} {value}"
    if name in FILES and not value.startswith("{"):
        try:
            text = Path(value).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UserError(f"{what} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"""{what} is no JSON ({error}): give keys and values, as in '{{"a": 1}}'.""") from error
    if not isinstance(found, dict):
        raise UserError(f"""{what} holds no keys and values: give them as in '{{"a": 1}}'.""")


def _check_choice(name: str, value: str | None, choices: list[str]) -> None:
    if value is not None and value.lower() not in choices:
        raise UserError(f"--{name} {value}{nearest(value, choices)}: take {', '.join(choices)}.")


def check_optimization(args: TrainingArguments) -> None:
    """Build the optimizer and the scheduler that Trainer will build, over a single parameter.

    Raises:
        UserError: one cannot be built.
    """
    optimizer_name, scheduler_name = OptimizerNames(args.optim).value, SchedulerType(args.lr_scheduler_type).value
    options = args.lr_scheduler_kwargs if isinstance(args.lr_scheduler_kwargs, dict) else None
    if optimizer_name in PLAIN_OPTIMIZERS and scheduler_name in PLAIN_SCHEDULERS and not (args.optim_args or options):
        return
    if scheduler_name.startswith("constant") and options:
        raise UserError(f"--lr_scheduler_kwargs would be ignored: the schedule {scheduler_name} takes none.")
    given = f" with --optim_args {args.optim_args}" if args.optim_args else ""
    try:
        optimizer = _optimizer(args)
    except REFUSED as error:
        raise UserError(f"--optim {optimizer_name}{given} cannot be built: {in_one_line(error)}") from error
    warmup = args.get_warmup_steps(STEPS)
    given = f" with --lr_scheduler_kwargs {options}" if options else ""
    try:
        get_scheduler(
            args.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=warmup,
            num_training_steps=warmup + STEPS,
            scheduler_specific_kwargs=options,
        )
    except REFUSED as error:
        missing = "" if given else " without --lr_scheduler_kwargs"
        raise UserError(
            f"--lr_scheduler_type {scheduler_name}{given or missing} cannot be built: {in_one_line(error)}"
        ) from error


def _optimizer(args: TrainingArguments) -> torch.optim.Optimizer:
    from transformers import Trainer

    model: Any = torch.nn.Linear(1, 1)
    package = OF_LAYERS.get(OptimizerNames(args.optim).value.partition("_")[0])
    if package is not None:
        if find_spec(package) is None:
            raise ImportError(f"its package is not installed: pip install {package.replace('_', '-')}")
        return torch.optim.SGD(model.parameters(), lr=args.learning_rate)
    kind, options = Trainer.get_optimizer_cls_and_kwargs(args, model)
    optimizer: torch.optim.Optimizer = kind(model.parameters(), **options)
    return optimizer
