"""Measure training and prediction: the usual defaults, this project's, and each of its choices taken back.

    python recipes/bench.py
    python recipes/bench.py --dataset data/disaster-tweets --model google-bert/bert-base-uncased
    python recipes/bench.py --only length

All lines of a table run in one process in interleaved rounds, and the medians are shown, so that a busy machine slows
them alike. Without `--dataset` the texts are random words with the lengths of the competition's tweets. On a GPU the
model is `bert-base` with random weights unless `--model` names one.

Columns: `real tokens` are those that are no padding; `share` is operations (2 for each weight and token of a forward
pass, plus attention; three times as many in training) against those of a bfloat16 matrix product, 2048 by 2048 (on
a GPU 8192 by 8192), measured in every round. In training the padding is that of an epoch, and rows/s and tokens/s are
those of an epoch whose tokens, padding included, take as long as those of the steps measured: a few steps, each of
texts of like length, are no epoch in small.
"""

import argparse
import contextlib
import importlib.metadata
import json
import logging
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AttentionInterface,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    pipeline,
)

from bert_recipes import benchmark, cpu, prediction
from bert_recipes.arguments import DataArguments
from bert_recipes.data import load_data
from bert_recipes.documents import put_between_marks
from bert_recipes.errors import UserError, run_main
from bert_recipes.files import writing
from bert_recipes.sources import model_source, positions_of
from bert_recipes.trainer import RecipeTrainer
from bert_recipes.training_arguments import RecipeTrainingArguments, has_native_bf16

MAX_LENGTH, BATCH = 128, 32
DOCS = Path(__file__).parents[1] / "docs" / "performance.md"
PROFILED = 12
LENGTHS = (16, 32, 64, 128, 256, 512)


class Bench:
    """The model, the texts and the device that all lines share."""

    def __init__(self, args):
        self.args = args
        self.device = (
            torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
        )
        self.source = model_source(args.model or "embedded:minilm")
        self.tokenizer = AutoTokenizer.from_pretrained(self.source)
        self.most = min(positions_of(self.source), self.tokenizer.model_max_length)
        self.max_length = min(MAX_LENGTH, self.most)
        if args.dataset:
            self.texts = load_data(DataArguments(dataset=args.dataset)).splits["train"]["text"][: args.rows]
        else:
            self.texts = list(benchmark.synthetic_texts(args.rows, self.tokenizer))
        self.operations = benchmark.Operations(self.model())

    def model(self, **options):
        """Return the classifier: pretrained, or on a GPU `bert-base` from its configuration."""
        if self.device.type == "cpu" or self.args.model:
            return AutoModelForSequenceClassification.from_pretrained(self.source, **options)
        torch.manual_seed(0)
        return AutoModelForSequenceClassification.from_config(BertConfig(), **options)

    def rows(self, texts, max_length, padding=False) -> Dataset:
        """Return tokenized rows with labels; `padding` pads each to `max_length`."""
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


def recipe_trainer(bench, rows, folder, model, **options):
    """Return this project's trainer."""
    options = {"train_sampling_strategy": "group_by_length", "label_names": ["labels"], **options}
    args = RecipeTrainingArguments(**(_common(folder, bench.device) | options))
    return RecipeTrainer(model, args, train_dataset=rows, processing_class=bench.tokenizer)


def _common(folder, device) -> dict:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": BATCH,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": device.type == "cpu",
    }


