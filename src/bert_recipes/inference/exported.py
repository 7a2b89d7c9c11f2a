"""Prediction from an export: no torch, no transformers, and the same rows, windows and writers."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import Tokenizer

from bert_recipes.data.texts_to_tokens import TokensOfTexts
from bert_recipes.data.tokenizer_like import BareTokenizer
from bert_recipes.devices import threads
from bert_recipes.errors import UserError
from bert_recipes.evaluation.decoding import mean_probabilities, probabilities_of
from bert_recipes.inference.batches import (
    BATCH_OVERHEAD,
    TOKENS_PER_BATCH,
    Batches,
    Forward,
    chunks,
    encode_columns,
    tokens_of,
)
from bert_recipes.inference.engines import arithmetic, open_graph, unreadable
from bert_recipes.inference.export_format import EXPORT_FILE, TOKENIZER_FILE, Export
from bert_recipes.inference.rows import TextRow
from bert_recipes.inference.rows_predictor import RowsPredictor


class ExportedPredictor(RowsPredictor):
    """The graphs of an export, ready to predict a stream of rows: what several predict is their weighted mean.

    Args:
        export: what its folder holds.
        forwards: what computes each of its graphs.
        max_length: tokens a text is truncated to, or a window of it.

    Raises:
        UserError: the tokenizer cannot be read, or the way of reading long texts does not fit `max_length`.
    """

    def __init__(self, export: Export, forwards: list[Forward], max_length: int):
        self.export, self.forwards, self.max_length = export, forwards, max_length
        self.trained_on = export.trained_on
        self.columns: dict[str, Any] = {
            name: known for graph in export.graphs for name, known in graph.columns.items()
        }
        self.strange: dict[str, int] = {}
        self.to_tokens = _tokens_of_texts(export, max_length)
        self.batches = Batches(
            max_length, export.pad_token_id, len(export.labels), TOKENS_PER_BATCH["cpu"], BATCH_OVERHEAD["cpu"]
        )

    @classmethod
    def load(cls, name: str | Path, *, max_length: int | None = None, bf16: bool | None = None) -> "ExportedPredictor":
        """Load the folder of an export.

        As many threads compute as OMP_NUM_THREADS says, or else as this process may use cores.

        Args:
            name: the folder.
            max_length: by default what the run was trained with, and at most that.
            bf16: whether OpenVINO computes in bfloat16; by default where the CPU has it natively, and never with
                columns beside the text, which may hold numbers as they are.

        Raises:
            UserError: it was written by a version of another format, a file is missing or damaged, its engine is not
                installed, or it cannot honour what is asked for.
        """
        export = Export.read(name)
        if max_length is not None and max_length > export.max_length:
            raise UserError(
                f"--max_length {max_length} is more than the {export.max_length} that {name} was exported with."
            )
        if bf16 is None and export.engine == "openvino" and any(graph.columns for graph in export.graphs):
            bf16 = False
        forwards = [
            open_graph(
                export.engine,
                export.folder / graph.file,
                inputs=[*export.inputs, *graph.columns],
                num_labels=len(export.labels),
                threads=threads(),
                bf16=bf16,
            )
            for graph in export.graphs
        ]
        predictor = cls(export, forwards, max_length or export.max_length)
        # Which has the digests of the others.
        predictor.files = [export.folder / EXPORT_FILE]
        computed_in = arithmetic(export.engine, bf16)
        predictor.computing = [
            f"{export.precision} graphs in {computed_in} by {export.engine}, up to {predictor.max_length} tokens"
        ]
        return predictor

    @property
    def label_names(self) -> list[str]:
        """The labels in the order of the probabilities, `[num_labels]`."""
        return self.export.labels

    @property
    def problem_type(self) -> str:
        """What transformers calls the task."""
        return self.export.problem_type

    def probabilities(self, rows: Iterable[TextRow]) -> Iterator[tuple[list[TextRow], np.ndarray]]:
        """As `RowsPredictor.probabilities`."""
        self.strange = {}
        for chunk in chunks(rows, self.columns):
            tokens = tokens_of(chunk, self.to_tokens)
            unknown: dict[str, int] = {}
            found = []
            for graph, forward in zip(self.export.graphs, self.forwards, strict=True):
                columns, strange = encode_columns(chunk, graph.columns, self.trained_on)
                # Each fold has its own training rows: what one of them knows, another may not.
                unknown |= {column: max(count, unknown.get(column, 0)) for column, count in strange.items()}
                logits = self.batches.logits(tokens, columns, forward, in_windows=self.to_tokens.in_windows)
                found.append(probabilities_of(logits, self.problem_type))
            self.strange = {name: self.strange.get(name, 0) + count for name, count in unknown.items()}
            yield chunk, mean_probabilities(found, [graph.weight for graph in self.export.graphs])

    def __repr__(self) -> str:
        return f"<{self.export.precision} export for {self.export.engine} in {self.export.folder}>"


def _tokens_of_texts(export: Export, max_length: int) -> TokensOfTexts:
    path, settings = export.folder / TOKENIZER_FILE, export.tokenizer
    try:
        inner = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers has no class of its own
        raise unreadable(path, tokenizers, error) from error
    tokenizer = BareTokenizer(
        inner,
        export.inputs,
        sep_token=settings.get("sep_token"),
        truncation_side=settings.get("truncation_side") or "right",
        split_special_tokens=bool(settings.get("split_special_tokens")),
        name_or_path=str(export.folder),
    )
    return TokensOfTexts(
        tokenizer,
        max_length,
        export.reading,
        takes_token_types="token_type_ids" in export.inputs,
        embeddings=settings.get("embeddings"),
    )
