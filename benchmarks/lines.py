"""The lines of the bench: training and prediction as usual, as this project does them, and each choice taken back.

Of each line a round measures some steps, or one pass over the texts; what is kept are the medians over the rounds.
"""

import argparse
import contextlib
import functools
import statistics
import tempfile
import time
from typing import Any
from unittest import mock

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    pipeline,
)

from benchmarks import measures
from benchmarks.graphs import GRAPHS, GraphPredictor
from benchmarks.unpadded import UnpaddedPredictor, UnpaddedTrainer
from bert_recipes.config.arguments import DataArguments
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.data.loading import load_data
from bert_recipes.data.tokenization import most_tokens
from bert_recipes.devices import has_native_bf16
from bert_recipes.inference import batches
from bert_recipes.inference.predictor import Predictor
from bert_recipes.inference.rows import TextRow
from bert_recipes.modeling.pretrained import resolve_model
from bert_recipes.training.trainer import RecipeTrainer

MAX_LENGTH, BATCH = 128, 32
# As many steps as there are texts of like length looked for among.
MANY_SHAPES, ONE_SHAPE = 100, 4
OURS, UNPADDED = "**this project's defaults**", "… unpadded"
WITHOUT_GRAPHS = "… without CUDA graphs"
PIPELINE = "`pipeline(batch_size=32)`"
STOCK, STOCK_IN_BF16 = "stock example: padded to 128, random, float32", "the same in bfloat16"


class Bench:
    """The model, the texts and the device that all lines share."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        self.device = torch.device("cpu") if found is None else found
        self.model_dir = resolve_model(args.model or "embedded:minilm")
        self.tokenizer = AutoTokenizer.from_pretrained(self.model_dir)
        self.most = most_tokens(self.tokenizer, AutoConfig.from_pretrained(self.model_dir))
        self.max_length = min(MAX_LENGTH, self.most)
        if args.dataset:
            self.texts = load_data(DataArguments(dataset=args.dataset)).splits["train"]["text"][: args.rows]
        else:
            self.texts = list(measures.synthetic_texts(args.rows, self.tokenizer))
        self.operations = measures.Operations(self.model())
        self.tokenized: tuple[Any, Any, Any] = None, None, None

    def model(self, dtype=torch.float32):
        """Return the classifier, in training: pretrained, or on a GPU `bert-base` from its configuration."""
        if self.device.type == "cpu" or self.args.model:
            return AutoModelForSequenceClassification.from_pretrained(self.model_dir, dtype=dtype).train()
        torch.manual_seed(0)
        with self.device:  # which draws a hundred million random numbers at once
            return AutoModelForSequenceClassification.from_config(BertConfig(), dtype=dtype).train()

    def rows(self, texts, max_length, padding=False) -> Dataset:
        """Return tokenized rows with labels; `padding` pads each to `max_length`."""
        known, how, rows = self.tokenized
        # The lines of a table have the same texts one after the other.
        if known is not texts or how != (max_length, padding):
            rows = self._tokenize(texts, max_length, padding)
            self.tokenized = texts, (max_length, padding), rows
        return rows

    def _tokenize(self, texts, max_length, padding) -> Dataset:
        options = {"padding": "max_length"} if padding else {}
        tokens = self.tokenizer(texts, truncation=True, max_length=max_length, **options)
        lengths = [sum(mask) for mask in tokens["attention_mask"]]
        columns = {**tokens, "labels": [i % 2 for i in range(len(texts))], "row": list(range(len(texts)))}
        return Dataset.from_dict({**columns, "length": lengths})


# Training


def plain_trainer(bench, rows, folder, model, **options):
    """Return the `Trainer` of transformers as its example script sets it up, but for the batch size."""
    args = TrainingArguments(**(_common(folder, bench.device) | options))
    return Trainer(model, args, train_dataset=rows, data_collator=DataCollatorWithPadding(bench.tokenizer))


def recipe_trainer(bench, rows, folder, model, kind=RecipeTrainer, **options):
    """Return this project's trainer, or another of its `kind`."""
    args = RecipeTrainingArguments(**(_common(folder, bench.device) | options))
    return kind(model, args, train_dataset=rows, processing_class=bench.tokenizer)


