"""What is fuzzed: for each kind a function that damages an input and returns what a user would then start."""

import contextlib
import csv
import dataclasses
import gzip
import io
import json
import math
import os
import runpy
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple
from unittest import mock

import mutations
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tiny
import torch
import yaml

from bert_recipes.config.arguments import QUOTINGS, BaselineArguments, CustomArguments, DataArguments
from bert_recipes.config.parsing import parse_arguments
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.data.digests import digests
from bert_recipes.data.loading import load_data
from bert_recipes.data.splits import assign_folds
from bert_recipes.inference.predictor import Predictor
from bert_recipes.inference.rows import read_stream
from bert_recipes.inference.rows_predictor import write_predictions
from bert_recipes.runs.run import Run

RECIPES = Path(__file__).parents[2] / "recipes"
PARTS = (DataArguments, CustomArguments, RecipeTrainingArguments)
FIELDS = [field for part in PARTS for field in dataclasses.fields(part)]
KIND_OF = {field.name: str(field.type) for field in FIELDS}
NUMBERS = [name for name, kind in KIND_OF.items() if "int" in kind or "float" in kind]


class Case(NamedTuple):
    """A damaged input: what a user starts with it, and how it was damaged, in words."""

    start: Callable[[], None]
    damage: str


class NotRefusedError(Exception):
    """A value was taken where a finite number, or a whole one, is needed."""


# Tables


ENCODINGS = ("latin-1", "utf-16", "utf-8-sig", "cp037", "utf-7", "idna", "rot13", "x", "")
DELIMITERS = (",", ";", "tab", "|", "", "ab", "\\", '"')
SHAPES = ("binary", "classes", "pair", "joined labels", "lists", "numbers", "several columns")


