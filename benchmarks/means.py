"""What makes one model better? Each means alone against the plain recipe: out-of-fold scores, intervals, minutes.

    python -m benchmarks.means                          data/disaster-tweets, the embedded model, 5 folds, 3 seeds
    python -m benchmarks.means --only ema fgm --jobs 6  some of them, six trainings beside each other on a GPU
    python -m benchmarks.means --write_docs             put the table into docs/customising.md too

All is that of recipes/configs/kaggle.yaml but for what a means changes, and every row is predicted by the model of the
fold that has not seen it. Rows are scored by the labels as they came, also where a training had corrected ones. The
intervals are over rows and seeds, those of the log-loss over rows alone. A finished run is not made again, and an
interrupted one is resumed. Minutes are those of a seed's folds, and say little where jobs share a machine.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from benchmarks.customising import ROOT, make_parser, write_table
from bert_recipes.cli.main import run_main
from bert_recipes.errors import UserError
from bert_recipes.files import read_json, write_json
from bert_recipes.reporting.documents import markdown_table

if TYPE_CHECKING:
    from bert_recipes.evaluation.prediction_files import Predictions

CONFIG = ROOT / "recipes/configs/kaggle.yaml"
PLAIN = "plain"
# What each is, by name; those of `FREE` are made of runs that are there.
MEANS = {
    PLAIN: "`kaggle.yaml` as it is",
    "seeds": "the mean of all seeds' probabilities",
    "ema": "exponential moving average of the weights, 0.99 a step",
    "swa": "mean of the weights over the second half of the steps (arXiv:1803.05407)",
    "fgm": "an adversarial step on the word embeddings, of length 1 (arXiv:1605.07725)",
    "awp": "adversarial weights from the second epoch on, 0.1 % of each matrix (arXiv:2004.05884)",
    "mlm": "three epochs of masked language modelling on the task's own texts first (arXiv:2004.10964)",
    "pseudo": "test rows that the fold's model is sure of (0.95) as training rows",
    "keyword": "the keyword before the text",
    "normalize": "`--normalize entities urls mentions`",
    "corrections": "the labels that a quick audit would change",
}
FREE = {"seeds"}
AVERAGES = {"ema": {"share": 0.01}, "swa": {"start": 0.5}}
SURE = 0.95
AGAINST = "against plain, points"
HEADER = ("means", "what", "accuracy", AGAINST, "F1", AGAINST, "log-loss", "against plain", "minutes")
FINISHED = "means.json"


# What a means changes of the data


def write_corrections(tweets: Path, folder: Path) -> Path:
    """Write what a quick audit of the training rows would change, and return the file."""
    import pandas as pd

    file = folder / "corrections.csv"
    if not file.is_file():
        command = [sys.executable, ROOT / "recipes/audit.py", "--dataset", tweets, "--text_column", "text", "--quick"]
        command += ["--overwrite", "--output_dir", folder]
        if subprocess.run([str(word) for word in command]).returncode:
            raise UserError("the audit failed, for the reason above.")
        found = pd.read_csv(folder / "audit.csv", dtype=str, keep_default_na=False)
        worth_reading = found[: read_json(folder / "audit.json")["stop_at"]]
        wrong = worth_reading[worth_reading["issue"] == "label"]
        wrong[["id", "suggested"]].rename(columns={"suggested": "label"}).to_csv(file, index=False)
    return file


def pretrain(model: str, tweets: Path, folder: Path, seed: int) -> Path:
    """Go on with the masked language modelling of an encoder on the tweets, test rows too, and return its folder.

    Steps have texts of like length, and the vocabulary is scored for masked tokens alone: for all of them it takes
    longer than the encoder of a small model does.
    """
    import pandas as pd
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForMaskedLM,
        AutoTokenizer,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from bert_recipes.devices import has_native_bf16
    from bert_recipes.modeling.pretrained import resolve_model

    if (folder / "config.json").is_file():
        return folder
    set_seed(seed)
    source = resolve_model(model)
    tokenizer = AutoTokenizer.from_pretrained(source)
    texts = [text for name in ("train.csv", "test.csv") for text in pd.read_csv(tweets / name)["text"].unique()]
    tokens = dict(tokenizer(texts, truncation=True, max_length=96, return_special_tokens_mask=True))
    rows = Dataset.from_dict(tokens | {"length": [len(ids) for ids in tokens["input_ids"]]})
    learner = AutoModelForMaskedLM.from_pretrained(source)

    class MaskedTrainer(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels = inputs.pop("labels")
            masked = labels != -100

            def keep_masked(encoder, given, output):
                output["last_hidden_state"] = output.last_hidden_state[masked][None]
                return output

            hook = learner.base_model.register_forward_hook(keep_masked)
            try:
                logits = model(**inputs).logits[0]
            finally:
                hook.remove()
            return torch.nn.functional.cross_entropy(logits, labels[masked], reduction="sum") / num_items_in_batch

    args = TrainingArguments(
        output_dir=str(folder.with_name(f"{folder.name}-steps")),
        num_train_epochs=3,
        learning_rate=1e-4,
        per_device_train_batch_size=32,
        warmup_steps=0.1,
        weight_decay=0.01,
        train_sampling_strategy="group_by_length",
        seed=seed,
        bf16=has_native_bf16(),
        use_cpu=not torch.accelerator.is_available(),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = MaskedTrainer(learner, args, DataCollatorForLanguageModeling(tokenizer), rows)
    trainer.model_accepts_loss_kwargs = True  # so that it counts the masked tokens of a step
    trainer.train()
    learner.base_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# What a means changes of the training


@contextlib.contextmanager
def attacking(kind: str) -> Iterator[None]:
    """Let every step also learn under what raises its loss most, nearby: `fgm` or `awp`."""
    import torch

    from bert_recipes.training.trainer import RecipeTrainer

    plain_step = RecipeTrainer.training_step

    def moves(trainer: Any) -> list[tuple[Any, Any]]:
        encoder = trainer.model.base_model
        if kind == "fgm":
            weights, sizes = [encoder.get_input_embeddings().weight], [1.0]
        else:
            weights = [w for w in encoder.parameters() if w.ndim > 1]
            sizes = [1e-3 * w.norm() for w in weights]
        found = []
        for weight, size in zip(weights, sizes, strict=True):
            if weight.grad is not None:
                found.append((weight, weight.grad * (size / weight.grad.norm().clamp(min=1e-12))))
        return found

    def training_step(trainer, model, inputs, *args, **kwargs):
        loss = plain_step(trainer, model, inputs, *args, **kwargs)
        if kind == "awp" and 2 * trainer.state.global_step < trainer.state.max_steps:
            return loss
        with torch.no_grad():
            moved = [(weight, weight.clone(), move) for weight, move in moves(trainer)]
            for weight, _, move in moved:
                weight.add_(move)
        plain_step(trainer, model, inputs, *args, **kwargs)
        with torch.no_grad():
            for weight, before, _ in moved:
                weight.copy_(before)
        return loss

    with mock.patch.object(RecipeTrainer, "training_step", training_step):
        yield


# Runs


def run_of(args: argparse.Namespace, name: str, seed: int) -> Path:
    """Return where the run of a means with a seed is."""
    return args.output_dir / f"{name}-seed-{seed}"


def make(args: argparse.Namespace, name: str, seed: int) -> None:
    """Make the run of a means with a seed; what of it is not needed again is removed."""
    from bert_recipes import api

    run = run_of(args, name, seed)
    flags: dict[str, Any] = {"config": CONFIG, "model": args.model, "dataset": str(args.dataset), "seed": seed}
    flags |= {"folds": args.folds, "num_train_epochs": args.epochs}
    if name == "keyword":
        flags["text_column"] = ["keyword", "text"]
    if name == "normalize":
        flags["normalize"] = ["entities", "urls", "mentions"]
    if name == "corrections":
        flags["corrections"] = str(write_corrections(args.dataset, args.output_dir / "audit"))
    if name == "mlm":
        flags["model"] = str(pretrain(args.model, args.dataset, args.output_dir / f"pretrained-{seed}", seed))
    if name in AVERAGES:
        from benchmarks.averaging import Average

        flags["callbacks"] = [Average(**AVERAGES[name])]
    attack = attacking(name) if name in ("fgm", "awp") else contextlib.nullcontext()
    with attack:
        if name == "pseudo":
            parts, seconds = pseudo_labelled(args, seed, flags, run)
        else:
            made = api.train("custom", output_dir=str(run), **flags)
            parts, seconds = [read(run)], made.metrics["train"]["train_runtime"]
    ids = [row for part in parts for row in part.ids]
    probabilities = [values for part in parts for values in part.probabilities.tolist()]
    write_json(run / FINISHED, {"ids": ids, "probabilities": probabilities, "seconds": seconds})
    for weights in [*run.glob("**/model"), *run.glob("**/checkpoints")]:
        shutil.rmtree(weights)


def read(run: Path) -> "Predictions":
    """Return what a run predicts for the rows that validated it."""
    from bert_recipes.evaluation.prediction_files import Predictions
    from bert_recipes.task import SINGLE_LABEL

    return Predictions.read(run, ["0", "1"], SINGLE_LABEL)


def pseudo_labelled(
    args: argparse.Namespace, seed: int, flags: dict[str, Any], folder: Path
) -> tuple[list["Predictions"], float]:
    """Train each fold again, on the test rows too that the plain run's model of this fold is sure of.

    Returns:
        The predictions of each fold for its own rows, and the seconds of the trainings.
    """
    import pandas as pd

    from bert_recipes import api

    plain = run_of(args, PLAIN, seed)
    train = pd.read_csv(args.dataset / "train.csv", dtype=str, keep_default_na=False).set_index("id")
    test = pd.read_csv(args.dataset / "test.csv", dtype=str, keep_default_na=False).set_index("id")
    known = read(plain)
    fold_of = pd.Series(known.columns["fold"], index=known.ids)
    parts, seconds = [], 0.0
    own = {name: value for name, value in flags.items() if name not in ("dataset", "folds")}
    for fold in sorted(set(fold_of)):
        of_fold = pd.read_csv(plain / "folds" / fold / "predictions.csv", dtype={"id": str}).set_index("id")
        sure = of_fold[of_fold[["0", "1"]].max(axis=1) >= SURE]
        pseudo = test.loc[sure.index, ["text"]].assign(target=(sure["1"] > 0.5).astype(int).astype(str))
        inside = train.loc[fold_of[fold_of == fold].index]
        rows = folder / f"fold-{fold}-rows"
        rows.mkdir(parents=True, exist_ok=True)
        pd.concat([train.drop(inside.index), pseudo]).to_csv(rows / "train.csv", index_label="id")
        inside.to_csv(rows / "validation.csv", index_label="id")
        run = folder / f"fold-{fold}"
        made = api.train("custom", output_dir=str(run), dataset=str(rows), label_column="target", **own)
        seconds += made.metrics["train"]["train_runtime"]
        parts.append(read(run))
    return parts, seconds


# The table


def probabilities_of(args: argparse.Namespace, name: str, ids: Sequence[str]) -> np.ndarray:
    """Return the out-of-fold probabilities of class 1 by each seed, `[seeds, rows]`, in the order of `ids`."""
    found = []
    for seed in args.seeds:
        made = read_json(run_of(args, name, seed) / FINISHED)
        of_row = dict(zip(made["ids"], made["probabilities"], strict=True))
        found.append([of_row[row][1] for row in ids])
    return np.array(found)


def rows_of(labels: np.ndarray, probabilities: dict[str, np.ndarray], minutes: dict[str, float]) -> list[list[str]]:
    """Return the table's rows, one for each means.

    Args:
        labels: `[rows]`.
        probabilities: of class 1 by each seed, `[seeds, rows]`, by means; the first is what all are compared with.
        minutes: of one seed, by means.
    """
    from bert_recipes.evaluation import significance
    from bert_recipes.evaluation.metrics import losses_of
    from bert_recipes.task import SINGLE_LABEL

    def mean_losses(name: str) -> np.ndarray:
        of_seeds = [np.stack([1 - fire, fire], axis=1) for fire in probabilities[name]]
        return np.mean([losses_of(one, labels, SINGLE_LABEL) for one in of_seeds], axis=0)

    first, rows = next(iter(probabilities)), []
    for name, ours in probabilities.items():
        cells = [name, MEANS[name]]
        for score in (significance.accuracy(), significance.f1(2)):
            difference = significance.compare(
                score,
                labels,
                (ours > 0.5).astype(int),
                (probabilities[first] > 0.5).astype(int),
                ((ours.mean(axis=0) > 0.5).astype(int), (probabilities[first].mean(axis=0) > 0.5).astype(int)),
            )
            apart = f"{100 * difference.value:+.2f} ({100 * difference.low:+.2f} to {100 * difference.high:+.2f})"
            cells += [f"{difference.a.mean():.4f}", "" if name == first else apart]
        losses = mean_losses(name)
        differences = losses - mean_losses(first)
        mean, reach = differences.mean(), 1.96 * differences.std() / len(labels) ** 0.5
        apart = f"{mean:+.4f} ({mean - reach:+.4f} to {mean + reach:+.4f})"
        cells += [f"{losses.mean():.4f}", "" if name == first else apart]
        rows.append([*cells, f"{minutes[name]:.1f}" if name in minutes else ""])
    return rows


def table(args: argparse.Namespace) -> str:
    """Return the table in Markdown."""
    import pandas as pd

    truth = pd.read_csv(args.dataset / "train.csv", dtype={"id": str}).set_index("id")["target"]
    known = read(run_of(args, PLAIN, args.seeds[0]))
    ids = known.ids
    probabilities = {name: probabilities_of(args, name, ids) for name in args.only if name not in FREE}
    if "seeds" in args.only:
        probabilities["seeds"] = probabilities[PLAIN].mean(axis=0, keepdims=True)
    minutes = {
        name: float(np.median([read_json(run_of(args, name, seed) / FINISHED)["seconds"] for seed in args.seeds])) / 60
        for name in probabilities.keys() - FREE
    }
    return markdown_table(HEADER, rows_of(truth.loc[ids].to_numpy(), probabilities, minutes), "llrrrrrrr")


def make_in_a_process(args: argparse.Namespace, name: str, seed: int) -> None:
    """Make a run in a process of its own, unless it is there.

    Raises:
        UserError: it failed.
    """
    if (run_of(args, name, seed) / FINISHED).is_file():
        return
    command = [sys.executable, "-m", "benchmarks.means", "--part", name, "--seeds", str(seed), "--model", args.model]
    command += ["--folds", str(args.folds), "--epochs", str(args.epochs), "--output_dir", str(args.output_dir)]
    command += ["--dataset", str(args.dataset)]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise UserError(f"{name} with seed {seed} failed, for the reason above: mend it and start again.")


def main():
    parser = make_parser(__doc__, "runs/means")
    parser.add_argument("--only", nargs="+", choices=list(MEANS), default=list(MEANS), help="means beside plain (all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="(1 2 3)")
    parser.add_argument("--dataset", type=Path, default=Path("data/disaster-tweets"), help="the competition's files")
    parser.add_argument("--model", default="embedded:minilm", help="(embedded:minilm)")
    parser.add_argument("--folds", type=int, default=5, help="(5)")
    parser.add_argument("--epochs", type=float, default=2, help="(2)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings beside each other (1)")
    parser.add_argument("--part", choices=list(MEANS), help=argparse.SUPPRESS)  # what a process is started for
    args = parser.parse_args()
    args.output_dir, args.dataset = args.output_dir.resolve(), args.dataset.resolve()
    if not (args.dataset / "train.csv").is_file():
        raise UserError(f"--dataset {args.dataset} has no train.csv: it takes the competition's files.")
    if args.part:
        make(args, args.part, args.seeds[0])
        return
    args.only = list(dict.fromkeys([PLAIN, *args.only]))
    if "corrections" in args.only:
        write_corrections(args.dataset, args.output_dir / "audit")  # by one process, before several ask for it
    makes = partial(make_in_a_process, args)
    with ThreadPoolExecutor(args.jobs) as pool:
        # Some are made of the plain runs.
        for names in ([PLAIN], [name for name in args.only if name not in {PLAIN, *FREE}]):
            cases = [(name, seed) for name in names for seed in args.seeds]
            for _ in pool.map(lambda case: makes(*case), cases):
                pass
    print(table(args))
    if args.write_docs:
        write_table("means", table(args))


if __name__ == "__main__":
    run_main(main)