def _common(folder, device) -> dict:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": BATCH,
        "save_strategy": "no",
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": device.type == "cpu",
    }


NOT_QUICKENED = ("bert_recipes.modeling.cpu_kernels.quicken", lambda model: None)
# name: (trainer, padded to MAX_LENGTH, options of its arguments, what is patched away)
TRAINING = {
    STOCK: (plain_trainer, True, {"bf16": False}, ()),
    STOCK_IN_BF16: (plain_trainer, True, {"bf16": True}, ()),
    OURS: (recipe_trainer, False, {}, ()),
    "… in float32": (recipe_trainer, False, {"bf16": False}, ()),
    "… padded to 128": (recipe_trainer, True, {}, ()),
    "… in random order": (recipe_trainer, False, {"train_sampling_strategy": "random"}, ()),
    "… with torch's dropout, attention and embeddings": (recipe_trainer, False, {}, (NOT_QUICKENED,)),
    "… with AdamW not fused": (recipe_trainer, False, {"optim": "adamw_torch"}, ()),
    "… in 4 micro-batches": (
        recipe_trainer,
        False,
        {"gradient_accumulation_steps": 4, "per_device_train_batch_size": BATCH // 4},
        (),
    ),
}
# These would be the defaults again.
CPU_ONLY = {"… with torch's dropout, attention and embeddings", "… with torch's attention", *GRAPHS}
GPU_ONLY = {
    UNPADDED: (recipe_trainer, False, {"kind": UnpaddedTrainer, "cuda_graphs": False}, ()),
    WITHOUT_GRAPHS: (recipe_trainer, False, {"cuda_graphs": False}, ()),
    "… with 2 data loader workers": (recipe_trainer, False, {"dataloader_num_workers": 2}, ()),
}
# For texts of one length, since each other one may be compiled anew.
COMPILED = {
    "… compiled": (recipe_trainer, False, {"torch_compile": True, "cuda_graphs": False}, ()),
    "… compiled, with its own CUDA graphs": (
        recipe_trainer,
        False,
        {"torch_compile_mode": "reduce-overhead", "cuda_graphs": False},
        (),
    ),
}


class TrainingLine:
    """One line of the training table: a model that goes on being trained, round by round."""

    def __init__(self, bench, name, texts=None, batch=BATCH, max_length=None):
        self.bench, self.name, self.texts = bench, name, texts or bench.texts
        self.max_length = max_length or bench.max_length
        self.make, self.padding, options, self.patches = (TRAINING | GPU_ONLY | COMPILED)[name]
        self.options = {"per_device_train_batch_size": batch} | options
        self.rows, self.model, self.seconds_to_first_step, self.rounds = None, None, None, []
        self.epoch, self.peak_memory = None, 0
        graphs = bench.device.type == "cuda" and self.make is recipe_trainer and options.get("cuda_graphs", True)
        # Steps before the measured ones; each shape is captured in the second.
        self.warm_up = (ONE_SHAPE if max_length or self.padding else MANY_SHAPES) if graphs else 1

    def run(self, steps: int, seed: int, rate: float) -> None:
        """Train `steps` steps and note what they cost; those before them warm up, the one after ends the time."""
        if self.model is None:
            self.rows = self.bench.rows(self.texts, self.max_length, self.padding)
        started = time.perf_counter()
        if self.model is None:
            self.model = self.bench.model()
        with tempfile.TemporaryDirectory() as folder, _patched(self.patches):
            trainer = self.make(
                self.bench,
                self.rows,
                folder,
                self.model,
                max_steps=self.warm_up + steps + 1,
                seed=seed,
                **self.options,
            )
            seen = _Watch(trainer, self.warm_up, steps, self.options.get("gradient_accumulation_steps", 1))
            others = 0
            if self.bench.device.type == "cuda":
                own = sum(p.numel() * p.element_size() for p in self.model.parameters())
                others = torch.cuda.memory_allocated() - own
                torch.cuda.reset_peak_memory_stats()
            trainer.train()
            if self.epoch is None:
                sizes = [_sizes(inputs) for inputs in trainer.get_train_dataloader()]
                self.epoch = sum(sum(lengths) for lengths, _ in sizes), sum(padded for _, padded in sizes)
        start, end = seen.times
        if self.seconds_to_first_step is None:
            self.seconds_to_first_step = seen.after_the_first - started
        sizes = [_sizes(inputs) for inputs in seen.inputs]
        lengths, padded = [length for batch, _ in sizes for length in batch], sum(padded for _, padded in sizes)
        operations, seconds = self.bench.operations.training(lengths), end - start
        figures = _figures(lengths, padded, seconds, operations, rate)
        real, of_epoch = self.epoch
        epochs = padded / seconds / of_epoch
        speed = {"rows_per_second": epochs * len(self.rows), "tokens_per_second": epochs * real}
        self.rounds.append(figures | speed | {"padding": 1 - real / of_epoch})
        if self.bench.device.type == "cuda":
            self.peak_memory = max(self.peak_memory, torch.cuda.max_memory_allocated() - others)

    def summary(self) -> dict:
        """Return the medians of the rounds."""
        result = medians(self.rounds)
        result["seconds_to_first_step"] = self.seconds_to_first_step
        if self.bench.device.type == "cuda":
            result["peak_memory"] = self.peak_memory
        return result


@contextlib.contextmanager
def _patched(patches):
    with contextlib.ExitStack() as stack:
        for target, replacement in patches:
            stack.enter_context(mock.patch(target, replacement))
        yield


class _Watch:
    """Notes when the first step of a trainer has ended, when its measured ones begin and end, and their inputs.

    A GPU is waited for at the two ends alone: in between it may lag behind as far as it does without being watched.
    """

    def __init__(self, trainer, warm_up, steps, micro_batches):
        self.trainer, self.step, self.seen = trainer, trainer.training_step, 0
        self.inputs, self.times = [], []
        # Around the step itself: a collator would also count the batch that is fetched ahead.
        self.first, self.last = micro_batches * warm_up, micro_batches * (warm_up + steps)
        self.micro_batches, self.after_the_first = micro_batches, 0.0
        trainer.training_step = self

    def __call__(self, model, inputs, *args, **kwargs):
        """Train on a micro-batch."""
        if self.seen == self.micro_batches:
            measures.synchronize(self.trainer.args.device)
            self.after_the_first = time.perf_counter()
        if self.seen in (self.first, self.last):
            measures.synchronize(self.trainer.args.device)
            self.times.append(time.perf_counter())
        if self.first <= self.seen < self.last:
            self.inputs.append(inputs)
        self.seen += 1
        return self.step(model, inputs, *args, **kwargs)


def _sizes(inputs) -> tuple[list[int], int]:
    """Return the tokens of each text of a batch, and how many the batch has with its padding."""
    if "sizes" in inputs:
        return inputs["sizes"], sum(inputs["sizes"])
    mask = inputs["attention_mask"]
    return mask.sum(1).tolist(), mask.numel()


def _figures(lengths, padded, seconds, operations, rate) -> dict:
    return {
        "rows_per_second": len(lengths) / seconds,
        "tokens_per_second": sum(lengths) / seconds,
        "padding": 1 - sum(lengths) / padded,
        "flops": operations / seconds,
        "share": operations / seconds / rate,
    }


# Prediction


def _as_they_came(lengths, tokens: int, overhead: int):
    # As many texts a batch as there are sorted by length, not as many tokens: that is what a fixed batch size does.
    size = max(1, round(tokens / np.mean(lengths)))
    return np.split(np.arange(len(lengths)), range(size, len(lengths), size))


AS_THEY_CAME = ("bert_recipes.inference.batches.batches_of_tokens", _as_they_came)


class PredictionLine:
    """One line of the prediction table: texts in, logits or scores out."""

    def __init__(self, bench, name, texts=None, max_length=None):
        self.bench, self.name, self.rounds = bench, name, []
        self.batch_size, options, rows, self.patches, kind = (PREDICTION | PREDICTION_ON_GPU)[name]
        if bench.device.type != "cpu" and self.batch_size != 1:  # done with as few in no time
            rows = 2048 if self.batch_size else None
        self.texts, self.max_length = texts or bench.texts[:rows], max_length or bench.max_length
        self.lengths = np.array(bench.rows(self.texts, self.max_length)["length"])
        half = options.get("bf16", has_native_bf16() and not self.batch_size)
        model = bench.model(torch.bfloat16 if half else torch.float32).eval()
        if self.batch_size:
            self.classify = pipeline(
                "text-classification", model=model, tokenizer=bench.tokenizer, device=bench.device
            )
            self.batches = [
                self.lengths[i : i + self.batch_size] for i in range(0, len(self.lengths), self.batch_size)
            ]
        else:
            with _patched(self.patches):
                self.predictor = kind(model.to(bench.device), bench.tokenizer, self.max_length)
                limits = self.predictor.batches
                cut = batches.batches_of_tokens(self.lengths, limits.tokens_per_batch, limits.overhead)
            self.batches = [self.lengths[batch] for batch in cut]
            if kind is UnpaddedPredictor:
                self.batches = [[length] for length in self.lengths]

    def run(self, rate: float) -> None:
        """Predict all texts once."""
        measures.synchronize(self.bench.device)
        started = time.perf_counter()
        if self.batch_size:
            self.classify(self.texts, truncation=True, max_length=self.max_length, batch_size=self.batch_size)
        else:
            with _patched(self.patches):
                for _ in self.predictor.logits(TextRow("", text) for text in self.texts):
                    pass
        seconds = time.perf_counter() - started
        padded = sum(len(batch) * max(batch) for batch in self.batches)
        self.rounds.append(_figures(self.lengths, padded, seconds, self.bench.operations.forward(self.lengths), rate))

    def summary(self) -> dict:
        """Return the medians of the rounds."""
        return medians(self.rounds)


# name: (batch size of the pipeline, options, texts predicted in a round: fewer where they take long, what is patched
# away, predictor)
PREDICTION: dict[str, Any] = {
    "`pipeline`, its defaults": (1, {}, 128, (), None),
    PIPELINE: (32, {}, 512, (), None),
    OURS: (None, {}, 2048, (), Predictor),
    "… in float32": (None, {"bf16": False}, 1024, (), Predictor),
    "… in the order of the texts": (None, {}, 1024, (AS_THEY_CAME,), Predictor),
    "… with torch's attention": (None, {}, 2048, (NOT_QUICKENED,), Predictor),
    UNPADDED: (None, {}, 2048, (), UnpaddedPredictor),
} | {name: (None, {"bf16": False}, 1024, (), functools.partial(GraphPredictor, name)) for name in GRAPHS}


def _of_tokens(count: int):
    return ("bert_recipes.inference.predictor.TOKENS_PER_BATCH", {"gpu": count})


PIPELINES_ON_GPU = {
    "`pipeline(batch_size=128)`": (128, {}, None, (), None),
    "`pipeline(batch_size=512)`": (512, {}, None, (), None),
    "`pipeline(batch_size=128)` in bfloat16": (128, {"bf16": True}, None, (), None),
}
PREDICTION_ON_GPU: dict[str, Any] = PIPELINES_ON_GPU | {
    "… in batches of 4,096 tokens": (None, {}, None, (_of_tokens(4096),), Predictor),
    "… in batches of 65,536 tokens": (None, {}, None, (_of_tokens(65536),), Predictor),
    "… tokenized in turn": (
        None,
        {},
        None,
        (("bert_recipes.inference.predictor.TOKENIZES_AHEAD", {"gpu": False}),),
        Predictor,
    ),
    "… padded to no multiple of 8": (
        None,
        {},
        None,
        (("bert_recipes.inference.predictor.PAD_TO_MULTIPLE_OF", {"gpu": 1}),),
        Predictor,
    ),
}


def medians(rounds: list[dict]) -> dict:
    """Return the median over the rounds of each figure."""
    return {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
