"""Prediction by several processes: the bytes that one would write, in parts that are joined.

A row's scores depend on its batch to the last bits, a batch on its chunk, and chunks end where the number of rows
before them is a multiple of `CHUNK_ROWS`. Parts begin at such rows alone. So a part, whoever predicts it and whatever
was predicted before, is cut into the chunks, and these into the batches, of the whole. And a batch gives the same
numbers on any number of threads, since each is computed on one; but not on another kind of processor.
"""

import hashlib
import importlib.metadata
import io
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bert_recipes.evaluation.prediction_files import PredictionWriter
from bert_recipes.files import digest_of, writing
from bert_recipes.inference.batches import CHUNK_ROWS
from bert_recipes.inference.parts_folder import PartsFolder
from bert_recipes.inference.rows import InputRows
from bert_recipes.inference.rows_predictor import RowsPredictor, write_predictions
from bert_recipes.processes import Process
from bert_recipes.terminal import printable

# Parts are as small as chunks allow, for an even share and little lost, until there would be more files than these.
MOST_PARTS = 10_000
# What may round otherwise in another version.
COMPUTE = ("bert-recipes", "torch", "transformers", "tokenizers", "onnxruntime", "openvino", "scikit-learn", "numpy")


def predict_in_parts(folder: PartsFolder, predictor: RowsPredictor, rows: InputRows, process: Process) -> None:
    """Predict parts until all are finished or other processes', and join them if this process is the last.

    Args:
        folder: of the parts, which this process has entered.
        predictor: of all rows.
        rows: all of them.
        process: this one, of those that were started.

    Raises:
        UserError: the folder holds parts of another prediction, or a row or a file cannot be read or written.
    """
    folder.begin(_what(predictor, rows, folder.output), lambda: _plan(rows))
    parts, strange, predicted = folder.manifest["parts"], Counter[str](), 0
    # Once more, where another process has died in the meantime.
    while found := _predict_free(folder, predictor, rows, strange):
        predicted += found
    name = f"Process {process.rank + 1} of {process.count}"
    print(f"{name} predicted {predicted:,} of {parts:,} parts.", file=sys.stderr)
    predictor.strange = dict(strange)
    for note in predictor.notes:
        print(printable(f"{name}: {note}"), file=sys.stderr)
    if len(folder.finished()) == parts and folder.join(_header(predictor)):
        total = sum(folder.manifest["rows"])
        print(f"{total:,} rows are in {printable(str(folder.output))}.", file=sys.stderr)


def _predict_free(folder: PartsFolder, predictor: RowsPredictor, rows: InputRows, strange: Counter[str]) -> int:
    """Predict what is free now; return how many parts that were, and add to `strange` what `predictor` counted."""
    counts, size = folder.manifest["rows"], folder.manifest["part_rows"]
    predicted = 0
    for number in folder.claimed():
        with writing(folder.part(number)) as file:
            for _ in write_predictions(file, predictor, rows.between(counts, number * size, (number + 1) * size)):
                pass
        strange.update(predictor.strange)
        predicted += 1
    return predicted


def _plan(rows: InputRows) -> dict[str, Any]:
    """Count the rows, and return how they are parted."""
    counts = rows.counts()
    part_rows = CHUNK_ROWS * max(1, math.ceil(sum(counts) / CHUNK_ROWS / MOST_PARTS))
    # No rows make one part: the header.
    return {"rows": counts, "part_rows": part_rows, "parts": max(1, math.ceil(sum(counts) / part_rows))}


def _what(predictor: RowsPredictor, rows: InputRows, output: Path) -> dict[str, Any]:
    """Return all that decides what comes out in `output`, by what a sentence calls it."""
    # The output may be put beside the model.
    files = [file for file in predictor.files if file.absolute() != output.absolute()]
    model = [[file.name, digest_of(file)] for file in files if not file.name.startswith(".")]
    return {
        "input": [_state(path) for path in rows.paths],
        "model": model,
        "configuration of the model": _digest(predictor.trained_on),
        "reading of the input": rows.reading,
        "precision, device or maximum length": list(predictor.computing),
        "versions of packages": [f"{name} {version}" for name in COMPUTE if (version := _version(name))],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _state(path: Path) -> list[Any]:
    """Return what changes when a file does, or the files of a `save_to_disk` folder do."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _header(predictor: RowsPredictor) -> str:
    file = io.StringIO()
    PredictionWriter(file, predictor.label_names, predictor.problem_type)
    return file.getvalue()
