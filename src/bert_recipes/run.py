"""The run folder: everything that a run took in and gave out, written whole or not at all."""

import contextlib
import csv
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from pathlib import Path

import torch
import yaml
from rich.console import Console
from rich.table import Table
from scipy.special import softmax
from transformers.trainer_utils import get_last_checkpoint

from bert_recipes.arguments import Arguments
from bert_recipes.data import ID, LABELS, TextData
from bert_recipes.errors import UserError

# What may differ between two starts of one run: where it stands and how it is shown, not what comes out.
NOT_COMPARED = {"output_dir", "overwrite", "disable_tqdm", "resume_from_checkpoint", "logging_dir"}
PACKAGES = ("bert-recipes", "transformers", "datasets", "evaluate", "accelerate", "torch", "scikit-learn", "numpy")

console = Console(stderr=False)


@contextlib.contextmanager
def writing(path: Path):
    """Open a file beside `path` for writing text; rename it to `path` when the block ends without an error."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class Run:
    """A run folder, opened for a recipe's arguments.

    Opening it turns `args.training.output_dir` from the run folder into the folder of its checkpoints.

    Raises:
        UserError: the folder holds a finished run, another configuration's run, or cannot be written.
    """

    def __init__(self, args: Arguments):
        self.recipe = args.configuration["recipe"]
        self.folder = Path(args.training.output_dir)
        self.training = args.training
        self.configuration = args.configuration
        args.training.output_dir = str(self.folder / "checkpoints")
        try:
            self._open(args.training.overwrite)
        except OSError as error:
            raise UserError(f"--output_dir {self.folder} cannot be written: {error.strerror}.") from error

    def _open(self, overwrite: bool) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"--output_dir {self.folder} is a file: name a folder.")
        written = self.folder / "run.yaml"
        if overwrite and written.is_file():
            shutil.rmtree(self.folder)
        if written.is_file():
            there = yaml.safe_load(written.read_text(encoding="utf-8"))
            keys = sorted(k for k in {*there, *self.configuration} if there.get(k) != self.configuration.get(k))
            keys = [k for k in keys if k not in NOT_COMPARED]
            if keys:
                differences = "; ".join(
                    f"{k} is {there.get(k)} there and {self.configuration.get(k)} here" for k in keys
                )
                raise UserError(
                    f"{self.folder} holds a run of another configuration ({differences}): "
                    "name another --output_dir, or replace it with --overwrite."
                )
            if (self.folder / "metrics.json").is_file():
                raise UserError(
                    f"{self.folder} holds a finished run: name another --output_dir, or replace it with --overwrite."
                )
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise UserError(f"{self.folder} is not empty and holds no run: name another --output_dir.")
        self.folder.mkdir(parents=True, exist_ok=True)
        with writing(written) as file:
            yaml.safe_dump(self.configuration, file, sort_keys=False, allow_unicode=True)

    @property
    def checkpoint(self) -> str | None:
        """The last checkpoint to go on from, if there is one."""
        folder = self.folder / "checkpoints"
        return get_last_checkpoint(str(folder)) if folder.is_dir() else None

    def finish(self, trainer, data: TextData, tokenized, tokenizer) -> None:
        """Score and predict with the best weights, and write everything that a run gives out."""
        scores = {"train": _train_scores(trainer)}
        predicted = {}
        for split in ("validation", "test"):
            if split in tokenized:
                predicted[split] = trainer.predict(tokenized[split], metric_key_prefix=split)
                if LABELS in tokenized[split].column_names:
                    scores[split] = {k.removeprefix(f"{split}_"): v for k, v in predicted[split].metrics.items()}
        model_folder = self.folder / "model"
        trainer.save_model(str(model_folder))
        tokenizer.save_pretrained(str(model_folder))
        (model_folder / "training_args.bin").unlink(missing_ok=True)
        trainer.state.save_to_json(str(self.folder / "trainer_state.json"))
        split = "test" if "test" in predicted else "validation"
        probabilities = softmax(predicted[split].predictions.astype("float64"), axis=1)
        self._write_predictions(data.splits[split][ID], probabilities, data.label_names)
        if data.sample_submission is not None and "test" in predicted:
            self._write_submission(data, probabilities)
        scores["environment"] = environment(self.training)
        self._write_model_card(data, scores)
        with writing(self.folder / "metrics.json") as file:
            json.dump(scores, file, indent=2)
        self.show(scores)

    def _write_predictions(self, ids, probabilities, label_names) -> None:
        with writing(self.folder / "predictions.csv") as file:
            out = csv.writer(file)
            out.writerow([ID, "prediction", *label_names])
            for name, row in zip(ids, probabilities, strict=True):
                out.writerow([name, label_names[row.argmax()], *(f"{p:.8f}" for p in row)])

    def _write_submission(self, data: TextData, probabilities) -> None:
        with data.sample_submission.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = csv.reader(file)
        of_id = {
            name: data.label_names[row.argmax()]
            for name, row in zip(data.splits["test"][ID], probabilities, strict=True)
        }
        missing = [row[0] for row in rows if row[0] not in of_id]
        if missing:
            raise UserError(f"{data.sample_submission} asks for ids that test does not have, such as {missing[0]}.")
        with writing(self.folder / "submission.csv") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(header)
            out.writerows([row[0], of_id[row[0]]] for row in rows)

    def _write_model_card(self, data: TextData, scores: dict) -> None:
        lines = [
            f"# A text classifier, made by the {self.recipe} recipe of bert-recipes",
            "",
            f"- started from `{self.configuration['model']}`",
            f"- data: `{data.source}`, labels {', '.join(data.label_names)}",
            "",
            "| split | accuracy | F1 | F1 macro |",
            "|---|---|---|---|",
        ]
        for split in ("validation", "test"):
            if split in scores:
                s = scores[split]
                lines.append(f"| {split} | {s['accuracy']:.4f} | {s['f1']:.4f} | {s['f1_macro']:.4f} |")
        lines += [
            "",
            "```python",
            *(["import bert_recipes.models  # registers the architecture"] if self.recipe == "custom" else []),
            "from transformers import pipeline",
            "",
            f'classify = pipeline("text-classification", model="{self.folder / "model"}")',
            'print(classify("Forest fire near La Ronge Sask. Canada"))',
            "```",
            "",
            "Made with " + ", ".join(f"{k} {v}" for k, v in scores["environment"]["versions"].items()) + ".",
        ]
        with writing(self.folder / "README.md") as file:
            file.write("\n".join(lines) + "\n")

    def show(self, scores: dict) -> None:
        """Print the scores, where the run is, and what to type next."""
        table = Table(title=f"{self.recipe}: scores of the best checkpoint")
        table.add_column("split")
        names = ["accuracy", "f1", "f1_macro", "precision", "recall", "roc_auc"]
        for name in names:
            table.add_column(name, justify="right")
        for split in ("validation", "test"):
            if split in scores:
                cells = (scores[split].get(n) for n in names)
                table.add_row(split, *("n/a" if c is None else f"{c:.4f}" for c in cells))
        console.print(table)
        console.print(f"The run is in {self.folder}: metrics.json, predictions.csv, model/, README.md")


def environment(training) -> dict:
    """Versions, device and seed of this run."""
    return {
        "versions": {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in PACKAGES},
        "device": torch.cuda.get_device_name() if training.device.type == "cuda" else training.device.type,
        "processes": training.world_size,
        "seed": training.seed,
        "command": " ".join(sys.argv),
    }


def _train_scores(trainer) -> dict:
    logged = [entry for entry in trainer.state.log_history if "train_runtime" in entry]
    return {k: v for k, v in (logged[-1] if logged else {}).items() if k.startswith("train_") or k == "epoch"}
