"""`TrainingArguments` with the defaults of these recipes, and an error for what they cannot honour.

Apart from `arguments`, since importing `TrainingArguments` takes seconds.
"""

import os
from dataclasses import dataclass, field

import torch
from accelerate.utils import str_to_bool
from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import string_to_bool
from transformers.integrations import get_available_reporting_integrations

from bert_recipes.arguments import FIXED, NEEDED
from bert_recipes.cpu import cores
from bert_recipes.errors import UserError


@dataclass
class RecipeTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the defaults of these recipes."""

    bf16: bool | None = field(
        default=None, metadata={"help": "bfloat16 autocast (default: where the device has it natively)"}
    )
    overwrite: bool = field(default=False, metadata={"help": "replace a run that stands in --output_dir"})
    # Trainer would log 0.0 for a loss that is no number any more.
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "log nan and inf losses as 0"})

    def __post_init__(self):
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        if self.bf16 is None and not self.fp16 and launched in ("bf16", "fp16"):
            self.bf16, self.fp16 = launched == "bf16", launched == "fp16"
        if self.bf16 is None:
            self.bf16 = not self.fp16 and has_native_bf16(self.use_cpu)
        if launched not in ("no", "bf16" if self.bf16 else "fp16" if self.fp16 else "no"):
            raise ValueError(
                f"accelerate launch asks for {launched} and the recipe for something else: take --mixed_precision no "
                "there and --bf16 or --fp16 here."
            )
        # Trainer takes bf16 on a CPU only when told that the CPU is meant.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if not 0 <= self.label_smoothing_factor < 1:
            raise ValueError(f"--label_smoothing_factor {self.label_smoothing_factor}: give 0 to less than 1.")
        for name, (wanted, why) in FIXED.items():
            value = getattr(self, name, wanted[0])  # not every version of transformers has every field
            if getattr(value, "value", value) not in wanted:
                raise ValueError(f"--{name} {getattr(value, 'value', value)} cannot be honoured: {why}.")
        for name, (holds, what) in NEEDED.items():
            if getattr(self, name, None) not in (None, False, TrainingArguments.project) and not holds(self):
                raise ValueError(f"--{name} {getattr(self, name)} would be ignored: {what}.")
        super().__post_init__()
        absent = set(self.report_to) - set(get_available_reporting_integrations())
        if absent:
            raise ValueError(f"--report_to {' '.join(sorted(absent))} cannot be honoured: it is not installed.")
        if str_to_bool(os.environ.get("ACCELERATE_USE_FSDP", "false")) and self.device.type == "cpu":
            raise ValueError("FSDP cannot be honoured on CPUs: launch with recipes/launch/cpu.yaml instead.")
        share_threads()
        if self.n_gpu > 1:
            # Trainer would wrap the model in DataParallel, whose steps are neither fast nor exact.
            self._n_gpu = 1


class FlagParser(HfArgumentParser):
    """A parser of the fields of dataclasses, `--config` and `--debug`, whose errors are a `UserError`."""

    def __init__(self, classes: tuple[type, ...]):
        super().__init__(classes, add_help=False, allow_abbrev=False, conflict_handler="resolve")
        self.add_argument("--config")
        # A flag that may be left out for the device to decide would always ask for a value.
        self.add_argument("--bf16", nargs="?", const=True, type=string_to_bool)
        # TrainingArguments has a `debug` of its own, which always takes a value; alone, the flag asks for a traceback.
        self.add_argument("--debug", nargs="*", default=[])

    def error(self, message):
        """Raise what argparse would print."""
        raise UserError(message)


def share_threads() -> None:
    """Give each process of this machine its share of the cores, where `accelerate launch` left it a single thread."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if processes > 1 and os.environ.get("OMP_NUM_THREADS") == "1":
        torch.set_num_threads(max(1, cores() // processes))


def has_native_bf16(use_cpu: bool = False) -> bool:
    """Whether the device that training would use multiplies bfloat16 matrices in hardware."""
    if torch.cuda.is_available() and not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not hasattr(torch.cpu, "get_capabilities"):  # torch 2.11
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
