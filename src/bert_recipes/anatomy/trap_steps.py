"""Steps of a tiny BERT on one process or on several, written as JSON: what the traps are measured by.

accelerate launch --multi_gpu --num_processes 2 -m bert_recipes.anatomy.trap_steps OUT.json
"""

import gc
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from bert_recipes.anatomy.answers import tiny_config
from bert_recipes.cli.main import run_main
from bert_recipes.columns import COUNT
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.modeling.losses import cross_entropy
from bert_recipes.modeling.models import EncoderClassifier, EncoderClassifierConfig
from bert_recipes.training.progress import TrainingProgress
from bert_recipes.training.trainer import PerExampleTrainer, RecipeTrainer

TRAINERS = {"Trainer": Trainer, "RecipeTrainer": RecipeTrainer, "PerExampleTrainer": PerExampleTrainer}


def rows_of(count: int) -> Dataset:
    """Return tokenized rows of 3 to 11 ids with two labels, as this project's `tokenize` leaves them."""
    ids = [[2, *(5 + (i * 7 + j) % 50 for j in range(1 + i % 9)), 3] for i in range(count)]
    return Dataset.from_dict(
        {
            "input_ids": ids,
            "attention_mask": [[1] * len(row) for row in ids],
            "labels": [int(i % 3 == 0) for i in range(count)],
            "row": list(range(count)),
            "length": [len(row) for row in ids],
        }
    )


def padding_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer that is there to pad with id 0."""
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"[PAD]": 0}, "[PAD]")), pad_token="[PAD]")


def trainer_of(
    trainer_class: type[Trainer], rows: Dataset, model: PreTrainedModel | None = None, **options: Any
) -> Any:
    """Return a trainer over the tiny model, set to a single step without dropout unless `options` say otherwise."""
    ours = issubclass(trainer_class, RecipeTrainer)
    per_example = issubclass(trainer_class, PerExampleTrainer)
    defaults: dict[str, Any] = {
        "max_steps": 1,
        "logging_steps": 1,
        "save_strategy": "no",
        "train_sampling_strategy": "sequential",
    }
    if ours:
        defaults |= {"eval_strategy": "no", "load_best_model_at_end": False}
    args = (RecipeTrainingArguments if ours else TrainingArguments)(
        output_dir=tempfile.gettempdir(),
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        ddp_find_unused_parameters=False,
        **{"bf16": False, **defaults, **options},
    )
    set_seed(0)
    if model is None and per_example:
        model = EncoderClassifier(EncoderClassifierConfig(encoder=tiny_config(), pad_token_id=0))
    elif model is None:
        model = BertForSequenceClassification(tiny_config())
    more: dict[str, Any] = {"loss": cross_entropy} if per_example else {}
    trainer = trainer_class(
        model,
        args,
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=DataCollatorWithPadding(padding_tokenizer()),
        **more,
    )
    for callback in (PrinterCallback, ProgressCallback, TrainingProgress):
        trainer.remove_callback(callback)
    return trainer


def one_step(trainer_class: type[Trainer], count: int = 16, **options) -> dict[str, float]:
    """Train one step, and return the loss and the gradient norm that were logged and how far the weights went."""
    trainer = trainer_of(trainer_class, rows_of(count), **options)
    before = torch.nn.utils.parameters_to_vector(trainer.model.parameters()).detach().clone()
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "loss" in entry)
    after = torch.nn.utils.parameters_to_vector(trainer.model.parameters()).detach()
    return {"loss": logged["loss"], "grad_norm": logged["grad_norm"], "moved": torch.dist(before, after).item()}


def rows_counted(trainer_class: type[Trainer], count: int) -> float:
    """Return how many rows an epoch over `count` rows counts, over all processes."""
    counted = []

    class Counting(trainer_class):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            counted.append(inputs[COUNT].sum().item() if COUNT in inputs else len(inputs["labels"]))
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    trainer = trainer_of(Counting, rows_of(count), max_steps=-1, num_train_epochs=1, per_device_train_batch_size=8)
    trainer.train()
    return trainer.accelerator.reduce(torch.tensor(float(sum(counted))), reduction="sum").item()


def main() -> None:
    """Measure what several processes do, and write it down on the first."""
    gc.freeze()  # Trainer collects garbage at every start, which takes longer than a step among all that is loaded
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    threads = torch.get_num_threads()
    steps = {name: one_step(each, per_device_train_batch_size=16 // processes) for name, each in TRAINERS.items()}
    counted = {name: rows_counted(each, 18) for name, each in TRAINERS.items() if name != "PerExampleTrainer"}
    if int(os.environ.get("RANK", "0")) == 0:
        seen = {"processes": processes, "threads": [threads, torch.get_num_threads()]}
        seen |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"), "steps": steps, "counted": counted}
        Path(sys.argv[1]).write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    run_main(main)