NOT_QUICKENED = ("bert_recipes.cpu.quicken", lambda model: None)
# name: (trainer, padded to MAX_LENGTH, options of its arguments, what is patched away)
TRAINING = {
    "stock example: padded to 128, random, float32": (plain_trainer, True, {"bf16": False}, ()),
    "the same in bfloat16": (plain_trainer, True, {"bf16": True}, ()),
    "**this project's defaults**": (recipe_trainer, False, {}, ()),
    "… in float32": (recipe_trainer, False, {"bf16": False}, ()),
    "… padded to 128": (recipe_trainer, True, {}, ()),
    "… in random order": (recipe_trainer, False, {"train_sampling_strategy": "random"}, ()),
    "… with torch's dropout and attention": (recipe_trainer, False, {}, (NOT_QUICKENED,)),
    "… with AdamW not fused": (recipe_trainer, False, {"optim": "adamw_torch"}, ()),
    "… in 4 micro-batches": (
        recipe_trainer,
        False,
        {"gradient_accumulation_steps": 4, "per_device_train_batch_size": BATCH // 4},
        (),
    ),
}
# These would be the defaults again, or no match for a GPU's own kernel for texts of several lengths.
CPU_ONLY = {"… with torch's dropout and attention", "… with torch's attention", "… unpadded"}
GPU_ONLY = {
    "… compiled": (recipe_trainer, False, {"torch_compile": True}, ()),
    "… with 2 data loader workers": (recipe_trainer, False, {"dataloader_num_workers": 2}, ()),
}


class TrainingLine:
    """One line of the training table: a model that goes on being trained, round by round."""

    def __init__(self, bench, name, texts=None, batch=BATCH, max_length=None):
        self.bench, self.name, self.texts = bench, name, texts or bench.texts
        self.max_length = max_length or bench.max_length
        self.make, self.padding, options, self.patches = (TRAINING | GPU_ONLY)[name]
        self.options = {"per_device_train_batch_size": batch} | options
        self.rows, self.model, self.seconds_to_first_step, self.rounds = None, None, None, []
        self.epoch, self.peak_memory = None, 0

    def run(self, steps: int, seed: int, rate: float) -> None:
        """Train `steps` steps and note what they cost; the step before them warms up, the one after ends the time."""
        started = time.perf_counter()
        if self.model is None:
            self.rows = self.bench.rows(self.texts, self.max_length, self.padding)
            self.model = self.bench.model()
        with tempfile.TemporaryDirectory() as folder, _patched(self.patches):
            trainer = self.make(
                self.bench, self.rows, folder, self.model, max_steps=steps + 2, seed=seed, **self.options
            )
            seen = _watch(trainer, self.bench.device)
            if self.bench.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            trainer.train()
            if self.epoch is None:
                masks = [inputs["attention_mask"] for inputs in trainer.get_train_dataloader()]
                self.epoch = sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)
        one = self.options.get("gradient_accumulation_steps", 1)
        measured, end = seen[one : one * (steps + 1)], seen[one * (steps + 1)]["time"]
        if self.seconds_to_first_step is None:
            self.seconds_to_first_step = measured[0]["time"] - started
        lengths = [length for batch in measured for length in batch["lengths"]]
        padded, operations = sum(batch["padded"] for batch in measured), self.bench.operations.training(lengths)
        seconds = end - measured[0]["time"]
        figures = _figures(lengths, padded, seconds, operations, rate)
        real, of_epoch = self.epoch
        epochs = padded / seconds / of_epoch
        speed = {"rows_per_second": epochs * len(self.rows), "tokens_per_second": epochs * real}
        self.rounds.append(figures | speed | {"padding": 1 - real / of_epoch})
        if self.bench.device.type == "cuda":
            self.peak_memory = max(self.peak_memory, torch.cuda.max_memory_allocated())
            # The other lines are measured on a card without this one's model.
            self.model.cpu()
            torch.cuda.empty_cache()

    def summary(self) -> dict:
        """Return the medians of the rounds."""
        result = _medians(self.rounds)
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


def _watch(trainer, device) -> list[dict]:
    # Around the step itself: a collator would also count the batch that is fetched ahead.
    seen, step = [], trainer.training_step

    def training_step(model, inputs, *args, **kwargs):
        benchmark.synchronize(device)
        mask = inputs["attention_mask"]
        seen.append({"time": time.perf_counter(), "lengths": mask.sum(1).tolist(), "padded": mask.numel()})
        return step(model, inputs, *args, **kwargs)

    trainer.training_step = training_step
    return seen


