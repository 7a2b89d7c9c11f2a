"""Prediction with a trained model, as a stream: rows in, scores out, in the order of the rows."""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bert_recipes.config.reading import READING, Reading
from bert_recipes.config.saved import configuration_of_model
from bert_recipes.data.tokenization import TextTokenizer, most_tokens
from bert_recipes.devices import has_native_bf16
from bert_recipes.evaluation.decoding import probabilities_of
from bert_recipes.inference.batches import (
    BATCH_OVERHEAD,
    TOKENS_PER_BATCH,
    Batches,
    chunks,
    encode_columns,
    tokens_of,
)
from bert_recipes.inference.rows import TextRow
from bert_recipes.inference.rows_predictor import RowsPredictor
from bert_recipes.modeling import cpu_kernels
from bert_recipes.modeling.loading import load_finished, load_tokenizer, scoring_layer
from bert_recipes.modeling.pretrained import is_own_classifier, resolve_model
from bert_recipes.modeling.wrapper import OwnClassifierConfig
from bert_recipes.task import SINGLE_LABEL

# Tensor cores take lengths that are multiples of 8.
PAD_TO_MULTIPLE_OF = {"cpu": 1, "gpu": 8}
# The processor has nothing else to do while a GPU predicts.
TOKENIZES_AHEAD = {"cpu": False, "gpu": True}


