"""Which numbers a flag takes: a table of every flag that is a number, ours and those of `TrainingArguments`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bert_recipes.errors import UserError

LARGEST = 2**31 - 1  # what a C integer holds
LARGEST_SEED = 2**32 - 1  # what NumPy takes for one


@dataclass(frozen=True)
class Range:
    """The finite numbers between two ends.

    Attributes:
        least: the smallest.
        above: what all are more than.
        below: what all are less than.
        most: the largest.
        also: numbers outside that mean something of their own.
        words: what to give, for a sentence, where the ends alone do not say it.
    """

    least: float | None = None
    above: float | None = None
    below: float | None = None
    most: float | None = None
    also: tuple[float, ...] = ()
    words: str = ""

    def holds(self, value: float) -> bool:
        """Whether the number is in it."""
        if value in self.also:
            return True
        try:
            finite = math.isfinite(value)
        except OverflowError:  # an int beyond every float
            finite = False
        return (
            finite
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def __str__(self) -> str:
        """Return what to give, for a sentence."""
        if self.words:
            return self.words
        if self.above == 0 and self.below is not None:
            return f"a number between 0 and {self.below}"
        low = f"{self.least:,} or more" if self.least is not None else f"more than {self.above}"
        if self.below is not None:
            return f"{self.least} to less than {self.below}"
        return low if self.most is None else f"{low}, and at most {self.most:,}"


COUNT = Range(least=0, most=LARGEST)
SIZE = Range(least=1, most=LARGEST)
SEED = Range(least=0, most=LARGEST_SEED)
SHARE = Range(least=0, below=1)
NOT_NEGATIVE = Range(least=0)
POSITIVE = Range(above=0)

RANGES: dict[str, Range] = {
    # the data
    "max_length": Range(least=3, most=LARGEST, words="3 or more, since a text lies between two special tokens"),
    "stride": COUNT,
    # Every window of a text is a row of the model's batch.
    "max_windows": Range(least=1, most=10_000),
    "validation_size": Range(above=0, below=1),
    "split_seed": SEED,
    "folds": Range(least=2, most=LARGEST, words="2 or more, or leave it out"),
    # the custom recipe; nobody has layers, masks or ranks beyond these, and Python would be at them for ever
    "head_layers": Range(least=0, most=100),
    "head_size": Range(least=1, most=2**16),
    "head_dropout": SHARE,
    "dropout_samples": Range(least=1, most=1000),
    "freeze_layers": COUNT,
    "reinit_layers": COUNT,
    "layer_decay": Range(above=0, most=1),
    "head_learning_rate": POSITIVE,
    "lora_rank": Range(least=1, most=2**16),
    "lora_alpha": SIZE,
    "trials": SIZE,
    "repeats": SIZE,
    # the steps
    "per_device_train_batch_size": SIZE,
    "per_device_eval_batch_size": SIZE,
    "gradient_accumulation_steps": SIZE,
    "num_train_epochs": POSITIVE,
    "max_steps": Range(least=1, most=LARGEST, also=(-1,), words="1 or more, or -1 where the epochs count"),
    "learning_rate": NOT_NEGATIVE,
    "warmup_steps": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "adam_beta1": SHARE,
    "adam_beta2": SHARE,
    "adam_epsilon": Range(least=0, most=1),
    "max_grad_norm": NOT_NEGATIVE,
    "label_smoothing_factor": SHARE,
    "neftune_noise_alpha": NOT_NEGATIVE,
    "torch_empty_cache_steps": SIZE,
    "seed": SEED,
    "data_seed": SEED,
    # what is done between them
    "logging_steps": POSITIVE,
    "eval_steps": POSITIVE,
    "eval_delay": NOT_NEGATIVE,
    "eval_accumulation_steps": SIZE,
    "early_stopping_patience": SIZE,
    "early_stopping_threshold": Range(least=0, most=LARGEST),
    "save_steps": POSITIVE,
    "save_total_limit": COUNT,  # 0 keeps all
    # the machine
    "dataloader_num_workers": Range(least=0, most=1024),
    "dataloader_prefetch_factor": Range(least=1, most=1024),
    "ddp_bucket_cap_mb": SIZE,
    "ddp_timeout": SIZE,
}
# Numbers in any other field of `TrainingArguments`, which may have new ones.
OTHERS = Range(least=-LARGEST, most=LARGEST, words="a finite number")


def check_ranges(values: Mapping[str, Any]) -> None:
    """Check every number of `values`, by the names of their flags.

    Raises:
        UserError: one is not finite or out of its range.
    """
    for name, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            allowed = RANGES.get(name, OTHERS)
            if not allowed.holds(value):
                raise UserError(f"--{name} {value}: give {allowed}.")
