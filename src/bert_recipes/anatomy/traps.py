"""The traps: what plain `Trainer` and its companions do behind your back, and what this project does."""

import contextlib
import gc
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import evaluate
import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from transformers import (
    BertForSequenceClassification,
    BertModel,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    set_seed,
)

from bert_recipes.anatomy.answers import chosen_loss, tiny_config
from bert_recipes.anatomy.tour import Code, Said, Station, Tour, Trap, numbers, source_of
from bert_recipes.anatomy.trap_steps import TRAINERS, one_step, rows_counted, rows_of, trainer_of
from bert_recipes.config.arguments import DataArguments
from bert_recipes.data import embedded
from bert_recipes.data.loading import load_data
from bert_recipes.devices import cores
from bert_recipes.errors import UserError
from bert_recipes.evaluation.metrics import scores_from_logits
from bert_recipes.modeling.models import EncoderClassifier, EncoderClassifierConfig
from bert_recipes.training.batches import StepBatches
from bert_recipes.training.trainer import PerExampleTrainer, RecipeTrainer

# Several processes, in the background from the tour's first minute on

TWO = "accelerate launch --multi_gpu --num_processes 2 -m bert_recipes.anatomy.trap_steps"
CPU = "accelerate launch --cpu --num_processes 2 --no_python printenv OMP_NUM_THREADS"
# What accelerate would otherwise warn about, and an empty home so that no configuration of the user's has a say.
QUIET = "--num_machines 1 --mixed_precision no --dynamo_backend no"
LIMIT = 300.0  # seconds
# What the two processes measured, and the lines that `--cpu` printed; empty where they are not waited for.
Launched = tuple[dict[str, Any], list[str]]
Steps = dict[str, dict[str, float]]


