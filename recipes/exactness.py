"""Measure what a step's cut does to it: `Trainer` with the stock model as it comes, beside the two recipes.

    python recipes/exactness.py                               print the table
    python recipes/exactness.py --write docs/exactness.md     put it into the document, between its marks

Ten steps of 32 rows each, cut into 1 to 8 micro-batches on 1 to 4 processes. The model is a two-layer BERT with random
weights and without dropout, in float64 (`--bf16`: float32 under bfloat16 autocast, for a GPU that has it).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

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

from bert_recipes.arguments import CustomArguments
from bert_recipes.console import quiet_libraries
from bert_recipes.documents import put_between_marks
from bert_recipes.encoders import build_classifier
from bert_recipes.errors import run_main
from bert_recipes.labels import Labels
from bert_recipes.losses import cross_entropy
from bert_recipes.trainer import PerExampleTrainer, RecipeTrainer
from bert_recipes.training_arguments import RecipeTrainingArguments

STEP, STEPS = 32, 10
ACCUMULATIONS, PROCESSES = (1, 2, 4, 8), (1, 2, 4)
HEADER = (
    *("accumulation", "processes", "loss: `Trainer`", "recipes", "gradient norm: `Trainer`", "recipes"),
    *("weights: `Trainer`", "stock", "custom"),
)


def rows() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 100, (STEP * STEPS, 12), generator=generator)
    labels = (ids[:, 1] > 70).long()
    return Dataset.from_dict({"input_ids": ids.tolist(), "labels": labels.tolist(), "row": list(range(len(ids)))})


def save_encoder(folder: str) -> None:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    BertModel(BertConfig(vocab_size=100, max_position_embeddings=16, **shape, **dropout)).save_pretrained(folder)


def measure(encoder: str, kind: str, accumulation: int, processes: int, bf16: bool = False) -> dict:
    """Return the first step's loss and gradient norm, and all weights before and after ten steps."""
    options = {
        "output_dir": f"{encoder}/run",
        "per_device_train_batch_size": STEP // (accumulation * processes),
        "gradient_accumulation_steps": accumulation,
        "max_steps": STEPS,
        "learning_rate": 1e-3,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "ddp_find_unused_parameters": False,
        "bf16": bf16,
    }
    set_seed(0)
    if kind == "custom":
        model = build_classifier(encoder, CustomArguments(), Labels("binary", ["no", "yes"], ["label"]))
        trainer_class, more = PerExampleTrainer, {"loss": cross_entropy}
    else:
        model = AutoModelForSequenceClassification.from_pretrained(encoder)
        trainer_class, more = {"Trainer": Trainer, "stock": RecipeTrainer}[kind], {}
    if not bf16:
        model.double()
    if kind == "Trainer":
        args = TrainingArguments(use_cpu=not torch.accelerator.is_available(), **options)
        args._n_gpu = min(args.n_gpu, 1)
    else:
        args = RecipeTrainingArguments(label_names=["labels"], **options)
    trainer = trainer_class(model, args, train_dataset=rows(), **more)
    before = flat(model)
    trainer.train()
    first = next(entry for entry in trainer.state.log_history if "loss" in entry)
    return {
        **{"kind": kind, "accumulation": accumulation, "processes": processes},
        **{"loss": first["loss"], "grad_norm": first["grad_norm"], "before": before, "after": flat(model)},
    }


def flat(model: torch.nn.Module) -> list[float]:
    return torch.cat([parameter.detach().flatten().double().cpu() for parameter in model.parameters()]).tolist()


def distance(cut: dict, uncut: dict) -> float:
    """Return how far the weights ended from those of the uncut run, in parts of the way that the uncut run went."""
    weights = uncut["before"], cut["after"], uncut["after"]
    before, ours, theirs = (torch.tensor(w, dtype=torch.float64) for w in weights)
    return ((ours - theirs).norm() / (theirs - before).norm()).item()


def table(results: list[dict]) -> str:
    """Return the table in Markdown, a row for each cut."""
    of = {(r["kind"], r["accumulation"], r["processes"]): r for r in results}
    lines = [f"| {' | '.join(HEADER)} |", "|" + "--:|" * len(HEADER)]
    for processes, accumulation in sorted({(p, a) for _, a, p in of}):
        cut = {kind: of[kind, accumulation, processes] for kind in ("Trainer", "stock", "custom")}
        apart = [_small(distance(cut[kind], of[kind, 1, 1])) for kind in cut]
        numbers = [f"{cut[kind][name]:.4f}" for name in ("loss", "grad_norm") for kind in ("Trainer", "stock")]
        lines.append(f"| {' | '.join([str(accumulation), str(processes), *numbers, *apart])} |")
    return "\n".join(lines)


def _small(number: float) -> str:
    # What is only rounding has digits that are the processor's to choose.
    if number < 1e-12:
        return "< 1e-12" if number else "0"
    return f"{number:.3f}" if number >= 5e-4 else f"{number:.0e}"


def measure_all(bf16: bool) -> list[dict]:
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for processes in PROCESSES:
            out = Path(folder) / f"{processes}.json"
            command = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1"]
            command += ["--num_processes", str(processes), *(["--multi_gpu"] if processes > 1 else [])]
            command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
            command += [__file__, "--measure", str(out), *(["--bf16"] if bf16 else [])]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            results += json.loads(out.read_text())
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="the document to put the table into")
    parser.add_argument("--bf16", action="store_true", help="float32 under bfloat16 autocast")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # what a launched process is told
    args = parser.parse_args()
    if args.measure:
        quiet_libraries()
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        kinds = ("Trainer", "stock", "custom")
        with tempfile.TemporaryDirectory() as folder:
            save_encoder(folder)
            results = [measure(folder, kind, a, processes, args.bf16) for a in ACCUMULATIONS for kind in kinds]
        if int(os.environ.get("RANK", "0")) == 0:
            args.measure.write_text(json.dumps(results))
        return
    measured = table(measure_all(args.bf16))
    print(measured)
    if args.write:
        put_between_marks(args.write, "exactness", measured)


if __name__ == "__main__":
    run_main(main)