def _figures(lengths, padded, seconds, operations, rate) -> dict:
    return {
        "rows_per_second": len(lengths) / seconds,
        "tokens_per_second": sum(lengths) / seconds,
        "padding": 1 - sum(lengths) / padded,
        "flops": operations / seconds,
        "share": operations / seconds / rate,
    }


# Prediction


class Unpadded(prediction.Predictor):
    """Predict with BERT without padding: the tokens of a batch end to end, and attention text by text."""

    def __init__(self, *args):
        super().__init__(*args)
        self.model.set_attn_implementation("text_by_text")

    @torch.inference_mode()
    def _logits_of_batch(self, tokens, batch, lengths):
        device, sizes = self.model.device, lengths.tolist()
        ids = torch.from_numpy(np.concatenate([tokens["input_ids"][i] for i in batch]))[None].to(device)
        positions = torch.cat([torch.arange(size) for size in sizes])[None].to(device)
        hidden = self.model.bert(ids, position_ids=positions, lengths=sizes).last_hidden_state[0]
        first = hidden[torch.from_numpy(np.cumsum(lengths) - lengths).to(device)]
        return self.model.classifier(self.model.bert.pooler(first[:, None])).float().cpu().numpy()


def _text_by_text(module, query, key, value, attention_mask, scaling=None, lengths=None, **kwargs):
    texts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    return torch.cat([cpu.attention(module, *text, None, scaling=scaling)[0] for text in texts], dim=1), None


AttentionInterface.register("text_by_text", _text_by_text)


class PredictionLine:
    """One line of the prediction table: texts in, logits or scores out."""

    def __init__(self, bench, name, texts=None, max_length=None):
        self.bench, self.name, self.rounds = bench, name, []
        self.batch_size, options, rows, patches, kind = PREDICTION[name]
        self.texts, self.max_length = texts or bench.texts[:rows], max_length or bench.max_length
        self.lengths = np.array(bench.rows(self.texts, self.max_length)["length"])
        if self.batch_size:
            self.classify = pipeline(
                "text-classification", model=bench.model(), tokenizer=bench.tokenizer, device=bench.device, **options
            )
            self.batches = [
                self.lengths[i : i + self.batch_size] for i in range(0, len(self.lengths), self.batch_size)
            ]
        else:
            half = options.get("bf16", has_native_bf16())
            model = bench.model(dtype=torch.bfloat16 if half else torch.float32).to(bench.device)
            with _patched(patches):
                self.predictor = kind(model, bench.tokenizer, self.max_length)
            cut = prediction.batches_of_tokens(self.lengths, self.predictor.tokens_per_batch)
            self.batches = [self.lengths[batch] for batch in cut]
            if kind is Unpadded:
                self.batches = [[length] for length in self.lengths]

    def run(self, rate: float) -> None:
        """Predict all texts once."""
        benchmark.synchronize(self.bench.device)
        started = time.perf_counter()
        if self.batch_size:
            self.classify(self.texts, truncation=True, max_length=self.max_length, batch_size=self.batch_size)
        else:
            for _ in self.predictor.logits(prediction.TextRow("", text) for text in self.texts):
                pass
        seconds = time.perf_counter() - started
        padded = sum(len(batch) * max(batch) for batch in self.batches)
        self.rounds.append(_figures(self.lengths, padded, seconds, self.bench.operations.forward(self.lengths), rate))

    def summary(self) -> dict:
        """Return the medians of the rounds."""
        return _medians(self.rounds)


