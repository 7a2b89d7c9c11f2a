"""What a table of the bench takes: all its lines in interleaved rounds, or a process of its own."""

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from benchmarks import measures, serving
from benchmarks.graphs import GRAPHS, can_make
from benchmarks.launching import launched
from benchmarks.lines import (
    BATCH,
    COMPILED,
    CPU_ONLY,
    GPU_ONLY,
    OURS,
    PIPELINE,
    PIPELINES_ON_GPU,
    PREDICTION,
    PREDICTION_ON_GPU,
    STOCK,
    STOCK_IN_BF16,
    TRAINING,
    UNPADDED,
    WITHOUT_GRAPHS,
    Bench,
    PredictionLine,
    TrainingLine,
    medians,
)
from bert_recipes.config.help import command_name
from bert_recipes.devices import cores, has_native_bf16, peak_memory
from bert_recipes.errors import UserError

PROFILED = 12
LENGTHS = (16, 32, 64, 128, 256, 512)
# Of the tables of a GPU; a tweet has 33 tokens in the mean.
TWEET = 33
COMPILED_SIZE = (128, 128)
GRID_BATCHES, GRID_LENGTHS = (32, 128, 512), (None, 128, 512)
GRID_LINES = (STOCK, STOCK_IN_BF16, OURS, UNPADDED, WITHOUT_GRAPHS)


def measure(args: argparse.Namespace) -> Iterator[dict]:
    """Yield all figures that the flags of benchmarks/bench.py ask for, as far as they are measured, again and again.

    They are the machine, the versions, and for each table a line of medians per name.
    """
    bench = Bench(args)
    on_cpu = bench.device.type == "cpu"
    results: dict[str, Any] = {"machine": measures.machine(bench.device), "versions": _versions()}
    results["device"] = bench.device.type
    results["command"] = " ".join([command_name(), *sys.argv[1:]])
    results["model"] = args.model or ("embedded:minilm" if on_cpu else "bert-base, random weights")
    results["texts"] = " ".join(args.dataset or []) or "random words, as long as tweets"
    rates = []

    def rate() -> float:
        half = torch.bfloat16 if has_native_bf16() else torch.float32
        # A hundred products of a GPU are done in a tenth of a second.
        rates.append(measures.matrix_rate(bench.device, half, seconds=0.4 if on_cpu else 0.1))
        return rates[-1]

    for asked, name, make in TABLES:
        if asked in args.only and (not on_cpu or name not in ON_A_GPU):
            for results[name] in make(bench, args, rate):
                # None was measured beside the processes alone.
                yield results | {"matrix_rate": statistics.median(rates or [rate()])}


def _training(bench: Bench, args: argparse.Namespace, rate: Callable[[], float]) -> Iterator[dict]:
    names = [name for name in (*TRAINING, *GPU_ONLY) if _is_for(bench.device, name)]
    lines = [TrainingLine(bench, name) for name in names]
    for number in range(args.rounds):
        for line in lines:
            _say(f"training, round {number + 1} of {args.rounds}: {line.name}")
            line.run(args.steps, number, rate())
            yield _summaries(lines)
    results = _summaries(lines)
    if bench.device.type == "cpu":
        for name in names[:3]:
            _say(f"peak memory: {name}")
            results[name] |= _in_processes_of_their_own(args, name)
        yield results


def _prediction(bench: Bench, args: argparse.Namespace, rate: Callable[[], float]) -> Iterator[dict]:
    bert = bench.model().config.model_type == "bert"
    names = [name for name in (*PREDICTION, *PREDICTION_ON_GPU) if bert or name != UNPADDED]
    names = [name for name in names if name not in GRAPHS or can_make(name)]
    lines = [PredictionLine(bench, name) for name in names if _is_for(bench.device, name)]
    for number in range(args.rounds + 1):
        for line in lines:
            _say(f"prediction, round {number} of {args.rounds}: {line.name}")
            line.run(rate())
            if number == 0:
                line.rounds.clear()  # it warmed up
            else:
                yield _summaries(lines)


def _summaries(lines: Sequence[TrainingLine | PredictionLine]) -> dict:
    return {line.name: line.summary() for line in lines if line.rounds}


def _is_for(device: torch.device, name: str) -> bool:
    return name not in (CPU_ONLY if device.type == "cuda" else GPU_ONLY | PREDICTION_ON_GPU)


