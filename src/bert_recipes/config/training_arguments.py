"""`TrainingArguments` with the defaults of these recipes, and an error for what they cannot honour."""

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import torch
from accelerate.utils import str_to_bool
from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import string_to_bool
from transformers.integrations import get_available_reporting_integrations
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from bert_recipes.config.defaults import DEFAULTS
from bert_recipes.config.optimization import check_optimization, check_settings
from bert_recipes.config.ranges import check_ranges
from bert_recipes.config.saved import OF_A_START
from bert_recipes.config.unsupported import FIXED, NEEDED
from bert_recipes.devices import half_precision, share_threads
from bert_recipes.errors import UserError

# What must reach neither run.yaml nor a checkpoint.
SECRETS = {"hub_token"}


@dataclass
class RecipeTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the defaults of these recipes, made by hand or from flags alike.

    Attributes:
        given: every field as it was given, before `TrainingArguments` has worked on it; secrets left out.

    Raises:
        UserError: a number is out of its range, or an optimizer, a scheduler or a compiler cannot be built.
        ValueError: a value cannot be honoured.
    """

    output_dir: str = None  # type: ignore[assignment]  # None until __post_init__ has named one
    eval_strategy: IntervalStrategy | str = DEFAULTS["eval_strategy"]
    save_strategy: SaveStrategy | str = DEFAULTS["save_strategy"]
    save_total_limit: int | None = DEFAULTS["save_total_limit"]
    load_best_model_at_end: bool = DEFAULTS["load_best_model_at_end"]
    logging_steps: float = DEFAULTS["logging_steps"]
    train_sampling_strategy: str = DEFAULTS["train_sampling_strategy"]
    per_device_eval_batch_size: int = DEFAULTS["per_device_eval_batch_size"]
    report_to: None | str | list[str] = DEFAULTS["report_to"]  # noqa: RUF036  HfArgumentParser needs this order
    label_names: list[str] | None = field(default_factory=lambda: list(DEFAULTS["label_names"]))
    ddp_find_unused_parameters: bool | None = DEFAULTS["ddp_find_unused_parameters"]
    bf16: bool | None = None  # type: ignore[assignment]  # until __post_init__ has asked the device
    fp16: bool | None = None  # type: ignore[assignment]  # the same
    overwrite: bool = False
    early_stopping_patience: int | None = None
    early_stopping_threshold: float = 0.0
    callbacks: list[str] | None = None
    cuda_graphs: bool | None = None
    # Callbacks that were given from Python as objects, by how `callbacks` names them.
    callback_objects = cast(Any, None)
    # Trainer would log 0.0 for a loss that is no number any more.
    logging_nan_inf_filter: bool = False

    def __post_init__(self) -> None:
        check_ranges(vars(self))
        self.report_to = _trackers(self.report_to)
        self.given = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init and f.name not in SECRETS
        }
        self._choose_precision()
        # Trainer takes bf16 on a CPU only when told that the CPU is meant.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        for name, (wanted, why) in FIXED.items():
            value = getattr(self, name, wanted[0])  # not every version of transformers has every field
            if getattr(value, "value", value) not in wanted:
                raise ValueError(f"--{name} {getattr(value, 'value', value)} cannot be honoured: {why}.")
        for name, (holds, what) in NEEDED.items():
            if getattr(self, name, None) not in (None, False, TrainingArguments.project) and not holds(self):
                raise ValueError(f"--{name} {getattr(self, name)} would be ignored: {what}.")
        check_settings(self)
        self._check_that_the_best_is_kept()
        self._check_that_processes_have_devices()
        super().__post_init__()
        check_optimization(self)
        absent = set(self.report_to or ()) - set(get_available_reporting_integrations())
        if absent:
            raise ValueError(f"--report_to {' '.join(sorted(absent))} cannot be honoured: it is not installed.")
        if str_to_bool(os.environ.get("ACCELERATE_USE_FSDP", "false")) and self.device.type == "cpu":
            raise ValueError("FSDP cannot be honoured on CPUs: launch with recipes/launch/cpu.yaml instead.")
        share_threads()
        if self.n_gpu > 1:
            # Trainer would wrap the model in DataParallel, whose steps are neither fast nor exact.
            self._n_gpu = 1

    def _check_that_the_best_is_kept(self) -> None:
        evaluated, saved = (str(getattr(name, "value", name)) for name in (self.eval_strategy, self.save_strategy))
        if self.load_best_model_at_end and evaluated != saved and saved != "best":
            if evaluated == "no":
                raise ValueError(
                    "the best checkpoint is kept, and with --eval_strategy no there is none: give "
                    "--load_best_model_at_end false too."
                )
            steps = f" --save_steps {self.eval_steps:g}" if evaluated == "steps" and self.eval_steps else ""
            raise ValueError(
                "the best checkpoint is kept, so one is needed at each evaluation: give --save_strategy "
                f"{evaluated}{steps} beside --eval_strategy {evaluated}, or --load_best_model_at_end false."
            )

    def _check_that_processes_have_devices(self) -> None:
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        gpus = 0 if self.use_cpu else torch.cuda.device_count()
        if 0 < gpus < processes:
            # NCCL fails later and at length, and accelerate's barrier asks for a GPU of each process over gloo too.
            raise ValueError(
                f"{processes} processes were started for {gpus} GPU{'s' if gpus > 1 else ''}, and each needs one of "
                f"its own: start {gpus}."
            )

    def _choose_precision(self) -> None:
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        if self.bf16 is None and not self.fp16:
            chosen = launched if launched in ("bf16", "fp16") else half_precision(self.use_cpu)
            self.bf16 = chosen == "bf16"
            if self.fp16 is None:
                self.fp16 = chosen == "fp16"
        self.bf16, self.fp16 = bool(self.bf16), bool(self.fp16)
        if launched not in ("no", "bf16" if self.bf16 else "fp16" if self.fp16 else "no"):
            raise ValueError(
                f"accelerate launch asks for {launched} and the recipe for something else: take --mixed_precision no "
                "there and --bf16 or --fp16 here."
            )
        if self.fp16 and (self.use_cpu or not torch.accelerator.is_available()):
            # accelerate would go on in float32.
            raise ValueError("float16 cannot be honoured on a CPU: leave out --fp16, or take --bf16.")

    @property
    def configuration(self) -> dict[str, Any]:
        """What was given, where it differs from the defaults, and the recipes' own defaults."""
        defaults = {
            f.name: f.default_factory() if callable(f.default_factory) else f.default for f in dataclasses.fields(self)
        }
        plain = {n: getattr(value, "value", value) for n, value in self.given.items() if n not in OF_A_START}
        chosen = {
            name: value
            for name, value in plain.items()
            # A recipe's own default is written down whatever it was set to: left out, it would come back.
            if name in DEFAULTS or value != getattr(defaults[name], "value", defaults[name])
        }
        # A run is repeated in the precision that the device of the first one chose.
        return chosen | {"bf16": self.bf16, "fp16": self.fp16}