class Predictor(RowsPredictor):
    """A classifier, ready to predict a stream of rows.

    Args:
        model: it returns logits `[batch, num_labels]`.
        tokenizer: the model's own.
        max_length: tokens a text is truncated to, or a window of it.
        trained_on: the configuration of the run that made the model, where it is known.
        reading: which tokens of a longer text are read.

    Raises:
        UserError: the tokenizer does not fit the model, the model takes fewer tokens than `max_length`, or `reading`
            does not fit it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        trained_on: dict[str, Any] | None = None,
        reading: Reading | None = None,
    ):
        self.trained_on = trained_on or {}
        self.model = model.eval()
        is_own = model.config.model_type == OwnClassifierConfig.model_type
        self.columns: dict[str, dict[str, Any]] = model.config.columns if is_own else {}
        self.strange: dict[str, int] = {}
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.to_tokens = TextTokenizer(tokenizer, model.config, max_length, reading)
        kind = "cpu" if model.device.type == "cpu" else "gpu"
        if kind == "cpu":
            cpu_kernels.quicken(model)
        assert tokenizer.pad_token_id is not None  # as TextTokenizer has checked
        self.batches = Batches(
            max_length,
            tokenizer.pad_token_id,
            len(self.label_names),
            TOKENS_PER_BATCH[kind],
            BATCH_OVERHEAD[kind],
            PAD_TO_MULTIPLE_OF[kind],
        )
        self.tokenizes_ahead = TOKENIZES_AHEAD[kind]
        precision = str(model.dtype).removeprefix("torch.")
        self.computing = [f"{precision} on {model.device.type}, up to {max_length} tokens"]

    @classmethod
    def load(
        cls,
        name: str,
        *,
        max_length: int | None = None,
        bf16: bool | None = None,
        trust_remote_code: bool = False,
        device: torch.device | None = None,
    ) -> "Predictor":
        """Load a model for prediction.

        Long texts are read as its training did, by what its run or else its config.json says.

        Args:
            name: a run folder, a model folder or a Hub id.
            max_length: by default what the run was trained with, or else the most that the model takes.
            bf16: whether to compute in bfloat16; by default where the device has it natively, and never for a
                classifier of the user's own, which may hold numbers as they are.
            trust_remote_code: whether code that the model carries may run.
            device: by default the GPU, if there is one, and else the CPU.

        Raises:
            UserError: there is no such model, it is a run in folds, it has no head, its tokenizer does not fit it, or
                it takes fewer tokens than `max_length`.
        """
        model_dir = resolve_model(name, finished=True, trust_remote_code=trust_remote_code)
        configuration = configuration_of_model(name)
        tokenizer = load_tokenizer(model_dir, trust_remote_code)
        if device is None:
            has_gpu = torch.accelerator.is_available()
            device = torch.accelerator.current_accelerator() if has_gpu else torch.device("cpu")
        half = has_native_bf16() and not is_own_classifier(model_dir) if bf16 is None else bf16
        model: Any = load_finished(
            AutoModelForSequenceClassification,
            model_dir,
            trust_remote_code=trust_remote_code,
            dtype=torch.bfloat16 if half else torch.float32,
        )
        if half:
            _score_in_float32(model)
        trained = configuration if "max_length" in configuration else getattr(model.config, READING, {})
        max_length = max_length or trained.get("max_length") or min(most_tokens(tokenizer, model.config), 512)
        predictor = cls(model.to(device), tokenizer, max_length, configuration, Reading.of(trained))
        predictor.files = sorted(file for file in Path(model_dir).iterdir() if file.is_file())
        return predictor

    def compute_side_by_side(self) -> None:
        """As `RowsPredictor.compute_side_by_side`: on a CPU, but for a user's own code, which may keep a state."""
        is_own = self.model.config.model_type == OwnClassifierConfig.model_type
        threads = torch.get_num_threads()
        if self.model.device.type == "cpu" and not is_own and threads > 1:
            self.batches.map = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)).map

    def logits(self, rows: Iterable[TextRow]) -> Iterator[tuple[list[TextRow], np.ndarray]]:
        """Yield chunks of rows with their logits `[rows, num_labels]`, float32, in the order in which they came."""
        self.strange = {}
        for chunk, tokens in self._tokenized(chunks(rows, self.columns)):
            yield chunk, self._logits_of_chunk(chunk, tokens)

    @property
    def label_names(self) -> list[str]:
        """The labels in the order of the logits, `[num_labels]`."""
        return [self.model.config.id2label[i] for i in range(self.model.config.num_labels)]

    @property
    def problem_type(self) -> str:
        """What transformers calls the task."""
        return self.model.config.problem_type or SINGLE_LABEL

    def probabilities(self, rows: Iterable[TextRow]) -> Iterator[tuple[list[TextRow], np.ndarray]]:
        """As `logits`, with probabilities `[rows, num_labels]` in float64, or a regression's values."""
        for chunk, logits in self.logits(rows):
            yield chunk, probabilities_of(logits, self.problem_type)

    def _tokenized(self, of_rows: Iterator[list[TextRow]]) -> Iterator[tuple[list[TextRow], dict[str, list[Any]]]]:
        """Yield chunks with their tokens; where that is worth it, a chunk is tokenized while the last is predicted."""
        if not self.tokenizes_ahead:
            yield from ((chunk, tokens_of(chunk, self.to_tokens)) for chunk in of_rows)
            return
        with ThreadPoolExecutor(1) as pool:
            tasks: Any = ((chunk, pool.submit(tokens_of, chunk, self.to_tokens)) for chunk in of_rows)
            for (chunk, tokens), _ in itertools.pairwise(itertools.chain(tasks, [None])):
                yield chunk, tokens.result()

    def _logits_of_chunk(self, chunk: list[TextRow], tokens: dict[str, list[Any]]) -> np.ndarray:
        columns, unknown = encode_columns(chunk, self.columns, self.trained_on)
        self.strange = {name: self.strange.get(name, 0) + count for name, count in unknown.items()}
        return self.batches.logits(tokens, columns, self._forward, in_windows=self.to_tokens.in_windows)

    @torch.inference_mode()
    def _forward(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        tensors = {name: torch.from_numpy(values).to(self.model.device) for name, values in inputs.items()}
        return self.model(**tensors).logits.float().cpu().numpy()


def _score_in_float32(model: PreTrainedModel) -> None:
    # In bfloat16 the logits themselves would come in steps of 1/128 and make ties of rows that differ.
    if layer := scoring_layer(model):
        layer[1].float().register_forward_pre_hook(lambda layer, inputs: tuple(x.float() for x in inputs))