# name: (batch size of the pipeline, options, texts predicted in a round: fewer where they take long, what is patched
# away, predictor)
PREDICTION = {
    "`pipeline`, its defaults": (1, {}, 128, (), None),
    "`pipeline(batch_size=32)`": (32, {}, 512, (), None),
    "**this project's defaults**": (None, {}, 2048, (), prediction.Predictor),
    "… in float32": (None, {"bf16": False}, 1024, (), prediction.Predictor),
    "… with torch's attention": (None, {}, 2048, (NOT_QUICKENED,), prediction.Predictor),
    "… unpadded": (None, {}, 2048, (), Unpadded),
}


def _medians(rounds: list[dict]) -> dict:
    return {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}


# The tables


def measure(bench, args) -> dict:
    """Return all figures: machine, versions, and for each table a line of medians per name."""
    results = {"machine": benchmark.machine(bench.device), "versions": _versions(), "command": " ".join(sys.argv)}
    results["device"] = bench.device.type
    results["model"] = args.model or ("embedded:minilm" if bench.device.type == "cpu" else "bert-base, random weights")
    results["texts"] = " ".join(args.dataset or []) or "random words, as long as tweets"
    rates = []

    def rate():
        rates.append(benchmark.matrix_rate(bench.device, torch.bfloat16 if has_native_bf16() else torch.float32))
        return rates[-1]

    if "train" in args.only:
        names = [name for name in (*TRAINING, *GPU_ONLY) if _is_for(bench.device, name)]
        lines = [TrainingLine(bench, name) for name in names]
        for number in range(args.rounds):
            for line in lines:
                _say(f"training, round {number + 1} of {args.rounds}: {line.name}")
                line.run(args.steps, number, rate())
        results["training"] = {line.name: line.summary() for line in lines}
        if bench.device.type == "cpu":
            for name in names[:3]:
                _say(f"peak memory: {name}")
                results["training"][name]["peak_memory"] = _peak_in_a_process_of_its_own(args, name)
    if "predict" in args.only:
        bert = bench.model().config.model_type == "bert"
        names = [name for name, line in PREDICTION.items() if bert or line[-1] is not Unpadded]
        lines = [PredictionLine(bench, name) for name in names if _is_for(bench.device, name)]
        for number in range(args.rounds + 1):
            for line in lines:
                _say(f"prediction, round {number} of {args.rounds}: {line.name}")
                line.run(rate())
        for line in lines:
            del line.rounds[0]  # it warmed up
        results["prediction"] = {line.name: line.summary() for line in lines}
    if "length" in args.only:
        results["length"] = _by_length(bench, args, rate)
    if "profile" in args.only:
        results["profile"] = _profile(bench, args, rate)
    if bench.device.type == "cuda" and "grid" in args.only:
        results["grid"] = _grid(bench, args, rate)
    results["matrix_rate"] = statistics.median(rates)
    return results


def _is_for(device: torch.device, name: str) -> bool:
    return name not in (CPU_ONLY if device.type == "cuda" else GPU_ONLY)