def _trackers(given: str | list[str] | None) -> str | list[str]:
    """Return the trackers that are named in a list, or in a text with commas or spaces between them.

    Raises:
        ValueError: `none` stands beside others.
    """
    names = [given] if isinstance(given, str) else given or []
    found = list(dict.fromkeys(name for text in names for name in text.replace(",", " ").split()))
    if "none" in found and len(found) > 1:
        raise ValueError(f"--report_to {' '.join(found)}: none stands alone.")
    if "all" in found:
        return "all"
    return found if len(found) > 1 else found[0] if found else "none"


class FlagParser(HfArgumentParser):
    """A parser of the fields of dataclasses, `--config` and `--debug`, whose errors are a `UserError`."""

    def __init__(self, classes: Iterable[Any]) -> None:
        super().__init__(classes, add_help=False, allow_abbrev=False, conflict_handler="resolve")
        self.add_argument("--config")
        # A flag that may be left out for the device to decide would always ask for a value.
        for name in ("--bf16", "--fp16", "--cuda_graphs"):
            self.add_argument(name, nargs="?", const=True, type=string_to_bool)
        self.add_argument("--report_to", nargs="+")
        # TrainingArguments has a `debug` of its own, which always takes a value; alone, the flag asks for a traceback.
        self.add_argument("--debug", nargs="*", default=[])

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UserError(message)
