"""Prediction by the graph that an export of a model would hold: what ONNX, OpenVINO and int8 do to its speed."""

import importlib.util
import tempfile
from pathlib import Path

import torch

from benchmarks.measures import synthetic_texts
from bert_recipes.columns import MODEL_INPUTS
from bert_recipes.inference.engines import open_graph
from bert_recipes.inference.export import (
    FLOAT32,
    INT8,
    ONNX,
    OPENVINO,
    PACKAGES,
    quantize_onnx,
    quantize_openvino,
    trace,
)
from bert_recipes.inference.predictor import Predictor
from bert_recipes.inference.rows import TextRow
from bert_recipes.runs.export import CALIBRATION_ROWS, SUFFIX, unpadded_inputs

# By the name of its line, the engine and the precision of a graph.
GRAPHS = {
    "ONNX": (ONNX, FLOAT32),
    "ONNX, int8": (ONNX, INT8),
    "OpenVINO": (OPENVINO, FLOAT32),
    "OpenVINO, int8": (OPENVINO, INT8),
}


def can_make(name: str) -> bool:
    """Whether the packages are installed by which the graph of a line is made."""
    return all(importlib.util.find_spec(package) for package in PACKAGES[GRAPHS[name]])


class GraphPredictor(Predictor):
    """Predict with a graph of the model, of which texts of random words choose the ranges that int8 needs.

    Args:
        name: of `GRAPHS`.
        model, tokenizer, max_length: as `Predictor` takes them, the model in float32.
    """

    def __init__(self, name, model, tokenizer, max_length):
        engine, precision = GRAPHS[name]
        # Before the predictor makes parts of the model quicker, which cannot be traced.
        inputs = [known for known in MODEL_INPUTS if known in tokenizer("a")]
        traced = trace(model, max_length, inputs, {})
        super().__init__(model, tokenizer, max_length)
        with tempfile.TemporaryDirectory() as folder:
            path, rounded = (Path(folder) / f"{stem}{SUFFIX[engine]}" for stem in ("model", "int8"))
            traced.write(engine, path)
            if precision == INT8 and engine == ONNX:
                quantize_onnx(path, rounded)
            elif precision == INT8:
                rows = [TextRow("", text) for text in synthetic_texts(CALIBRATION_ROWS, tokenizer)]
                quantize_openvino(path, rounded, unpadded_inputs(self, rows))
            self._graph = open_graph(
                engine,
                rounded if precision == INT8 else path,
                inputs=inputs,
                num_labels=len(self.label_names),
                threads=torch.get_num_threads(),
                bf16=False,
            )

    def _forward(self, inputs):
        return self._graph(inputs)