def _table(shape: str, rows: int = 14) -> tuple[list[dict], list[str]]:
    """Return the rows of a small data set of some task, and the flags that it needs."""
    texts = [f"{tiny.sentence(i)} {i}" for i in range(rows)]
    if shape == "submission":
        return [{"id": 10 * i, "label": 0} for i in range(rows)], []
    if shape == "pair":
        pairs = [{"sentence1": t, "sentence2": t[::-1], "label": i % 2} for i, t in enumerate(texts)]
        return [{"id": i, **row} for i, row in enumerate(pairs)], []
    cell = {
        "binary": lambda i: {"label": i % 2},
        "classes": lambda i: {"label": ("rain", "sun", "snow")[i % 3]},
        "joined labels": lambda i: {"label": ("rain|sun", "sun", "snow|rain")[i % 3]},
        "lists": lambda i: {"label": (["rain", "sun"], ["sun"], ["snow"])[i % 3]},
        "numbers": lambda i: {"label": i / 3},
        "several columns": lambda i: {"wet": i % 2, "cold": i // 2 % 2},
    }[shape]
    flags = ["--label_column", "wet", "cold"] if shape == "several columns" else []
    return [{"id": 10 * i, "text": text, **cell(i)} for i, text in enumerate(texts)], flags


def _more_flags(draw: Random) -> list[str]:
    """Now and then, flags that decide what is made of the data."""
    if draw.random() < 0.7:
        return []
    return draw.choice(
        (
            ["--folds", "3"],
            ["--task", draw.choice(("binary", "multi-class", "multi-label", "regression"))],
            ["--label_delimiter", draw.choice(("|", ",", " ", "ab", ""))],
            ["--labels", "0", "1"],
            ["--encoding", draw.choice(ENCODINGS)],
            ["--delimiter", draw.choice(DELIMITERS)],
            ["--quoting", draw.choice(QUOTINGS)],
            ["--decimal", ","],
            ["--no_header"],
            ["--no_header", "--text_column", "1", "--label_column", "2"],
            ["--validation_size", draw.choice(("0.01", "0.99"))],
            ["--id_column", draw.choice(("text", "label"))],
            ["--text_column", draw.choice(("id", "label"))],
            ["--label_column", "text", "label"],
            ["--decision", "threshold"],
        )
    )


def _delimited(rows: list[dict], delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _json_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


class Input(NamedTuple):
    """A damaged table as a file: its ending, its bytes, the flags that it needs and how it was damaged."""

    ending: str
    data: bytes
    flags: list[str]
    damage: str


def delimited(draw: Random, shape: str) -> Input:
    """A damaged CSV or TSV file."""
    rows, flags = _table(shape)
    ending = draw.choice((".csv", ".csv", ".tsv"))
    data = _delimited(rows, "\t" if ending == ".tsv" else ",")
    damages = (*mutations.ANY_FILE, *mutations.TEXT_FILE, *mutations.DELIMITED, *mutations.DELIMITED)
    data, names = mutations.several(draw, damages, data)
    return _packed(draw, Input(ending, data, flags, ", ".join(names)))


def _packed(draw: Random, broken: Input) -> Input:
    """Now and then, compress a file, and perhaps damage it once more."""
    if draw.random() < 0.9:
        return broken
    ending = draw.choice((".gz", ".zip"))
    if ending == ".gz":
        data = gzip.compress(broken.data)
    else:
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as archive:
            archive.writestr("rows", broken.data)
        data = whole.getvalue()
    data, names = mutations.several(draw, mutations.ANY_FILE, data) if draw.random() < 0.5 else (data, [])
    return Input(broken.ending + ending, data, broken.flags, ", ".join([broken.damage, ending, *names]))


def json_lines(draw: Random, shape: str) -> Input:
    """A damaged JSONL file."""
    rows, flags = _table(shape)
    damages = (*mutations.ANY_FILE, *mutations.TEXT_FILE, *mutations.JSON_LINES, *mutations.JSON_LINES)
    array = draw.random() < 0.2
    sound = json.dumps(rows).encode() if array else _json_lines(rows)
    data, names = mutations.several(draw, damages, sound)
    return _packed(draw, Input(".json" if array else ".jsonl", data, flags, ", ".join(names)))


def parquet(draw: Random, shape: str) -> Input:
    """A Parquet file of damaged columns or damaged bytes."""
    rows, flags = _table(shape)
    table, names = pa.Table.from_pylist(rows), []
    for damage in draw.choices(mutations.TABLES, k=draw.choice((0, 1, 1, 2, 3))):
        table = damage(draw, table)
        names.append(damage.__name__)
    data = _parquet(table)
    if not names or draw.random() < 0.1:
        data, more = mutations.several(draw, mutations.ANY_FILE, data)
        names += more
    return Input(".parquet", data, flags, ", ".join(names))


def text_lines(draw: Random, shape: str) -> Input:
    """A damaged file of one text per line."""
    data = "".join(f"{tiny.sentence(i)}\n" for i in range(14)).encode()
    data, names = mutations.several(draw, (*mutations.ANY_FILE, *mutations.TEXT_FILE), data)
    return Input(".txt", data, [], ", ".join(names))


# Training data


def _load(flags: list[str], output_dir: Path) -> None:
    """Do with the data all that a recipe does before it trains."""
    args = parse_arguments(BaselineArguments, "", "baseline", [*flags, "--output_dir", str(output_dir)])
    data = load_data(args.data)
    if args.data.folds:
        assign_folds(data.splits["train"], args.data.folds, args.data.split_seed, data.task.problem_type)
    Run(args, data, data.splits, None)
    digests(data)
    for _ in data.labelled_rows():
        pass


def loading(make: Callable[[Random, str], Input]) -> Callable[[Random, Path], Case]:
    """Return the kind of case that loads what `make` makes: as one file, or as a folder's train or test split."""

    def case(draw: Random, folder: Path) -> Case:
        places = ["alone", "alone", "alone", "train", "validation", "test"]
        if make is delimited:
            places.append("sample_submission")
        place = draw.choice(places)
        shape = {"alone": draw.choice(SHAPES), "sample_submission": "submission"}.get(place, "binary")
        broken = make(draw, shape)
        flags = [*broken.flags, *_more_flags(draw)]
        data = folder / "data"
        data.mkdir()
        if place == "alone":
            (data / f"train{broken.ending}").write_bytes(broken.data)
            name = draw.choice((data, data / f"train{broken.ending}"))
        else:
            name = tiny_folder(data, broken, place)
        start = ["--dataset", str(name), "--validation_size", "0.3", *flags]
        damage = f"{place}{broken.ending} of {' '.join(start)}: {broken.damage}"
        return Case(lambda: _load(start, folder / "run"), damage)

    return case


def tiny_folder(data: Path, broken: Input, place: str) -> Path:
    """Write sound splits of a binary task, with the damaged file in the place of one of them."""
    rows, _ = _table("binary")
    ending = ".csv" if place == "sample_submission" else broken.ending
    splits = {"train": rows, "test": [{"id": row["id"], "text": row["text"]} for row in rows]}
    if place == "validation":
        splits["validation"] = rows
    for name, part in splits.items():
        if name != place:
            (data / f"{name}.csv").write_bytes(_delimited(part, ","))
    (data / f"{place}{ending}").write_bytes(broken.data)
    return data


# Prediction


class Models:
    """The tiny models, saved once for a process."""

    def __init__(self, folder: Path):
        self.bert = tiny.save_bert(folder / "bert")
        self.classifier = tiny.save_classifier(folder / "classifier")
        self.competition = tiny.write_competition(folder / "competition")
        self.predictor = Predictor.load(str(self.classifier))


def _predict(models: Models, path: str, output: Path, **options) -> None:
    rows = read_stream(path, **options)
    with output.open("w", encoding="utf-8", newline="") as file:
        for _ in write_predictions(file, models.predictor, rows):
            pass


def predicting(models: Models) -> Callable[[Random, Path], Case]:
    """Return the kind of case that predicts a damaged input with a real model, from a file or standard input."""

    def case(draw: Random, folder: Path) -> Case:
        broken = draw.choice((delimited, json_lines, parquet, text_lines))(draw, draw.choice(SHAPES))
        file = folder / f"new{broken.ending}"
        file.write_bytes(broken.data)
        options = draw.choice(
            (
                *({},) * 6,
                {"text_column": draw.choice(("id", "label", "nowhere", "text"))},
                {"text_pair_column": draw.choice(("text", "label"))},
                {"id_column": draw.choice(("text", "label", "nowhere"))},
                {"trained_on": {"encoding": draw.choice(ENCODINGS)}},
                {"trained_on": {"delimiter": draw.choice(DELIMITERS), "quoting": draw.choice(QUOTINGS)}},
                {"trained_on": {"no_header": True, "text_column": "1", "id_column": "0"}},
                {"trained_on": {"text_column": "sentence1", "text_pair_column": "sentence2"}},
            )
        )
        from_stdin = broken.ending == ".txt" and draw.random() < 0.5

        def start():
            stdin = io.TextIOWrapper(io.BytesIO(broken.data)) if from_stdin else sys.stdin
            with mock.patch.object(sys, "stdin", stdin):
                _predict(models, "-" if from_stdin else str(file), folder / "predictions.csv", **options)

        return Case(start, f"{'-' if from_stdin else file.name} {options or ''}: {broken.damage}")

    return case


# Configurations and flags

SOUND = {
    "dataset": ["embedded:fine-foods"],
    "model": "embedded:minilm",
    "max_length": 64,
    "validation_size": 0.2,
    "pooling": "mean",
    "head_layers": 1,
    "loss": "focal",
    "loss_options": {"gamma": 2.0},
    "class_weights": "balanced",
    "learning_rate": 1e-4,
    "num_train_epochs": 2,
    "warmup_steps": 0.1,
    "per_device_train_batch_size": 16,
    "lr_scheduler_type": "cosine",
    "seed": 7,
}


def configurations(draw: Random, folder: Path) -> Case:
    """A damaged YAML file."""
    values, said = dict(SOUND), []
    for _ in range(draw.choice((0, 1, 1, 2))):
        key = draw.choice([field.name for field in FIELDS])
        values[key] = draw.choice(mutations.VALUES)
        said.append(f"{key}: {str(values[key])[:60]!r}")
    if draw.random() < 0.2:
        key = draw.choice(list(values))
        values[mutations.misspelt(draw, key)] = values.pop(key)
        said.append(f"{key} misspelt")
    data = yaml.safe_dump(values, sort_keys=False, allow_unicode=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    if not said or draw.random() < 0.2:
        damages = (*mutations.ANY_FILE, *mutations.TEXT_FILE, *mutations.YAML, *mutations.YAML)
        data, names = mutations.several(draw, damages, data)
        said += names
    path = folder / "config.yaml"
    path.write_bytes(data)

    def start():
        _parse(["--config", str(path)])
        read = yaml.safe_load(data)  # once more: it may be damaged to another value
        for name, value in read.items():
            whole = "int" in KIND_OF.get(name, "")
            if (
                isinstance(value, float)
                and name in NUMBERS
                and not (value.is_integer() if whole else math.isfinite(value))
            ):
                raise NotRefusedError(name)

    return Case(start, ", ".join(said))


def _parse(argv: list[str]) -> None:
    parse_arguments(CustomArguments, "", "custom", argv)


WORDS = (
    *("", "0", "-1", "1", "nan", "inf", "-inf", "1e400", "1e-400", "9" * 30, "-" + "9" * 30, "0.5", "2", "1.5", "x"),
    *(
        "true",
        "None",
        "null",
        "-",
        "--",
        "a b",
        "[]",
        "{}",
        '{"a": 1}',
        '{"a": ',
        "=",
        "/",
        ".",
        "/dev/null",
        "nothere.json",
    ),
    *("\u001b[31m", "\udcff", "\u0661", "1_000", "0x10", "x" * 5000, "%s", "steps", "file.py:Name", "1,2", "*"),
)
NOT_FINITE = {"nan", "inf", "-inf", "1e400"}


def flags(draw: Random, folder: Path, number: int = 0) -> Case:
    """A flag with a value that it may not take: every flag with every value in turn, and then two or three."""
    names = [field.name for field in FIELDS] + ["config"]
    chosen = [(names[number % len(names)], WORDS[number // len(names) % len(WORDS)])]
    if number >= len(names) * len(WORDS) or draw.random() < 0.1:
        chosen += [(draw.choice(names), draw.choice(WORDS)) for _ in range(draw.choice((1, 2)))]
    argv = []
    for name, word in chosen:
        name = mutations.misspelt(draw, name) if draw.random() < 0.03 else name
        argv += draw.choice(([f"--{name}", word], [f"--{name}={word}"]))

    def start():
        _parse(argv)
        # Of a flag that is given twice the last counts.
        absurd = [n for n, w in dict(chosen).items() if n in NUMBERS and w in NOT_FINITE]
        if absurd and all(f"--{name}" in " ".join(argv) for name in dict(chosen)):
            raise NotRefusedError(absurd[0])

    return Case(start, " ".join(argv)[:200])


# Whole runs

SIZES = ("0", "-1", "nan", str(2**63), "inf", "-0.5", "1e-9", "0.5", "1", "2", "3", "1e30", str(10**30))
# These would start as many processes, or rightly take as long.
NOT_HUGE = {"dataloader_num_workers", "ddp_timeout", "max_steps"}


def starting(models: Models) -> Callable[[Random, Path, int], Case]:
    """Return the kind of case that runs a recipe with a length, size or rate that makes little sense."""

    def case(draw: Random, folder: Path, number: int = 0) -> Case:
        name, word = NUMBERS[number % len(NUMBERS)], SIZES[number // len(NUMBERS) % len(SIZES)]
        if name in NOT_HUGE and len(word) > 3:
            word = "-2"
        recipe = draw.choice(("stock", "custom")) if name not in CUSTOM_ONLY else "custom"
        argv = ["--dataset", str(models.competition), "--model", str(models.bert), "--output_dir", str(folder / "run")]
        argv += ["--max_length", "32", "--max_steps", "2", "--bf16", "false", "--disable_tqdm", "true"]
        argv += NEEDED_WITH.get(name, [])
        argv += [f"--{name}", word]

        def start():
            with mock.patch.object(sys, "argv", [f"{recipe}.py", *argv]):
                runpy.run_path(str(RECIPES / f"{recipe}.py"), run_name="recipe")["main"]()

        return Case(start, f"{recipe} --{name} {word}")

    return case


CUSTOM_ONLY = {field.name for field in dataclasses.fields(CustomArguments)}
NEEDED_WITH = {
    "head_size": ["--head_layers", "1"],
    "lora_alpha": ["--lora_rank", "2"],
    "eval_steps": ["--eval_strategy", "steps", "--save_strategy", "steps"],
    "save_steps": ["--save_strategy", "steps", "--load_best_model_at_end", "false"],
    "dataloader_prefetch_factor": ["--dataloader_num_workers", "1"],
}


@contextlib.contextmanager
def as_before():
    """Put back what a case may leave changed in this process: the environment, accelerate's state, the seeds."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    environment, where = dict(os.environ), Path.cwd()
    try:
        yield
    finally:
        os.chdir(where)
        os.environ.clear()
        os.environ.update(environment)
        AcceleratorState._reset_state()
        GradientState._reset_state()
        PartialState._reset_state()
        torch.use_deterministic_algorithms(False)
        np.seterr(all="warn")
