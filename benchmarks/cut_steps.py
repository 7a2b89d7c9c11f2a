"""Ten steps of a tiny model, by `Trainer` as it comes or by a recipe: what benchmarks/exactness.py launches."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    Trainer,
    TrainingArguments,
    set_seed,
)

from benchmarks.exactness import ACCUMULATIONS, KINDS
from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.config.arguments import CustomArguments
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.modeling.building import build_classifier
from bert_recipes.modeling.losses import cross_entropy
from bert_recipes.task import Task
from bert_recipes.training.trainer import PerExampleTrainer, RecipeTrainer

STEP, STEPS = 32, 10
TRAINERS: dict[str, type[Trainer]] = {"Trainer": Trainer, "stock": RecipeTrainer, "custom": PerExampleTrainer}


def rows() -> Dataset:
    """Return the ten steps' rows of random tokens, labelled by their second one."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 100, (STEP * STEPS, 12), generator=generator)
    labels = (ids[:, 1] > 70).long()
    return Dataset.from_dict({"input_ids": ids.tolist(), "labels": labels.tolist(), "row": list(range(len(ids)))})


def save_encoder(folder: str) -> None:
    """Save a two-layer BERT with random weights and without dropout."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    dropout: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    BertModel(BertConfig(vocab_size=100, max_position_embeddings=16, **shape, **dropout)).save_pretrained(folder)


def measure(encoder: str, kind: str, accumulation: int, processes: int, bf16: bool = False) -> dict:
    """Return the first step's loss and gradient norm, and all weights before and after ten steps."""
    options: dict[str, Any] = {
        "output_dir": f"{encoder}/run",
        "per_device_train_batch_size": STEP // (accumulation * processes),
        "gradient_accumulation_steps": accumulation,
        "max_steps": STEPS,
        "learning_rate": 1e-3,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "report_to": "none",
        "disable_tqdm": True,
        "ddp_find_unused_parameters": False,
        "bf16": bf16,
    }
    set_seed(0)
    model: Any
    if kind == "custom":
        model = build_classifier(encoder, CustomArguments(), Task("binary", ["no", "yes"], ["label"]))
    else:
        model = AutoModelForSequenceClassification.from_pretrained(encoder)
    if not bf16:
        model.double()
    if kind == "Trainer":
        args = TrainingArguments(use_cpu=not torch.accelerator.is_available(), **options)
        args._n_gpu = min(args.n_gpu, 1)
    else:
        args = RecipeTrainingArguments(**options)
    more: dict[str, Any] = {"loss": cross_entropy} if kind == "custom" else {}
    trainer = TRAINERS[kind](model, args, train_dataset=rows(), **more)
    before = flat(model)
    trainer.train()
    first = next(entry for entry in trainer.state.log_history if "loss" in entry)
    return {
        **{"kind": kind, "accumulation": accumulation, "processes": processes},
        **{"loss": first["loss"], "grad_norm": first["grad_norm"], "before": before, "after": flat(model)},
    }


def flat(model: torch.nn.Module) -> list[float]:
    """Return all weights in one list, in float64."""
    return torch.cat([parameter.detach().flatten().double().cpu() for parameter in model.parameters()]).tolist()


def main():
    parser = ScriptParser(__doc__)
    parser.add_argument("output", type=Path, help="the JSON file of the results")
    parser.add_argument("--bf16", action="store_true", help="float32 under bfloat16 autocast")
    args = parser.parse_args()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    with tempfile.TemporaryDirectory() as folder:
        save_encoder(folder)
        results = [measure(folder, k, a, processes, args.bf16) for a in ACCUMULATIONS for k in KINDS]
    if int(os.environ.get("RANK", "0")) == 0:
        args.output.write_text(json.dumps(results))


if __name__ == "__main__":
    run_main(main)
