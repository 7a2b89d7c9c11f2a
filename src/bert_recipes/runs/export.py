"""A finished run as an export: a folder that predicts where neither torch nor transformers is installed."""

import contextlib
import dataclasses
import importlib.metadata
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

from bert_recipes import terminal
from bert_recipes.columns import FOLD, ID, MODEL_INPUTS, TEXT, TEXT_PAIR
from bert_recipes.config.reading import Reading
from bert_recipes.config.saved import BLEND, METRICS_FILE, RUN_FILE, saved_configuration
from bert_recipes.config.start import check_finished
from bert_recipes.data.again import read_again
from bert_recipes.data.loading import TextData
from bert_recipes.devices import threads
from bert_recipes.errors import UserError
from bert_recipes.evaluation.prediction_files import Predictions
from bert_recipes.files import digest_of, read_json, write_json, writing
from bert_recipes.inference.batches import encode_columns, tokens_of
from bert_recipes.inference.engines import open_graph
from bert_recipes.inference.export import (
    FLOAT32,
    INT8,
    ONNX,
    OPENVINO,
    check_installed,
    quantize_onnx,
    quantize_openvino,
    trace,
)
from bert_recipes.inference.export_format import EXPORT_FILE, EXPORT_FORMAT, TOKENIZER_FILE, is_export
from bert_recipes.inference.exported import ExportedPredictor
from bert_recipes.inference.predictor import Predictor
from bert_recipes.inference.rows import TextRow
from bert_recipes.modeling.loading import load_finished
from bert_recipes.modeling.pretrained import folds_of, resolve_model
from bert_recipes.owned_folder import OwnedFolder, holding
from bert_recipes.runs.folder import EXPORT, EXPORT_FILES, RunFolder
from bert_recipes.runs.parity import MOST_APART, difference, in_words, is_near, parity, rows_of

PARITY_FILE, CARD_FILE = "parity.json", "README.md"
SUFFIX = {ONNX: ".onnx", OPENVINO: ".xml"}
# What of a run's configuration says how the rows are read that are to be predicted.
OF_ROWS = ("text_column", "text_pair_column", "id_column", "encoding", "delimiter", "quoting", "decimal", "no_header")
# Training rows over which the ranges of activations are taken: NNCF's own default.
CALIBRATION_ROWS = 300


def export_run(
    model: str,
    *,
    engine: str = ONNX,
    int8: bool = False,
    output_dir: str | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
) -> Path:
    """Export a finished run; the folder is there whole, or not at all.

    Args:
        model: the run's folder.
        engine: what is to run the graphs: `onnx` (onnxruntime) or `openvino`.
        int8: whether they compute in int8 rather than in float32.
        output_dir: the folder of the export; by default `export/` in the run's.
        overwrite: whether an export that is there is replaced.
        trust_remote_code: whether code that the model carries may run.

    Returns:
        The folder of the export.

    Raises:
        UserError: there is no such run or it has no model, a package is missing, the model cannot be exported or
            comes out different, or the folder cannot be taken.
    """
    precision = INT8 if int8 else FLOAT32
    run = _finished_run(model)
    check_installed(engine, precision)
    folder = run / EXPORT if output_dir is None else Path(output_dir).expanduser()
    with _held(run, folder), _replacing(folder, overwrite) as beside:
        found = Exporter(run, engine, precision, trust_remote_code).write(beside)
    terminal.say(in_words(found))
    terminal.say(
        f"The export is in {folder}/, {precision} for {engine}; README.md there tells how to predict with it."
    )
    return folder


def _finished_run(model: str) -> Path:
    run = Path(model).expanduser()
    if not (run / RUN_FILE).is_file():
        raise UserError(f"--model {model} is no run, which has a {RUN_FILE}: give the folder of a finished run.")
    recipe = saved_configuration(run).get("recipe")
    if recipe == BLEND:
        raise UserError(f"--model {model} is a blend, which is not exported as one: export the runs that it is of.")
    if recipe == "baseline":
        raise UserError(
            f"--model {model} is a run of the baseline, which saves no model: export one of stock or custom."
        )
    folds = run.resolve().parent
    whole = folds.parent
    if folds.name == "folds" and (whole / RUN_FILE).is_file():
        raise UserError(f"--model {model} is one fold of a run: export all of it, {whole}.")
    check_finished(run, f"--model {model}")
    return run


# The folder