def _by_length(bench: Bench, args: argparse.Namespace, rate: Callable[[], float]) -> Iterator[dict]:
    results = {}
    for length in (length for length in LENGTHS if length <= bench.most):
        _say(f"texts of {length} tokens")
        rows = max(4, 2048 // length)
        texts = list(measures.synthetic_texts(4 * rows, bench.tokenizer, length=length))
        training = TrainingLine(bench, OURS, texts, batch=rows, max_length=length)
        predicted = PredictionLine(bench, OURS, texts, max_length=length)
        for number in range(2):
            training.run(2, number, rate())
            predicted.run(rate())
        del predicted.rounds[0]
        results[str(length)] = {"training": training.summary(), "prediction": predicted.summary()}
        yield results


def _profile(bench: Bench, args: argparse.Namespace, rate: Callable[[], float]) -> Iterator[dict]:
    """Yield the operations that take most of the time of this project's defaults, and the share of each."""
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
        most = sorted(times, key=lambda name: times[name], reverse=True)[:PROFILED]
        results[part] = {name: times[name] / sum(times.values()) for name in most}
    yield results


def _grid(bench: Bench, args: argparse.Namespace, rate: Callable[[], float]) -> Iterator[dict]:
    """Yield, by texts and tokens and then by line, the figures of training, or None where the memory is too small."""
    results: dict[str, Any] = {}
    for batch in GRID_BATCHES:
        for length in GRID_LENGTHS:
            # Length-grouping needs more of them; large steps take seconds.
            steps = min(args.steps, 4) if batch * (length or 128) > 40_000 else args.steps
            texts = list(
                measures.synthetic_texts((20 if length is None else steps + 2) * batch, bench.tokenizer, length=length)
            )
            of_size = results[f"{batch} x {length or TWEET}"] = {}
            for name in GRID_LINES:
                _say(f"{batch} texts of {length or TWEET} tokens: {name}")
                of_size[name] = _unless_too_large(TrainingLine(bench, name, texts, batch, length), steps, rate)
                yield results
                gc.collect()
                torch.cuda.empty_cache()


def _unless_too_large(line: TrainingLine, steps: int, rate: Callable[[], float]) -> dict | None:
    try:
        line.run(steps, 0, rate())
    except torch.cuda.OutOfMemoryError:
        return None
    return line.summary()


def _prediction_grid(bench: Bench, args: argparse.Namespace, rate: Callable[[], float]) -> Iterator[dict]:
    """Yield, by tokens and then by line, the figures of prediction."""
    results: dict[str, Any] = {}
    for length in GRID_LENGTHS:
        rows = args.rows if length is None else max(512, args.rows * TWEET // length)
        texts = list(measures.synthetic_texts(rows, bench.tokenizer, length=length))
        of_length = results[str(length or TWEET)] = {}
        for name in (PIPELINE, *PIPELINES_ON_GPU, OURS, UNPADDED):
            # A pipeline predicts one batch after the other, and is done with as many in no time.
            line = PredictionLine(bench, name, texts[:2048] if name.startswith("`") else texts, length)
            for number in range(2):
                _say(f"prediction of {length or TWEET} tokens, round {number}: {name}")
                line.run(rate())
            del line.rounds[0]  # it warmed up
            of_length[name] = line.summary()
            yield results


def _compiled(bench: Bench, args: argparse.Namespace, rate: Callable[[], float]) -> Iterator[dict]:
    """Yield the figures of training on texts of one length, as it is and compiled."""
    batch, length = COMPILED_SIZE
    texts = list(measures.synthetic_texts((args.steps + 2) * batch, bench.tokenizer, length=length))
    lines = [TrainingLine(bench, name, texts, batch, length) for name in (OURS, *COMPILED)]
    for line in lines:
        for number in range(2):
            _say(f"{batch} texts of {length} tokens, round {number}: {line.name}")
            line.run(args.steps, number, rate())
            yield _summaries(lines)


def _by_processes(bench: Bench, args: argparse.Namespace, rate: Callable[[], float]) -> Iterator[dict]:
    """Yield the figures of a step that one process takes and of the same step dealt to two, each with a device."""
    devices = cores() if bench.device.type == "cpu" else torch.accelerator.device_count()
    counts = [count for count in (1, 2) if count <= devices]
    rounds: dict[int, list[Any]] = {count: [] for count in counts}
    for number in range(args.rounds):
        for count in counts:
            _say(f"{count} processes, round {number + 1} of {args.rounds}")
            rounds[count].append(_in_processes_of_their_own(args, "processes", count))
    yield {str(count): medians(of_count) for count, of_count in rounds.items()}


def _under_load(bench: Bench, args: argparse.Namespace, rate: Callable[[], float]) -> Iterator[list[dict]]:
    """Yield the figures of the service, for each way of batching and number of clients."""
    yield from serving.measure(bench, args, _say)


# (what --only calls it, its name in bench.json, what measures it), in the order in which they are measured.
TABLES = (
    ("grid", "grid", _grid),
    ("grid", "prediction_grid", _prediction_grid),
    ("train", "training", _training),
    ("predict", "prediction", _prediction),
    ("length", "length", _by_length),
    ("profile", "profile", _profile),
    ("compiled", "compiled", _compiled),
    ("processes", "processes", _by_processes),
    ("serve", "service", _under_load),
)
ON_A_GPU = {"grid", "prediction_grid", "compiled"}


def _in_processes_of_their_own(args: argparse.Namespace, part: str, processes: int = 1) -> dict:
    command = [
        *launched("benchmarks.bench", processes),
        "--part",
        part,
        "--rows",
        str(args.rows),
        "--steps",
        str(args.steps),
    ]
    command += ["--dataset", *args.dataset] if args.dataset else []
    command += ["--model", args.model] if args.model else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_part(args: argparse.Namespace) -> dict:
    """Return what only a process of its own can measure: `args.part` is `processes` or the name of a training line.

    Of a line it is the peak memory, in bytes, when it trains on the longest texts, which an epoch has too; of
    `processes` the rate of all processes together.
    """
    bench = Bench(args)
    if args.part != "processes":
        TrainingLine(bench, args.part, sorted(bench.texts, key=len)[-5 * BATCH :]).run(3, 0, 1.0)
        return {"peak_memory": peak_memory()}
    step = BATCH if bench.device.type == "cpu" else 512
    line = TrainingLine(bench, OURS, batch=step // int(os.environ.get("WORLD_SIZE", "1")))
    # Longer than a round, of which only one is made here.
    line.run(3 * args.steps, 0, 1.0)
    return {"rows_per_second": line.rounds[-1]["rows_per_second"], "rows_of_a_step": step}


def _versions() -> dict:
    packages = ("bert-recipes", "torch", "transformers", "accelerate", "datasets", "tokenizers")
    return {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in packages}


def _say(text: str) -> None:
    print(f"\r{text:<100}"[:110], end="", file=sys.stderr, flush=True)