class Launches:
    """Both launches, under way; leaving the context ends what still runs."""

    def __enter__(self) -> "Launches":
        self.folder = tempfile.TemporaryDirectory()
        self.out = Path(self.folder.name) / "two.json"
        self.two = self._start(f"{TWO} {shlex.quote(str(self.out))}")
        self.cpu = self._start(CPU)
        return self

    def _start(self, command: str) -> subprocess.Popen[str]:
        words = shlex.split(command.replace("launch", f"launch {QUIET}", 1))
        environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "RANK", "WORLD_SIZE")}
        return subprocess.Popen(
            [sys.executable, "-m", "accelerate.commands.launch", *words[2:]],
            env=environment | {"HF_HOME": self.folder.name},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def results(self) -> "Launched":
        """Wait for both, and return what the two processes measured and the lines that `--cpu` printed.

        Raises:
            UserError: a launch failed, as where gloo finds no network interface.
        """
        printed = []
        for process, command in ((self.two, TWO), (self.cpu, CPU)):
            out, err = process.communicate(timeout=LIMIT)
            if process.returncode != 0:
                last = (err.strip().splitlines() or ["no word"])[-1]
                raise UserError(f"'{command}' ended with status {process.returncode} ({last}).")
            printed.append(out.split())
        return json.loads(self.out.read_text(encoding="utf-8")), printed[1]

    def __exit__(self, *_: object) -> None:
        for process in (self.two, self.cpu):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        self.folder.cleanup()


# One step, cut up


SGD: dict[str, Any] = {"optim": "sgd", "learning_rate": 1.0, "lr_scheduler_type": "constant", "max_grad_norm": 0.4}


@cache
def cut_by_accumulation():
    """Train the same 16 rows as one batch and as four, by plain gradient descent with clipping."""
    whole, cut = {}, {}
    for name, trainer_class in TRAINERS.items():
        whole[name] = one_step(trainer_class, per_device_train_batch_size=16, **SGD)
        cut[name] = one_step(trainer_class, per_device_train_batch_size=4, gradient_accumulation_steps=4, **SGD)
    return whole, cut


def accumulation(launched: Launched) -> Trap:
    """Loss and gradient grow with the pieces of a step."""
    whole, cut = cut_by_accumulation()
    return _same_step("accumulation", source_of(cut_by_accumulation, one_step), whole, cut)


def processes(launched: Launched) -> Trap:
    """Loss and gradient grow with the processes."""
    return _same_step("processes", TWO, cut_by_accumulation()[0], launched[0]["steps"])


def _same_step(key: str, code: str, whole: Steps, cut: Steps) -> Trap:
    def told(name: str) -> Said:
        return Said(
            "step",
            whole_loss=numbers(whole[name]["loss"], 3),
            whole_norm=numbers(whole[name]["grad_norm"], 3),
            cut_loss=numbers(cut[name]["loss"], 3),
            cut_norm=numbers(cut[name]["grad_norm"], 3),
        )

    same = {
        name: all(np.isclose(whole[name][m], cut[name][m], rtol=1e-4) for m in ("loss", "grad_norm")) for name in whole
    }
    safe = same["RecipeTrainer"] and same["PerExampleTrainer"]
    return Trap(key, code, told("Trainer"), told("RecipeTrainer"), not same["Trainer"], safe)


def clipping(launched: Launched) -> Trap:
    """A gradient that is too long is clipped where the whole step's would not be."""
    whole, cut = cut_by_accumulation()

    def told(name: str) -> Said:
        return Said("moved", whole=numbers(whole[name]["moved"], 3), cut=numbers(cut[name]["moved"], 3))

    same = {name: np.isclose(whole[name]["moved"], cut[name]["moved"], rtol=1e-3) for name in whole}
    safe = bool(same["RecipeTrainer"] and same["PerExampleTrainer"])
    return Trap("clipping", f"SGD = {SGD}", told("Trainer"), told("RecipeTrainer"), not same["Trainer"], safe)


def loss_with_smoothing():
    """Cut a step in four, without and with label smoothing."""
    cut = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    return {
        trainer_class: [one_step(trainer_class, **cut, label_smoothing_factor=f)["loss"] for f in (0.0, 0.1)]
        for trainer_class in (Trainer, RecipeTrainer)
    }


def rescaling(launched: Launched) -> Trap:
    """Switching label smoothing on under accumulation changes the scale of the loss."""
    losses = loss_with_smoothing()
    told = [Said("smoothed", off=numbers(off, 3), on=numbers(on, 3)) for off, on in losses.values()]
    apart = [abs(off - on) > 0.5 for off, on in losses.values()]
    return Trap("rescaling", source_of(loss_with_smoothing), told[0], told[1], apart[0], not apart[1])


def repeated(launched: Launched) -> Trap:
    """Rows are counted twice where a step is short."""
    counted = launched[0]["counted"]
    told = [Said("counted", seen=int(counted[name]), rows=18) for name in ("Trainer", "RecipeTrainer")]
    code = f"{source_of(rows_counted)}\n\n# {TWO}"
    return Trap("repeated", code, told[0], told[1], counted["Trainer"] != 18, counted["RecipeTrainer"] == 18)


# Rows and labels


def predict_grouped(trainer_class):
    """Predict with the sampling strategy of the training left on, and compare with the model asked row by row."""
    rows = rows_of(24)
    trainer = trainer_of(trainer_class, rows, train_sampling_strategy="group_by_length", per_device_eval_batch_size=4)
    predicted = trainer.predict(rows).predictions
    model = trainer.model.eval()
    with torch.no_grad():
        true = torch.cat([model(input_ids=torch.tensor([ids])).logits for ids in rows["input_ids"]]).numpy()
    return np.isclose(predicted, true, atol=1e-5).all(axis=1)


def order(launched: Launched) -> Trap:
    """Predictions come in the sampler's order."""
    plain, ours = predict_grouped(Trainer), predict_grouped(RecipeTrainer)
    told = [Said("in_place", right=int(right.sum()), rows=len(right)) for right in (plain, ours)]
    return Trap("order", source_of(predict_grouped), told[0], told[1], not plain.all(), bool(ours.all()))


def evaluate_without_labels_in_forward(trainer_class):
    """Evaluate a model whose forward takes no labels."""
    model = EncoderClassifier(EncoderClassifierConfig(encoder=tiny_config(), pad_token_id=0))
    trainer = trainer_of(trainer_class, rows_of(16), model=model)
    scores = trainer.evaluate()
    quality = [name for name in scores if name.removeprefix("eval_") in ("loss", "accuracy", "f1")]
    return trainer.label_names, quality


def no_labels(launched: Launched) -> Trap:
    """A model whose forward takes no labels is not scored."""
    plain, ours = (evaluate_without_labels_in_forward(each) for each in (Trainer, PerExampleTrainer))
    told = [Said("scores", names=Code(names), scores=Code(", ".join(s) or "none")) for names, s in (plain, ours)]
    return Trap(
        "no_labels", source_of(evaluate_without_labels_in_forward), told[0], told[1], not plain[1], len(ours[1]) == 3
    )


class OwnLoss(Trainer):
    """The override that most people write."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the batch mean of cross entropy."""
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = F.cross_entropy(outputs.logits, labels)
        return (loss, outputs) if return_outputs else loss


def smoothing_at_work(trainer_class):
    """Log the loss of a step without and with label smoothing."""
    return [one_step(trainer_class, label_smoothing_factor=factor)["loss"] for factor in (0.0, 0.5)]


def smoothing(launched: Launched) -> Trap:
    """Label smoothing is ignored under an own compute_loss."""
    plain = smoothing_at_work(OwnLoss)
    ours = smoothing_at_work(RecipeTrainer)
    told = [Said("smoothed", off=numbers(off, 5), on=numbers(on, 5)) for off, on in (plain, ours)]
    return Trap(
        "smoothing", source_of(OwnLoss, smoothing_at_work), told[0], told[1], plain[0] == plain[1], ours[0] != ours[1]
    )


def labels_to_plain():
    """Give labels to both models that know none."""
    answers = []
    for model in (BertModel(tiny_config()), EncoderClassifier(EncoderClassifierConfig(encoder=tiny_config()))):
        try:
            answers.append(", ".join(model(input_ids=torch.tensor([[2, 5, 3]]), labels=torch.tensor([1]))))
        except TypeError as error:
            answers.append(type(error).__name__)
    return answers


def swallowed(launched: Launched) -> Trap:
    """A model without a loss takes labels without a word."""
    plain, ours = labels_to_plain()
    return Trap(
        "swallowed", source_of(labels_to_plain), Code(plain), Code(ours), plain != "TypeError", ours == "TypeError"
    )


def task_of_classes(folder):
    """Classify by the class ids 0 and 1: a stock model with num_labels=1, and the task that this project reads."""
    chosen, problem_type, _ = chosen_loss(1, torch.tensor([0, 1, 1, 0]))
    file = Path(folder) / "classes.csv"
    pd.DataFrame({"text": [f"text {i}" for i in range(40)], "label": [0, 1] * 20}).to_csv(file, index=False)
    return chosen, problem_type, load_data(DataArguments(dataset=str(file))).task.name


def regression(launched: Launched) -> Trap:
    """One label is silently a regression."""
    with tempfile.TemporaryDirectory() as folder:
        chosen, problem_type, task = task_of_classes(folder)
    plain = Said("silently", loss=Code(chosen), kind=Code(problem_type))
    return Trap(
        "regression",
        source_of(task_of_classes),
        plain,
        Said("task", task=task),
        problem_type == "regression",
        task == "binary",
    )


# Randomness and precision


def heads_of_two_runs(seed_first):
    """Begin a run twice with the seed in TrainingArguments, and for the recipes before the model too."""
    heads = []
    for _ in range(2):
        torch.seed()  # as a new process has it
        if seed_first:
            set_seed(1)
        model = BertForSequenceClassification(tiny_config())
        trainer = _trainer_around(model, seed=1)
        heads.append(trainer.model.classifier.weight.detach().clone())
    return torch.equal(*heads)


def _trainer_around(model: PreTrainedModel, seed: int) -> Trainer:
    return Trainer(model, TrainingArguments(tempfile.gettempdir(), seed=seed, use_cpu=True, report_to="none"))


def seed(launched: Launched) -> Trap:
    """The seed comes after the head has been drawn."""
    plain, ours = heads_of_two_runs(seed_first=False), heads_of_two_runs(seed_first=True)
    told = [Said("heads_same" if same else "heads_differ") for same in (plain, ours)]
    return Trap("seed", source_of(heads_of_two_runs), told[0], told[1], not plain, ours)


def predict_in_bf16(trainer_class):
    """Predict under bfloat16 autocast, and compare with what the saved model gives."""
    rows = rows_of(16)
    trainer = trainer_of(trainer_class, rows, bf16=True)
    trainer.train()
    predicted = trainer.predict(rows).predictions
    saved = BertForSequenceClassification(tiny_config()).eval()
    saved.load_state_dict(trainer.model.state_dict())
    with torch.no_grad():
        true = torch.cat([saved(input_ids=torch.tensor([ids])).logits for ids in rows["input_ids"]]).numpy()
    return bool(np.allclose(predicted, true, atol=1e-6))


def precision(launched: Launched) -> Trap:
    """Predictions are not those of the saved model."""
    plain, ours = predict_in_bf16(Trainer), predict_in_bf16(RecipeTrainer)
    told = [Said("as_saved" if same else "not_as_saved") for same in (plain, ours)]
    return Trap("precision", source_of(predict_in_bf16), told[0], told[1], not plain, ours)


def diverge(trainer_class):
    """Train a step from weights that are not numbers any more."""
    trainer = trainer_of(trainer_class, rows_of(16))
    with torch.no_grad():
        trainer.model.classifier.weight.fill_(torch.nan)
    trainer.train()
    return next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)