@contextlib.contextmanager
def _held(run: Path, folder: Path) -> Iterator[None]:
    """Hold the run's folder where the export is written into it, so that no training replaces it meanwhile."""
    inside = folder.resolve().is_relative_to(run.resolve())
    with holding(RunFolder(run).owned) if inside else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _replacing(folder: Path, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder beside `folder`, whose place it takes when the block ends without an error.

    Raises:
        UserError: something else is there, an export that is not to be replaced, or the folder cannot be written.
    """
    folder = folder.resolve()  # a link stays
    _check_name(folder)
    beside = OwnedFolder(folder.with_name(f".{folder.name}"), "export", EXPORT_FILES)
    replaced = folder.with_name(f".{folder.name}.replaced")
    with holding(beside), contextlib.ExitStack() as undoing:
        if replaced.is_dir():  # as a killed process left it
            if folder.exists():
                shutil.rmtree(replaced)
            else:
                replaced.rename(folder)
        _check_free(OwnedFolder(folder, "export", EXPORT_FILES), overwrite)
        beside.check_replaceable(())
        beside.set_aside(finished=False)
        undoing.callback(beside.set_aside, finished=False)
        yield beside.path
        undoing.pop_all()
    if folder.exists():
        folder.rename(replaced)
    beside.path.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def _check_name(folder: Path) -> None:
    if not folder.name or (folder.exists() and not folder.is_dir()):
        raise UserError(f"--output_dir {folder} is no folder of its own: name one.")
    if folder.is_mount():  # as a volume of a container: nothing can be put in its place
        raise UserError(f"--output_dir {folder} is where a file system begins: name a folder in it.")


def _check_free(owned: OwnedFolder, overwrite: bool) -> None:
    folder = owned.path
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not is_export(folder):
        raise UserError(f"--output_dir {folder} is not empty and holds no export: name another.")
    if not overwrite:
        raise UserError(f"{folder} holds an export: name another --output_dir, or replace it with --overwrite.")
    owned.check_replaceable(())


# What is in it


@dataclass(frozen=True)
class Part:
    """A model that becomes a graph: that of a run, or of one of its folds.

    Attributes:
        folder: of the run or the fold.
        graph: its name, without a suffix.
        fold: its number, from 1; None for the model of a run.
    """

    folder: Path
    graph: str
    fold: int | None


class Exporter:
    """What writes the export of a run.

    Args:
        run: the run's folder.
        engine: as `export_run` takes it.
        precision: `float32` or `int8`.
        trust_remote_code: whether code that the model carries may run.

    Raises:
        UserError: not all folds of the run are finished, or one of its files is damaged.
    """

    def __init__(self, run: Path, engine: str, precision: str, trust_remote_code: bool):
        self.run, self.engine, self.precision, self.trusted = run, engine, precision, trust_remote_code
        self.configuration = saved_configuration(run)
        metrics = read_json(run / METRICS_FILE)
        folds = folds_of(str(run))
        self.parts = [Part(Path(fold), f"model-{number}", number) for number, fold in enumerate(folds, start=1)]
        self.parts = self.parts or [Part(run, "model", None)]
        try:
            labels, self.chosen = metrics["environment"]["labels"], metrics["validation"]
            names, problem_type = labels["names"], labels["problem_type"]
        except (KeyError, TypeError) as error:
            raise UserError(f"{run / METRICS_FILE} is damaged (it lacks {error}): run it again.") from error
        self.validation = Predictions.read(run, names, problem_type)
        self.graphs: list[dict[str, Any]] = []

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the export into an empty folder, and return what its parity.json says.

        Raises:
            UserError: the model cannot be exported, or comes out different.
        """
        written = [self._write_part(part, folder) for part in self.parts]
        rows, before, in_float32, after = (np.concatenate(each) for each in zip(*written, strict=True))
        self._write_contract(folder, self.graphs)
        found: dict[str, Any] = {"precision": self.precision, "rows_of": self._origin}
        found |= parity(self.validation.select(rows), before, after, self.chosen.get("threshold"))
        if self.precision == INT8:
            found["largest_difference_in_float32"] = difference(before, in_float32)
        write_json(folder / PARITY_FILE, found)
        with writing(folder / CARD_FILE) as file:
            file.write(export_card(self.engine, self.precision, found))
        return found

    @property
    def _origin(self) -> str:
        """What parity.json calls the rows."""
        if FOLD not in self.validation.columns:
            return "validation"
        return "train" if self.parts[0].fold is None else "train, each by the fold that was not trained on it"

    def _write_part(self, part: Part, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Write a graph.

        Returns:
            The numbers of the rows that it was compared on, `[rows]`, and their probabilities, `[rows, num_labels]`:
            by the model, by the graph in float32, and by the graph as it was written.
        """
        # On a GPU a convolution computes in TF32, which is no nearer than a thousandth.
        predictor = Predictor.load(
            str(part.folder), bf16=False, trust_remote_code=self.trusted, device=torch.device("cpu")
        )
        if not self.graphs:
            self._learn(predictor, folder)
        numbers = np.arange(len(self.validation.ids))
        if part.fold is not None:
            numbers = numbers[np.array(self.validation.columns[FOLD]) == str(part.fold)]
        rows = rows_of(self.validation.select(numbers))
        with terminal.waiting(f"predicting {len(rows):,} rows with the model of {part.folder}"):
            before = predictor.probabilities_of(rows)
        file, in_float32 = (f"{name}{SUFFIX[self.engine]}" for name in (part.graph, f"float32-{part.graph}"))
        first = file if self.precision == FLOAT32 else in_float32
        with terminal.waiting(f"writing {first}"):
            self._write_graph(part, predictor, folder / first)
        graph = {"file": first, "weight": 1 / len(self.parts), "columns": predictor.columns}
        after = plain = self._predicted(folder, graph, rows)
        if not is_near(before, plain, predictor.problem_type):
            raise UserError(
                f"the graph of {part.folder} does not predict what the model does: over {len(rows):,} rows they "
                f"differ by up to {difference(before, plain):.1e}, and float32 explains {MOST_APART:.0e}; code of the "
                "model's own may do something else for some texts than for those that it was traced on."
            )
        if self.precision == INT8:
            graph["file"] = file
            self._quantize(part, predictor, folder / first, folder / file)
            after = self._predicted(folder, graph, rows)
        self.graphs.append(graph)
        return numbers, before, plain, after

    def _write_graph(self, part: Part, predictor: Predictor, path: Path) -> None:
        """Write the graph of a model in float32."""
        # Not the predictor's, in which parts are quicker on a CPU and cannot be traced.
        model_dir = resolve_model(str(part.folder), finished=True, trust_remote_code=self.trusted)
        model = load_finished(
            AutoModelForSequenceClassification, model_dir, trust_remote_code=self.trusted, dtype=torch.float32
        )
        traced = trace(model, predictor.max_length, self.contract["inputs"], predictor.columns)
        traced.write(self.engine, path)
        labels = len(predictor.label_names)
        forward = open_graph(self.engine, path, inputs=traced.names, num_labels=labels, threads=threads(), bf16=False)
        traced.check(self.engine, forward)

    def _predicted(self, folder: Path, graph: dict[str, Any], rows: list[TextRow]) -> np.ndarray:
        """Return what an export with one of the graphs predicts, from the texts on."""
        self._write_contract(folder, [graph | {"weight": 1.0}])
        with terminal.waiting(f"predicting {len(rows):,} rows with {graph['file']}"):
            return ExportedPredictor.load(folder, bf16=False).probabilities_of(rows)

    def _quantize(self, part: Part, predictor: Predictor, source: Path, target: Path) -> None:
        if self.engine == ONNX:
            with terminal.waiting(f"writing {target.name}"):
                quantize_onnx(source, target)
        else:
            rows = self._training_rows(part)
            terminal.say(f"Calibrating {target.name} on {len(rows)} training rows.")
            quantize_openvino(source, target, unpadded_inputs(predictor, rows))  # which shows how far it is
        for file in source.parent.glob(f"{source.stem}.*"):
            file.unlink()

    def _training_rows(self, part: Part) -> list[TextRow]:
        """Return some of the rows that a model was trained on, always the same."""
        data = self._data
        train = data.splits["train"]
        numbers = np.arange(len(train))
        if part.fold is not None:
            numbers = numbers[data.folds(len(self.parts), self.configuration["split_seed"]) != part.fold - 1]
        some = np.random.default_rng(0).permutation(numbers)[:CALIBRATION_ROWS]
        return [TextRow(row[ID], row[TEXT], row.get(TEXT_PAIR), row) for row in train.select(np.sort(some))]

    @cached_property
    def _data(self) -> TextData:
        with terminal.waiting("reading the data again"):
            return read_again(self.run)

    def _learn(self, predictor: Predictor, folder: Path) -> None:
        """Write the tokenizer, and settle what export.json says beside the graphs, alike for all of them."""
        tokenizer, configuration = predictor.tokenizer, self.configuration
        if not tokenizer.is_fast:
            raise UserError(
                f"--model {self.run} has a tokenizer that is written in Python ({type(tokenizer).__name__}), which an "
                "export cannot hold: train on a model that has a tokenizer.json."
            )
        bare = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        bare.no_truncation()
        bare.no_padding()
        with writing(folder / TOKENIZER_FILE) as file:
            file.write(bare.to_str())
        pairs = configuration.get("text_pair_column") is not None
        tokens, _ = predictor.to_tokens(["a"], ["a"] if pairs else None)
        self.contract: dict[str, Any] = {
            "format": EXPORT_FORMAT,
            "bert_recipes": importlib.metadata.version("bert-recipes"),
            "engine": self.engine,
            "precision": self.precision,
            "labels": predictor.label_names,
            "problem_type": predictor.problem_type,
            "pairs": pairs,
            "threshold": self.chosen.get("threshold"),
            "temperature": self.chosen.get("temperature"),
            "max_length": predictor.max_length,
            "reading": dataclasses.asdict(Reading.of(configuration)),
            "inputs": [name for name in MODEL_INPUTS if name in tokens],
            "pad_token_id": tokenizer.pad_token_id,
            "tokenizer": {
                "sep_token": tokenizer.sep_token,
                "truncation_side": tokenizer.truncation_side,
                "split_special_tokens": tokenizer.split_special_tokens,
                "embeddings": predictor.to_tokens.embeddings,
            },
            "trained_on": {name: configuration[name] for name in OF_ROWS if name in configuration},
        }

    def _write_contract(self, folder: Path, graphs: list[dict[str, Any]]) -> None:
        read = [TOKENIZER_FILE]
        for graph in graphs:
            stem = Path(graph["file"]).stem
            read += sorted(file.name for file in folder.iterdir() if file.name.partition(".")[0] == stem)
        digests = {name: digest_of(folder / name) for name in read}
        write_json(folder / EXPORT_FILE, self.contract | {"graphs": graphs, "files": digests})


def unpadded_inputs(predictor: Predictor, rows: list[TextRow]) -> list[dict[str, np.ndarray]]:
    """Return what a graph takes of rows, or of their windows, one by one: `[1, length]`, and columns `[1]`."""
    found: list[dict[str, np.ndarray]] = []

    def keep(inputs: dict[str, np.ndarray]) -> np.ndarray:
        found.append(inputs)
        return np.zeros((1, len(predictor.label_names)), dtype=np.float32)

    one_by_one = dataclasses.replace(predictor.batches, tokens_per_batch=1, pad_to_multiple_of=1)
    columns, _ = encode_columns(rows, predictor.columns, predictor.trained_on)
    tokens = tokens_of(rows, predictor.to_tokens)
    one_by_one.logits(tokens, columns, keep, in_windows=predictor.to_tokens.in_windows)
    return found


def export_card(engine: str, precision: str, found: dict[str, Any]) -> str:
    """Return the README of an export, which names no folder of this machine and quotes no row of the data."""
    runner, packages = CARD_ENGINES[engine]
    return CARD.format(engine=runner, packages=packages, precision=precision, parity=in_words(found))


# What the card calls an engine, and what is installed for it.
CARD_ENGINES = {
    ONNX: ("onnxruntime", "'bert-recipes[runtime]'"),
    OPENVINO: ("OpenVINO", "bert-recipes openvino"),
}
CARD = """# An export of bert-recipes

A classifier in {precision} for {engine}. Neither torch nor transformers is needed to predict with it; in this folder:

    pip install {packages}
    python -m bert_recipes.recipes.predict --model . --input new.csv --output predictions.csv

{parity}

| file | holds |
|---|---|
| `model*` | the graph, or one for each fold, of which the weighted mean is taken; its output are logits |
| `tokenizer.json` | the tokenizer, for the package tokenizers |
| `export.json` | labels, length, inputs, how rows are read, and the digests of the files above |
| `parity.json` | scores before and after |

`threshold` and `temperature` in `export.json` were chosen on validation rows. Neither is applied: a row is of class 1
at the threshold where its probability of class 1 reaches it, and a calibrated probability is
`softmax(log(probabilities) / temperature)`.
"""
