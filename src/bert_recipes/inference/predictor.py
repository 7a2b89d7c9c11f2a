"""Prediction as a stream: rows in, scores out, in the order of the rows and in constant memory.

Rows are read in chunks, sorted by length within a chunk, predicted in batches of like length, and put back in order.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import torch
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bert_recipes import terminal
from bert_recipes.columns import PREDICTION
from bert_recipes.config.reading import READING, Reading
from bert_recipes.config.saved import configuration_of_model
from bert_recipes.data.cells import with_decimal_point
from bert_recipes.data.extra_columns import unknown_cells
from bert_recipes.data.tokenization import TextTokenizer, most_tokens
from bert_recipes.devices import has_native_bf16
from bert_recipes.errors import UserError
from bert_recipes.evaluation.decoding import predictions_of, probabilities_of
from bert_recipes.evaluation.prediction_files import PredictionWriter, probability_columns
from bert_recipes.inference.rows import TextRow, rows_from_python
from bert_recipes.modeling import cpu_kernels
from bert_recipes.modeling.loading import load_finished, load_tokenizer, scoring_layer
from bert_recipes.modeling.own_classifier import encode_cells
from bert_recipes.modeling.pretrained import is_own_classifier, resolve_model
from bert_recipes.modeling.windows import mean_of_windows
from bert_recipes.modeling.wrapper import OwnClassifierConfig
from bert_recipes.task import SINGLE_LABEL

# A chunk ends with this many rows or characters: enough rows to sort, few enough to hold while they wait.
CHUNK_ROWS, CHUNK_CHARACTERS = 4096, 2**20
# Tokens of a batch, padding included: a CPU gains nothing by more, and with more a chunk of tweets is padded by a
# tenth and over, since its few batches each hold texts of many lengths.
TOKENS_PER_BATCH = {"cpu": 2048, "gpu": 16384}
# Tensor cores take lengths that are multiples of 8.
PAD_TO_MULTIPLE_OF = {"cpu": 1, "gpu": 8}
# The processor has nothing else to do while a GPU predicts.
TOKENIZES_AHEAD = {"cpu": False, "gpu": True}


class RowsPredictor(ABC):
    """What predicts rows.

    Attributes:
        trained_on: the configuration of the run that made it, where it is known.
        strange: by column that it takes beside the text, how many of the rows predicted last have no value in it, or
            one that the training rows did not have.
        files: from which it was loaded.
        computing: how each of its models computes, as in `bfloat16 on cpu, up to 128 tokens`.
    """

    trained_on: dict[str, Any]
    strange: dict[str, int]
    files: Sequence[Path] = ()
    computing: Sequence[str] = ()

    @property
    @abstractmethod
    def label_names(self) -> list[str]:
        """The labels in the order of the probabilities, `[num_labels]`."""

    @property
    @abstractmethod
    def problem_type(self) -> str:
        """What transformers calls the task."""

    @abstractmethod
    def probabilities(self, rows: Iterable[TextRow]) -> Iterator[tuple[list[TextRow], np.ndarray]]:
        """Yield chunks of rows with their probabilities, `[rows, num_labels]`, in the order in which they came."""

    def compute_side_by_side(self) -> None:  # noqa: B027
        """From now on compute as many batches at once as there are threads, each on one, where that can be.

        A matrix product on several threads differs in its last bits with their number. So computed, a row's scores are
        the same on any number of threads. A single batch takes longer.
        """

    @property
    def notes(self) -> list[str]:
        """What should be known of the rows that were predicted last, as sentences."""
        return [
            f"Column '{name}': {count:,} rows have none, or one that the training rows did not have."
            for name, count in self.strange.items()
            if count
        ]

    def predict(self, rows: Any) -> pd.DataFrame:
        """Return a DataFrame with `prediction` and one probability column per label, a row for each of `rows`.

        Args:
            rows: a text, a list of texts or of pairs of them, a Series, a DataFrame or a `datasets.Dataset`. The index
                of a Series or a DataFrame is kept.

        Raises:
            UserError: it is something else, or the text's column is not found in it.
        """
        found = [part for _, part in self.probabilities(rows_from_python(rows, self.trained_on))]
        for note in self.notes:
            terminal.say(note)
        probabilities = np.concatenate(found) if found else np.empty((0, len(self.label_names)))
        columns = probability_columns(self.label_names, self.problem_type)
        frame = pd.DataFrame(probabilities[:, : len(columns)], columns=columns)
        # A label may be called `prediction` too.
        frame.insert(
            0, PREDICTION, predictions_of(probabilities, self.label_names, self.problem_type), allow_duplicates=True
        )
        return frame.set_axis(rows.index, axis=0) if isinstance(rows, pd.DataFrame | pd.Series) else frame


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
        self.tokens_per_batch, self.pad_to_multiple_of = TOKENS_PER_BATCH[kind], PAD_TO_MULTIPLE_OF[kind]
        self.tokenizes_ahead = TOKENIZES_AHEAD[kind]
        # How the batches of a chunk are computed: one after the other, or side by side.
        self._map: Callable[..., Iterator[np.ndarray]] = map
        precision = str(model.dtype).removeprefix("torch.")
        self.computing = [f"{precision} on {model.device.type}, up to {max_length} tokens"]

    @classmethod
    def load(
        cls, name: str, *, max_length: int | None = None, bf16: bool | None = None, trust_remote_code: bool = False
    ) -> "Predictor":
        """Load a model for prediction on the GPU, if there is one, and else on the CPU.

        Long texts are read as its training did, by what its run or else its config.json says.

        Args:
            name: a run folder, a model folder or a Hub id.
            max_length: by default what the run was trained with, or else the most that the model takes.
            bf16: whether to compute in bfloat16; by default where the device has it natively, and never for a
                classifier of the user's own, which may hold numbers as they are.
            trust_remote_code: whether code that the model carries may run.

        Raises:
            UserError: there is no such model, it is a run in folds, it has no head, its tokenizer does not fit it, or
                it takes fewer tokens than `max_length`.
        """
        model_dir = resolve_model(name, finished=True, trust_remote_code=trust_remote_code)
        configuration = configuration_of_model(name)
        tokenizer = load_tokenizer(model_dir, trust_remote_code)
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
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
            self._map = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)).map

    def logits(self, rows: Iterable[TextRow]) -> Iterator[tuple[list[TextRow], np.ndarray]]:
        """Yield chunks of rows with their logits `[rows, num_labels]`, float32, in the order in which they came."""
        self.strange = {}
        for chunk, tokens in self._tokenized(chunks(rows, self.columns)):
            yield chunk, self._logits_of_chunk(tokens, self._columns(chunk))

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
            yield from ((chunk, self._tokenize(chunk)) for chunk in of_rows)
            return
        with ThreadPoolExecutor(1) as pool:
            tasks: Any = ((chunk, pool.submit(self._tokenize, chunk)) for chunk in of_rows)
            for (chunk, tokens), _ in itertools.pairwise(itertools.chain(tasks, [None])):
                yield chunk, tokens.result()

    def _tokenize(self, chunk: list[TextRow]) -> dict[str, list[Any]]:
        pairs = None if chunk[0].text_pair is None else [row.text_pair or "" for row in chunk]
        return self.to_tokens([row.text for row in chunk], pairs)[0]

    def _columns(self, chunk: list[TextRow]) -> dict[str, torch.Tensor]:
        """Return the columns that the model takes beside the text, `[rows]` each."""
        cells: dict[str, list[Any]] = {}
        for name in self.columns:
            if any(row.cells is None or name not in row.cells for row in chunk):
                raise UserError(
                    f"the model was trained with the column '{name}' beside the text, and the rows do not have it: "
                    "give rows that do, as a .csv or a DataFrame."
                )
            cells[name] = [row.cells[name] for row in chunk if row.cells]
            if self.trained_on.get("decimal") == ",":
                cells[name] = [with_decimal_point(cell) for cell in cells[name]]
        encoded = encode_cells(self.model.config, cells) if cells else {}
        for name, known in self.columns.items():
            strange = unknown_cells(cells[name], known)
            self.strange[name] = self.strange.get(name, 0) + strange
        return encoded

    def _logits_of_chunk(self, tokens: dict[str, list[Any]], columns: dict[str, torch.Tensor]) -> np.ndarray:
        if self.to_tokens.in_windows:
            counts = torch.tensor([len(windows) for windows in tokens["input_ids"]])
            flat = {name: list(itertools.chain(*values)) for name, values in tokens.items()}
            of_windows = {name: values.repeat_interleave(counts, dim=0) for name, values in columns.items()}
            return mean_of_windows(torch.from_numpy(self._logits_of_rows(flat, of_windows)), counts).numpy()
        return self._logits_of_rows(tokens, columns)

    def _logits_of_rows(self, tokens: dict[str, list[list[int]]], columns: dict[str, torch.Tensor]) -> np.ndarray:
        lengths = np.array([len(ids) for ids in tokens["input_ids"]])
        out = np.empty((len(lengths), self.model.config.num_labels), dtype=np.float32)
        batches = list(batches_of_tokens(lengths, self.tokens_per_batch))

        def logits(batch: np.ndarray) -> np.ndarray:
            part = {name: values[batch.tolist()] for name, values in columns.items()}
            return self._logits_of_batch(tokens, part, batch, lengths[batch])

        for batch, found in zip(batches, self._map(logits, batches), strict=True):
            out[batch] = found
        return out

    @torch.inference_mode()
    def _logits_of_batch(
        self,
        tokens: dict[str, list[list[int]]],
        columns: dict[str, torch.Tensor],
        batch: np.ndarray,
        lengths: np.ndarray,
    ) -> np.ndarray:
        multiple = self.pad_to_multiple_of
        longest = min(-(-lengths.max() // multiple) * multiple, self.max_length)
        real = np.arange(longest) < lengths[:, None]
        inputs = {name: values.to(self.model.device) for name, values in columns.items()}
        for name in tokens:
            padding = self.tokenizer.pad_token_id if name == "input_ids" else 0
            padded = np.full(real.shape, padding, dtype=np.int64)
            padded[real] = np.concatenate([tokens[name][i] for i in batch])
            inputs[name] = torch.from_numpy(padded).to(self.model.device)
        return self.model(**inputs).logits.float().cpu().numpy()


def chunks(rows: Iterable[TextRow], columns: Collection[str] = ()) -> Iterator[list[TextRow]]:
    """Cut a stream of rows into lists of at most `CHUNK_ROWS` rows and about `CHUNK_CHARACTERS` characters.

    One always ends where the number of rows so far is a multiple of `CHUNK_ROWS`: a stream that begins at such a row
    is cut as the whole one, which is what makes parts of a prediction the same to the last bit.

    Args:
        rows: with all their cells.
        columns: those whose cells are kept; others may be large, and no one asks for them.
    """
    chunk, characters = [], 0
    for number, row in enumerate(rows, 1):
        kept = None if row.cells is None else {name: row.cells[name] for name in columns if name in row.cells}
        chunk.append(row._replace(cells=kept))
        texts = [row.text, row.text_pair, *(kept or {}).values()]
        characters += sum(len(text) for text in texts if isinstance(text, str))
        if number % CHUNK_ROWS == 0 or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def batches_of_tokens(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Yield row numbers in batches of like length, the longest first.

    A batch holds at most `tokens` tokens, padding included, or one row.
    """
    order = np.argsort(lengths, kind="stable")[::-1]
    while len(order):
        size = max(1, tokens // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


def _score_in_float32(model: PreTrainedModel) -> None:
    # In bfloat16 the logits themselves would come in steps of 1/128 and make ties of rows that differ.
    if layer := scoring_layer(model):
        layer[1].float().register_forward_pre_hook(lambda layer, inputs: tuple(x.float() for x in inputs))


def write_predictions(file: IO[str], predictor: RowsPredictor, rows: Iterable[TextRow]) -> Iterator[int]:
    """Write `id`, `prediction` and a column of probabilities per label for a stream of rows, as a run does.

    A model of several labels predicts those over one half, joined by `|`; of a regression the values are written.

    Yields:
        After each chunk, how many rows are written.
    """
    out = PredictionWriter(file, predictor.label_names, predictor.problem_type)
    written = 0
    for chunk, probabilities in predictor.probabilities(rows):
        predictions = predictions_of(probabilities, predictor.label_names, predictor.problem_type)
        out.write((row.id for row in chunk), predictions, probabilities)
        written += len(chunk)
        yield written