def diverged(launched: Launched) -> Trap:
    """A loss that is not a number is logged as zero."""
    plain, ours = diverge(Trainer), diverge(RecipeTrainer)
    told = [Said("logged", loss=Code(loss)) for loss in (plain, ours)]
    return Trap("diverged", source_of(diverge), told[0], told[1], not np.isnan(plain), bool(np.isnan(ours)))


# Network, launcher and padding


@contextlib.contextmanager
def no_network() -> Iterator[list[str]]:
    """Refuse every look-up of a name, and keep the names."""
    asked: list[str] = []

    def refuse(host: str, *args: object, **kwargs: object) -> NoReturn:
        asked.append(host)
        raise socket.gaierror(f"{host}: refused by the tour")

    with mock.patch("socket.getaddrinfo", refuse):
        yield asked


def score_without_network():
    """Score with a metric of the evaluate library's, and with this project's, where no name can be looked up."""
    with tempfile.TemporaryDirectory() as empty, no_network() as asked_by_library:
        try:
            evaluate.load("f1", cache_dir=empty)
            loaded = True
        except (OSError, ImportError):
            loaded = False
    with no_network() as asked_by_us:
        scores = scores_from_logits(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1, 0]))
    return bool(asked_by_library) or not loaded, bool(asked_by_us), scores["f1"]


