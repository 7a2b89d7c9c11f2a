"""A finished run as an export: a folder that predicts where neither torch nor transformers is installed."""

import contextlib
import hashlib
import importlib.metadata
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from bert_recipes import terminal
from bert_recipes.config.arguments import DataArguments
from bert_recipes.config.reading import Reading
from bert_recipes.config.saved import BLEND, METRICS_FILE, RUN_FILE, saved_configuration
from bert_recipes.errors import UserError
from bert_recipes.files import read_json, write_json
from bert_recipes.inference.export import FLOAT32, INT8, ONNX, check_installed, trace
from bert_recipes.inference.predictor import Predictor
from bert_recipes.modeling.loading import load_finished
from bert_recipes.modeling.pretrained import folds_of, resolve_model
from bert_recipes.owned_folder import OwnedFolder, holding
from bert_recipes.runs.folder import EXPORT, EXPORT_FILES, RunFolder

EXPORT_FILE, TOKENIZER_FILE = "export.json", "tokenizer.json"
# Of `EXPORT_FILE`: raised when a folder of the number before could not be read any more.
EXPORT_FORMAT = 1
# What of a run's configuration says how rows are read that are to be predicted.
ROWS = ("text_column", "text_pair_column", "id_column", "encoding", "delimiter", "quoting", "decimal", "no_header")
GRAPH_SUFFIX = {ONNX: ".onnx", "openvino": ".xml"}


@dataclass(frozen=True)
class Part:
    """A model that is exported: that of a run, or of one of its folds.

    Attributes:
        folder: of the run or the fold.
        weight: of what it predicts.
        graph: the name of its graph in the export.
        trust_remote_code: whether code that the model carries may run.
    """

    folder: Path
    weight: float
    graph: str
    trust_remote_code: bool

    @cached_property
    def predictor(self) -> Predictor:
        """What predicts with it as `recipes/predict.py` does, in float32."""
        return Predictor.load(str(self.folder), bf16=False, trust_remote_code=self.trust_remote_code)

    def plain_model(self) -> PreTrainedModel:
        """Return the model as it was saved, without what a `Predictor` puts into it for the CPU."""
        model_dir = resolve_model(str(self.folder), finished=True, trust_remote_code=self.trust_remote_code)
        return load_finished(
            AutoModelForSequenceClassification,
            model_dir,
            trust_remote_code=self.trust_remote_code,
            dtype=torch.float32,
        )