def _by_length(bench, args, rate) -> dict:
    results = {}
    for length in (length for length in LENGTHS if length <= bench.most):
        _say(f"texts of {length} tokens")
        rows = max(4, 2048 // length)
        texts = list(benchmark.synthetic_texts(4 * rows, bench.tokenizer, length=length))
        training = TrainingLine(bench, OURS, texts, batch=rows, max_length=length)
        predicted = PredictionLine(bench, OURS, texts, max_length=length)
        for number in range(2):
            training.run(2, number, rate())
            predicted.run(rate())
        del predicted.rounds[0]
        results[length] = {"training": training.summary(), "prediction": predicted.summary()}
    return results


def _profile(bench, args, rate) -> dict:
    """Return the operations that take most of the time of this project's defaults, and the share of each."""
    training, predicted = TrainingLine(bench, OURS), PredictionLine(bench, OURS)
    results = {}
    measured = rate()
    runs = {"training": lambda: training.run(args.steps, 0, measured), "prediction": lambda: predicted.run(measured)}
    for part, run in runs.items():
        _say(f"profile of {part}")
        run()
        with torch.profiler.profile() as profile:
            run()
        device = "self_device_time_total" if bench.device.type == "cuda" else "self_cpu_time_total"
        times = {event.key: getattr(event, device) for event in profile.key_averages()}
        most = sorted(times, key=times.get, reverse=True)[:PROFILED]
        results[part] = {name: times[name] / sum(times.values()) for name in most}
    return results


def _grid(bench, args, rate) -> dict:
    results = {}
    for batch in (32, 128, 512):
        for length in (None, 128, 512):
            _say(f"{batch} texts of {length or 'tweet'} tokens")
            texts = list(benchmark.synthetic_texts(4 * batch, bench.tokenizer, length=length))
            line = TrainingLine(bench, OURS, texts, batch=batch, max_length=length)
            try:
                for number in range(args.rounds):
                    line.run(args.steps, number, rate())
                results[f"{batch} x {length or 33}"] = line.summary()
            except torch.cuda.OutOfMemoryError:
                results[f"{batch} x {length or 33}"] = None
    return results


def _peak_in_a_process_of_its_own(args, name: str) -> int:
    command = [sys.executable, __file__, "--peak", name, *(["--dataset", *args.dataset] if args.dataset else [])]
    command += ["--model", args.model] if args.model else []
    command += ["--rows", str(args.rows)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _versions() -> dict:
    packages = ("bert-recipes", "torch", "transformers", "accelerate", "datasets", "tokenizers")
    return {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in packages}


def _say(text: str) -> None:
    print(f"\r{text:<100}"[:110], end="", file=sys.stderr, flush=True)


def as_markdown(results: dict) -> str:
    """Return the tables, with what they were measured on and the command above them."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"`{results['command']}`: {results['model']}; texts: {results['texts']}; {results['machine']}; {versions}; "
        f"matrix product {results['matrix_rate'] / 1e9:,.0f} GFLOP/s.",
        "",
    ]
    for title, first in (("training", "stock example"), ("prediction", "pipeline")):
        if title in results:
            lines += _table(title, first, results[title])
    if "length" in results:
        lines += ["| tokens of a text | training: ms a text | µs a token | prediction: ms a text | µs a token |"]
        lines += ["|--:|--:|--:|--:|--:|"]
        for length, parts in results["length"].items():
            cells = []
            for part in ("training", "prediction"):
                each = 1 / parts[part]["rows_per_second"]
                cells += [f"{each * 1e3:.2f}", f"{each / int(length) * 1e6:.1f}"]
            lines.append(f"| {length} | {' | '.join(cells)} |")
        lines.append("")
    if "profile" in results:
        lines += ["| training: operation | share of the time | prediction: operation | share of the time |"]
        lines += ["|---|--:|---|--:|"]
        for pairs in zip(*(part.items() for part in results["profile"].values()), strict=True):
            lines.append("| " + " | ".join(f"`{name}` | {share:.1%}" for name, share in pairs) + " |")
        lines.append("")
    if "grid" in results:
        lines += ["| texts x tokens | rows/s | share of matrix rate | peak memory |", "|---|--:|--:|--:|"]
        for name, figures in results["grid"].items():
            if figures is None:
                lines.append(f"| {name} | out of memory | | |")
            else:
                memory = f"{figures['peak_memory'] / 2**30:.1f} GiB"
                lines.append(f"| {name} | {figures['rows_per_second']:,.0f} | {figures['share']:.0%} | {memory} |")
        lines.append("")
    return "\n".join(lines)


def _table(title: str, first: str, table: dict) -> list[str]:
    base = next(iter(table.values()))["rows_per_second"]
    training = title == "training"
    lines = [
        f"| {title} | rows/s | x {first} | real tokens/s | padding | GFLOP/s | share of matrix rate |"
        + (" peak memory | s to first step |" if training else ""),
        "|---|--:|--:|--:|--:|--:|--:|" + ("--:|--:|" if training else ""),
    ]
    for name, f in table.items():
        line = f"| {name} | {f['rows_per_second']:,.1f} | {f['rows_per_second'] / base:.2f} | "
        line += f"{f['tokens_per_second']:,.0f} | {f['padding']:.1%} | {f['flops'] / 1e9:,.0f} | {f['share']:.0%} |"
        if training:
            memory = f"{f['peak_memory'] / 2**20:,.0f} MiB" if "peak_memory" in f else ""
            line += f" {memory} | {f['seconds_to_first_step']:.1f} |"
        lines.append(line)
    return [*lines, ""]


def write_docs(results: dict, table: str) -> None:
    """Put the tables between the markers of docs/performance.md that name the kind of device; plot the lengths."""
    device = "gpu" if results["device"] == "cuda" else "cpu"
    if missing := [name for name in ("training", "prediction", "length", "profile") if name not in results]:
        raise UserError(f"bench.json has no {' and no '.join(missing)}: run make bench without --only first.")
    plot_lengths(results, DOCS.with_name(f"length_{device}.svg"))
    table += f"\n![time of a text against its length](length_{device}.svg)"
    put_between_marks(DOCS, f"bench on {device}", table.strip())


def plot_lengths(results: dict, path: Path) -> None:
    """Plot the time of a text against its length, beside a line of equal time for every token."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    lengths = [int(length) for length in results["length"]]
    for part, colour, marker in (("training", "#0072b2", "o"), ("prediction", "#d55e00", "s")):
        times = [1e3 / figures[part]["rows_per_second"] for figures in results["length"].values()]
        axes.loglog(lengths, times, color=colour, marker=marker, label=part, base=2)
        axes.loglog(lengths, [times[1] * n / lengths[1] for n in lengths], color=colour, ls=":", lw=1, base=2)
    axes.plot([], [], color="grey", ls=":", lw=1, label=f"as much a token as at {lengths[1]} tokens")
    axes.set(
        xlabel="tokens of a text", ylabel="milliseconds a text", title=f"{results['model']}, {results['machine']}"
    )
    axes.title.set_fontsize(8)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def parse_arguments():
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", nargs="+", help="as the recipes take it (random words)")
    parser.add_argument("--model", help="as the recipes take it (embedded:minilm; on a GPU a random bert-base)")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, help="tables to measure (all)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all lines (3)")
    parser.add_argument("--steps", type=int, default=4, help="training steps measured in a round (4)")
    parser.add_argument("--rows", type=int, default=4096, help="texts (4096)")
    parser.add_argument("--output_dir", default="runs/bench", help="where bench.json and bench.md go (runs/bench)")
    parser.add_argument("--write_docs", action="store_true", help="put the tables there into docs/performance.md")
    parser.add_argument("--peak", choices=[*TRAINING, *GPU_ONLY], help="print the peak memory of a line, in bytes")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args()


TABLES = ("train", "predict", "length", "profile", "grid")
OURS = "**this project's defaults**"


def main():
    args = parse_arguments()
    folder = Path(args.output_dir)
    if args.write_docs:
        results = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
        write_docs(results, as_markdown(results))
        return
    logging.disable(logging.WARNING)
    bench = Bench(args)
    if args.peak:
        # The longest texts, which an epoch has too.
        TrainingLine(bench, args.peak, sorted(bench.texts, key=len)[-5 * BATCH :]).run(3, 0, 1.0)
        print(benchmark.peak_memory())
        return
    results = measure(bench, args)
    folder.mkdir(parents=True, exist_ok=True)
    with writing(folder / "bench.json") as file:
        json.dump(results, file, indent=2)
    with writing(folder / "bench.md") as file:
        file.write(as_markdown(results))
    _say("")
    print(f"\r{as_markdown(results)}")


if __name__ == "__main__":
    run_main(main)