def metric(launched: Launched) -> Trap:
    """A metric's code is fetched at run time."""
    library_asks, we_ask, f1 = score_without_network()
    told = (Said("asks_network" if library_asks else "asks_nothing"), Said("scored", f1=numbers(f1, 1)))
    return Trap("metric", source_of(score_without_network), told[0], told[1], library_asks, not we_ask)


def cpu(launched: Launched) -> Trap:
    """One process is started where two were asked for."""
    started = [len(launched[1]), launched[0]["processes"]]
    told = [Said("started", processes=number, asked=2) for number in started]
    return Trap("cpu", f"{CPU}\n{TWO}", told[0], told[1], started[0] != 2, started[1] == 2)


def threads(launched: Launched) -> Trap:
    """Each process is left one thread."""
    alone, (_, after) = launched[0]["OMP_NUM_THREADS"], launched[0]["threads"]
    shared = after == max(1, cores() // 2)
    plain = Said("one_thread") if alone == "1" else Said("share_of_cores")
    return Trap("threads", CPU, plain, Said("share_of_cores" if shared else "one_thread"), alone == "1", shared)


def positions(lengths, max_length=128, batch=16):
    """Count the positions that the model computes: padded to max_length, and in batches of like length."""
    batches = StepBatches(len(lengths), micro_batch_size=batch, strategy="group_by_length", lengths=lengths)
    fixed = len(lengths) * max_length
    grouped = sum(len(rows) * max(lengths[row] for row in rows) for rows in batches)
    return fixed, grouped, sum(lengths)


def padding_of(tour: Tour) -> Callable[[Launched], Trap]:
    """Return the trap over reviews in the tokens of the tour's model."""

    def padding(launched: Launched) -> Trap:
        reviews = embedded.read_dataset("embedded:fine-foods")["test"]["text"].tolist()
        lengths = [len(ids) for ids in tour.tokenizer(reviews, truncation=True, max_length=128)["input_ids"]]
        fixed, grouped, real = positions(lengths)
        told = [Said("filled", positions=f"{n:,}", share=f"{1 - real / n:.0%}") for n in (fixed, grouped)]
        return Trap("padding", source_of(positions), told[0], told[1], fixed > 1.2 * real, grouped < 1.1 * real)

    return padding


def traps(tour: Tour, launches: Launches) -> Station:
    """Spring every trap, those that need several processes last."""
    alone: list[Callable[[Launched], Trap]] = [
        accumulation,
        clipping,
        rescaling,
        order,
        no_labels,
        smoothing,
        swallowed,
        regression,
    ]
    alone += [seed, precision, diverged, metric, padding_of(tour)]
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)  # the model is too small to share among threads
    gc.freeze()  # Trainer collects garbage at every start, which takes longer than a step among all that is loaded
    try:
        sprung = [trap(({}, [])) for trap in alone]
    finally:
        gc.unfreeze()
        torch.set_num_threads(threads_before)
    launched = launches.results()
    sprung += [trap(launched) for trap in (processes, repeated, cpu, threads)]
    by_key = {trap.key: trap for trap in sprung}
    return Station("traps", traps=[by_key[key] for key in ORDER])


ORDER = (
    *("accumulation", "processes", "clipping", "rescaling", "repeated", "order", "no_labels", "smoothing"),
    *("swallowed", "regression", "seed", "precision", "diverged", "metric", "cpu", "threads", "padding"),
)
