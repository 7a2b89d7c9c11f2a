"""Train a tiny double-precision BERT with steps cut up in many ways; run on one process or under a launcher.

accelerate launch --multi_gpu --num_processes 2 tests/support/cuts.py CASES.json OUT.json MODEL_FOLDER
"""

import json
import os
import sys
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, set_seed

from bert_recipes.cli.main import run_main
from bert_recipes.config.arguments import CustomArguments
from bert_recipes.config.reading import Reading
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.data.tokenization import TextTokenizer
from bert_recipes.modeling.building import build_classifier
from bert_recipes.modeling.losses import make_loss
from bert_recipes.task import Task
from bert_recipes.training.trainer import PerExampleTrainer, RecipeTrainer

TASKS = {name: Task(name, ["no", "yes"], ["label"]) for name in ("binary", "multi-label", "regression")}


def label_of(i, task):
    if task == "binary":
        return int(i % 3 == 0)
    return [float(i % 3 == 0), float(i % 2)] if task == "multi-label" else [i % 7 / 3, i % 5 - 2.0]


def rows_of(count, tokenizer, task, windows=False):
    """Return rows of 5 to 13 tokens each; as windows of up to 7, of which a row has up to 4."""
    words = tokenizer.convert_ids_to_tokens(range(5, len(tokenizer)))
    texts = [" ".join(words[(i * 7 + j) % len(words)] for j in range(3 + i % 9)) for i in range(count)]
    others = {
        # For a classifier of the user's own; a row has none of each.
        "keyword": [["fire", "storm", None][i % 3] for i in range(count)],
        "price": [None if i % 5 == 4 else float(i) for i in range(count)],
        "labels": [label_of(i, task) for i in range(count)],
        "row": list(range(count)),
    }
    if not windows:
        tokens = tokenizer(texts)
        return Dataset.from_dict({**tokens, **others, "length": [len(ids) for ids in tokens["input_ids"]]})
    tokens, _ = TextTokenizer(tokenizer, BertConfig(), 7, Reading("windows", 2))(texts)
    counts = {
        "length": [sum(map(len, ids)) for ids in tokens["input_ids"]],
        "num_windows": [len(ids) for ids in tokens["input_ids"]],
    }
    return Dataset.from_dict({**tokens, **others, **counts})


def trainer_of(case, folder, output_dir, dropout=0.0, **options):
    """Return a trainer for a case: kind, rows, batch, accumulation, and perhaps task, smoothing, windows, …"""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    task = TASKS[case.get("task", "binary")]
    rows = rows_of(case["rows"], tokenizer, task.name, case.get("windows", False))
    defaults = {
        "bf16": False,
        "max_steps": 4,
        "logging_steps": 1,
        "save_strategy": "no",
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "max_grad_norm": 0.05,
        "learning_rate": 1e-3,
    }
    args = RecipeTrainingArguments(
        output_dir=str(output_dir),
        report_to="none",
        label_names=["labels"],
        disable_tqdm=True,
        per_device_train_batch_size=case["batch"],
        gradient_accumulation_steps=case["accumulation"],
        label_smoothing_factor=case.get("smoothing", 0.0),
        train_sampling_strategy=case.get("strategy", "random"),
        ddp_find_unused_parameters=False,
        **{**defaults, **options},
    )
    set_seed(0)
    shared = {"train_dataset": rows, "eval_dataset": rows, "processing_class": tokenizer}
    if case["kind"] == "stock":
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=2, problem_type=task.problem_type
        )
        trainer = RecipeTrainer(model, args, **shared)
    else:
        choices = CustomArguments(**case.get("choices", {}))
        model = build_classifier(str(folder), choices, task, splits={"train": rows})
        loss = make_loss(choices, case.get("smoothing", 0.0), task, rows["labels"][:])
        trainer = PerExampleTrainer(
            model,
            args,
            loss=loss,
            layer_decay=choices.layer_decay,
            head_learning_rate=choices.head_learning_rate,
            **shared,
        )
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return trainer


def train(case, folder, output_dir):
    """Return what the steps of a case logged and the weights they ended with, in double precision."""
    trainer = trainer_of(case, folder, output_dir, **case.get("options", {}))
    trainer.model.double()
    trainer.train()
    weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    return {"logged": logged(trainer), "weights": weights.tolist()}


def train_in_float32(case, folder, output_dir):
    """Return what the steps of a case logged, in single precision."""
    trainer = trainer_of(case, folder, output_dir, **case.get("options", {}))
    trainer.train()
    return {"logged": logged(trainer)}


def predict(case, folder, output_dir):
    """Return the predictions and scores of a case."""
    trainer = trainer_of(case, folder, output_dir, **case.get("options", {}))
    output = trainer.predict(trainer.eval_dataset)
    scores = {name: output.metrics[f"test_{name}"] for name in ("loss", "accuracy", "f1")}
    return {"logits": output.predictions.tolist(), "labels": output.label_ids.tolist(), "scores": scores}


def logged(trainer):
    return [(e["loss"], e["grad_norm"]) for e in trainer.state.log_history if "loss" in e]


DO = {"train": train, "train_in_float32": train_in_float32, "predict": predict}


def main():
    cases, out, folder = sys.argv[1:4]
    results = [
        DO[case.get("do", "train")](case, case.get("model", folder), Path(out).parent / "run")
        for case in json.loads(Path(cases).read_text())
    ]
    if int(os.environ.get("RANK", "0")) == 0:
        Path(out).write_text(json.dumps(results))


if __name__ == "__main__":
    run_main(main)
